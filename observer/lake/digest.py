"""The digest of sorted rows, by column: 64 hexadecimal digits that database, file and catalogue must share.

Each column has a SHA-256 of its values in the order of the rows, wherever a batch ends. So a row that is missing, is
doubled or has another value changes it. -0.0 counts as 0.0, because not every database distinguishes them.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

_NO_VALUE: Final = -1  # the length of a text that is null


class RowsDigest:
    """Takes batches in the order of their rows; `columns` are those that count, in their order."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._hashes = {name: (hashlib.sha256(), hashlib.sha256()) for name in columns}
        self.rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Add the next rows."""
        for name, (values, validity) in self._hashes.items():
            column = batch.column(name)
            if pa.types.is_string(column.type):
                lengths = pc.fill_null(pc.cast(pc.binary_length(column), pa.int32()), _NO_VALUE)
                validity.update(lengths.to_numpy(zero_copy_only=False).tobytes())
                values.update(_text_of(column))
            else:
                validity.update(column.is_valid().cast(pa.uint8()).to_numpy(zero_copy_only=False).tobytes())
                values.update(_numbers(column).to_numpy(zero_copy_only=False).tobytes())
        self.rows += batch.num_rows

    def hexdigest(self) -> str:
        """The digest of the rows so far."""
        whole = hashlib.sha256(str(self.rows).encode())
        for name, (values, validity) in self._hashes.items():
            whole.update(name.encode() + b"\0" + values.digest() + validity.digest())
        return whole.hexdigest()


def _numbers(column: pa.Array) -> pa.Array:
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    elif pa.types.is_floating(column.type):
        column = pc.add(column, 0.0)
    return pc.fill_null(column, pa.scalar(0, column.type))


def _text_of(column: pa.Array) -> bytes:
    ends = pa.array([0, len(column)], pa.int32())
    joined = pc.binary_join(pa.ListArray.from_arrays(ends, pc.fill_null(column, "")), "")
    text: bytes = joined[0].as_buffer().to_pybytes()
    return text


def digest_of(batches: Iterable[pa.RecordBatch], columns: Sequence[str]) -> tuple[int, str]:
    """The number of rows and their digest."""
    found = RowsDigest(columns)
    for batch in batches:
        found.add(batch)
    return found.rows, found.hexdigest()
