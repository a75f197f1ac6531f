"""A day's rows of a kind that the database does not have all any more: the sealed ones, and those that came since.

Each row's identity is its position: the random id of its event stream, and its number in that. A version states the
positions of its rows, so a row of the database is a late one if the version does not have its position; the sealed rows
that the database still has, or has again after it was restored, count once.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from observer.archive.day import StreamRows
from observer.archive.parquet import file_schema
from observer.store.kinds import kind_named

_POSITION: Final = ("stream", "sequence")


def late_rows(
    batches: Iterable[pa.RecordBatch], sealed: Sequence[StreamRows], uids: Mapping[int, str]
) -> Iterator[pa.RecordBatch]:
    """Those of the database's rows that a version does not have; `uids` are the streams' random ids by the number that
    the database's rows carry.
    """
    last = {each.uid: each.last for each in sealed}
    known = {stream: last[uid] for stream, uid in uids.items() if uid in last}
    for batch in batches:
        is_late = pa.array([True] * batch.num_rows)
        for stream, mark in known.items():
            is_sealed = pc.and_(pc.equal(batch["stream"], stream), pc.less_equal(batch["sequence"], mark))
            is_late = pc.and_not(is_late, is_sealed)
        found = batch.filter(is_late)
        if found.num_rows:
            yield found


def numbers_of(sealed: Sequence[StreamRows], uids: Mapping[int, str]) -> Mapping[int, int]:
    """Return the database's numbers of a version's streams, by the version's own numbers. A stream that the database
    lacks (it was restored) keeps its number if that number is free, else it gets the next free number.
    """
    present = {uid: stream for stream, uid in uids.items()}
    taken = {*uids, *(each.stream for each in sealed)}
    numbers: dict[int, int] = {}
    for each in sealed:
        if each.uid in present:
            numbers[each.stream] = present[each.uid]
        elif each.stream not in uids:
            numbers[each.stream] = each.stream
        else:
            numbers[each.stream] = max(taken) + 1
            taken.add(numbers[each.stream])
    return numbers


def merged(
    sealed: Iterable[pa.RecordBatch], late: Iterable[pa.RecordBatch], kind: str, numbers: Mapping[int, int]
) -> Iterator[pa.RecordBatch]:
    """The sealed rows under these numbers of their streams and the late ones, which both are sorted by symbol, sorted
    as one sealing would have sorted them. A symbol's rows are held at a time; all rows of a kind without symbols.
    """
    keys = [(name, "ascending") for name in (*kind_named(kind).order, *_POSITION)]
    of_file = _by_symbol(_with_columns(sealed, file_schema(kind)))
    own = ((symbol, _renumbered(rows, numbers)) for symbol, rows in of_file)
    by_symbol = itemgetter(0)
    for _, found in groupby(heapq.merge(own, _by_symbol(late), key=by_symbol), by_symbol):
        yield from pa.concat_tables([rows for _, rows in found]).sort_by(keys).to_batches()


def _with_columns(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield the rows with these columns: null where an earlier version of the events lacks the column."""
    for batch in batches:
        own = set(batch.schema.names)
        columns = [batch[each.name] if each.name in own else pa.nulls(batch.num_rows, each.type) for each in schema]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _by_symbol(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[str, pa.Table]]:
    """Yield the rows of each symbol; the rows of a symbol are adjacent. A kind without a symbol yields all rows under
    an empty one.
    """
    held: list[pa.RecordBatch] = []
    name = ""
    for batch in batches:
        begin = 0
        whole = {"values": "", "counts": batch.num_rows}
        for found in pc.value_counts(batch["symbol"]).to_pylist() if "symbol" in batch.schema.names else [whole]:
            if held and found["values"] != name:
                yield name, pa.Table.from_batches(held)
                held = []
            name = found["values"]
            held.append(batch.slice(begin, found["counts"]))
            begin += found["counts"]
    if held:
        yield name, pa.Table.from_batches(held)


def _renumbered(rows: pa.Table, numbers: Mapping[int, int]) -> pa.Table:
    if all(old == new for old, new in numbers.items()):
        return rows
    place = rows.schema.get_field_index("stream")
    old = rows["stream"].combine_chunks()
    known = pa.array(list(numbers), old.type)
    new = pa.array(list(numbers.values()), old.type).take(pc.index_in(old, known))
    return rows.set_column(place, rows.schema.field(place), new)
