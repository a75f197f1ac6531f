"""The relations of one day: stored rows, up to what was known at a moment, as a user sees them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any, Final

import polars as pl

from observer.base.lines import stock_of
from observer.base.local_time import local_ns
from observer.base.units import NS_PER_MINUTE
from observer.gaps.completeness import HeldShare
from observer.research import relations
from observer.research.bars import COLUMNS_OF_TRADES, BarRows, bars, official_bars
from observer.research.completeness import completeness_of, held_share_of
from observer.research.conflated import each_once
from observer.research.database_rows import stored_schema
from observer.research.frame import Schema, scanned
from observer.research.lacking import newest_reports, spans_of
from observer.research.reading import Rows, portions
from observer.store.kinds import KINDS

# The moment at which a row of each kind was known.
_KNOWN: Final = {kind.name: kind.known for kind in KINDS.values() if kind.known}
# The kinds of few rows that a relation is made of.
OF_GAPS: Final = ("gaps", "gap_recoveries", "gap_losses")
OF_SLOTS: Final = ("slot_assignments", "slot_releases", "universe_members")
OF_TRIGGERS: Final = ("triggers", "trigger_ends", "slot_assignments", "universe_members")
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


_WORDS: Final = {"symbol": pl.String, "word": pl.String}


class DayRelations:
    """The relations of stored days; `zone` is that of their times. `lines` are ids of lines, None for all."""

    def __init__(self, rows: Rows, zone: str) -> None:
        self.rows = rows
        self.zone = zone

    def all_of(self, day: str, lines: Sequence[str] | None = None) -> Mapping[str, pl.LazyFrame]:
        """Each relation by name; nothing is read before `collect`."""
        return {name: relation(day, lines) for name, relation in self.named.items()}

    @property
    def named(self) -> Mapping[str, Callable[[str, Sequence[str] | None], pl.LazyFrame]]:
        """By name the relation of a day and of lines."""
        return {
            "trades": self.trades,
            "minute_bars": lambda day, lines: _late(
                lambda: self.bars(day, lines, NS_PER_MINUTE), self._bars_schema(), f"minute_bars {day}"
            ),
            "snapshots": self.snapshots,
            "daily": lambda day, lines: relations.daily(self.rows.scan("daily_bars", day, lines)),
            "universe": lambda day, _: _late(lambda: self.universe(day), self._universe_schema(), f"universe {day}"),
            "gaps": lambda day, _: self.gaps(day),
            "quality": lambda day, _: self.quality(day),
            "missing": self.missing,
            "slots": lambda day, _: self.slots(day),
            "triggers": lambda day, _: self.triggers(day),
            "etf_premium": lambda day, lines: relations.etf_premium(self.rows.scan("etf_nav_days", day, lines)),
        }

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
        """The number of rows of each relation, and of the trades the parts of the market that they are."""
        counts = {name: frame.select(pl.len()).collect().item() for name, frame in self.all_of(day).items()}
        held = self.held_share(day)
        is_trades = pl.col("relation") == "trades"
        return pl.DataFrame({"relation": list(counts), "rows": list(counts.values())}).with_columns(
            volume_share=pl.when(is_trades).then(pl.lit(held.volume, pl.Float64)),
            trades_share=pl.when(is_trades).then(pl.lit(held.trades, pl.Float64)),
        )

    def trades(self, day: str, lines: Sequence[str] | None, known_ns: int | None = None) -> pl.LazyFrame:
        """Trades with the word of their line: its completeness where a tape covers it, else its quality report's."""
        quality = self._words_of(day, known_ns)
        found = self._known("trades", day, known_ns, lines)
        found = found if self.rows.is_distinct("trades", day) else each_once(found)
        return relations.trades(found, self.zone, quality, self._lines_of_trades(day) if lines is None else lines)

    def bars(
        self, day: str, lines: Sequence[str] | None, interval_ns: int, known_ns: int | None = None
    ) -> pl.DataFrame:
        """Bars of the day."""
        return self._bars([(day, lines)], interval_ns, known_ns)

    def bars_of_lines(
        self, days: Sequence[tuple[str, Sequence[str]]], interval_ns: int, known_ns: int | None = None
    ) -> pl.DataFrame:
        """Bars of lines on some days, by day. Days whose bars begin at the same fraction of an interval are read
        together, which is all of them in a zone without summer time: a day alone takes as long as its preparations.
        """
        alike: dict[int, list[tuple[str, Sequence[str] | None]]] = {}
        for day, lines in days:
            alike.setdefault(local_ns(date.fromisoformat(day)) % interval_ns, []).append((day, lines))
        return pl.concat([self._bars(each, interval_ns, known_ns) for each in alike.values()])

    def _bars(
        self, days: Sequence[tuple[str, Sequence[str] | None]], interval_ns: int, known_ns: int | None
    ) -> pl.DataFrame:
        trades, conflated, minutes, reconciliations = (
            self._together(kind, days, known_ns, columns) for kind, columns in _OF_BARS.items()
        )
        is_distinct = all(self.rows.is_distinct("trades", day) for day, _ in days)
        lines_of = dict(days)
        judged = self.rows.each_day(list(lines_of), "tape_reports")
        reports = pl.concat([_of_lines(self._reports(day, known_ns), lines_of[day]) for day in judged])
        lacking = spans_of(reports, _midnight_ns)
        rows = BarRows(trades, conflated, minutes, reconciliations, is_distinct, reports, lacking)
        return bars(rows, interval_ns, local_ns(date.fromisoformat(days[0][0])), self.zone)

    def official_bars(
        self, day: str, lines: Sequence[str] | None, interval_ns: int, known_ns: int | None = None
    ) -> pl.DataFrame:
        """Bars of the day's fetched minute bars."""
        minutes = self._known("fetched_minute_bars", day, known_ns, lines)
        fetches = self._known("bar_fetches", day, known_ns, lines)
        return official_bars(minutes, fetches, interval_ns, local_ns(date.fromisoformat(day)), self.zone)

    def daily_until(self, day: str) -> pl.DataFrame:
        """The daily bars of the lines with a slot on a day, until that day."""
        lines = self.rows.streamed_on(day)
        days = sorted({day, *self.rows.dates_of("daily_bars", "0001-01-01", day, lines)})
        found = pl.concat(self.rows.of_days("daily_bars", days, lines).values())
        return relations.daily(found.lazy()).collect()

    def adjustments(self, known_on: str | None) -> pl.DataFrame:
        """The changes of shares of all days, or those that were known on a day."""
        kind, days = "share_adjustments", self.rows.days
        rows = pl.concat([self.rows.small(kind, day) for day in self.rows.each_day(days, kind)])
        return rows if known_on is None else rows.filter(pl.col("known_from") <= known_on)

    def snapshots(self, day: str, lines: Sequence[str] | None) -> pl.LazyFrame:
        """States of symbols as sweeps saw them."""
        return relations.snapshots(self.rows.scan("snapshots", day, lines), self.zone)

    def universe(self, day: str, known_ns: int | None = None) -> pl.DataFrame:
        """The members of the last build; empty without one."""
        builds = self._known("universes", day, known_ns).sort("built_ns", "stream", "sequence").collect()
        members = self.rows.small("universe_members", day)
        if builds.is_empty():
            return relations.members(members.clear(), {"stream": 0, "sequence": 0, "symbols": 0, "session_date": day})
        return relations.members(members, builds.row(-1, named=True))

    def gaps(self, day: str, known_ns: int | None = None) -> pl.LazyFrame:
        """Gaps with their outcomes."""
        found, recoveries = self._known("gaps", day, known_ns), self._known("gap_recoveries", day, known_ns)
        return relations.gaps(found, recoveries, self._known("gap_losses", day, known_ns), self.zone)

    def judged(self, days: Sequence[str], known_ns: int | None) -> Iterator[str]:
        """The days one after another. Of several days what `quality` and the words of `trades` are made of is read
        together: of a day without a tape no more than of that day alone, so that a file which it does not need may be
        gone.
        """
        for some in portions(days):
            read = self.rows.each_day(some, *_OF_QUALITY)
            with_tape = [day for day in read if not self._reports(day, known_ns).is_empty()]
            if len(with_tape) > 1:
                self._with_minute_bars(list(self.rows.each_day(with_tape, *_OF_COMPLETENESS)), known_ns)
            yield from some

    def quality(self, day: str, known_ns: int | None = None) -> pl.LazyFrame:
        """Quality reports; with a tape one of each line of the day."""
        return relations.quality(self._known("quality", day, known_ns), self._completeness(day, known_ns), self.zone)

    def missing(self, day: str, lines: Sequence[str] | None, known_ns: int | None = None) -> pl.LazyFrame:
        """The seconds and spans of time whose trades the tape does not have; empty without a tape."""
        reports = _of_lines(self._reports(day, known_ns), lines)
        return relations.missing(spans_of(reports, _midnight_ns).lazy(), self.zone)

    def has_tape(self, day: str) -> bool:
        """Whether the tape has reported on a line of the day."""
        return not self._reports(day, None).is_empty()

    def held_share(self, day: str) -> HeldShare:
        """The parts of the market's volume and trades on the day that are stored one by one."""
        trades = self.rows.scan("trades", day)
        trades = trades if self.rows.is_distinct("trades", day) else each_once(trades)
        held = trades.group_by("symbol").agg(held=pl.col("volume").sum(), trades=pl.len())
        swept = self.rows.scan("snapshots", day).group_by("symbol").agg(swept=pl.col("cumulative_volume").max())
        of_trades, of_sweeps = pl.collect_all([held, swept])
        return held_share_of(of_trades, of_sweeps, self._reports(day, None))

    def slots(self, day: str) -> pl.LazyFrame:
        """Times in which symbols had slots."""
        assigned, released = self.rows.scan("slot_assignments", day), self.rows.scan("slot_releases", day)
        return relations.slots(assigned, released, self.venues(day), self.zone)

    def triggers(self, day: str) -> pl.LazyFrame:
        """Triggers with their ends."""
        fired, ended = self.rows.scan("triggers", day), self.rows.scan("trigger_ends", day)
        return relations.triggers(fired, ended, self.venues(day), self.zone)

    def venues(self, day: str) -> Mapping[str, str]:
        """The venue of each line in the day's universe or slots; none of a day that is not stored."""
        if day not in self.rows.days:
            return {}
        kinds = ("universe_members", "slot_assignments")
        return dict(pl.concat([self.rows.small(kind, day).select("symbol", "venue") for kind in kinds]).rows())

    def _reports(self, day: str, known_ns: int | None) -> pl.DataFrame:
        """The tape's last report on each line of the day; none of a day that is not stored."""
        key = ("judged", day, known_ns)
        kept = self.rows.kept.get(key)
        if kept is None:
            stored = day in self.rows.days
            found = self._known("tape_reports", day, known_ns).collect() if stored else _nothing("tape_reports")
            kept = self.rows.kept.put(key, found if found.is_empty() else newest_reports(found))
        return kept

    def _completeness(self, day: str, known_ns: int | None) -> pl.DataFrame:
        """The completeness of each line of the day; empty without a tape."""
        reports = self._reports(day, known_ns)
        if reports.is_empty():
            return completeness_of({}, reports, _nothing("quality"), (), ())
        slots = self._known("quality", day, known_ns).collect()
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

    def _words_of(self, day: str, known_ns: int | None) -> Mapping[str, str]:
        """The word of each line for its trades."""
        key = ("words", day, known_ns)
        kept = self.rows.kept.get(key)
        if kept is None:
            slots = self._known("quality", day, known_ns).select("symbol", "slots_quality", "judged_ns").collect()
            words = dict(slots.sort("judged_ns").select("symbol", "slots_quality").rows())
            judged = self._reports(day, known_ns)["symbol"]
            of_lines = self._completeness(day, known_ns).filter(pl.col("symbol").is_in(judged.implode()))
            words |= dict(of_lines.select("symbol", "completeness").rows())
            kept = self.rows.kept.put(key, pl.DataFrame(list(words.items()), schema=_WORDS, orient="row"))
        return dict(kept.rows())

    def _lines_of_trades(self, day: str) -> Sequence[str] | None:
        """The lines of the day, if none of them is that of a further venue; else None."""
        lines = self.rows.lines_on(day) if day in self.rows.days else ()
        return lines if len(lines) > 1 and all(stock_of(line) == line for line in lines) else None

    def _known(self, kind: str, day: str, known_ns: int | None, lines: Sequence[str] | None = None) -> pl.LazyFrame:
        return _until(kind, self.rows.scan(kind, day, lines), known_ns)

    def _together(
        self,
        kind: str,
        days: Sequence[tuple[str, Sequence[str] | None]],
        known_ns: int | None,
        columns: Sequence[str],
    ) -> pl.LazyFrame:
        """The rows of days. Those of several are read here, of days with the same lines at once."""
        if len(days) == 1:
            return self._known(kind, days[0][0], known_ns, days[0][1])
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

    def _bars_schema(self) -> Schema:
        trades, conflated, minutes, reconciliations = (pl.LazyFrame(schema=stored_schema(kind)) for kind in _OF_BARS)
        empty = BarRows(trades, conflated, minutes, reconciliations)
        return dict(bars(empty, NS_PER_MINUTE, 0, self.zone).schema)

    def _universe_schema(self) -> Schema:
        empty = pl.DataFrame(schema=stored_schema("universe_members"))
        build: Mapping[str, Any] = {"stream": 0, "sequence": 0, "symbols": 0, "session_date": ""}
        return dict(relations.members(empty, build).schema)


def _nothing(kind: str) -> pl.DataFrame:
    return pl.DataFrame(schema=dict(stored_schema(kind)))


def _of_lines(rows: pl.DataFrame, lines: Sequence[str] | None) -> pl.DataFrame:
    return rows if lines is None else rows.filter(pl.col("symbol").is_in(list(lines)))


def _midnight_ns(day: str) -> int:
    return local_ns(date.fromisoformat(day))


def _until(kind: str, rows: pl.LazyFrame, known_ns: int | None) -> pl.LazyFrame:
    """The rows that were known at a moment; None for all."""
    if known_ns is None:
        return rows
    return rows.filter(pl.col(_KNOWN[kind]).fill_null(0) <= known_ns)  # null: from before the column was there


def _late(made: Callable[[], pl.DataFrame], schema: Schema, name: str) -> pl.LazyFrame:
    """A frame that is computed when it is collected."""

    def source(_columns: object, _predicate: object, _rows: object) -> Iterator[pl.DataFrame]:
        yield made()

    return scanned(source, schema, name)
