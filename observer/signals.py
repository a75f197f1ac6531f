"""SIGINT and SIGTERM as a request to stop, for commands and for the processes that they start."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def stopping_on_signals(stopping: asyncio.Event) -> Iterator[None]:
    """SIGINT and SIGTERM ask for an orderly stop; a second one is no different, and children have their own grace."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, stopping.set)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
