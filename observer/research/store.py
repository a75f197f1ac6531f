"""The data of an instance as DataFrames: what `observer.open_store` returns."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self

import polars as pl

from observer.base.errors import ConfigError
from observer.base.lines import stock_of
from observer.base.units import NS_PER_MINUTE
from observer.calendar.venues import venue_of_market
from observer.research import relations
from observer.research.adjusting import adjusted_bars
from observer.research.arguments import (
    Span,
    Symbols,
    When,
    at_ns,
    interval_ns,
    moment_of,
    path_of,
    span_of,
    symbol_of,
    symbols_of,
    within,
)
from observer.research.by_line import lines_of_day
from observer.research.days import OF_GAPS, OF_SLOTS, OF_TRIGGERS, DayRelations
from observer.research.errors import NotCollected, unknown_day, unknown_symbol
from observer.research.exporting import Format, exporting_to, require_format, write_relations
from observer.research.following import Feed
from observer.research.frame import Frame, framed
from observer.research.lean import write_lean
from observer.research.listings import Listed, instruments, listed_on
from observer.research.nautilus import write_catalogue
from observer.research.reading import Rows
from observer.research.sql import Queries
from observer.store.research import ResearchReader

if TYPE_CHECKING:
    from bus.events import Event

_BOOK_MAX_AGE_NS: Final = 10 * 60 * 1_000_000_000
_FOR_EVER_NS: Final = 2**63 - 1
_FIRST_DAY, _LAST_DAY = "0001-01-01", "9999-12-31"
_Collected = Callable[[Sequence[str]], Mapping[str, Sequence[str]]]  # by day the lines


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

    def instruments(self, as_of: When | None = None, kind: str | None = None, *, known_at: When | None = None) -> Frame:
        """The listed instruments at the end of a day (None: the last known) by exchange and symbol, of one kind (stock,
        etf, etn, index, warrant, other) or of all.
        """
        until_ns = _FOR_EVER_NS if as_of is None else at_ns(as_of, end_of_day=True)
        changes = self._listings().listing_changes(min(until_ns, _moment(known_at)))
        if not changes:
            first = self._listings().first_files()
            read = f"the first was read on {min(first.values())}" if first else "`observer master update` reads them"
            raise NotCollected(f"no master file was read by then: {read}")
        return framed(instruments(changes, kind, self._days.zone).lazy())

    def listed(self, symbol: str, on: When, *, known_at: When | None = None) -> Listed:
        """Whether a symbol was listed on a day ("listed", "not listed", "unknown"), since when, and the evidence."""
        database, symbol = self._listings(), symbol_of(symbol)
        changes = database.listing_changes(_moment(known_at), symbol)
        if not changes:
            raise unknown_symbol(symbol, self._rows.known_symbols())
        return listed_on(symbol, moment_of(on).day, changes, database.first_files())

    # --- rows of days ----------------------------------------------------------------------------------------

    def trades(self, symbols: Symbols, start: When, end: When | None = None, *, known_at: When | None = None) -> Frame:
        """Trades, streamed, recovered and fetched for the tape, of each line in the order of the day's volume.

        Args:
            symbols: stocks, at all their venues, or lines; None for all.
            start: the first day or moment.
            end: the last day, included, or a moment, excluded; None for the day of `start`.
            known_at: leave out what was stored later.
        """
        span, known_ns = span_of(start, end), _known(known_at)
        lines_of = dict(self._streamed(symbols, span))
        days = self._days.judged(list(lines_of), known_ns)
        parts = [self._days.trades(day, lines_of[day], known_ns) for day in days]
        return framed(within(pl.concat(parts), span, self._days.zone))

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
        span, length_ns, known_ns = span_of(start, end), interval_ns(interval), _known(known_at)
        is_official = source == "official"
        if is_official and length_ns % NS_PER_MINUTE:
            raise ConfigError(f"official bars are of whole minutes, and {interval} is not")
        made = self._days.official_bars if is_official else self._days.bars
        days = self._fetched(symbols, span) if is_official else self._streamed(symbols, span)
        of_lines = [(day, lines) for day, lines in days if lines is not None]
        if of_lines and not adjusted and not is_official:  # of all lines, a day at a time fills the memory enough
            parts = [self._days.bars_of_lines(of_lines, length_ns, known_ns)]
        else:
            parts = [made(day, lines, length_ns, known_ns) for day, lines in days]
        if adjusted:
            changes = self._days.adjustments(_day_of(known_at))
            of_days = [pl.lit(date.fromisoformat(day)) for day, _ in days]  # a bar's time may be in any zone
            parts = [adjusted_bars(part, day, changes) for part, day in zip(parts, of_days, strict=True)]
        return framed(within(pl.concat(parts).sort("symbol", "time").lazy(), span, self._days.zone))

    def snapshots(self, symbols: Symbols, start: When, end: When | None = None) -> Frame:
        """The states of symbols as sweeps of the universe saw them, by line and time."""
        span = span_of(start, end)
        parts = [self._days.snapshots(day, lines) for day, lines in self._swept(symbols, span)]
        return framed(within(pl.concat(parts), span, self._days.zone))

    def daily(self, symbols: Symbols, start: When, end: When | None = None, *, adjusted: bool = False) -> Frame:
        """Daily bars by symbol and day, the newest of each, also of days before the first stored session.

        `adjusted`: in shares of the last day.
        """
        lazy = relations.daily(self._history("daily_bars", symbols, span_of(start, end)))
        if not adjusted:
            return framed(lazy)
        return framed(adjusted_bars(lazy.collect(), pl.col("day"), self._days.adjustments(None)).lazy())

    def etf_premium(self, symbols: Symbols, start: When, end: When | None = None) -> Frame:
        """Close, net asset value and premium (percent) of ETFs by day."""
        return framed(relations.etf_premium(self._history("etf_nav_days", symbols, span_of(start, end))))

    def book(self, symbol: str, at: When) -> Frame:
        """The ten levels of the last order book of each line of a symbol by that moment, at most ten minutes old."""
        until_ns, day = at_ns(at), moment_of(at).day
        [(stored, lines)] = self._streamed(symbol_of(symbol), Span(day, day))
        self._require_record("order_book", "order_books", stored)
        received = pl.col("receive_time_ns")
        rows = self._rows.scan("order_books", stored, lines)
        recent = rows.filter(received > until_ns - _BOOK_MAX_AGE_NS, received <= until_ns)
        last = recent.sort("receive_time_ns", "stream", "sequence").group_by("symbol", maintain_order=True).last()
        return framed(relations.book(last, self._days.zone))

    # --- what the system decided and missed ------------------------------------------------------------------

    def universe(self, day: When, *, known_at: When | None = None) -> Frame:
        """The day's universe by rank, of its last build; of several builds the last that was known."""
        stored = self._day(day)
        found = self._days.universe(stored, _known(known_at))
        if found.is_empty():
            by_then = "" if known_at is None else f" by {known_at}"
            raise NotCollected(f"no universe of {stored} was built{by_then}: `observer universe build` builds one")
        return framed(found.lazy())

    def gaps(self, start: When, end: When | None = None, *, known_at: When | None = None) -> Frame:
        """The gaps of the market data stream with their outcomes, by day and detection."""
        return framed(pl.concat([self._days.gaps(day, _known(known_at)) for day in self._between(start, end, OF_GAPS)]))

    def quality(self, start: When, end: When | None = None, *, known_at: When | None = None) -> Frame:
        """The quality report of each symbol with a slot, by day and symbol; none before a day's reconciliation. Where
        the tape has reported, each symbol of the day, with the completeness of its whole day
        (`observer.gaps.completeness`).
        """
        known_ns = _known(known_at)
        days = self._days.judged(self._stored(span_of(start, end)), known_ns)
        return framed(pl.concat([self._days.quality(day, known_ns) for day in days]))

    def missing(self, symbols: Symbols, start: When, end: When | None = None, *, known_at: When | None = None) -> Frame:
        """The seconds and spans of time whose trades the tape does not have, by line and time: what bars lack."""
        span = span_of(start, end)
        stored = self._rows.each_day(self._stored(span), "tape_reports")
        days = [day for day in stored if self._days.has_tape(day)]
        if not days:
            raise NotCollected(f"the tape has no report on {span}: [tape] in the configuration turns it on")
        asked = symbols_of(symbols)
        for symbol in asked or ():
            self._rows.require_known(symbol)
        lines = None if asked is None else self._rows.lines_ever(asked)
        return framed(pl.concat([self._days.missing(day, lines, _known(known_at)) for day in days]))

    def slots(self, start: When, end: When | None = None) -> Frame:
        """The times in which symbols had slots, with triggers and reasons, by day and begin."""
        return framed(pl.concat([self._days.slots(day) for day in self._between(start, end, OF_SLOTS)]))

    def triggers(self, start: When, end: When | None = None) -> Frame:
        """The triggers by the time at which they fired."""
        return framed(pl.concat([self._days.triggers(day) for day in self._between(start, end, OF_TRIGGERS)]))

    # --- other doors -----------------------------------------------------------------------------------------

    def sql(self, query: str) -> Frame:
        """The result of a query in DuckDB's SQL, read only. The relations are those of `summary`, each of all days and
        with the column `day`.
        """
        return framed(Queries(self._days).run(query).lazy())

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
                return write_lean(lines, named, self._days.daily_until(stored), folder)
            return write_catalogue(lines, named, folder, venue_of_market(self._rows.market).currency, self._isins())

    def follow(self, kinds: Iterable[str] = ("trades",)) -> "AsyncIterator[Event]":
        """Events as the running system commits them, from now on; `kinds` are names of tables."""
        return self._feed.events(kinds)

    # --- what is stored of a question ------------------------------------------------------------------------

    def _day(self, day: When) -> str:
        named = moment_of(day).day.isoformat()
        if named not in self._rows.days:
            raise unknown_day(named, self._rows.days)
        return named

    def _between(self, start: When, end: When | None, kinds: Sequence[str]) -> Iterator[str]:
        return self._rows.each_day(self._stored(span_of(start, end)), *kinds)

    def _stored(self, span: Span) -> Sequence[str]:
        found = [day for day in self._rows.days if span.first.isoformat() <= day <= span.last.isoformat()]
        if not found:
            raise unknown_day(str(span), self._rows.days)
        return found

    def _streamed(self, symbols: Symbols, span: Span) -> Sequence[tuple[str, Sequence[str] | None]]:
        """The span's stored days, each with the asked lines that had a slot on it or are of its tape."""
        return self._with_lines(
            symbols,
            span,
            self._rows.traded_on,
            "had no slot on {span}, so its trades were not streamed: snapshots() has what sweeps saw, and "
            "`observer slots pin {symbol}` streams it from now on",
        )

    def _swept(self, symbols: Symbols, span: Span) -> Sequence[tuple[str, Sequence[str] | None]]:
        """The span's stored days, each with the asked lines that were in its universe."""
        return self._with_lines(
            symbols,
            span,
            self._rows.swept_on,
            "was not in the universe of {span}, so sweeps did not ask for it: universe() shows what was",
        )

    def _with_lines(
        self, symbols: Symbols, span: Span, collected: _Collected, missing: str
    ) -> Sequence[tuple[str, Sequence[str] | None]]:
        asked, days = symbols_of(symbols), self._stored(span)
        if asked is None:
            return [(day, None) for day in days]
        by_day = {
            day: [line for line in lines if line in asked or stock_of(line) in asked]
            for day, lines in collected(days).items()
        }
        found = {name for lines in by_day.values() for line in lines for name in (line, stock_of(line))}
        for symbol in asked:
            if symbol not in found:
                self._rows.require_known(symbol)
                raise NotCollected(f"{symbol} {missing.format(span=span, symbol=symbol)}")
        return [(day, lines) for day, lines in by_day.items() if lines]

    def _fetched(self, symbols: Symbols, span: Span) -> Sequence[tuple[str, Sequence[str] | None]]:
        """The span's days with fetched minute bars, each with the asked lines."""
        asked = symbols_of(symbols)
        first, last = span.first.isoformat(), span.last.isoformat()
        lines = None if asked is None else self._rows.lines_ever(asked)
        days = self._rows.dates_of("bar_fetches", first, last, lines)
        is_wanted = pl.col("kind") == "minutes"
        read = self._rows.of_days("bar_fetches", days, lines)
        found = {day: rows.filter(is_wanted) for day, rows in read.items()}
        fetched = {line for rows in found.values() for line in rows["symbol"]}
        missing = [each for each in asked or () if not any(each in (line, stock_of(line)) for line in fetched)]
        if not missing and fetched:
            return [(day, lines) for day, rows in found.items() if not rows.is_empty()]
        for symbol in missing:
            self._rows.require_known(symbol)
        of_symbols = f" --symbols {','.join(missing)}" if missing else ""
        raise NotCollected(
            f"no minute bars of {', '.join(missing) or 'any symbol'} on {span} are fetched: `observer backfill bars "
            f"--minutes --from {first} --to {last}{of_symbols}` fetches them"
        )

    def _history(self, kind: str, symbols: Symbols, span: Span) -> pl.LazyFrame:
        """The rows of a kind whose days may lie before the first stored session."""
        asked = symbols_of(symbols)
        first, last = span.first.isoformat(), span.last.isoformat()
        lines = None if asked is None else self._rows.lines_ever(asked)
        days = self._rows.dates_of(kind, first, last, lines)
        found = pl.concat(self._rows.of_days(kind, days, lines).values()) if days else None
        for symbol in asked or ():
            if found is None or not any(symbol in (line, stock_of(line)) for line in found["symbol"].unique()):
                self._rows.require_known(symbol)
                raise NotCollected(f"nothing of {symbol} is in {kind} on {span}: {self._extent(kind, symbol)}")
        if found is None:
            raise unknown_day(str(span), self._rows.days)
        return found.lazy()

    def _isins(self) -> Mapping[str, str]:
        """By symbol, as far as listings are stored."""
        changes = () if self._rows.database is None else self._rows.database.listing_changes(_FOR_EVER_NS)
        return {each.symbol: each.isin for each in changes if each.isin}

    def _extent(self, kind: str, symbol: str) -> str:
        lines = self._rows.lines_ever([symbol])
        found = self._rows.dates_of(kind, _FIRST_DAY, _LAST_DAY, lines)  # of sealed days all
        days = [day for day in found if not self._rows.scan(kind, day, lines).head(1).collect().is_empty()]
        return f"its days are {days[0]} to {days[-1]}" if days else "none of its days are stored"

    def _require_record(self, record: str, kind: str, day: str) -> None:
        is_streamed = self._records is not None and record in self._records
        if not is_streamed and self._rows.scan(kind, day).head(1).collect().is_empty():
            raise NotCollected(f"{record}: add it to [track_b] records")

    def _listings(self) -> ResearchReader:
        if self._rows.database is None:
            raise NotCollected("listings are in the database, and this is a lake alone: open the configuration instead")
        return self._rows.database


def _known(known_at: When | None) -> int | None:
    return None if known_at is None else at_ns(known_at, end_of_day=True)


def _moment(known_at: When | None) -> int:
    return _FOR_EVER_NS if known_at is None else at_ns(known_at, end_of_day=True)


def _day_of(known_at: When | None) -> str | None:
    return None if known_at is None else moment_of(known_at).day.isoformat()
