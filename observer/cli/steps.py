"""The name of the step under way: on a terminal, on stderr, for work that takes longer than two seconds."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.status import Status

from observer.base.signals import stopping_on_signals
from observer.cli.progress import SHOWN_AFTER_S

Step = Callable[[str], None]
"""Hears what is done now."""

_Result = TypeVar("_Result")


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


async def shown(work: Callable[[Step, threading.Event], Awaitable[_Result]], *, as_json: bool) -> _Result:
    """The result of the work, which shows its steps on a terminal's stderr and ends soon after ctrl-C."""
    stop, asked = threading.Event(), asyncio.Event()

    async def pass_on() -> None:
        await asked.wait()
        stop.set()

    console = Console(stderr=True, quiet=as_json)
    with stopping_on_signals(asked), console.status("") as status:
        passing = asyncio.create_task(pass_on())
        try:
            return await work(status.update, stop)
        finally:
            passing.cancel()


def run_shown(work: Callable[[Step, threading.Event], _Result], *, as_json: bool) -> _Result:
    """As `shown`, for work that blocks: it runs in a thread."""
    return asyncio.run(shown(lambda show, stop: asyncio.to_thread(work, show, stop), as_json=as_json))
