"""The digest of rows beside its definition, value by value: sealed days of earlier programs keep theirs."""

import hashlib
import struct

import pyarrow as pa
import pytest

from observer.archive.digest import digest_of

ROWS = {
    "words": pa.array(["a", "", "가나", "a"]),
    "words_or_none": pa.array([None, "b", None, ""]),
    "no_words": pa.nulls(4, pa.string()),
    "flags": pa.array([True, False, True, True]),
    "flags_or_none": pa.array([None, True, False, None]),
    "counts": pa.array([1, -(2**63), 2**63 - 1, 0]),
    "counts_or_none": pa.array([None, 7, None, 0]),
    "prices": pa.array([0.1, -0.0, float("inf"), -2.5]),
    "prices_or_none": pa.array([0.0, None, -0.0, 3.5]),
}
BATCH = pa.RecordBatch.from_pydict(ROWS)


def defined(batch):
    whole = hashlib.sha256(str(batch.num_rows).encode())
    for name in batch.schema.names:
        values, validity = of_column(batch.column(name).to_pylist(), batch.schema.field(name).type)
        whole.update(name.encode() + b"\0" + hashlib.sha256(values).digest() + hashlib.sha256(validity).digest())
    return whole.hexdigest()


def of_column(found, kind):
    if kind == pa.string():
        texts = [None if value is None else str(value).encode() for value in found]
        lengths = [-1 if text is None else len(text) for text in texts]
        return b"".join(text or b"" for text in texts), struct.pack(f"<{len(lengths)}i", *lengths)
    code = {pa.bool_(): "B", pa.int64(): "q", pa.float64(): "d"}[kind]
    return struct.pack(f"<{len(found)}{code}", *(value or 0 for value in found)), bytes(
        value is not None for value in found
    )


@pytest.mark.parametrize("first", [0, 1, 3])
@pytest.mark.parametrize("rows", [0, 1, 4])
def test_the_digest_is_that_of_its_definition_also_of_a_part_of_a_batch(first, rows):
    part = BATCH.slice(first, rows)
    assert digest_of([part], BATCH.schema.names) == (part.num_rows, defined(part))


def test_the_bytes_in_the_place_of_a_null_do_not_count():
    texts, ends = pa.py_buffer(b"hiddenseen"), pa.py_buffer(struct.pack("<3i", 0, 6, 10))
    column = pa.Array.from_buffers(pa.string(), 2, [pa.py_buffer(b"\x02"), ends, texts])
    assert column.to_pylist() == [None, "seen"]
    found = [pa.RecordBatch.from_arrays([each], ["words"]) for each in (column, pa.array([None, "seen"]))]
    assert digest_of(found[:1], ["words"]) == digest_of(found[1:], ["words"])
