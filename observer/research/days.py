"""The stored rows of days as makers of relations need them: up to what was known at a moment, with what several of them
share: the completeness of lines, bars, histories.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from itertools import islice
from operator import itemgetter
from typing import Any, Final

import msgspec
import polars as pl

from bus.events import Event, ListingChanged
from observer.base.errors import ConfigError, NoDataError
from observer.base.lines import stock_of
from observer.base.local_time import local_datetime, local_ns
from observer.gaps.completeness import HeldShare
from observer.research.arguments import begin_of, end_of
from observer.research.asked import Asked, Part
from observer.research.bars import COLUMNS_OF_TRADES, BarRows, bars, official_bars
from observer.research.catalogue import RELATIONS
from observer.research.completeness import completeness_of, held_share_of
from observer.research.conflated import each_once
from observer.research.database_rows import frame_of, stored_schema
from observer.research.errors import NotCollected, unknown_day
from observer.research.frame import scanned
from observer.research.lacking import newest_reports, spans_of
from observer.research.reading import Rows, portions
from observer.research.relation import Relation
from observer.research.shaping import schema_of_row, shaped
from observer.store.day_totals import DayTotals
from observer.store.kinds import KINDS
from observer.store.research import ResearchReader
from observer.store.rows import Position, event_of, position_of

# The moment at which a row of each kind was known; the others have none.
_KNOWN: Final = {kind.name: kind.known for kind in KINDS.values() if kind.known}
_OF_QUALITY: Final = ("quality", "tape_reports")
_OF_COMPLETENESS: Final = ("universe_members", "slot_assignments")  # of a day with a tape alone
# The kinds that bars are made of, with the columns that they need of kinds with many rows.
_OF_BARS: Final[Mapping[str, Sequence[str]]] = {
    "trades": COLUMNS_OF_TRADES,
    "conflated_trades": (),
    "recovered_minute_bars": (),
    "reconciliations": (),
}
# The kinds that name the lines with minute bars, with the columns that are needed for it.
_OF_MINUTE_BARS: Final[Mapping[str, Sequence[str]]] = {
    "recovered_minute_bars": ("symbol",),
    "bar_fetches": ("symbol", "kind", "bars"),
}
_OF_DAYS: Final = tuple(each for each in RELATIONS.values() if each.span in ("days", "history"))
_WORDS: Final = {"symbol": pl.String, "word": pl.String}
_HELD: Final = {"symbol": pl.String, "held": pl.Float64, "trades": pl.Int64}
_SWEPT: Final = {"symbol": pl.String, "swept": pl.Float64}
FIRST_DAY, LAST_DAY = "0001-01-01", "9999-12-31"


class DayRelations:
    """The relations of stored days; `zone` is that of their times. `lines` are ids of lines, None for all."""

    def __init__(self, rows: Rows, zone: str) -> None:
        self.rows = rows
        self.zone = zone

    def relation(self, relation: Relation, day: str, lines: Sequence[str] | None = None) -> pl.LazyFrame:
        """The rows of a relation on a day; nothing is read before `collect`."""
        options = None if relation.options is None else relation.options()
        return relation.make(self, Asked(parts=[(day, lines)], options=options))

    def now(self, relation: Relation) -> pl.LazyFrame:
        """The rows of a relation without days; none where the database has none of them."""
        options = None if relation.options is None else relation.options()
        try:
            return relation.make(self, Asked(options=options))
        except (NoDataError, ConfigError):
            return pl.LazyFrame(schema=dict(schema_of_row(relation.row, self.zone)))

    def all_of(self, day: str) -> Mapping[str, pl.LazyFrame]:
        """Each relation of days by name."""
        return {each.name: self.relation(each, day) for each in _OF_DAYS}

    def shaped(self, rows: pl.LazyFrame, row: type[msgspec.Struct], **made: str | pl.Expr) -> pl.LazyFrame:
        """The rows with the columns of a relation's row."""
        return shaped(rows, row, self.zone, **made)

    def late(self, made: Callable[[], pl.DataFrame], row: type[msgspec.Struct], name: str) -> pl.LazyFrame:
        """A frame with the columns of a row that is made when it is collected."""

        def source(_columns: object, _predicate: object, _rows: object) -> Iterator[pl.DataFrame]:
            yield made()

        return scanned(source, schema_of_row(row, self.zone), name)

    def overview(self) -> pl.DataFrame:
        """The stored days: where their rows are read from, and how many symbols the universe and the slots had."""
        days = self.rows.days
        members, streamed = (self.rows.ids_in(kind, days) for kind in ("universe_members", "slot_assignments"))
        sources = ["lake" if self.rows.is_sealed(day) else "database" for day in days]
        found = [
            (date.fromisoformat(day), source, len(members[day]), len(streamed[day]))
            for day, source in zip(days, sources, strict=True)
        ]
        schema = {"day": pl.Date, "source": pl.String, "universe": pl.Int64, "with_slot": pl.Int64}
        return pl.DataFrame(found, schema=schema, orient="row")

    def summary(self, day: str) -> pl.DataFrame:
        """The number of rows of each relation, and of the trades the parts of the market that they are. The database
        counts what it can of a day that is all in it.
        """
        summed = [each for each in RELATIONS.values() if each.each]
        totals = self.rows.totals(day, [(kind, each.key) for each in summed for kind in each.each])
        counts: dict[str, int] = {}
        if totals is None:
            held = self.held_share(day)
        else:
            numbers = iter(totals.counts)
            counts = {each.name: sum(islice(numbers, len(each.each))) for each in summed}
            counts["trades"], counts["bars"], held = self._traded(day, totals)
        counts = {
            each.name: counts[each.name] if each.name in counts else _height(self.relation(each, day))
            for each in _OF_DAYS
        }
        is_trades = pl.col("relation") == "trades"
        return pl.DataFrame({"relation": list(counts), "rows": list(counts.values())}).with_columns(
            volume_share=pl.when(is_trades).then(pl.lit(held.volume, pl.Float64)),
            trades_share=pl.when(is_trades).then(pl.lit(held.trades, pl.Float64)),
        )

    def trades(self, day: str, lines: Sequence[str] | None, known_ns: int | None) -> pl.LazyFrame:
        """The stored trades, each once."""
        found = self.known("trades", day, known_ns, lines)
        return found if self.rows.is_distinct("trades", day) else each_once(found)

    def bars_of_lines(self, days: Sequence[Part], interval_ns: int, known_ns: int | None = None) -> pl.DataFrame:
        """Bars of lines on some days, by day. Days whose bars begin at the same fraction of an interval are read
        together, which is all of them in a zone without summer time: a day alone takes as long as its preparations.
        """
        alike: dict[int, list[Part]] = {}
        for day, lines in days:
            alike.setdefault(local_ns(date.fromisoformat(day)) % interval_ns, []).append((day, lines))
        return pl.concat([self.bars(each, interval_ns, known_ns) for each in alike.values()])

    def bars(self, days: Sequence[Part], interval_ns: int, known_ns: int | None = None) -> pl.DataFrame:
        """Bars of days that begin at the same fraction of an interval."""
        trades, conflated, minutes, reconciliations = (
            self._together(kind, days, known_ns, columns) for kind, columns in _OF_BARS.items()
        )
        is_distinct = all(self.rows.is_distinct("trades", day) for day, _ in days)
        lines_of = dict(days)
        judged = self.rows.each_day(list(lines_of), "tape_reports")
        reports = pl.concat([_of_lines(self.reports(day, known_ns), lines_of[day]) for day in judged])
        lacking = spans_of(reports, _midnight_ns)
        rows = BarRows(trades, conflated, minutes, reconciliations, is_distinct, reports, lacking)
        return bars(rows, interval_ns, local_ns(date.fromisoformat(days[0][0])), self.zone)

    def official_bars(
        self, day: str, lines: Sequence[str] | None, interval_ns: int, known_ns: int | None = None
    ) -> pl.DataFrame:
        """Bars of the day's fetched minute bars."""
        minutes = self.known("fetched_minute_bars", day, known_ns, lines)
        fetches = self.known("bar_fetches", day, known_ns, lines)
        return official_bars(minutes, fetches, interval_ns, local_ns(date.fromisoformat(day)), self.zone)

    def daily_until(self, day: str) -> pl.DataFrame:
        """The daily bars of the lines with a slot on a day, until that day."""
        lines = self.rows.streamed_on(day)
        days = sorted({day, *self.rows.dates_of("daily_bars", FIRST_DAY, day, lines)})
        options = RELATIONS["daily"].options
        assert options is not None
        asked = Asked(parts=[(each, lines) for each in days], options=options())
        return RELATIONS["daily"].make(self, asked).collect()

    def adjustments(self, known_ns: int | None) -> pl.DataFrame:
        """The changes of shares of all days, or those that were known at a moment."""
        kind, days = "share_adjustments", self.rows.days
        rows = pl.concat([self.rows.small(kind, day) for day in self.rows.each_day(days, kind)])
        if known_ns is None:
            return rows
        known_on = local_datetime(known_ns - 1).date()  # the end of a day is the begin of the next one
        return rows.filter(pl.col("known_from") <= known_on.isoformat())

    def judged(self, days: Sequence[str], known_ns: int | None) -> Iterator[str]:
        """The days one after another. Of several days what `quality` and the words of `trades` are made of is read
        together: of a day without a tape no more than of that day alone, so that a file which it does not need may be
        gone.
        """
        for some in portions(days):
            read = self.rows.each_day(some, *_OF_QUALITY)
            with_tape = [day for day in read if not self.reports(day, known_ns).is_empty()]
            if len(with_tape) > 1:
                self._with_minute_bars(list(self.rows.each_day(with_tape, *_OF_COMPLETENESS)), known_ns)
            yield from some

    def lacking(self, day: str, lines: Sequence[str] | None, known_ns: int | None) -> pl.DataFrame:
        """The seconds and spans that the tape's reports name; none without a tape."""
        return spans_of(_of_lines(self.reports(day, known_ns), lines), _midnight_ns)

    def has_tape(self, day: str) -> bool:
        """Whether the tape has reported on a line of the day."""
        return not self.reports(day, None).is_empty()

    def held_share(self, day: str) -> HeldShare:
        """The parts of the market's volume and trades on the day that are stored one by one."""
        swept = self.rows.scan("snapshots", day).group_by("symbol").agg(swept=pl.col("cumulative_volume").max())
        of_trades, of_sweeps = pl.collect_all([self._held(day, None), swept])
        return held_share_of(of_trades, of_sweeps, self.reports(day, None))

    def _held(self, day: str, lines: Sequence[str] | None) -> pl.LazyFrame:
        """By symbol the volume of the stored trades, and their number."""
        of_lines = self.trades(day, lines, None).group_by("symbol")
        return of_lines.agg(held=pl.col("volume").sum(), trades=pl.len().cast(pl.Int64))

    def _traded(self, day: str, totals: DayTotals) -> tuple[int, int, HeldShare]:
        """The number of trades and of bars, and the held share, of a day whose rows the database added up. Stocks with
        a trade that may be stored twice, or with bars of more than trades, are read.
        """
        apart = {stock_of(each.symbol) for each in totals.lines if each.distinct < each.trades}
        apart |= set(map(stock_of, totals.beside))
        plain = [each for each in totals.lines if stock_of(each.symbol) not in apart]
        lines = sorted({each.symbol for each in totals.lines}.difference(each.symbol for each in plain) | totals.beside)
        held = pl.DataFrame([(each.symbol, each.volume, each.trades) for each in plain], schema=_HELD, orient="row")
        bars = sum(each.minutes for each in plain if stock_of(each.symbol) not in totals.minutes)
        bars += sum(minutes for stock, minutes in totals.minutes.items() if stock not in apart)
        if lines:
            held = pl.concat([held, self._held(day, lines).collect()])
            bars += _height(self.relation(RELATIONS["bars"], day, lines))
        swept = pl.DataFrame(list(totals.swept.items()), schema=_SWEPT, orient="row")
        return sum(held["trades"].to_list()), bars, held_share_of(held, swept, self.reports(day, None))

    def venues(self, day: str) -> Mapping[str, str]:
        """The venue of each line in the day's universe or slots; none of a day that is not stored."""
        if day not in self.rows.days:
            return {}
        kinds = ("universe_members", "slot_assignments")
        return dict(pl.concat([self.rows.small(kind, day).select("symbol", "venue") for kind in kinds]).rows())

    def reports(self, day: str, known_ns: int | None) -> pl.DataFrame:
        """The tape's last report on each line of the day; none of a day that is not stored."""
        key = ("judged", day, known_ns)
        kept = self.rows.kept.get(key)
        if kept is None:
            stored = day in self.rows.days
            found = self.known("tape_reports", day, known_ns).collect() if stored else _nothing("tape_reports")
            kept = self.rows.kept.put(key, found if found.is_empty() else newest_reports(found))
        return kept

    def completeness(self, day: str, known_ns: int | None) -> pl.DataFrame:
        """The completeness of each line of the day; empty without a tape."""
        reports = self.reports(day, known_ns)
        if reports.is_empty():
            return completeness_of({}, reports, _nothing("quality"), (), ())
        slots = self.known("quality", day, known_ns).collect()
        with_bars = frozenset(self._with_minute_bars([day], known_ns)[day]["symbol"])
        return completeness_of(self.venues(day), reports, slots, self.rows.streamed_on(day), with_bars)

    def _with_minute_bars(self, days: Sequence[str], known_ns: int | None) -> Mapping[str, pl.DataFrame]:
        """By day the lines that have minute bars, recovered or fetched: of many rows this one column is read."""
        key = "lines with minute bars"
        found = {day: frame for day in days if (frame := self.rows.kept.get((key, day, known_ns))) is not None}
        unknown = [day for day in days if day not in found]
        recovered, fetched = (
            self.rows.of_days(kind, unknown, columns=[*columns, *([] if known_ns is None else [_KNOWN[kind]])])
            for kind, columns in _OF_MINUTE_BARS.items()
        )
        is_fetched = (pl.col("kind") == "minutes") & (pl.col("bars") > 0)
        for day in unknown:
            bars = _until("recovered_minute_bars", recovered[day].lazy(), known_ns).select("symbol")
            fetches = _until("bar_fetches", fetched[day].lazy().filter(is_fetched), known_ns).select("symbol")
            of_both = pl.concat([bars, fetches]).unique().collect()
            found[day] = self.rows.kept.put((key, day, known_ns), of_both)
        return found

    def words_of(self, day: str, known_ns: int | None) -> Mapping[str, str]:
        """The word of each line for its trades."""
        key = ("words", day, known_ns)
        kept = self.rows.kept.get(key)
        if kept is None:
            slots = self.known("quality", day, known_ns).select("symbol", "slots_quality", "judged_ns").collect()
            words = dict(slots.sort("judged_ns").select("symbol", "slots_quality").rows())
            judged = self.reports(day, known_ns)["symbol"]
            of_lines = self.completeness(day, known_ns).filter(pl.col("symbol").is_in(judged.implode()))
            words |= dict(of_lines.select("symbol", "completeness").rows())
            kept = self.rows.kept.put(key, pl.DataFrame(list(words.items()), schema=_WORDS, orient="row"))
        return dict(kept.rows())

    def lines_of_trades(self, day: str) -> Sequence[str] | None:
        """The lines of the day, if none of them is that of a further venue; else None."""
        lines = self.rows.lines_on(day) if day in self.rows.days else ()
        return lines if len(lines) > 1 and all(stock_of(line) == line for line in lines) else None

    def known(self, kind: str, day: str, known_ns: int | None, lines: Sequence[str] | None = None) -> pl.LazyFrame:
        return _until(kind, self.rows.scan(kind, day, lines), known_ns)

    def _together(
        self,
        kind: str,
        days: Sequence[Part],
        known_ns: int | None,
        columns: Sequence[str],
    ) -> pl.LazyFrame:
        """The rows of days. Those of several are read here, of days with the same lines at once."""
        if len(days) == 1:
            return self.known(kind, days[0][0], known_ns, days[0][1])
        asked = [*columns, *(() if known_ns is None or not columns else [_KNOWN[kind]])]
        alike: dict[Sequence[str] | None, list[str]] = {}
        for day, lines in days:
            alike.setdefault(None if lines is None else tuple(lines), []).append(day)
        found = {
            day: rows
            for lines, some in alike.items()
            for day, rows in self.rows.of_days(kind, some, lines, asked).items()
        }
        together = _until(kind, pl.concat([found[day] for day, _ in days]).lazy(), known_ns)
        return together.select(columns) if columns else together

    # --- beyond the stored sessions ------------------------------------------------------------------------------

    def history(self, kind: str, asked: Asked) -> pl.LazyFrame:
        """The rows of a kind whose days may lie before the first stored session.

        Raises:
            NoDataError: an asked symbol has none.
        """
        if asked.span is None:
            return pl.concat([self.rows.scan(kind, day, lines) for day, lines in asked.parts])
        first, last = asked.span.first.isoformat(), asked.span.last.isoformat()
        lines = None if asked.symbols is None else self.rows.lines_ever(asked.symbols)
        days = self.rows.dates_of(kind, first, last, lines)
        found = pl.concat(self.rows.of_days(kind, days, lines).values()) if days else None
        for symbol in asked.symbols or ():
            if found is None or not any(symbol in (line, stock_of(line)) for line in found["symbol"].unique()):
                self.rows.require_known(symbol)
                raise NotCollected(f"nothing of {symbol} is in {kind} on {asked.span}: {self._extent(kind, symbol)}")
        if found is None:
            raise unknown_day(str(asked.span), self.rows.days)
        return found.lazy()

    def _extent(self, kind: str, symbol: str) -> str:
        lines = self.rows.lines_ever([symbol])
        found = self.rows.dates_of(kind, FIRST_DAY, LAST_DAY, lines)  # of sealed days all
        days = [day for day in found if not self.rows.scan(kind, day, lines).head(1).collect().is_empty()]
        return f"its days are {days[0]} to {days[-1]}" if days else "none of its days are stored"

    def database(self, what: str) -> ResearchReader:
        """The database.

        Raises:
            NotCollected: a lake alone is opened, which has no such rows.
        """
        if self.rows.database is None:
            raise NotCollected(f"{what} are in the database, and this is a lake alone: open the configuration instead")
        return self.rows.database

    def table(self, name: str, asked: Asked, moment: str, symbols: Sequence[str] | None) -> pl.LazyFrame:
        """The rows of a table of the database: of these symbols, or of all; of the asked time by their `moment`."""
        rows = self.rows.until_opening(frame_of(self.database(name).table(name, symbols), name)).lazy()
        if asked.known_ns is not None and moment:
            rows = rows.filter(pl.col(moment) <= asked.known_ns)
        if asked.span is None or not moment:
            return rows
        rows = rows.filter(pl.col(moment) >= begin_of(asked.span))
        return rows if asked.span.is_open else rows.filter(pl.col(moment) < end_of(asked.span))

    def listing_changes(self, until_ns: int | None = None, symbol: str | None = None) -> Sequence[ListingChanged]:
        """The changes of listings before a moment (UTC ns), oldest first, of one symbol or of all."""
        self.database("listings")  # raises where a lake alone has none
        rows = self.table("listing_changes", Asked(), "", None if symbol is None else [symbol])
        rows = rows if until_ns is None else rows.filter(pl.col("changed_ns") < until_ns)
        in_order = rows.sort("changed_ns", "stream", "sequence").collect()
        return [event_of(ListingChanged, row) for row in in_order.iter_rows()]

    def of_symbols(self, rows: pl.DataFrame, symbols: Sequence[str] | None) -> pl.DataFrame:
        """The rows of these symbols; None for all."""
        return _of_lines(rows, symbols)

    def events(
        self, kinds: Sequence[str], day: str, known_ns: int | None, lines: Sequence[str] | None
    ) -> Sequence[Event]:
        """The events of a day's rows of some kinds, in the order of their streams."""
        found: list[tuple[Position, Any]] = []
        for kind in kinds:
            rows = self.known(kind, day, known_ns, lines).collect()
            found += ((position_of(row), event_of(KINDS[kind].event, row)) for row in rows.iter_rows())
        return [event for _, event in sorted(found, key=itemgetter(0))]

    def lost_cuts(self, day: str, known_ns: int | None) -> pl.LazyFrame:
        """The losses of a day's cuts that proved no missing volume; a lake has none of them."""
        database = self.rows.database
        rows = _nothing("gap_losses") if database is None else frame_of(database.lost_cuts(day), "gap_losses")
        return _until("gap_losses", rows.lazy(), known_ns)


def _nothing(kind: str) -> pl.DataFrame:
    return pl.DataFrame(schema=dict(stored_schema(kind)))


def _of_lines(rows: pl.DataFrame, lines: Sequence[str] | None) -> pl.DataFrame:
    return rows if lines is None else rows.filter(pl.col("symbol").is_in(list(lines)))


def _height(rows: pl.LazyFrame) -> int:
    return int(rows.select(pl.len()).collect().item())


def _midnight_ns(day: str) -> int:
    return local_ns(date.fromisoformat(day))


def _until(kind: str, rows: pl.LazyFrame, known_ns: int | None) -> pl.LazyFrame:
    """The rows that were known at a moment; None for all."""
    if known_ns is None or kind not in _KNOWN:
        return rows
    return rows.filter(pl.col(_KNOWN[kind]).fill_null(0) <= known_ns)  # null: from before the column was there
