"""The day's books of a symbol: does what was streamed and recovered add up to what the exchange counted? Pure.

Every trade names the day's volume after it, so it stands for one span of that volume, and so does a row of conflated
trades. What no span covers between the first and the last trade of a time in the stream is missing, to the share.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from bus.events import BooksChecked, GapDetected, MinuteBarRecovered, QualityJudged, SlotAssigned, SlotReleased

Verdict = Literal["complete", "recovered", "degraded", "missing"]
Span = tuple[float, float]
"""Of the day's cumulative volume: above the first, up to the second."""

NS_PER_S: Final = 1_000_000_000
# See the detector: the noise of sums of fractional volumes.
_VOLUME_NOISE: Final = 1e-6
_MOVED: Final = frozenset({"moved", "moved_home"})  # reasons of `observer.selection.slots`


class Interval(msgspec.Struct, frozen=True):
    """An unbroken time of a symbol in the stream, [from, to] in UTC nanoseconds.

    `traded_volume` is how much the day's volume grew in it by the snapshots of Track A; None when they do not tell.
    """

    from_ns: int
    to_ns: int
    traded_volume: float | None = None


class Piece(msgspec.Struct, frozen=True, gc=False):
    """A trade, or a row of conflated ones: its volume, and the day's after it. `gap_id` names what it was recovered
    for; None: it was streamed.
    """

    received_ns: int
    volume: float
    cumulative_volume: float
    conflated: bool = False
    gap_id: str | None = None


class SymbolDay(msgspec.Struct, frozen=True, kw_only=True):
    """All that is stored of one symbol's day: where it was in the stream, what came, what was missed and recovered.

    `closed_gaps` are the ids of the gaps with an outcome, whichever.
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
    """One interval's volumes; `from_bars` is known as minute bars only, `unrecorded` lies outside of every gap."""

    after: float = 0.0
    before: float = 0.0
    one_by_one: float = 0.0
    conflated: float = 0.0
    recovered: float = 0.0
    from_bars: float = 0.0
    unrecorded: float = 0.0

    @property
    def difference(self) -> float:
        """What is neither streamed nor recovered."""
        accounted = self.one_by_one + self.conflated + self.recovered + self.from_bars
        return _without_noise(self.before - self.after - accounted)


def intervals(changes: Iterable[SlotAssigned | SlotReleased], closes_ns: int) -> dict[str, list[Interval]]:
    """By symbol, the unbroken times in which it had a place; `changes` in the order in which they were decided.

    Whoever still has a place is in the stream until `closes_ns`. A place given to another symbol is lost to its
    holder; a move to another account at one moment breaks nothing.
    """
    holders: dict[str, str] = {}
    since_ns: dict[str, int] = {}
    found: dict[str, list[Interval]] = {}

    def leave(slot: str, symbol: str, at_ns: int) -> None:
        del holders[slot]
        if symbol not in holders.values():
            found.setdefault(symbol, []).append(Interval(since_ns.pop(symbol), at_ns))

    for change in changes:
        holder = holders.get(change.slot)
        if isinstance(change, SlotReleased):
            if holder == change.symbol:
                leave(change.slot, change.symbol, change.released_ns)
            continue
        if holder not in (None, change.symbol):
            leave(change.slot, str(holder), change.assigned_ns)
        holders[change.slot] = change.symbol
        if change.symbol not in since_ns:
            since_ns[change.symbol] = _begin(change, found.get(change.symbol, []))
    for symbol, from_ns in since_ns.items():
        found.setdefault(symbol, []).append(Interval(from_ns, max(from_ns, closes_ns)))
    return found


def _begin(assigned: SlotAssigned, earlier: list[Interval]) -> int:
    """Since when the symbol is in the stream: a move goes on with the interval that ended at the same moment."""
    if assigned.reason in _MOVED and earlier and earlier[-1].to_ns == assigned.assigned_ns:
        return earlier.pop().from_ns
    return assigned.assigned_ns


def reconcile(day: SymbolDay, now_ns: int) -> tuple[list[BooksChecked], QualityJudged]:
    """The books of each interval, and the verdict on the day.

    What was received outside of every interval (a trade on its way while the symbol was released) is in no books. A
    gap belongs to the last interval that had begun when it was detected, and what was recovered for it counts as far as
    it lies in the gap and was not streamed. Minute bars count up to what the trades leave missing of their gap: their
    edges hold streamed trades too.
    """
    balances = [_balance(day, index) for index in range(len(day.intervals))]
    books = [
        BooksChecked(
            day.provider, day.symbol, day.session_date, now_ns, interval.from_ns, interval.to_ns,
            balance.after, balance.before, balance.one_by_one + balance.conflated,
            balance.recovered + balance.from_bars, balance.difference,
        )
        for interval, balance in zip(day.intervals, balances, strict=True)
    ]  # fmt: skip
    return books, _judged(day, balances, now_ns)


def _balance(day: SymbolDay, index: int) -> _Balance:
    interval = day.intervals[index]
    gaps = _disjoint(gap for gap in day.gaps if _interval_of(gap, day.intervals) == index)
    streamed = [
        piece
        for piece in day.pieces
        if piece.gap_id is None and interval.from_ns <= piece.received_ns <= interval.to_ns
    ]
    ends = [_span(piece) for piece in streamed] + list(gaps.values())
    if not ends:
        return _Balance()
    singles = _merged(_span(piece) for piece in streamed if not piece.conflated)
    with_conflated = _merged(_span(piece) for piece in streamed)
    recovered = [
        clipped
        for piece in day.pieces
        if piece.gap_id in gaps and (clipped := _clipped(_span(piece), gaps[piece.gap_id])) is not None
    ]
    covered = _merged([*with_conflated, *recovered])
    after, before = min(start for start, _ in ends), max(end for _, end in ends)
    return _Balance(
        after,
        before,
        _length(singles),
        _length(with_conflated) - _length(singles),
        _length(covered) - _length(with_conflated),
        sum(_from_bars(day.bars, gap_id, span, covered) for gap_id, span in gaps.items()),
        _without_noise(before - after - _length(_merged([*with_conflated, *gaps.values()]))),
    )


def _interval_of(gap: GapDetected, candidates: Sequence[Interval]) -> int:
    """The last interval that had begun when the gap was detected; the first when none had."""
    begun = [index for index, interval in enumerate(candidates) if interval.from_ns <= gap.detected_ns]
    return begun[-1] if begun else 0


def _disjoint(gaps: Iterable[GapDetected]) -> dict[str, Span]:
    """By id, each gap's span without what an earlier one has: a gap that was found twice is filled once."""
    spans: dict[str, Span] = {}
    reached = float("-inf")
    for gap in sorted(gaps, key=lambda gap: (gap.after_volume, gap.before_volume)):
        start = max(gap.after_volume, reached)
        if gap.gap_id not in spans and gap.before_volume > start:
            spans[gap.gap_id] = (start, gap.before_volume)
            reached = gap.before_volume
    return spans


def _from_bars(bars: Iterable[MinuteBarRecovered], gap_id: str, gap: Span, covered: Sequence[Span]) -> float:
    """What the gap's minute bars add to the trades that are there."""
    minutes = {bar.minute_start_ns: bar.volume for bar in bars if bar.gap_id == gap_id}
    inside = (_clipped(span, gap) for span in covered)
    missing = gap[1] - gap[0] - _length(span for span in inside if span is not None)
    return min(sum(minutes.values()), max(0.0, _without_noise(missing)))


def _judged(day: SymbolDay, balances: Sequence[_Balance], now_ns: int) -> QualityJudged:
    one_by_one = sum(balance.one_by_one for balance in balances)
    conflated = sum(balance.conflated for balance in balances)
    recovered = sum(balance.recovered for balance in balances)
    from_bars = sum(balance.from_bars for balance in balances)
    missing = sum(balance.difference for balance in balances)
    gap_ids = {gap.gap_id for gap in day.gaps}
    open_gaps = len(gap_ids - day.closed_gaps)
    verdict: Verdict = (
        _verdict_unstreamed(day, recovered, from_bars + missing)
        if one_by_one + conflated <= _VOLUME_NOISE
        else _verdict_streamed(conflated + from_bars + missing, recovered)
    )
    amounts: Mapping[str, float] = {
        "kept as conflated rows": conflated,
        "known as minute bars only": from_bars,
        "not known": missing,
        "missing outside of every recorded gap": sum(balance.unrecorded for balance in balances),
    }
    detail = [f"{volume:,.15g} shares {what}" for what, volume in amounts.items() if abs(volume) > _VOLUME_NOISE]
    if one_by_one + conflated <= _VOLUME_NOISE:
        detail.insert(0, "did not trade" if verdict == "complete" else "nothing was streamed")
    return QualityJudged(
        day.provider, day.symbol, day.session_date, now_ns, verdict, "; ".join(detail),
        sum(interval.to_ns - interval.from_ns for interval in day.intervals) / NS_PER_S,
        _streamed_count(day), one_by_one + conflated, recovered + from_bars, conflated, missing,
        len(gap_ids), open_gaps,
    )  # fmt: skip


def _verdict_streamed(known_badly: float, recovered: float) -> Verdict:
    if known_badly > _VOLUME_NOISE:
        return "degraded"
    return "recovered" if recovered > _VOLUME_NOISE else "complete"


def _verdict_unstreamed(day: SymbolDay, recovered: float, known_badly: float) -> Verdict:
    """Nothing came: complete only when Track A saw that there was nothing."""
    if not day.gaps and day.intervals and all(interval.traded_volume == 0 for interval in day.intervals):
        return "complete"
    return "recovered" if recovered > _VOLUME_NOISE and known_badly <= _VOLUME_NOISE else "missing"


def _streamed_count(day: SymbolDay) -> int:
    """Trades that were streamed and kept one by one, each once, in the intervals."""
    inside = {
        piece.cumulative_volume
        for piece in day.pieces
        if piece.gap_id is None
        and not piece.conflated
        and any(interval.from_ns <= piece.received_ns <= interval.to_ns for interval in day.intervals)
    }
    return len(inside)


# --- spans ---------------------------------------------------------------------------------------------------


def _span(piece: Piece) -> Span:
    return piece.cumulative_volume - piece.volume, piece.cumulative_volume


def _merged(spans: Iterable[Span]) -> list[Span]:
    """The same volume in disjoint spans, in order."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _clipped(span: Span, bounds: Span) -> Span | None:
    start, end = max(span[0], bounds[0]), min(span[1], bounds[1])
    return (start, end) if start < end else None


def _length(spans: Iterable[Span]) -> float:
    return sum(end - start for start, end in spans)


def _without_noise(volume: float) -> float:
    return 0.0 if abs(volume) <= _VOLUME_NOISE else volume
