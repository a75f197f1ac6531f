"""The day's reconciliation of a symbol: compares streamed plus recovered volume with the exchange's volume. Pure.

Every trade carries the day's volume after it, so it covers one span of that volume, and so does a row of conflated
trades. A part without a span between the first and the last trade of an interval is missing, to the share.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from bus.events import GapDetected, MinuteBarRecovered, QualityJudged, ReconciliationResult
from observer.gaps.intervals import (
    VOLUME_NOISE,
    Interval,
    ObservedVolumes,
    VolumeSpan,
    clipped,
    outside,
    seconds_of,
    total,
    united,
    without_noise,
)
from observer.units import NS_PER_MINUTE

Quality = Literal["complete", "recovered", "degraded", "missing"]


class Piece(msgspec.Struct, frozen=True, gc=False):
    """A trade or a row of conflated trades: its volume, and the day's volume after it. `gap_id` is the gap that it was
    recovered for; None if it was streamed.
    """

    received_ns: int
    volume: float
    cumulative_volume: float
    conflated: bool = False
    gap_id: str | None = None


class SymbolDay(msgspec.Struct, frozen=True, kw_only=True):
    """All stored data of one symbol's day: streamed intervals, trades, gaps and recoveries.

    `closed_gaps` are the ids of the gaps with an outcome of any kind.
    """

    provider: str
    symbol: str
    session_date: str
    intervals: Sequence[Interval]
    pieces: Sequence[Piece] = ()
    bars: Sequence[MinuteBarRecovered] = ()
    gaps: Sequence[GapDetected] = ()
    closed_gaps: frozenset[str] = frozenset()


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
    lies in the gap and was not streamed. Minute bars count up to the volume that the trades leave missing in their gap:
    the first and last bar include streamed trades.
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
        if piece.gap_id in gaps and (part := clipped(_span(piece), gaps[piece.gap_id])) is not None
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
    """Trades of the interval that were received after it."""
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
    """By id, each gap's span without the overlap with earlier ones: a gap that was detected twice is filled once."""
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
    one_by_one = sum(balance.one_by_one for balance in balances)
    conflated = sum(balance.conflated for balance in balances)
    recovered = sum(balance.recovered for balance in balances)
    from_bars = sum(balance.from_bars for balance in balances)
    missing = sum(balance.difference for balance in balances)
    gap_ids = {gap.gap_id for gap in day.gaps}
    open_gaps = len(gap_ids - day.closed_gaps)
    is_whole = conflated + from_bars + missing <= VOLUME_NOISE and all(balance.unseen == 0 for balance in balances)
    quality: Quality = (
        _quality_unstreamed(day, recovered, is_whole=is_whole)
        if one_by_one + conflated <= VOLUME_NOISE
        else _quality_streamed(recovered, is_whole=is_whole)
    )
    detail = _detail(balances)
    if one_by_one + conflated <= VOLUME_NOISE:
        detail.insert(0, "did not trade" if quality == "complete" else "nothing was streamed")
    return QualityJudged(
        day.provider, day.symbol, day.session_date, now_ns, quality, "; ".join(detail),
        seconds_of(day.intervals),
        _streamed_count(day), one_by_one + conflated, recovered + from_bars, conflated, missing,
        len(gap_ids), open_gaps,
    )  # fmt: skip


def _detail(balances: Sequence[_Balance]) -> list[str]:
    unseen = [balance.unseen for balance in balances]
    amounts: Mapping[str, float] = {
        "kept as conflated rows": sum(balance.conflated for balance in balances),
        "known as minute bars only": sum(balance.from_bars for balance in balances),
        "not known": sum(balance.difference for balance in balances),
        "missing outside of every recorded gap": sum(balance.unrecorded for balance in balances),
        "more at most, before an unobserved end": sum(filter(None, unseen)),
    }
    detail = [f"{volume:,.15g} shares {what}" for what, volume in amounts.items() if abs(volume) > VOLUME_NOISE]
    return [*detail, "the end is unobserved or unknown"] if None in unseen else detail


def _quality_streamed(recovered: float, *, is_whole: bool) -> Quality:
    if not is_whole:
        return "degraded"
    return "recovered" if recovered > VOLUME_NOISE else "complete"


def _quality_unstreamed(day: SymbolDay, recovered: float, *, is_whole: bool) -> Quality:
    """Quality without streamed trades: complete only if Track A observed no trading."""
    if not day.gaps and day.intervals and all(_is_silent(interval) for interval in day.intervals):
        return "complete"
    return "recovered" if recovered > VOLUME_NOISE and is_whole else "missing"


def _is_silent(interval: Interval) -> bool:
    """Whether volume observations show no trade from before to after the interval (in it, if none follows)."""
    seen = interval.observed
    latest = seen.last if seen.after is None and interval.has_end else seen.after
    return seen.before is not None and latest is not None and latest - seen.before <= VOLUME_NOISE


def _streamed_count(day: SymbolDay) -> int:
    """The number of streamed trades stored one by one, each once, in the intervals."""
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


# --- when a day is due, and which reports are stale ---

SETTLED_AFTER_NS: Final = 5 * NS_PER_MINUTE
"""After the end of Track B: the last trades and gaps are stored by then."""

AT_LATEST_AFTER_NS: Final = 35 * NS_PER_MINUTE
"""After the end of Track B: the day is then reconciled with gaps still open. Longer than five attempts at a gap."""


GAP_RATE_LIMIT: Final = 0.05
"""A day's gap rate stays below this. Requirement 004, Production Deployment Checklist: "Gap rate tracking (< 5%)"."""


class Closing(msgspec.Struct, frozen=True):
    """The last outcome of a gap of this symbol."""

    symbol: str
    closed_ns: int


def outdated(
    reports: Collection[QualityJudged], closings: Iterable[Closing], seconds: Mapping[str, float]
) -> frozenset[str]:
    """Symbols whose stored quality report is stale.

    A report is stale if a gap was closed after it, if a gap that it counts as open is closed now (the outcome was on
    its way into the database), or if the streamed time differs because a slot event arrived late.

    Args:
        reports: quality reports of the day.
        closings: of the day's gaps.
        seconds: each symbol's streamed time; empty while the day is streamed.
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
    return frozenset((*in_other_times, *behind_gaps))


def is_due(stream_ended_ns: int, open_gaps: int, now_ns: int) -> bool:
    """Whether to reconcile the day now: a delay after the end of its stream, once no gap is open, or at a later
    deadline.
    """
    since_end_ns = now_ns - stream_ended_ns
    return since_end_ns >= AT_LATEST_AFTER_NS or (since_end_ns >= SETTLED_AFTER_NS and open_gaps == 0)


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
