"""Rows as the body of a response: JSON, CSV or an Arrow stream, in chunks of bounded size."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    import polars as pl

Form = Literal["json", "csv", "arrow"]
MEDIA_TYPES: Final[Mapping[Form, str]] = {
    "json": "application/json",
    "csv": "text/csv",
    "arrow": "application/vnd.apache.arrow.stream",
}
_CHUNK_ROWS: Final = 5_000

Piece = Callable[[], bytes]
"""Makes one chunk of a body; takes some milliseconds of processor."""


def pieces_of(frames: "Sequence[pl.DataFrame]", form: Form) -> Iterator[Piece]:
    """The chunks of a body in their order, not yet made. Frames have one schema, and there is at least one."""
    if form == "arrow":
        yield partial(_arrow, frames)
        return
    encode = _json if form == "json" else _csv
    chunks = [
        frame.slice(first, _CHUNK_ROWS) for frame in frames for first in range(0, max(frame.height, 1), _CHUNK_ROWS)
    ]
    for number, chunk in enumerate(chunks):
        yield partial(encode, chunk, is_first=number == 0, is_last=number == len(chunks) - 1)


def _json(rows: "pl.DataFrame", *, is_first: bool, is_last: bool) -> bytes:
    """A part of a list of objects."""
    from observer.research.exporting import json_of

    return f"{'[' if is_first else ','}{json_of(rows)[1:-1]}{']' if is_last else ''}".encode()


def _csv(rows: "pl.DataFrame", *, is_first: bool, is_last: bool) -> bytes:  # noqa: ARG001 - a form like the others
    from observer.research.exporting import csv_of

    text = csv_of(rows)
    return (text if is_first else text.partition("\n")[2]).encode()


def _arrow(frames: "Sequence[pl.DataFrame]") -> bytes:
    """One stream of record batches."""
    joined = frames[0]
    for frame in frames[1:]:
        joined = joined.vstack(frame)
    buffer = io.BytesIO()
    joined.write_ipc_stream(buffer)
    return buffer.getvalue()
