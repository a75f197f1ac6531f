"""The rows of a day by kind, from the sealed file of the day or from the database, and no row twice.

Rows are only added. So a sealed kind of a day is read from the database if that has more rows: some came after the
sealing, as a late recovery's. A kind that is removed from the database, or whose sealed rows another database has, is
read from its file, and from the database only at the positions that the file does not have. What is read of the
database is bounded by the high-water marks of the moment at which the store was opened.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from observer.errors import DataFileError, StoreError
from observer.gaps.completeness import WITH_TRADES
from observer.lake.layout import StreamRows, lost_text
from observer.lake.parquet import NAMES_IN_FILE
from observer.lines import stock_of
from observer.research.errors import rows_lost, rows_removed, unknown_symbol
from observer.research.frame import Schema, allowed, needed, scanned
from observer.store.arrow import schema_of
from observer.store.kinds import REMOVABLE, kind_named
from observer.store.research import ResearchReader

_POSITION: Final = ("stream", "sequence")
_NO_MARK: Final = -1
_DIGEST_LENGTH: Final = 32
_TYPES: Final = {"int64": pl.Int64, "double": pl.Float64, "bool": pl.Boolean, "string": pl.String}


@cache
def stored_schema(kind: str) -> Schema:
    """The polars types of a kind's columns, as they are stored."""
    return {field.name: _TYPES[str(field.type)] for field in schema_of(kind)}


class SealedFile(msgspec.Struct, frozen=True):
    """The file with the sealed rows of a kind of a day (a path, or a URL), their number, the version, the positions of
    the rows, whether they were removed from the database, `Version.is_distinct`, whether another database has rows of
    it, and whether the day lacks the version.
    """

    path: Path | str
    rows: int
    version: int
    streams: Sequence[StreamRows]
    is_removed: bool
    is_distinct: bool = False
    is_of_another: bool = False
    is_lost: bool = False

    @property
    def is_joined(self) -> bool:
        """Whether the database need not have the rows: those that it has at other positions join them."""
        return self.is_removed or self.is_of_another

    @property
    def removed_version(self) -> int:
        """The version that replaces the database's rows; 0 where it has them."""
        return self.version if self.is_removed else 0


def never_removed(_day: str, _kind: str) -> int:
    """Of a database without a lake."""
    return 0


class Rows:
    """The stored rows of days.

    Args:
        database: the database; None for a lake alone.
        sealed: by sealed day and kind, the file with its rows; a kind without rows is absent.
        market: of all these rows.
        removed_version: gives the version of a day and a kind that replaces the database's rows now; 0 for none.
        storage: what polars needs to read files that are URLs.
    """

    def __init__(
        self,
        database: ResearchReader | None,
        sealed: Mapping[str, Mapping[str, SealedFile]],
        market: str = "",
        removed_version: Callable[[str, str], int] = never_removed,
        storage: Mapping[str, str | int] | None = None,
    ) -> None:
        self._database = database
        self._market = market
        self._sealed = sealed
        self._removed_version = removed_version
        self._storage = None if storage is None else dict(storage)
        self._uids = database.stream_uids() if database is not None else {}
        self._marks = database.marks() if database is not None else {}
        hot = database.session_dates() if database is not None else ()
        self.days: Sequence[str] = sorted({*hot, *sealed})
        self._kept: dict[tuple[str, str], pl.DataFrame] = {}
        self._lacking: dict[str, bool] = {}
        self._traded: dict[str, Sequence[str]] = {}
        self._counted: dict[tuple[str, str], int] = {}

    @property
    def database(self) -> ResearchReader | None:
        """The database; None for a lake alone."""
        return self._database

    @property
    def market(self) -> str:
        """The market of all rows; empty if it is not known."""
        return self._market

    @cached_property
    def digest(self) -> str:
        """Of what is read: another one when any row was added, or any file."""
        sealed = {
            day: {kind: (file.version, file.is_removed) for kind, file in files.items()}
            for day, files in self._sealed.items()
        }
        content = msgspec.json.encode((self._market, sorted(self._marks.items()), sealed), order="sorted")
        return sha256(content).hexdigest()[:_DIGEST_LENGTH]

    def is_sealed(self, day: str) -> bool:
        """Whether the day is sealed; of a kind that got rows since then, they are those of the database."""
        return day in self._sealed

    def identity(self, kinds: Iterable[str], days: Iterable[str]) -> str:
        """A text that is another one when the rows of one of these kinds and days are: of rows that are all in sealed
        files the files' versions, else `digest`.
        """
        wanted = list(kinds)
        found = [self._version_of(kind, day) for day in days for kind in wanted]
        return f"{self._market} {' '.join(found)}"

    def scan(self, kind: str, day: str, lines: Sequence[str] | None = None) -> pl.LazyFrame:
        """The day's rows of a kind with the columns as stored, of some lines or of all; sorted by line and time.

        Raises:
            NoDataError: they are lost, or were removed from a database without its lake.
            DataFileError: their file is gone.
            StoreError: they went to the lake while the store was open.
        """
        file = self._sealed.get(day, {}).get(kind)
        if file is not None and file.is_lost:
            if self._count(kind, day) < file.rows:
                raise rows_lost(kind, day, str(file.path))
            return self._of_database(kind, day, lines)
        if file is not None and file.is_joined:
            sealed = self._of_file(kind, day, lines)
            if not self._count(kind, day):
                return sealed
            keys = [name for name in ("symbol", *kind_named(kind).order, *_POSITION) if name in stored_schema(kind)]
            return pl.concat([sealed, self._of_database(kind, day, lines)]).sort(keys)
        if day in self._sealed and not self._is_behind(kind, day):
            return self._of_file(kind, day, lines)
        return self._of_database(kind, day, lines)

    def is_distinct(self, kind: str, day: str) -> bool:
        """Whether it is known that no two of the day's rows have the same symbol and order."""
        file = self._sealed.get(day, {}).get(kind)
        if file is None or not file.is_distinct:
            return False
        return not self._count(kind, day) if file.is_joined else not self._is_behind(kind, day)

    def small(self, kind: str, day: str) -> pl.DataFrame:
        """All rows of a day of a kind with few; read once."""
        key = (kind, day)
        if key not in self._kept:
            self._kept[key] = self.scan(kind, day).collect()
        return self._kept[key]

    def dates_of(self, kind: str, first: str, last: str, lines: Sequence[str] | None) -> Sequence[str]:
        """The days between two, both included, that have rows of these lines; without lines of any, and the stored
        sessions.
        """
        sessions = [day for day in self.days if first <= day <= last]
        if self._database is None:
            return sessions
        kept = sessions if lines is None else [day for day in sessions if day in self._sealed]
        return sorted({*kept, *self._database.dates_of(kind, first, last, lines)})

    def members_on(self, day: str) -> Sequence[str]:
        """The ids of the lines in any build of the day's universe."""
        return self.small("universe_members", day)["symbol"].unique().sort().to_list()

    def streamed_on(self, day: str) -> Sequence[str]:
        """The ids of the lines that had a slot on the day."""
        return self.small("slot_assignments", day)["symbol"].unique().sort().to_list()

    def traded_on(self, day: str) -> Sequence[str]:
        """The ids of the lines whose trades were collected on the day: those with a slot, and those of the tape."""
        if day not in self._traded:
            reports = self.small("tape_reports", day)
            is_wanted = pl.col("quality").is_in(WITH_TRADES)
            pages = self.scan("tape_pages", day).select("symbol").unique() if reports.is_empty() else None
            of_tape = reports.filter(is_wanted)["symbol"] if pages is None else pages.collect()["symbol"]
            self._traded[day] = sorted({*self.streamed_on(day), *of_tape})
        return self._traded[day]

    def lines_on(self, day: str) -> Sequence[str]:
        """The ids of the lines in the day's universe or slots, sorted."""
        return sorted({*self.members_on(day), *self.streamed_on(day)})

    def lines_of(self, stocks: Sequence[str], day: str) -> Sequence[str]:
        """The ids of the lines of these stocks on a day; a line's own id stands for itself."""
        wanted = set(stocks)
        return [line for line in self.lines_on(day) if line in wanted or stock_of(line) in wanted]

    def lines_ever(self, stocks: Sequence[str]) -> Sequence[str]:
        """The ids of the lines of these stocks on any day, with the stocks themselves."""
        return sorted({*stocks, *(line for day in self.days for line in self.lines_of(stocks, day))})

    def known_symbols(self) -> Collection[str]:
        """The symbols of stocks that any day's universe, slots or the listings have."""
        of_days = {stock_of(line) for day in self.days for line in self.lines_on(day)}
        return of_days if self._database is None else of_days | set(self._database.listed_symbols())

    def require_known(self, symbol: str) -> None:
        """Check that a symbol, a stock's or a line's, is known.

        Raises:
            UnknownSymbol: it is not.
        """
        known = self.known_symbols()
        if symbol not in known and stock_of(symbol) not in known:
            raise unknown_symbol(symbol, known)

    def close(self) -> None:
        """Give the database's connections back."""
        if self._database is not None:
            self._database.close()

    def _version_of(self, kind: str, day: str) -> str:
        file = self._sealed.get(day, {}).get(kind)
        if day not in self._sealed:
            is_settled = False
        elif file is not None and file.is_joined:
            is_settled = not self._count(kind, day)
        else:
            is_settled = not self._is_behind(kind, day)
        if not is_settled:
            return self.digest
        return f"{day}/{kind}/{0 if file is None else file.version}"

    def _is_behind(self, kind: str, day: str) -> bool:
        """Whether the database has more rows of a sealed day's kind.

        Rows from after the opening may count, too: up to the marks the database has the sealed rows all the same.
        """
        file = self._sealed[day].get(kind)
        return self._count(kind, day) > (0 if file is None else file.rows)

    def _count(self, kind: str, day: str) -> int:
        """The database's rows of a sealed day's kind; asked once, so that an open store does not change.

        Raises:
            StoreError: rows that the opened version lacks may have left the database for a newer one.
        """
        if self._database is None:
            return 0
        key = (kind, day)
        if key not in self._counted:
            found = self._database.count(kind, day)
            file = self._sealed[day].get(kind)
            opened = 0 if file is None else file.version
            if kind in REMOVABLE and self._removed_version(day, kind) not in (0, opened):  # asked after the count
                raise _went_to_the_lake(day, kind)
            self._counted[key] = found
        return self._counted[key]

    def _is_removed(self, day: str) -> bool:
        """Whether a day without a sealed file was removed from the database."""
        if day not in self._lacking:
            self._lacking[day] = self._database is not None and self._database.lacks_snapshots(day)
        return self._lacking[day]

    def _of_database(self, kind: str, day: str, lines: Sequence[str] | None) -> pl.LazyFrame:
        if self._database is None:
            return _empty(kind)
        if kind in REMOVABLE and day not in self._sealed and self._is_removed(day):
            raise rows_removed(day)
        file = self._sealed.get(day, {}).get(kind)
        removed = file.removed_version if file is not None else 0
        last = {each.uid: each.last for each in file.streams} if file is not None and file.is_joined else {}
        sealed = {stream: last[uid] for stream, uid in self._uids.items() if uid in last}

        def require_current() -> None:
            if self._removed_version(day, kind) != removed:
                raise _went_to_the_lake(day, kind)

        hot = _Hot(self._database, self._marks, sealed, require_current, kind, day, lines)
        return scanned(hot.read, stored_schema(kind), f"{kind} {day}")

    def _of_file(self, kind: str, day: str, lines: Sequence[str] | None) -> pl.LazyFrame:
        file = self._sealed[day].get(kind)
        if file is None:
            return _empty(kind)
        if isinstance(file.path, Path) and not file.path.exists():
            raise DataFileError(lost_text(str(file.path), kind, day))
        schema = stored_schema(kind)
        partition = {"session_date": pl.lit(day), "market": pl.lit(self._market)}
        in_file = {NAMES_IN_FILE.get(name, name): dtype for name, dtype in schema.items() if name not in partition}
        rows = pl.scan_parquet(
            file.path,
            hive_partitioning=False,
            missing_columns="insert",
            schema=in_file,
            storage_options=self._storage,
        )
        rows = rows.rename({there: name for name, there in NAMES_IN_FILE.items() if name in schema})
        rows = rows.with_columns(**{name: each for name, each in partition.items() if name in schema}).select(*schema)
        if lines is None or "symbol" not in schema:
            return rows
        symbol = pl.col("symbol")
        return rows.filter(symbol == lines[0] if len(lines) == 1 else symbol.is_in(lines))


class _Hot:
    """A day's rows of a kind in the database: up to the marks, and beyond the positions that a sealed file has."""

    def __init__(
        self,
        database: ResearchReader,
        marks: Mapping[int, int],
        sealed: Mapping[int, int],
        require_current: Callable[[], None],
        kind: str,
        day: str,
        lines: Sequence[str] | None,
    ) -> None:
        self._database = database
        self._require_current = require_current
        self._kind = kind
        self._day = day
        self._lines = lines
        self._is_wanted = (pl.col("sequence") <= _of_stream(marks)) & (pl.col("sequence") > _of_stream(sealed))

    def read(
        self, columns: Sequence[str] | None, predicate: pl.Expr | None, _rows: int | None
    ) -> Iterator[pl.DataFrame]:
        """The rows in batches: of the asked columns, and of the lines that the predicate leaves possible."""
        schema = stored_schema(self._kind)
        wanted = needed(columns, predicate, schema)
        lines = self._lines
        if lines is not None and "symbol" in schema:
            lines = allowed(predicate, "symbol", lines, pl.String)
            if not lines:
                return
        asked = [*wanted, *(name for name in _POSITION if name not in wanted)]
        for batch in self._database.batches(self._kind, self._day, lines, asked):
            frame = pl.from_arrow(batch)
            assert isinstance(frame, pl.DataFrame)
            yield frame.filter(self._is_wanted)
        self._require_current()


def _went_to_the_lake(day: str, kind: str) -> StoreError:
    return StoreError(f"{day}: {kind} went to the lake while the store was open: open it again")


def _of_stream(numbers: Mapping[int, int]) -> pl.Expr:
    """The number of the row's stream; -1 for another stream."""
    known = (list(numbers), list(numbers.values()))
    return pl.col("stream").replace_strict(*known, default=_NO_MARK, return_dtype=pl.Int64)


def _empty(kind: str) -> pl.LazyFrame:
    return pl.LazyFrame(schema=stored_schema(kind))
