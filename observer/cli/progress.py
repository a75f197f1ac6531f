"""Progress bars of downloads: on a terminal, on stderr, for downloads longer than two seconds."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from observer.brokers import broker as interfaces

SHOWN_AFTER_S: Final = 2.0  # machine seconds; what is over sooner needs no bar

Bars = Callable[[str], interfaces.Progress]
"""Gives what hears of an exchange's download."""


def counting() -> Progress:
    """Bars of what is counted, on the terminal of stderr; they are removed afterwards."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


@contextlib.contextmanager
def bars_of_downloads(console: Console) -> Iterator[Bars]:
    """A bar for each downloading exchange, while the block runs; in a running event loop.

    The bars are removed afterwards; without a terminal nothing is written.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        bars: dict[str, TaskID] = {}
        is_late = False

        def show() -> None:
            nonlocal is_late
            is_late = True
            for bar in bars.values():
                shown.update(bar, visible=True)

        def of(exchange: str) -> interfaces.Progress:
            def receive(come_bytes: int, of_bytes: int | None) -> None:
                if exchange not in bars:
                    bars[exchange] = shown.add_task(exchange, total=of_bytes, visible=is_late)
                shown.update(bars[exchange], completed=come_bytes)

            return receive

        showing = asyncio.get_running_loop().call_later(SHOWN_AFTER_S, show)
        try:
            yield of
        finally:
            showing.cancel()
