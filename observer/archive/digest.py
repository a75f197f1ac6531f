"""The digest of sorted rows, by column: 64 hexadecimal digits that database, file and catalogue must share.

Each column has a SHA-256 of its values in the order of the rows, wherever a batch ends. So a row that is missing, is
doubled or has another value changes it. -0.0 counts as 0.0, because not every database distinguishes them.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_NO_VALUE: Final = -1  # the length of a text that is null


class RowsDigest:
    """The digest of rows that come in batches, in order. `columns` are the columns that count, in their order."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._hashes = {name: (hashlib.sha256(), hashlib.sha256()) for name in columns}
        self.rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        for name, (values, validity) in self._hashes.items():
            column = batch.column(name)
            if pa.types.is_string(column.type):
                validity.update(_lengths_of(column))
                values.update(_text_of(column))
            else:
                validity.update(_validity_of(column))
                values.update(_numbers_of(column))
        self.rows += batch.num_rows

    def hexdigest(self) -> str:
        whole = hashlib.sha256(str(self.rows).encode())
        for name, (values, validity) in self._hashes.items():
            whole.update(name.encode() + b"\0" + values.digest() + validity.digest())
        return whole.hexdigest()


# A column without a null, as most are, is hashed where it stands: to copy it takes longer than to hash it.


def _validity_of(column: pa.Array) -> "bytes | memoryview":
    if not column.null_count:
        return b"\1" * len(column)
    return memoryview(column.is_valid().cast(pa.uint8()).to_numpy())


def _numbers_of(column: pa.Array) -> memoryview:
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    if column.null_count:
        column = pc.fill_null(column, pa.scalar(0, column.type))
    found = column.to_numpy()
    return memoryview(found + 0.0 if pa.types.is_floating(column.type) else found)


def _lengths_of(column: pa.Array) -> memoryview:
    lengths = pc.cast(pc.binary_length(column), pa.int32())
    return memoryview(pc.fill_null(lengths, _NO_VALUE).to_numpy())


def _text_of(column: pa.Array) -> "bytes | memoryview":
    if column.null_count:  # the place of a null may have bytes
        column = pc.drop_null(column)
    if not len(column):
        return b""
    _, ends, content = column.buffers()
    places = np.frombuffer(ends, np.int32)
    begin, end = places[column.offset], places[column.offset + len(column)]
    return memoryview(content)[begin:end] if begin < end else b""


def digest_of(batches: Iterable[pa.RecordBatch], columns: Sequence[str]) -> tuple[int, str]:
    """The number of rows and their digest."""
    found = RowsDigest(columns)
    for batch in batches:
        found.add(batch)
    return found.rows, found.hexdigest()
