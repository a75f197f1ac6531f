"""What is missing and what the stored trades cover: gaps, cuts, quality, and the tape."""

from datetime import date, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from observer.research.asked import Day, by_day, by_judged_day, stored
from observer.research.lazy import pl
from observer.research.relation import Relation
from observer.research.relations.trading import OF_WORDS

if TYPE_CHECKING:
    from collections.abc import Sequence

_OF_GAPS: Final = ("gaps", "gap_recoveries", "gap_losses")
_OF_CUTS: Final = ("gap_openings", "empty_gaps", "gaps")


class Gap(msgspec.Struct, frozen=True):
    """The gaps of the market data stream with their outcomes, by day and detection: spans of a symbol's volume that the
    exchange traded and no streamed trade holds.

    Attributes:
        day: the day of the market.
        symbol: the stock.
        venue: where it is traded.
        since: the last trade before it.
        until: the first trade after it.
        detected: when it was detected.
        reason: how: by the volume of a trade, after a cut ...
        missing_volume: shares.
        missing_trades: their number; null where nothing counts them.
        outcome: recovered, lost or open.
        source: what recovered it; null where nothing did.
        complete: whether the recovered rows have all its shares; null without a recovery.
        recovered_volume: shares.
        recovered_rows: trades or minute bars.
        closed: when the last outcome was decided.
        lost_reason: why it was given up; null if it was not.
        gap_id: names it.
        after_volume: the venue's volume of the day before it.
        before_volume: the venue's volume of the day at its end.
        recovered: when it was recovered; null without a recovery.
        provider: the broker.
    """

    day: date
    symbol: str
    venue: str | None
    since: datetime | None
    until: datetime | None
    detected: datetime
    reason: str
    missing_volume: float | None
    missing_trades: int | None
    outcome: str
    source: str | None
    complete: bool | None
    recovered_volume: float | None
    recovered_rows: int | None
    closed: datetime | None
    lost_reason: str | None
    gap_id: str
    after_volume: float
    before_volume: float
    recovered: datetime | None
    provider: str


def _gaps(day: Day) -> "pl.LazyFrame":
    """Each gap once, with the last outcome."""
    from observer.research.shaping import time_of

    first = day.stored("gaps").sort("detected_ns", "stream", "sequence")
    first = first.unique("gap_id", keep="first", maintain_order=True)
    recovered = day.stored("gap_recoveries").sort("recovered_ns").unique("gap_id", keep="last")
    recovered = recovered.select(
        "gap_id", "recovered_ns", "source", "complete", recovered_volume="volume", recovered_rows="rows"
    )
    lost = day.stored("gap_losses").sort("decided_ns").unique("gap_id", keep="last")
    lost = lost.select("gap_id", "decided_ns", lost_reason="reason")
    joined = first.join(recovered, on="gap_id", how="left").join(lost, on="gap_id", how="left")
    is_recovered = pl.when(pl.col("recovered_ns").is_not_null()).then(pl.lit("recovered"))
    outcome = is_recovered.when(pl.col("decided_ns").is_not_null()).then(pl.lit("lost"))
    return day.shaped(
        joined.sort("detected_ns", "gap_id"),
        Gap,
        since="from_ns",
        until="to_ns",
        outcome=outcome.otherwise(pl.lit("open")),
        closed=pl.max_horizontal(time_of("recovered_ns", day.zone), time_of("decided_ns", day.zone)),
    )


class Cut(msgspec.Struct, frozen=True):
    """The cuts of the market data stream that proved no missing volume, by symbol, in their order. A cut that proved
    some is a row of `gaps`.

    Attributes:
        day: the day of the market.
        symbol: the stock.
        venue: where it is traded.
        since: the last that was received before it.
        until: when the stream was whole again; null before that is known.
        opened: when the cut was noticed.
        closed: when the outcome was decided.
        reason: of the cut.
        outcome: empty (nothing was missed), lost, or open until the exchange's volume shows what was missed.
        lost_reason: why it was given up; null if it was not.
        after_volume: the venue's volume of the day before it.
        gap_id: names it.
        provider: the broker.
    """

    day: date
    symbol: str
    venue: str | None
    since: datetime
    until: datetime | None
    opened: datetime
    closed: datetime | None
    reason: str
    outcome: str
    lost_reason: str | None
    after_volume: float
    gap_id: str
    provider: str


def _cuts(day: Day) -> "pl.LazyFrame":
    key = "gap_id"
    opened = day.stored("gap_openings").sort("opened_ns", "stream", "sequence").unique(key, keep="last")
    opened = opened.join(day.stored("gaps"), on=key, how="anti").sort("opened_ns", "stream", "sequence")
    empty = day.stored("empty_gaps").unique(key, keep="last").select(key, "to_ns", "closed_ns")
    lost = day.relations.lost_cuts(day.day, day.known_ns).select(key, "decided_ns", lost_reason="reason")
    joined = opened.join(empty, on=key, how="left").join(lost, on=key, how="left")
    is_empty = pl.when(pl.col("closed_ns").is_not_null()).then(pl.lit("empty"))
    outcome = is_empty.when(pl.col("decided_ns").is_not_null()).then(pl.lit("lost"))
    decided = joined.with_columns(
        outcome=outcome.otherwise(pl.lit("open")), closed_ns=pl.coalesce("closed_ns", "decided_ns")
    )
    return day.shaped(decided, Cut, since="from_ns", until="to_ns")


class GapTime(msgspec.Struct, frozen=True):
    """How soon a day's gaps were detected and closed, by the last measurement of each.

    Attributes:
        day: the day of the market.
        measure: detection or closing.
        gaps: the number of gaps that were measured.
        met: those that were in time.
        p50_s: seconds, of half of the gaps.
        p95_s: seconds, of 95 of 100.
        p99_s: seconds, of 99 of 100.
        max_s: seconds, of all.
        measured: when.
    """

    day: date
    measure: str
    gaps: int
    met: int
    p50_s: float
    p95_s: float
    p99_s: float
    max_s: float
    measured: datetime


def _gap_times(day: Day) -> "pl.LazyFrame":
    from observer.research.shaping import newest

    return day.shaped(newest(day.stored("gap_times"), "measured_ns", "measure"), GapTime)


class Quality(msgspec.Struct, frozen=True):
    """The quality report of each symbol with a slot, by day and symbol; none before a day's reconciliation. Where the
    tape has reported, each symbol of the day, with the completeness of its whole day.

    Attributes:
        day: the day of the market.
        symbol: the stock.
        venue: where it is traded.
        slots_quality: of its times with a slot: complete, recovered, degraded, missing or unknown.
        day_quality: of the day: whole, part or unknown.
        volume_share: the part (0 to 1) of the day's shares whose trades are stored.
        time_share: the part (0 to 1) of the session in which it was streamed.
        seconds: with a slot.
        streamed_trades: their number.
        streamed_volume: shares.
        recovered_volume: shares.
        conflated_volume: shares that are known as conflated rows.
        missing_volume: shares of its times with a slot that are known not to be stored.
        missing_at_most: at most so many of these shares are missing, spans without proof included; null: not known.
        day_volume: shares of the whole day.
        gaps: their number.
        gaps_open: those without an outcome.
        detail: the explanation of a word.
        judged: when.
        completeness: of the whole day, with a tape: complete, seconds, spans, minute_bars or snapshots.
        held_volume: shares of the day that are stored trade by trade, with a tape.
        unreachable_seconds: seconds whose trades the broker does not return, with a tape.
        unknown_volume: shares of unknown spans, with a tape.
        tape_judged: when the tape reported.
    """

    day: date
    symbol: str
    venue: str | None
    slots_quality: str | None
    day_quality: str | None
    volume_share: float | None
    time_share: float | None
    seconds: float | None
    streamed_trades: int | None
    streamed_volume: float | None
    recovered_volume: float | None
    conflated_volume: float | None
    missing_volume: float | None
    missing_at_most: float | None
    day_volume: float | None
    gaps: int | None
    gaps_open: int | None
    detail: str | None
    judged: datetime | None
    completeness: str | None
    held_volume: float | None
    unreachable_seconds: int | None
    unknown_volume: float | None
    tape_judged: datetime | None


def _quality(day: Day) -> "pl.LazyFrame":
    """A symbol without a slot has a row only on a day with a tape."""
    from observer.research.shaping import newest

    line = ["symbol", "session_date"]
    of_slots = newest(day.stored("quality"), "judged_ns", *line)
    of_lines = day.relations.completeness(day.day, day.known_ns).lazy()
    of_lines = of_lines if day.lines is None else of_lines.filter(pl.col("symbol").is_in(list(day.lines)))
    joined = of_slots.join(of_lines, on=line, how="full", coalesce=True, suffix="_of_line")
    joined = joined.with_columns(
        venue=pl.coalesce("venue", "venue_of_line"), day_volume=pl.coalesce("tape_volume", "day_volume")
    )
    return day.shaped(joined.sort("session_date", "symbol"), Quality)


class TapeLine(msgspec.Struct, frozen=True):
    """What the tape fetched of each symbol, those with the most trades first.

    Attributes:
        day: the day of the market.
        symbol: the stock.
        venue: where it is traded.
        completeness: of the whole day: complete, seconds, spans, minute_bars or snapshots; null before a report.
        trades: fetched and stored.
        calls: made for it; null where the pages left the database for the lake.
        day_volume: shares of the whole day; null before a report.
        held_volume: shares of the day that are stored; null before a report.
        unknown_spans: their number; null before a report.
        unreachable_seconds: seconds whose trades the broker does not return.
    """

    day: date
    symbol: str
    venue: str | None
    completeness: str | None
    trades: int
    calls: int | None
    day_volume: float | None
    held_volume: float | None
    unknown_spans: int | None
    unreachable_seconds: int


def _tape(day: Day) -> "pl.LazyFrame":
    line = ["symbol", "venue", "session_date"]
    pages = day.stored("tape_pages").group_by(line).agg(
        fetched=pl.col("stored").sum(), calls=pl.len().cast(pl.Int64), page_spans=pl.col("unreachable")
    )  # fmt: skip
    reports = day.relations.reports(day.day, day.known_ns).lazy()
    reports = reports if day.lines is None else reports.filter(pl.col("symbol").is_in(list(day.lines)))
    reports = reports.select(*line, "day_volume", "held_volume", "fetched_trades", "unreachable", "unknown")
    words = day.relations.completeness(day.day, day.known_ns).lazy().select("symbol", "completeness")
    joined = pages.join(reports, on=line, how="full", coalesce=True).join(words, on="symbol", how="left")
    is_removed = (pl.col("fetched_trades") > 0) & pl.col("calls").is_null()
    trades = pl.when(is_removed).then(pl.col("fetched_trades")).otherwise(pl.col("fetched").fill_null(0))
    spans = pl.when(is_removed).then(pl.concat_list("unreachable")).otherwise(pl.col("page_spans").fill_null([]))
    return day.shaped(
        joined.with_columns(trades=trades).sort("trades", "symbol", descending=[True, False]),
        TapeLine,
        completeness=pl.when(pl.col("day_volume").is_not_null()).then(pl.col("completeness")),
        calls=pl.when(~is_removed).then(pl.col("calls").fill_null(0)),
        unknown_spans=pl.col("unknown").map_elements(_count, return_dtype=pl.Int64),
        unreachable_seconds=spans.map_elements(_seconds, return_dtype=pl.Int64),
    )


def _count(spans: str) -> int:
    return len(msgspec.json.decode(spans))


def _seconds(texts: "Sequence[str]") -> int:
    """The number of different seconds in documents of spans."""
    return len({span["to_ns"] for text in texts for span in msgspec.json.decode(text)})


class TapeProgress(msgspec.Struct, frozen=True):
    """How far the tape of a day was, each time that it said so.

    Attributes:
        day: the day of the market.
        time: when.
        lines: the number of symbols.
        complete_lines: those with all trades.
        calls: made.
        trades: fetched.
        day_volume: shares of all symbols.
        held_volume: those that are stored.
        unreachable_volume: those of seconds whose trades the broker does not return.
        unreachable_seconds: the number of these seconds.
        unknown_spans: the number of spans that are not fetched.
        seconds_left: until it is done; null if that is not known.
        is_done: whether nothing is left.
    """

    day: date
    time: datetime
    lines: int
    complete_lines: int
    calls: int
    trades: int
    day_volume: float
    held_volume: float
    unreachable_volume: float
    unreachable_seconds: int
    unknown_spans: int
    seconds_left: float | None
    is_done: bool


COMPLETENESS: Final = (
    Relation(
        "gaps", Gap, by_day(_gaps, *_OF_GAPS), _OF_GAPS, each=("gaps",), key="gap_id", counted=("outcome",),
        shown=("symbol", "since", "until", "missing_volume", "missing_trades", "outcome", "reason", "source"),
    ),
    Relation(
        "cuts", Cut, by_day(_cuts, *_OF_CUTS), _OF_CUTS, counted=("outcome",),
        shown=("symbol", "since", "until", "outcome", "reason"),
    ),
    Relation(
        "gap_times", GapTime, by_day(_gap_times, "gap_times"), ("gap_times",), each=("gap_times",), key="measure",
        symbols="no",
    ),
    Relation(
        "quality", Quality, by_judged_day(_quality), (*OF_WORDS, "bar_fetches"),
        counted=("slots_quality", "day_quality", "completeness"),
        shown=("symbol", "slots_quality", "day_quality", "volume_share", "time_share", "streamed_volume",
               "missing_volume", "missing_at_most", "gaps"),
    ),
    Relation(
        "tape", TapeLine, by_judged_day(_tape), (*OF_WORDS, "bar_fetches", "tape_pages"), counted=("completeness",),
        shown=("symbol", "completeness", "trades", "day_volume", "held_volume", "unknown_spans", "unreachable_seconds"),
    ),
    Relation(
        "tape_progress", TapeProgress, stored("tape_progress", TapeProgress, "progressed_ns", time="progressed_ns"),
        ("tape_progress",), each=("tape_progress",), symbols="no",
    ),
)  # fmt: skip
