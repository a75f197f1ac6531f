"""The day's reconciliation of a symbol: compares streamed plus recovered volume with the exchange's volume. Pure.

A trade carries the day's volume after it, so it covers one span of the day's volume; so does a row of conflated trades.
A part between an interval's first and last trade that no span covers is missing, to the share.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from bus.events import TAPE, GapDetected, MinuteBarRecovered, QualityJudged, ReconciliationResult, StreamedTime
from observer.base.lines import stock_of
from observer.base.spans import united
from observer.base.units import NS_PER_MINUTE
from observer.gaps.intervals import (
    VOLUME_NOISE,
    Interval,
    ObservedVolumes,
    VolumeSpan,
    clipped,
    outside,
    seconds_of,
    total,
    utilization,
    without_noise,
)

SlotsQuality = Literal["complete", "recovered", "degraded", "missing", "unknown"]
DayQuality = Literal["whole", "part", "unknown"]


class Piece(msgspec.Struct, frozen=True, gc=False):
    """A trade, or a row of conflated trades: its volume, and the day's volume after it. `gap_id` names the gap that
    recovery filled with it; None for a streamed piece.
    """

    received_ns: int
    volume: float
    cumulative_volume: float
    conflated: bool = False
    gap_id: str | None = None


class SymbolDay(msgspec.Struct, frozen=True, kw_only=True):
    """All stored data of one symbol's day: streamed intervals, trades, gaps and recoveries.

    `intervals` are the times with a slot. `streamed` are the times in which the broker streamed the symbol, within
    `session`, from the open to the close. `day_volume` is the session's whole volume, None while unknown. `closed_gaps`
    are the ids of the gaps with an outcome of any kind. `unresolved_cuts` counts the cuts without a proof of the missed
    volume.
    """

    provider: str
    symbol: str
    session_date: str
    intervals: Sequence[Interval]
    pieces: Sequence[Piece] = ()
    bars: Sequence[MinuteBarRecovered] = ()
    gaps: Sequence[GapDetected] = ()
    closed_gaps: frozenset[str] = frozenset()
    unresolved_cuts: int = 0
    streamed: Sequence[StreamedTime] = ()
    session: Interval | None = None
    day_volume: float | None = None


class _Balance(msgspec.Struct, frozen=True):
    """One interval's volumes in shares; `from_bars` is known from minute bars only, `unrecorded` lies outside of all
    gaps.

    `unseen`: upper bound of the volume before an unobserved end; None if unknown.
    """

    after: float = 0.0
    before: float = 0.0
    one_by_one: float = 0.0
    conflated: float = 0.0
    recovered: float = 0.0
    from_bars: float = 0.0
    unrecorded: float = 0.0
    unseen: float | None = 0.0

    @property
    def difference(self) -> float:
        """The volume that is neither streamed nor recovered."""
        accounted = self.one_by_one + self.conflated + self.recovered + self.from_bars
        return without_noise(self.before - self.after - accounted)


def reconcile(day: SymbolDay, now_ns: int) -> tuple[list[ReconciliationResult], QualityJudged]:
    """The reconciliation of each interval, and the quality report on the day.

    A reconciliation extends as far as the trades, the gaps and the volume observations of Track A, which are
    independent of the stream, prove trading within the interval. Volume that observations prove and neither a trade nor
    a gap covers is missing, too. Trades received outside of all intervals (in flight at the release of the symbol)
    count only within the proven volume.

    A gap belongs to the last interval that had begun when it was detected. Its recovered volume counts as far as it
    lies in the gap and was not streamed; what the tape has of a gap counts, too. Minute bars count up to the volume
    that the trades leave missing in their gap: the first and last bar include streamed trades.
    """
    known = united([*(_span(piece) for piece in day.pieces if piece.gap_id is None), *map(_span_of_gap, day.gaps)])
    balances = [_balance(day, index, known) for index in range(len(day.intervals))]
    reconciliations = [
        ReconciliationResult(
            day.provider, day.symbol, day.session_date, now_ns, interval.from_ns, interval.to_ns,
            balance.after, balance.before, balance.one_by_one + balance.conflated,
            balance.recovered + balance.from_bars, balance.difference,
        )
        for interval, balance in zip(day.intervals, balances, strict=True)
    ]  # fmt: skip
    return reconciliations, _judged(day, balances, now_ns)


def _balance(day: SymbolDay, index: int, known: Sequence[VolumeSpan]) -> _Balance:
    interval = day.intervals[index]
    gaps = _disjoint(gap for gap in day.gaps if _interval_of(gap, day.intervals) == index)
    own = [piece for piece in day.pieces if piece.gap_id is None and _is_within(piece, interval)]
    proven = _proven(interval.observed, [*map(_span, own), *gaps.values()])
    streamed = [*own, *_on_their_way(day, proven)]
    ends = [*map(_span, streamed), *gaps.values(), *(outside(proven, known) if proven else ())]
    if not ends:
        return _Balance(unseen=_unseen(interval, None))
    singles = united(_span(piece) for piece in streamed if not piece.conflated)
    with_conflated = united(map(_span, streamed))
    recovered = [
        part
        for piece in day.pieces
        for gap_id in (gaps if piece.gap_id == TAPE else (piece.gap_id,))
        if gap_id in gaps and (part := clipped(_span(piece), gaps[gap_id])) is not None
    ]
    covered = united([*with_conflated, *recovered])
    after, before = min(start for start, _ in ends), max(end for _, end in ends)
    return _Balance(
        after,
        before,
        total(singles),
        total(with_conflated) - total(singles),
        total(covered) - total(with_conflated),
        sum(_from_bars(day.bars, gap_id, span, covered) for gap_id, span in gaps.items()),
        without_noise(before - after - total(united([*with_conflated, *gaps.values()]))),
        _unseen(interval, before),
    )


def _proven(observed: ObservedVolumes, ends: Sequence[VolumeSpan]) -> VolumeSpan | None:
    """The volume span traded during the subscription, by volume observations; None if they do not show it. The span
    starts at the first trade or at the request of the first observation.
    """
    begins = min((start for start, _ in ends), default=None)
    received = [each for each in (begins, observed.first) if each is not None]
    if not received or observed.last is None:
        return None
    span = min(received), max(*received, observed.last)
    return span if span[1] - span[0] > VOLUME_NOISE else None


def _on_their_way(day: SymbolDay, proven: VolumeSpan | None) -> list[Piece]:
    """Trades of the interval that were received after its end."""
    if proven is None:
        return []
    return [
        piece
        for piece in day.pieces
        if piece.gap_id is None
        and clipped(_span(piece), proven)
        and not any(_is_within(piece, interval) for interval in day.intervals)
    ]


def _unseen(interval: Interval, reached: float | None) -> float | None:
    """Upper bound of the volume between `reached` and the interval's end."""
    if interval.has_end:
        return 0.0
    begins = reached if reached is not None else interval.observed.before
    if begins is None or interval.observed.after is None:
        return None
    return max(0.0, without_noise(interval.observed.after - begins))


def _interval_of(gap: GapDetected, candidates: Sequence[Interval]) -> int:
    """The last interval that had begun when the gap was detected; the first if none had."""
    begun = [index for index, interval in enumerate(candidates) if interval.from_ns <= gap.detected_ns]
    return begun[-1] if begun else 0


def _disjoint(gaps: Iterable[GapDetected]) -> dict[str, VolumeSpan]:
    """Return each gap's span by id, without its overlap with earlier gaps: volume that was detected twice is filled
    once.
    """
    spans: dict[str, VolumeSpan] = {}
    reached = float("-inf")
    for gap in sorted(gaps, key=_span_of_gap):
        start = max(gap.after_volume, reached)
        if gap.gap_id not in spans and gap.before_volume > start:
            spans[gap.gap_id] = (start, gap.before_volume)
            reached = gap.before_volume
    return spans


def _from_bars(
    bars: Iterable[MinuteBarRecovered], gap_id: str, gap: VolumeSpan, covered: Sequence[VolumeSpan]
) -> float:
    """The volume of the gap's minute bars beyond the trades present."""
    minutes = {bar.minute_start_ns: bar.volume for bar in bars if bar.gap_id == gap_id}
    inside = (clipped(span, gap) for span in covered)
    missing = gap[1] - gap[0] - total(span for span in inside if span is not None)
    return min(sum(minutes.values()), max(0.0, without_noise(missing)))


def _judged(day: SymbolDay, balances: Sequence[_Balance], now_ns: int) -> QualityJudged:
    whole, difference = _summed(balances), sum(each.difference for each in balances)
    streamed = whole.one_by_one + whole.conflated
    gap_ids = {gap.gap_id for gap in day.gaps}
    open_gaps = len(gap_ids - day.closed_gaps)
    stored = united(_span(piece) for piece in day.pieces if not piece.conflated)
    missing_at_most = _missing_at_most(day, balances, stored)
    unknown_cuts = day.unresolved_cuts if missing_at_most != 0 else 0
    is_known = not unknown_cuts and all(balance.unseen == 0 for balance in balances)
    is_whole = is_known and whole.conflated + whole.from_bars + difference <= VOLUME_NOISE
    detail = _detail(whole, difference)
    if any(each.unseen is None for each in balances):
        detail.append("the end is unobserved or unknown")
    if unknown_cuts:
        detail.append(f"cuts with an unknown loss: {unknown_cuts}")
    if streamed > VOLUME_NOISE:
        quality = _quality_streamed(whole.recovered, is_whole=is_whole)
    else:
        has_traded = whole.recovered + whole.from_bars + difference > 0
        quality = _quality_unstreamed(day, whole.recovered, is_whole=is_whole, has_traded=has_traded)
        detail.insert(0, "did not trade" if quality == "complete" else "nothing was streamed")
    return QualityJudged(
        day.provider, day.symbol, day.session_date, now_ns, quality, "; ".join(detail),
        seconds_of(day.intervals),
        _streamed_count(day), streamed, whole.recovered + whole.from_bars, whole.conflated, difference,
        len(gap_ids) + unknown_cuts, open_gaps + unknown_cuts,
        _day_quality(day, stored), missing_at_most, day.day_volume,
        total(stored) / day.day_volume if day.day_volume else None,
        utilization(day.streamed, day.session, 1) if day.session is not None else None,
        tuple(day.streamed),
    )  # fmt: skip


def _day_quality(day: SymbolDay, stored: Sequence[VolumeSpan]) -> DayQuality:
    if day.day_volume is None:
        return "unknown"
    lacking = outside((0.0, day.day_volume), stored) if day.day_volume else []
    return "part" if total(lacking) > VOLUME_NOISE else "whole"


def _missing_at_most(day: SymbolDay, balances: Sequence[_Balance], stored: Sequence[VolumeSpan]) -> float | None:
    """Upper bound of the volume that was traded in the intervals and is not stored trade by trade. Volume that was
    certainly traded before or after an interval does not count. None if the volume after an interval is unknown.
    """
    spans: list[VolumeSpan] = []  # at most traded in the intervals
    for interval, balance in zip(day.intervals, balances, strict=True):
        latest = interval.observed.after if interval.observed.after is not None else day.day_volume
        if latest is None:
            return None
        spans.append((interval.observed.before or 0.0, latest))
        if balance.before > 0:
            spans.append((balance.after, balance.before))
    return without_noise(sum(total(outside(span, stored)) for span in united(spans)))


def _summed(balances: Sequence[_Balance]) -> _Balance:
    """The volumes of all intervals, as far as they are known."""
    names = _Balance.__struct_fields__
    return _Balance(**{name: sum(filter(None, (getattr(each, name) for each in balances))) for name in names})


def _detail(whole: _Balance, difference: float) -> list[str]:
    amounts: Mapping[str, float] = {
        "kept as conflated rows": whole.conflated,
        "known as minute bars only": whole.from_bars,
        "not known": difference,
        "missing outside of every recorded gap": whole.unrecorded,
        "more at most, before an unobserved end": whole.unseen or 0.0,
    }
    return [f"{volume:,.15g} shares {what}" for what, volume in amounts.items() if abs(volume) > VOLUME_NOISE]


def _quality_streamed(recovered: float, *, is_whole: bool) -> SlotsQuality:
    if not is_whole:
        return "degraded"
    return "recovered" if recovered > VOLUME_NOISE else "complete"


def _quality_unstreamed(day: SymbolDay, recovered: float, *, is_whole: bool, has_traded: bool) -> SlotsQuality:
    """Quality without streamed trades: complete only if no trading was observed, missing only if some was."""
    if not day.gaps and day.intervals and all(_is_silent(interval) for interval in day.intervals):
        return "complete"
    if recovered > VOLUME_NOISE and is_whole:
        return "recovered"
    return "missing" if has_traded else "unknown"


def _is_silent(interval: Interval) -> bool:
    """Whether volume observations show no trade between the last observation before the interval and the first one
    after it (the last one within it, if none follows).
    """
    seen = interval.observed
    latest = seen.last if seen.after is None and interval.has_end else seen.after
    return seen.before is not None and latest is not None and latest - seen.before <= VOLUME_NOISE


def _streamed_count(day: SymbolDay) -> int:
    """The number of distinct streamed trades that are stored one by one in the intervals."""
    inside = {
        piece.cumulative_volume
        for piece in day.pieces
        if piece.gap_id is None
        and not piece.conflated
        and any(_is_within(piece, interval) for interval in day.intervals)
    }
    return len(inside)


def _is_within(piece: Piece, interval: Interval) -> bool:
    return interval.from_ns <= piece.received_ns <= interval.to_ns


def _span(piece: Piece) -> VolumeSpan:
    return piece.cumulative_volume - piece.volume, piece.cumulative_volume


def _span_of_gap(gap: GapDetected) -> VolumeSpan:
    return gap.after_volume, gap.before_volume


# --- judging ---
#
# When a day's quality reports are due, which of them are stale, and the day's gap rate. Pure.

SETTLED_AFTER_NS: Final = 5 * NS_PER_MINUTE
"""After the close: the last trades and gaps, and the sweep of the finished session, are stored by then."""

AT_LATEST_AFTER_NS: Final = 35 * NS_PER_MINUTE
"""After the end of Track B the day is reconciled with gaps still open, which is longer than five attempts at a gap;
after the close without the volumes of the whole session.
"""

AUCTION_OVER_AFTER_NS: Final = NS_PER_MINUTE
"""After the close: an observation that was requested later has the volume of the whole session, the closing auction's
too.
"""

GAP_RATE_LIMIT: Final = 0.05
"""A day's gap rate stays below this (docs/requirement.md)."""


class Closing(msgspec.Struct, frozen=True):
    """The last outcome of a gap of this symbol."""

    symbol: str
    closed_ns: int


def outdated(
    reports: Collection[QualityJudged],
    closings: Iterable[Closing],
    seconds: Mapping[str, float],
    day_volumes: Mapping[str, float],
) -> frozenset[str]:
    """Symbols whose stored quality report is stale.

    A report is stale if a gap was closed after it, if a gap that it counts as open is closed now (the outcome was on
    its way into the database), if the streamed time differs because a slot event arrived late, or if the day's volume
    was unknown and is known now.

    Args:
        reports: quality reports of the day.
        closings: of the day's gaps.
        seconds: each symbol's streamed time; empty while the day is streamed.
        day_volumes: the known volumes of the whole session, by symbol.
    """
    closed_ns: dict[str, list[int]] = {}
    for closing in closings:
        closed_ns.setdefault(closing.symbol, []).append(closing.closed_ns)
    judged_seconds = {quality.symbol: quality.seconds for quality in reports}
    in_other_times = (symbol for symbol, each in seconds.items() if judged_seconds.get(symbol) != each)
    behind_gaps = (
        quality.symbol
        for quality in reports
        if (ended := closed_ns.get(quality.symbol))
        and (max(ended) > quality.judged_ns or len(ended) > quality.gaps - quality.gaps_open)
    )
    of_unknown_volume = (
        quality.symbol for quality in reports if quality.day_volume is None and quality.symbol in day_volumes
    )
    return frozenset((*in_other_times, *behind_gaps, *of_unknown_volume))


def is_due(stream_ended_ns: int, closed_ns: int, *, open_gaps: int, is_settled: bool, now_ns: int) -> bool:
    """Whether to reconcile the day now: a delay after the close, once no gap is open and the day is settled (the
    finished session is swept, and every slot is released), or at a later deadline for each.
    """
    return (
        now_ns >= closed_ns + SETTLED_AFTER_NS
        and (open_gaps == 0 or now_ns >= stream_ended_ns + AT_LATEST_AFTER_NS)
        and (is_settled or now_ns >= closed_ns + AT_LATEST_AFTER_NS)
    )


def gap_rate(reports: Iterable[QualityJudged]) -> float | None:
    """The fraction of the volume traded in the streamed intervals that was not streamed, recovered or not; None without
    trading.
    """
    streamed = missed = 0.0
    for quality in reports:
        streamed += quality.streamed_volume
        missed += quality.recovered_volume + quality.missing_volume
    return missed / (streamed + missed) if streamed + missed else None


def gap_rate_alert(session_date: str, reports: Collection[QualityJudged]) -> str | None:
    """The alert text for a day with a too high gap rate; None otherwise."""
    rate = gap_rate(reports)
    if rate is None or rate < GAP_RATE_LIMIT:
        return None
    most = max(reports, key=lambda quality: quality.recovered_volume + quality.missing_volume)
    return (
        f"{session_date}: the stream did not bring {rate:.1%} of the volume traded in its symbols, {GAP_RATE_LIMIT:.0%}"
        f" is the limit (gap rate); most of {most.symbol}; see `observer quality {session_date}`"
    )


# --- stock quality ---
#
# The quality of a stock's day over all venues, from the reports on its lines. Pure.

# From the strongest word to the weakest: a defect that is proved at one venue is the stock's, whatever is unknown of
# the other one.
SLOTS_WORDS: Final = ("complete", "recovered", "unknown", "degraded", "missing")
DAY_WORDS: Final = ("whole", "unknown", "part")
_SUMMED_OVER_LINES: Final = (
    "streamed_volume",
    "recovered_volume",
    "conflated_volume",
    "missing_volume",
    "gaps",
    "gaps_open",
)


class StockQuality(msgspec.Struct, frozen=True, kw_only=True):
    """How complete a stock's trades of one day are at all venues together.

    `reports` are the reports on the stock's lines that had a slot. `day_volumes` holds the volume of each line that is
    known to exist on that day, by the line's id; None where a volume is unknown. Each word is the weakest of the lines'
    words; a line that traded without ever having a slot makes the day a part. Volumes are sums in shares;
    `missing_at_most` and `day_volume` are None where a summand is unknown. `volume_share` (0 to 1) is the stored part
    of `day_volume`.
    """

    stock: str
    session_date: str
    slots_quality: str
    day_quality: str
    streamed_volume: float
    recovered_volume: float
    conflated_volume: float
    missing_volume: float
    missing_at_most: float | None
    day_volume: float | None
    volume_share: float | None
    gaps: int
    gaps_open: int
    day_volumes: Mapping[str, float | None]
    reports: Sequence[QualityJudged]


def stock_qualities(
    reports: Iterable[QualityJudged], day_volumes: Mapping[str, Mapping[str, float | None]]
) -> list[StockQuality]:
    """A day's quality by stock, from the reports on the lines that had a slot.

    Args:
        reports: of one day, one for each line.
        day_volumes: by stock, the volumes of the whole day by line as other sources have them (None: unknown).
    """
    of_stocks: dict[str, list[QualityJudged]] = {}
    for report in reports:
        of_stocks.setdefault(stock_of(report.symbol), []).append(report)
    return [_of_stock(stock, found, day_volumes.get(stock, {})) for stock, found in sorted(of_stocks.items())]


def _of_stock(stock: str, reports: Sequence[QualityJudged], other: Mapping[str, float | None]) -> StockQuality:
    judged = {report.symbol: report.day_volume for report in reports}
    volumes = {**other, **judged}
    unjudged = [volume for line, volume in volumes.items() if line not in judged]
    at_most = [report.missing_at_most for report in reports]
    day_volume = _sum_if_known(volumes.values())
    stored = sum((report.volume_share or 0.0) * (report.day_volume or 0.0) for report in reports)
    return StockQuality(
        stock=stock,
        session_date=reports[0].session_date,
        slots_quality=max((report.slots_quality for report in reports), key=SLOTS_WORDS.index),
        day_quality=max([*(report.day_quality for report in reports), *map(_day_word, unjudged)], key=DAY_WORDS.index),
        missing_at_most=_sum_if_known(at_most),
        day_volume=day_volume,
        volume_share=stored / day_volume if day_volume else None,
        day_volumes={line: volumes[line] for line in sorted(volumes)},
        reports=sorted(reports, key=lambda report: report.symbol),
        **{name: sum(getattr(report, name) for report in reports) for name in _SUMMED_OVER_LINES},
    )


def _day_word(volume: float | None) -> str:
    """The day's word of a line without a slot: the line's trades are not stored at all."""
    return "unknown" if volume is None else "part" if volume > VOLUME_NOISE else "whole"


def _sum_if_known(volumes: Iterable[float | None]) -> float | None:
    known = list(volumes)
    return None if None in known else sum(volume for volume in known if volume is not None)
