"""The data of an instance as DataFrames: what `observer.open_store` returns."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self

import polars as pl

from observer.base.settings import StoreSettings
from observer.calendar.venues import venue_of_market
from observer.research.arguments import Span, Symbols, When, at_ns, moment_of, path_of, symbol_of
from observer.research.books import book
from observer.research.by_line import lines_of_day
from observer.research.catalogue import relation_named
from observer.research.days import DayRelations
from observer.research.errors import NotCollected, require_extra, unknown_day
from observer.research.exporting import Format, exporting_to, require_format, write_relations
from observer.research.following import Feed
from observer.research.frame import Frame, framed
from observer.research.listings import Listed
from observer.research.questions import asked_of, streamed, within
from observer.research.reading import Rows

if TYPE_CHECKING:
    from bus.events import Event

_BOOK_MAX_AGE_NS: Final = 10 * 60 * 1_000_000_000


class Store:
    """The stored data, as they were at the moment of opening.

    Days and moments are local to the market. A question about what was not collected raises `UnknownDay`,
    `UnknownSymbol` or `NotCollected`; a frame is empty where it was collected and there was none. `known_at` leaves out
    what was stored later than a moment: recovered trades, rebuilt universes, changed listings.

    Args:
        rows: the stored rows.
        name: what was opened, for people.
        zone: the IANA name of the zone of all times.
        records: the kinds of records that are streamed; None if it is not known.
        feed: the running system's.
    """

    def __init__(self, rows: Rows, name: str, zone: str, *, records: Sequence[str] | None = None, feed: Feed) -> None:
        self._rows = rows
        self._days = DayRelations(rows, zone)
        self._name = name
        self._records = records
        self._feed = feed
        self.query_limit_s = StoreSettings().query_limit_s
        """Machine seconds of one query in SQL; of a configuration its `[store] query_limit_s`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        days = self._rows.days
        span = "no day" if not days else days[0] if len(days) == 1 else f"{len(days)} days, {days[0]} to {days[-1]}"
        return f"<Store {self._name}: {span}>"

    @property
    def rows(self) -> Rows:
        """The stored rows, for Observer's own programs."""
        return self._rows

    def close(self) -> None:
        """Give the database's connections back."""
        self._rows.close()

    # --- what is there ---------------------------------------------------------------------------------------

    def days(self) -> Frame:
        """The stored days: where their rows are read from, and how many symbols the universe and the slots had."""
        return framed(self._days.overview().lazy())

    def summary(self, day: When) -> Frame:
        """The number of rows of each relation on a day. `volume_share` and `trades_share` of the trades: the parts (0
        to 1) of the market's volume and of its trades that are stored one by one; the number of missing trades is an
        estimate. Null of a day without sweeps.
        """
        return framed(self._days.summary(self._day(day)).lazy())

    def relation(
        self,
        name: str,
        start: When | None = None,
        end: When | None = None,
        *,
        symbols: Symbols = None,
        known_at: When | None = None,
        **options: object,
    ) -> Frame:
        """The rows of a relation of the catalogue (docs/relations.md).

        Args:
            name: of the relation.
            start: the first day or moment; None where the relation needs no day: for all time, or for now.
            end: the last day, included, or a moment, excluded; None for the day of `start`.
            symbols: stocks, at all their venues, or lines; None for all.
            known_at: leave out what was stored later.
            options: the relation's own parameters.

        Raises:
            ConfigError: an argument is wrong.
            NoDataError: that was not collected.
        """
        relation = relation_named(name)
        asked = asked_of(self._rows, relation, start, end, symbols, _known(known_at), options)
        found = relation.make(self._days, asked)
        return framed(found if asked.span is None else within(found, relation, asked.span, self._days.zone))

    def instruments(self, as_of: When | None = None, kind: str | None = None, *, known_at: When | None = None) -> Frame:
        """The listed instruments at the end of a day (None: the last known) by exchange and symbol, of one kind (stock,
        etf, etn, index, warrant, other) or of all.
        """
        return self.relation("listings", as_of, known_at=known_at, kind=kind)

    def listed(self, symbol: str, on: When, *, known_at: When | None = None) -> Listed:
        """Whether a symbol was listed on a day ("listed", "not listed", "unknown"), since when, and the evidence."""
        found = self.relation("lifetimes", on, symbols=symbol_of(symbol), known_at=known_at)
        return Listed(**found.collect().row(0, named=True))

    # --- rows of days ----------------------------------------------------------------------------------------

    def trades(self, symbols: Symbols, start: When, end: When | None = None, *, known_at: When | None = None) -> Frame:
        """Trades, streamed, recovered and fetched for the tape, of each line in the order of the day's volume."""
        return self.relation("trades", start, end, symbols=symbols, known_at=known_at)

    def bars(
        self,
        symbols: Symbols,
        start: When,
        end: When | None = None,
        *,
        interval: str | timedelta = "1m",
        adjusted: bool = False,
        source: Literal["trades", "official"] = "trades",
        known_at: When | None = None,
    ) -> Frame:
        """Bars of the stored trades, recovered ones and official minute bars included, by symbol and time.

        `complete`: every trade of the bar is known (`observer.research.bars`). `adjusted`: in shares of the last day.
        `source` "official": bars of the minute bars that `observer backfill` fetched, also of days before the first
        stored session; complete are those of a day whose minutes have the daily bar's volume.
        """
        name = "official_bars" if source == "official" else "bars"
        return self.relation(name, start, end, symbols=symbols, known_at=known_at, interval=interval, adjusted=adjusted)

    def snapshots(self, symbols: Symbols, start: When, end: When | None = None) -> Frame:
        """The states of symbols as sweeps of the universe saw them, by line and time."""
        return self.relation("snapshots", start, end, symbols=symbols)

    def daily(self, symbols: Symbols, start: When, end: When | None = None, *, adjusted: bool = False) -> Frame:
        """Daily bars by symbol and day, the newest of each, also of days before the first stored session.

        `adjusted`: in shares of the last day.
        """
        return self.relation("daily", start, end, symbols=symbols, adjusted=adjusted)

    def etf_premium(self, symbols: Symbols, start: When, end: When | None = None) -> Frame:
        """Close, net asset value and premium (percent) of ETFs by day."""
        return self.relation("etf_premium", start, end, symbols=symbols)

    def book(self, symbol: str, at: When) -> Frame:
        """The ten levels of the last order book of each line of a symbol by that moment, at most ten minutes old."""
        until_ns, day = at_ns(at), moment_of(at).day
        [(stored, lines)] = streamed(self._rows, [symbol_of(symbol)], Span(day, day))
        self._require_record("order_book", "order_books", stored)
        received = pl.col("receive_time_ns")
        rows = self._rows.scan("order_books", stored, lines)
        recent = rows.filter(received > until_ns - _BOOK_MAX_AGE_NS, received <= until_ns)
        last = recent.sort("receive_time_ns", "stream", "sequence").group_by("symbol", maintain_order=True).last()
        return framed(book(last, self._days.zone))

    # --- what the system decided and missed ------------------------------------------------------------------

    def universe(self, day: When, *, known_at: When | None = None) -> Frame:
        """The day's universe by rank, of its last build; of several builds the last that was known."""
        return self.relation("universe", day, known_at=known_at)

    def gaps(
        self, start: When, end: When | None = None, *, symbols: Symbols = None, known_at: When | None = None
    ) -> Frame:
        """The gaps of the market data stream with their outcomes, by day and detection."""
        return self.relation("gaps", start, end, symbols=symbols, known_at=known_at)

    def quality(
        self, start: When, end: When | None = None, *, symbols: Symbols = None, known_at: When | None = None
    ) -> Frame:
        """The quality report of each symbol with a slot, by day and symbol; none before a day's reconciliation. Where
        the tape has reported, each symbol of the day, with the completeness of its whole day
        (`observer.gaps.completeness`).
        """
        return self.relation("quality", start, end, symbols=symbols, known_at=known_at)

    def missing(self, symbols: Symbols, start: When, end: When | None = None, *, known_at: When | None = None) -> Frame:
        """The seconds and spans of time whose trades the tape does not have, by line and time: what bars lack."""
        return self.relation("missing", start, end, symbols=symbols, known_at=known_at)

    def slots(self, start: When, end: When | None = None, *, symbols: Symbols = None) -> Frame:
        """The times in which symbols had slots, with triggers and reasons, by day and begin."""
        return self.relation("slots", start, end, symbols=symbols)

    def triggers(self, start: When, end: When | None = None, *, symbols: Symbols = None) -> Frame:
        """The triggers by the time at which they fired."""
        return self.relation("triggers", start, end, symbols=symbols)

    # --- other doors -----------------------------------------------------------------------------------------

    def sql(self, query: str) -> Frame:
        """The result of a query in DuckDB's SQL, read only. The relations are those of `summary`, each of all days and
        with the column `day`. It has `query_limit_s` machine seconds.
        """
        require_extra("duckdb")
        from observer.research.sql import Queries

        return framed(Queries(self._days, self.query_limit_s).run(query).lazy())

    def export(self, day: When, to: str | Path, format: Format = "parquet") -> Sequence[Path]:  # noqa: A002
        """Write a day to files in the folder `to`, and return them: each relation ("parquet", "csv"), or the trades and
        bars of the lines with a slot as a catalogue of Nautilus Trader ("nautilus") or as data of LEAN ("lean").
        """
        require_format(format)
        stored, folder = self._day(day), path_of(to, "a folder")
        with exporting_to(folder):
            if format in ("parquet", "csv"):
                return write_relations(self._days.all_of(stored), folder, format)
            lines, named = lines_of_day(self._days, stored), date.fromisoformat(stored)
            if format == "lean":
                from observer.research.lean import write_lean

                return write_lean(lines, named, self._days.daily_until(stored), folder)
            from observer.research.nautilus import write_catalogue

            return write_catalogue(lines, named, folder, venue_of_market(self._rows.market).currency, self._isins())

    def follow(self, kinds: Iterable[str] = ("trades",)) -> "AsyncIterator[Event]":
        """Events as the running system commits them, from now on; `kinds` are names of tables."""
        return self._feed.events(kinds)

    def _day(self, day: When) -> str:
        named = moment_of(day).day.isoformat()
        if named not in self._rows.days:
            raise unknown_day(named, self._rows.days)
        return named

    def _isins(self) -> Mapping[str, str]:
        """By symbol, as far as listings are stored."""
        changes = () if self._rows.database is None else self._days.listing_changes()
        return {each.symbol: each.isin for each in changes if each.isin}

    def _require_record(self, record: str, kind: str, day: str) -> None:
        is_streamed = self._records is not None and record in self._records
        if not is_streamed and self._rows.scan(kind, day).head(1).collect().is_empty():
            raise NotCollected(f"{record}: add it to [track_b] records")


def _known(known_at: When | None) -> int | None:
    return None if known_at is None else at_ns(known_at, end_of_day=True)
