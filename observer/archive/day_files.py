"""The day files of docs/requirement.md below `data/observer/`: the rows of a day under the names stated there.

    swing/PROVIDER/MARKET/YYYYMMDD/snapshots.*    what Track A collected: snapshots and daily bars
    scalp/PROVIDER/MARKET/YYYYMMDD/trades.*       what Track B collected: trades, conflated rows, recovered bars

With [lake] each is a link to the newest version of a sealed day, `.parquet`, or a copy on another file system: it has
the lake's rows and metadata. Without it a day's backup writes them from the database, `.csv`: the same columns and
rows, NULL as nothing. Conflated rows whose shares stored trades have (recovered or fetched later) differ from those of
the lake and the database: the file has the shares that no trade has, so that both files together have each share once.
No package has them: after a restore the process `lake`, or the next backup, writes them again.
"""

import csv
import os
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from io import TextIOWrapper
from itertools import groupby
from operator import itemgetter
from pathlib import Path, PurePath
from typing import Any, Final

import msgspec

from observer.archive.day import PARTITIONED_BY, SealedDay
from observer.archive.target import is_same, put_in_place, staged_beside
from observer.archive.whole import require_whole
from observer.base.errors import DataFileError, StoppedError
from observer.base.files import make_private_folder, read_file, replace_file, replacing, sync_path
from observer.store.day_rows import DayRowsReader
from observer.store.kinds import kind_named
from observer.store.shares import unheld

_TRADES, _CONFLATED = "trades", "conflated_trades"
_KINDS: Final[Mapping[str, Sequence[str]]] = {
    "swing": ("snapshots", "daily_bars"),
    "scalp": (_CONFLATED, _TRADES, "recovered_minute_bars"),  # a changed file of trades states that the first is done
}
_SUFFIX: Final = ".parquet"
_TABLE_SUFFIX: Final = ".csv"
_ROWS: Final = ".rows.json"  # beside the tables: the rows by kind that they are made of
_UNFINISHED: Final = ".*.part"  # what a kill leaves of a table
_LOOKED_AT_AGAIN: Final = 7  # of the newest days with tables: recoveries come within a week
_CHECK_ROWS: Final = 10_000  # between looks whether to stop
_PARTS: Final = 5  # of a path: track, provider, market, day, file


def is_day_file(path: PurePath) -> bool:
    """Whether this path below the folder of the ledgers is that of a day file."""
    is_named = len(path.parts) == _PARTS and path.stem in _KINDS.get(path.parts[0], ())
    return is_named and path.suffix in {_SUFFIX, _TABLE_SUFFIX}


def table_bytes(ledgers: Path, days: int) -> Mapping[str, int]:
    """The bytes of the tables of the newest so many days that have any, by ISO date, in the folder of the ledgers."""
    folders = [folder for track in _KINDS for folder in (ledgers / track).glob("*/*/*") if (folder / _ROWS).exists()]
    found: dict[str, int] = {}
    for name in sorted({folder.name for folder in folders})[-days:]:
        tables = (table for folder in folders if folder.name == name for table in folder.glob(f"*{_TABLE_SUFFIX}"))
        found[date.fromisoformat(name).isoformat()] = sum(table.stat().st_size for table in tables)
    return found


class DayFiles(msgspec.Struct, frozen=True):
    """Where a system's day files go: the folder of its ledgers, and the provider in their paths."""

    folder: Path
    provider: str

    def days_without_folder(self, days: Sequence[SealedDay]) -> set[str]:
        """The dates of those days of a market that have day files, and have no folder of them. No file is read."""
        found: set[str] = set()
        for track, kinds in _KINDS.items():
            folder = self.folder / track / self.provider
            there = {market: _names(folder / market) for market in {day.market for day in days}}
            found |= {
                day.session_date
                for day in days
                if day.session_date.replace("-", "") not in there[day.market] and not day.kinds.keys().isdisjoint(kinds)
            }
        return found

    def write(self, lake: Path, day: SealedDay) -> Sequence[Path]:
        """Bring the files of a sealed day to its newest versions; return those that changed.

        Raises:
            DataFileError: a version's file is damaged or gone.
            OSError: likewise, or the folder cannot be written.
        """
        changed = []
        for track, kinds in _KINDS.items():
            folder = self._folder_of(track, day.market, day.session_date)
            for kind in kinds:
                if (newest := day.newest(kind)) is None:
                    continue
                source = lake / day.name_of(kind, newest)
                target = folder / f"{kind}{_SUFFIX}"
                require_whole(lake, day, kind, newest)
                if kind == _CONFLATED and (trades := day.newest(_TRADES)) is not None:
                    of_trades = lake / day.name_of(_TRADES, trades)
                    is_done = is_same(of_trades, target.with_stem(_TRADES))
                    versions = f"{newest.version} {trades.version}".encode()
                    found = _put_unheld(source, of_trades, target, versions, is_done=is_done)
                else:
                    found = put_in_place(source, target)
                target.with_suffix(_TABLE_SUFFIX).unlink(missing_ok=True)  # from before there was a lake
                if found:
                    changed.append(target)
            (folder / _ROWS).unlink(missing_ok=True)
        return changed

    def write_tables(
        self, url: str, market: str, last: str, without: Collection[str], stop: threading.Event
    ) -> Sequence[Path]:
        """Bring the tables of the collected days up to `last` to the rows of the database, the newest day first; return
        those that were written. A track's day whose numbers of rows did not change stays as it is; of days with tables
        the newest are looked at. `without`: the days that the lake has.

        Raises:
            StoreError: the database does not answer.
            DataFileError: a table cannot be written.
            StoppedError: `stop` was set.
        """
        with DayRowsReader(url) as reader:
            days = [day for day in reader.collected_days() if day <= last and day not in without]
        made = {day for day in days if all(_rows_of(self._folder_of(track, market, day)) for track in _KINDS)}
        again = [day for day in days if day in made][-_LOOKED_AT_AGAIN:]
        written: list[Path] = []
        for day in reversed(days):
            if day not in made or day in again:
                for track, kinds in _KINDS.items():
                    folder = self._folder_of(track, market, day)
                    try:
                        with DayRowsReader(url) as reader:  # a long transaction would keep SQLite from folding its log
                            written += _put_tables(reader, folder, kinds, day, stop)
                    except OSError as error:
                        raise DataFileError(f"the day files of {day} are not written: {error}") from error
        return written

    def _folder_of(self, track: str, market: str, session_date: str) -> Path:
        return self.folder / track / self.provider / market / session_date.replace("-", "")


def _names(folder: Path) -> set[str]:
    return set(os.listdir(folder)) if folder.is_dir() else set()  # noqa: PTH208 - paths of pathlib take longer


def _put_unheld(source: Path, trades: Path, target: Path, versions: bytes, *, is_done: bool) -> bool:
    """Reduce the file of conflated rows to the shares that only they hold. Returns whether the file changed. `is_done`:
    the trades' file is unchanged, so the target changes only if the conflated rows did.
    """
    from observer.archive.unheld import versions_of, write_unheld  # it loads pyarrow, which a backup does without

    is_current = versions_of(target) == versions
    if is_current or (is_done and is_same(source, target)):
        return False
    staged = staged_beside(target)
    if not write_unheld(source, trades, staged, versions):
        return put_in_place(source, target)
    staged.replace(target)
    sync_path(target.parent)
    return True


# --- tables -----------------------------------------------------------------------------------------------------------


def _put_tables(
    reader: DayRowsReader, folder: Path, kinds: Sequence[str], session_date: str, stop: threading.Event
) -> Sequence[Path]:
    """Write the tables of a track's day that are missing or have other rows. Returns the written files."""
    counts = {kind: reader.count(kind, session_date) for kind in kinds}
    targets = {kind: (folder / kind).with_suffix(_TABLE_SUFFIX) for kind in kinds if counts[kind]}
    if not targets or (_rows_of(folder) == counts and all(target.is_file() for target in targets.values())):
        return []
    make_private_folder(folder)
    for unfinished in folder.glob(_UNFINISHED):
        unfinished.unlink(missing_ok=True)
    for kind, target in targets.items():
        names = [name for name in kind_named(kind).columns if name not in PARTITIONED_BY]
        rows: Iterator[Sequence[Any]] = reader.rows(kind, session_date, names)
        if kind == _CONFLATED:
            rows = _only_unheld(reader, rows, names, session_date)
        with replacing(target) as file:
            text = TextIOWrapper(file, "utf-8", newline="")
            table = csv.writer(text, lineterminator="\n")
            table.writerow(names)
            for number, row in enumerate(rows):
                if number % _CHECK_ROWS == 0 and stop.is_set():
                    raise StoppedError(f"writing {target} was interrupted")
                table.writerow(row)
            text.flush()
            text.detach()  # the file is closed with its block
    replace_file(folder / _ROWS, msgspec.json.encode(counts))
    return list(targets.values())


def _only_unheld(
    reader: DayRowsReader, rows: Iterator[Sequence[Any]], names: Sequence[str], session_date: str
) -> Iterator[Sequence[Any]]:
    """Yield the conflated rows, which come by symbol, without the shares of stored trades. The trades of a symbol are
    in memory.
    """
    symbol, total, volume, trades = (names.index(name) for name in ("symbol", "cumulative_volume", "volume", "trades"))
    for of_symbol, found in groupby(rows, itemgetter(symbol)):
        own = [list(row) for row in found]
        stored = reader.rows(_TRADES, session_date, ("cumulative_volume", "volume"), [of_symbol])
        left = unheld([(row[total], row[volume], row[trades]) for row in own], map(tuple, stored))
        for row, values in zip(own, left, strict=True):
            if values is not None:
                row[volume], row[trades] = values
                yield row


def _rows_of(folder: Path) -> Mapping[str, int] | None:
    """Return the number of rows by kind behind the folder's tables; None if unknown: the tables are written again."""
    try:
        return msgspec.json.decode(read_file(folder / _ROWS), type=dict[str, int])
    except (OSError, ValueError):
        return None
