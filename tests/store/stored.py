"""Events in a database of the current schema."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from bus.delivery import Delivered
from bus.events import Event
from observer.store.writer import StoreWriter

STREAM: Final = "5" * 32


@contextmanager
def storing(url: str) -> Iterator[Callable[..., None]]:
    """What stores events at the end of a stream: `append(*events, stream=STREAM)`."""
    writer = StoreWriter(url)
    writer.open()

    def append(*events: Event, stream: str = STREAM) -> None:
        mark = writer.high_water_marks([stream])[stream]
        writer.commit([Delivered("track-b", stream, mark + 1, list(events))])

    try:
        yield append
    finally:
        writer.close()


def stored(url: str, *events: Event, stream: str = STREAM) -> None:
    """Store events at the end of a stream."""
    with storing(url) as append:
        append(*events, stream=stream)
