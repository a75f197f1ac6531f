"""The conflated rows of a sealed day with the shares that none of its stored trades has."""

from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from observer.archive.parquet import file_options, footer_of, reading
from observer.base.errors import DataFileError
from observer.base.files import sync_path
from observer.store.shares import unheld

VERSIONS: Final = b"observer.unheld_of"
"""In the metadata of a written file: the versions of the conflated rows and of the trades that it is made of."""
_OF_ROWS: Final = frozenset({b"ARROW:schema", b"observer.rows", b"observer.digest", b"observer.streams"})


def write_unheld(conflated: Path, trades: Path, path: Path, versions: bytes) -> bool:
    """Write what only the conflated rows have to a file, flushed; return whether there is one. Where no trade has
    a share of theirs, the rows' own file is that file, and none is written.

    Raises:
        DataFileError: the conflated rows or the trades are not there, or damaged.
        OSError: the file cannot be written.
    """
    with reading(conflated), pq.ParquetFile(conflated, page_checksum_verification=True) as file:
        rows, metadata = file.read(), file.metadata.metadata or {}
    left = _left(rows, trades)
    if left.equals(rows):
        return False
    kept = {name: value for name, value in metadata.items() if name not in _OF_ROWS}
    schema = left.schema.with_metadata({**kept, VERSIONS: versions})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(left.cast(schema), path, **file_options(schema))
    sync_path(path)
    return True


def versions_of(path: Path) -> bytes | None:
    """The versions that a day file of conflated rows is made of; None of a version's file, and of one that is damaged
    or not there.
    """
    try:
        return (footer_of(path).metadata or {}).get(VERSIONS)
    except DataFileError:
        return None


def _left(rows: pa.Table, trades: Path) -> pa.Table:
    """Return the rows reduced to the volume and the trades that are stored in no other way, without empty rows."""
    numbers: dict[str, list[int]] = {}
    for number, symbol in enumerate(rows["symbol"].to_pylist()):
        numbers.setdefault(symbol, []).append(number)
    conflated = list(zip(*(rows[name].to_pylist() for name in ("cumulative_volume", "volume", "trades")), strict=True))
    left: list[tuple[float, int] | None] = [None] * rows.num_rows
    for symbol, own in numbers.items():
        with reading(trades):
            of_symbol, columns = [("symbol", "=", symbol)], ["cumulative_volume", "volume"]
            held = pq.read_table(trades, columns=columns, filters=of_symbol, page_checksum_verification=True)
        stored = zip(held["cumulative_volume"].to_pylist(), held["volume"].to_pylist(), strict=True)
        for number, found in zip(own, unheld([conflated[number] for number in own], stored), strict=True):
            left[number] = found
    rows = rows.filter(pa.array([each is not None for each in left], pa.bool_()))
    values = zip(*(each for each in left if each is not None), strict=True)
    for name, of_name in zip(("volume", "trades"), values, strict=False):  # of no row there are no values
        field = rows.schema.field(name)
        rows = rows.set_column(rows.schema.get_field_index(name), field, pa.array(of_name, field.type))
    return rows
