"""The name of the step under way: on a terminal, on stderr, for work that takes longer than two seconds."""

import contextlib
import threading
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.status import Status

from observer.cli.progress import SHOWN_AFTER_S

Step = Callable[[str], None]
"""Hears what is done now."""


@contextlib.contextmanager
def steps(console: Console) -> Iterator[Step]:
    """Show the last named step while the block runs; without a terminal nothing is written."""
    status = Status("", console=console)
    showing = threading.Timer(SHOWN_AFTER_S, status.start)
    showing.daemon = True
    if console.is_terminal:
        showing.start()
    try:
        yield status.update
    finally:
        showing.cancel()
        showing.join() if showing.is_alive() else None
        status.stop()
