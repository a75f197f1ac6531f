"""The rows of a day by kind, from the sealed file of the day or from the database, and no row twice.

Rows are only added. So a sealed kind of a day is read from the database if that has more rows: some came after the
sealing, as a late recovery's. A kind that is removed from the database, or whose sealed rows another database has, is
read from its file, and from the database only at the positions that the file does not have. What is read of the
database is bounded by the high-water marks of the moment at which the store was opened.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from hashlib import sha256
from typing import Final

import msgspec
import polars as pl

from observer.archive.day import sealed_rows
from observer.archive.parquet import NAMES_IN_FILE
from observer.archive.places import read_elsewhere
from observer.base.errors import DamagedFileError, DataFileError, StoreError
from observer.base.lines import stock_of
from observer.gaps.completeness import WITH_TRADES
from observer.research.database_rows import DatabaseRows, is_known, stored_schema
from observer.research.errors import rows_removed, unknown_symbol
from observer.research.kept import Kept
from observer.research.sealed_file import SealedFile
from observer.store.day_totals import Counted, DayTotals
from observer.store.kinds import POSITION, REMOVABLE, kind_named
from observer.store.research import ResearchReader

_DIGEST_LENGTH: Final = 32
_DAYS_AT_ONCE: Final = 32  # that one statement reads
_OF_LINES: Final = ("universe_members", "slot_assignments")


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
        self.kept = Kept()
        self._lacking: dict[str, bool] = {}
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
        sealed = {day: self._state_of(day) for day in self._sealed}
        content = msgspec.json.encode((self._market, sorted(self._marks.items()), sealed), order="sorted")
        return sha256(content).hexdigest()[:_DIGEST_LENGTH]

    def _state_of(self, day: str) -> Mapping[str, tuple[int, bool]] | str:
        try:
            return {kind: (file.version, file.is_removed) for kind, file in self._sealed[day].items()}
        except DataFileError as error:  # a question about the day raises it
            return str(error)

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
            NoDataError: they were removed from a database without its lake.
            DamagedFileError: their file is gone or damaged, and no other place has a whole one.
            StoreError: they went to the lake while the store was open.
        """
        kept = self.kept.get((kind, day))
        if kept is not None:
            return _of_lines(kept.lazy(), kind, lines)
        file = self._sealed.get(day, {}).get(kind)
        if file is not None and file.is_joined:
            sealed = self._of_file(kind, day, lines)
            if not self._count(kind, day):
                return sealed
            keys = [name for name in ("symbol", *kind_named(kind).order, *POSITION) if name in stored_schema(kind)]
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
        """All rows of a day of a kind with few; read once, and again when it was not used for long (`Kept`)."""
        kept = self.kept.get((kind, day))
        return self.kept.put((kind, day), self.scan(kind, day).collect()) if kept is None else kept

    def each_day(self, days: Sequence[str], *kinds: str) -> Iterator[str]:
        """The days one after another. Of several days the rows of these kinds, which have few, are read together, so
        that `small` and `scan` find them.
        """
        for some in portions(days):
            for kind in kinds if len(days) > 1 else ():
                missing = [day for day in some if self.kept.get((kind, day)) is None]
                for day, frame in self.of_days(kind, missing).items():
                    self.kept.put((kind, day), frame)
            yield from some

    def of_days(
        self, kind: str, days: Sequence[str], lines: Sequence[str] | None = None, columns: Sequence[str] = ()
    ) -> Mapping[str, pl.DataFrame]:
        """By day the rows of `scan`, read, with these columns or all. Those in the database are read by one statement
        for many days: one a day takes as long as its preparations.
        """
        names, found = list(columns or stored_schema(kind)), dict[str, pl.DataFrame]()
        for some in portions(days):
            self._count_days(kind, some)
            hot = [day for day in some if self._is_hot(kind, day)]
            self._require_there(kind, hot)
            if self._database is not None and len(hot) > 1:
                found |= DatabaseRows(self._database, self._marks).of_days(kind, hot, lines, names)
                for day in hot:
                    self._require_current(kind, day, 0)
            others = [day for day in some if day not in found]
            of_others = pl.collect_all([self.scan(kind, day, lines).select(names) for day in others])
            found |= zip(others, of_others, strict=True)
        return {day: found[day] for day in days}

    def totals(self, day: str, counted: Sequence[Counted]) -> DayTotals | None:
        """The totals of a day whose rows are all those of the database; None of another day."""
        if self._database is None or day in self._sealed:
            return None
        for kind in REMOVABLE:
            self._require_there(kind, [day])
        found = self._database.totals(day, self._marks, counted)
        for kind in REMOVABLE:
            self._require_current(kind, day, 0)
        return found

    def until_opening(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows of a table of the database that were there at the opening; all of one without positions."""
        return rows.filter(is_known(self._marks)) if POSITION[1] in rows.columns else rows

    def dates_of(self, kind: str, first: str, last: str, lines: Sequence[str] | None) -> Sequence[str]:
        """The days between two, both included, that have rows of these lines; without lines of any, and the stored
        sessions.
        """
        sessions = [day for day in self.days if first <= day <= last]
        if self._database is None:
            return sessions
        kept = sessions if lines is None else [day for day in sessions if day in self._sealed]
        return sorted({*kept, *self._database.dates_of(kind, first, last, lines)})

    def swept_on(self, days: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """By day the ids of the lines that sweeps asked for: those in any build of its universe."""
        return {day: ids.to_list() for day, ids in self.ids_in("universe_members", days).items()}

    def streamed_on(self, day: str) -> Sequence[str]:
        """The ids of the lines that had a slot on the day."""
        return self.ids_in("slot_assignments", [day])[day].to_list()

    def ids_in(self, kind: str, days: Sequence[str]) -> Mapping[str, pl.Series]:
        """By day the ids of the lines in the rows of a kind, sorted. They are kept by themselves: those of a year take
        less than the other columns of a month.
        """
        found = dict[str, pl.DataFrame]()
        for some in portions(days):
            found |= {day: frame for day in some if (frame := self.kept.get(("lines", kind, day))) is not None}
            read = self.of_days(kind, [day for day in some if day not in found], columns=["symbol"])
            for day, rows in read.items():
                found[day] = self.kept.put(("lines", kind, day), rows.unique().sort("symbol"))
        return {day: found[day]["symbol"] for day in days}

    def traded_on(self, days: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """By day the ids of the lines whose trades were collected: those with a slot, and those of the tape."""
        key, found = "lines with trades", dict[str, pl.DataFrame]()
        for some in portions(days):
            found |= {day: frame for day in some if (frame := self.kept.get((key, day))) is not None}
            unknown = [day for day in some if day not in found]
            reports = {day: self.small("tape_reports", day) for day in self.each_day(unknown, "tape_reports")}
            pages = self.of_days("tape_pages", [day for day in unknown if reports[day].is_empty()], columns=["symbol"])
            for day in self.each_day(unknown, "slot_assignments"):
                judged = reports[day].filter(pl.col("quality").is_in(WITH_TRADES)).select("symbol")
                of_slots = self.small("slot_assignments", day).select("symbol")
                of_both = pl.concat([pages.get(day, judged), of_slots]).unique().sort("symbol")
                found[day] = self.kept.put((key, day), of_both)
        return {day: found[day]["symbol"].to_list() for day in days}

    def lines_on(self, day: str) -> Sequence[str]:
        """The ids of the lines in the day's universe or slots, sorted."""
        return sorted({line for kind in _OF_LINES for line in self.ids_in(kind, [day])[day]})

    def lines_of(self, stocks: Sequence[str], day: str) -> Sequence[str]:
        """The ids of the lines of these stocks on a day; a line's own id stands for itself."""
        return _those_of(stocks, self.lines_on(day))

    def lines_ever(self, stocks: Sequence[str]) -> Sequence[str]:
        """The ids of the lines of these stocks on any day, with the stocks themselves."""
        return sorted({*stocks, *_those_of(stocks, self._lines_of_all_days)})

    def known_symbols(self) -> Collection[str]:
        """The symbols of stocks that any day's universe, slots or the listings have."""
        of_days = set(map(stock_of, self._lines_of_all_days))
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

    @cached_property
    def _lines_of_all_days(self) -> Collection[str]:
        return {line for kind in _OF_LINES for ids in self.ids_in(kind, self.days).values() for line in ids}

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
        self._count_days(kind, [day])
        return self._counted.get((kind, day), 0)

    def _count_days(self, kind: str, days: Sequence[str]) -> None:
        """Count the database's rows of the sealed ones of these days, where they are not counted yet."""
        unknown = [day for day in days if (kind, day) not in self._counted and day in self._sealed]
        if self._database is None or not unknown:
            return
        counts = self._database.counts(kind, unknown)
        for day in unknown:
            file = self._sealed[day].get(kind)
            opened = 0 if file is None else file.version
            if kind in REMOVABLE and self._removed_version(day, kind) not in (0, opened):  # asked after the count
                raise _went_to_the_lake(day, kind)
            self._counted[kind, day] = counts[day]

    def _is_hot(self, kind: str, day: str) -> bool:
        """Whether all rows of the day's kind are those of the database."""
        if self._database is None or self.kept.get((kind, day)) is not None:
            return False
        file = self._sealed.get(day, {}).get(kind)
        return not (file is not None and file.is_joined) and (day not in self._sealed or self._is_behind(kind, day))

    def _require_there(self, kind: str, days: Sequence[str]) -> None:
        """Check that the database has the rows of these days which have no sealed file.

        Raises:
            NotCollected: they were removed from it.
        """
        database = self._database
        unsealed = [day for day in days if day not in self._sealed] if kind in REMOVABLE else []
        if database is not None and (unknown := [day for day in unsealed if day not in self._lacking]):
            lacking = database.lacking_snapshots(unknown)
            self._lacking |= {day: day in lacking for day in unknown}
        for day in unsealed:
            if self._lacking.get(day):
                raise rows_removed(day)

    def _of_database(self, kind: str, day: str, lines: Sequence[str] | None) -> pl.LazyFrame:
        if self._database is None:
            return _empty(kind)
        self._require_there(kind, [day])
        file = self._sealed.get(day, {}).get(kind)
        removed = file.removed_version if file is not None else 0
        last = {each.uid: each.last for each in file.streams} if file is not None and file.is_joined else {}
        sealed = {stream: last[uid] for stream, uid in self._uids.items() if uid in last}

        require_current = partial(self._require_current, kind, day, removed)
        return DatabaseRows(self._database, self._marks).scan(kind, day, lines, sealed, require_current)

    def _require_current(self, kind: str, day: str, removed: int) -> None:
        """Check that the version which replaces the database's rows is still this one; 0 for none."""
        if self._removed_version(day, kind) != removed:
            raise _went_to_the_lake(day, kind)

    def _of_file(self, kind: str, day: str, lines: Sequence[str] | None) -> pl.LazyFrame:
        file = self._sealed[day].get(kind)
        if file is None:
            return _empty(kind)
        try:
            path = file.whole()
        except DamagedFileError as error:
            if file.is_joined or self._database is None or self._count(kind, day) != file.rows:
                raise
            if not self._database.has_rows(sealed_rows(kind, day, file.streams)):  # an equal number can be other rows
                raise
            read_elsewhere(str(error), "the database")
            return self._of_database(kind, day, lines)
        schema = stored_schema(kind)
        partition = {"session_date": pl.lit(day), "market": pl.lit(self._market)}
        in_file = {NAMES_IN_FILE.get(name, name): dtype for name, dtype in schema.items() if name not in partition}
        rows = pl.scan_parquet(
            path,
            hive_partitioning=False,
            missing_columns="insert",
            schema=in_file,
            storage_options=self._storage,
        )
        rows = rows.rename({there: name for name, there in NAMES_IN_FILE.items() if name in schema})
        rows = rows.with_columns(**{name: each for name, each in partition.items() if name in schema}).select(*schema)
        return _of_lines(rows, kind, lines)


def _went_to_the_lake(day: str, kind: str) -> StoreError:
    return StoreError(f"{day}: {kind} went to the lake while the store was open: open it again")


def _of_lines(rows: pl.LazyFrame, kind: str, lines: Sequence[str] | None) -> pl.LazyFrame:
    if lines is None or "symbol" not in stored_schema(kind):
        return rows
    symbol = pl.col("symbol")
    return rows.filter(symbol == lines[0] if len(lines) == 1 else symbol.is_in(lines))


def _those_of(stocks: Sequence[str], lines: Iterable[str]) -> Sequence[str]:
    wanted = set(stocks)
    return [line for line in lines if line in wanted or stock_of(line) in wanted]


def portions(days: Sequence[str]) -> Iterator[Sequence[str]]:
    """The days in parts; one statement reads the days of a part."""
    for first in range(0, len(days), _DAYS_AT_ONCE):
        yield days[first : first + _DAYS_AT_ONCE]


def _empty(kind: str) -> pl.LazyFrame:
    return pl.LazyFrame(schema=stored_schema(kind))
