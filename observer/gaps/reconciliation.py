"""The day's books of a symbol: does what was streamed and recovered add up to what the exchange counted? Pure.

Every trade names the day's volume after it, so it stands for one span of that volume, and so does a row of conflated
trades. What no span covers between the first and the last trade of a time in the stream is missing, to the share.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from bus.events import BooksChecked, GapDetected, MinuteBarRecovered, QualityJudged
from observer.gaps.intervals import Interval, Witness, seconds_of
from observer.gaps.volumes import VOLUME_NOISE, Span, clipped, outside, total, united, without_noise

Verdict = Literal["complete", "recovered", "degraded", "missing"]


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
    """One interval's volumes; `from_bars` is known as minute bars only, `unrecorded` lies outside of every gap.

    `unseen`: how much more may have been traded before an end that nobody saw; None when nobody tells.
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
        """What is neither streamed nor recovered."""
        accounted = self.one_by_one + self.conflated + self.recovered + self.from_bars
        return without_noise(self.before - self.after - accounted)


def reconcile(day: SymbolDay, now_ns: int) -> tuple[list[BooksChecked], QualityJudged]:
    """The books of each interval, and the verdict on the day.

    The books reach as far as the trades, the gaps and what the snapshots of Track A, which do not depend on the stream,
    prove to have been traded within the interval: what they prove and neither a trade nor a gap holds is missing, too.
    Trades received outside of every interval (on their way while the symbol was released) count only as far as that.

    A gap belongs to the last interval that had begun when it was detected, and what was recovered for it counts as far
    as it lies in the gap and was not streamed. Minute bars count up to what the trades leave missing of their gap:
    their edges hold streamed trades too.
    """
    known = united([*(_span(piece) for piece in day.pieces if piece.gap_id is None), *map(_hole, day.gaps)])
    balances = [_balance(day, index, known) for index in range(len(day.intervals))]
    books = [
        BooksChecked(
            day.provider, day.symbol, day.session_date, now_ns, interval.from_ns, interval.to_ns,
            balance.after, balance.before, balance.one_by_one + balance.conflated,
            balance.recovered + balance.from_bars, balance.difference,
        )
        for interval, balance in zip(day.intervals, balances, strict=True)
    ]  # fmt: skip
    return books, _judged(day, balances, now_ns)


def _balance(day: SymbolDay, index: int, known: Sequence[Span]) -> _Balance:
    interval = day.intervals[index]
    gaps = _disjoint(gap for gap in day.gaps if _interval_of(gap, day.intervals) == index)
    own = [piece for piece in day.pieces if piece.gap_id is None and _is_within(piece, interval)]
    proven = _proven(interval.witness, [*map(_span, own), *gaps.values()])
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


def _proven(witness: Witness, ends: Sequence[Span]) -> Span | None:
    """What was traded while the symbol was heard, by what others saw; None when they do not tell. It was heard at its
    first trade, and when the first look at it was asked for.
    """
    begins = min((start for start, _ in ends), default=None)
    heard = [each for each in (begins, witness.first) if each is not None]
    if not heard or witness.last is None:
        return None
    span = min(heard), max(*heard, witness.last)
    return span if span[1] - span[0] > VOLUME_NOISE else None


def _on_their_way(day: SymbolDay, proven: Span | None) -> list[Piece]:
    """What was traded in the interval, and received after it."""
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
    """How much more than until `reached` may have been traded before the interval's end."""
    if interval.has_end:
        return 0.0
    begins = reached if reached is not None else interval.witness.before
    if begins is None or interval.witness.after is None:
        return None
    return max(0.0, without_noise(interval.witness.after - begins))


def _interval_of(gap: GapDetected, candidates: Sequence[Interval]) -> int:
    """The last interval that had begun when the gap was detected; the first when none had."""
    begun = [index for index, interval in enumerate(candidates) if interval.from_ns <= gap.detected_ns]
    return begun[-1] if begun else 0


def _disjoint(gaps: Iterable[GapDetected]) -> dict[str, Span]:
    """By id, each gap's span without what an earlier one has: a gap that was found twice is filled once."""
    spans: dict[str, Span] = {}
    reached = float("-inf")
    for gap in sorted(gaps, key=_hole):
        start = max(gap.after_volume, reached)
        if gap.gap_id not in spans and gap.before_volume > start:
            spans[gap.gap_id] = (start, gap.before_volume)
            reached = gap.before_volume
    return spans


def _from_bars(bars: Iterable[MinuteBarRecovered], gap_id: str, gap: Span, covered: Sequence[Span]) -> float:
    """What the gap's minute bars add to the trades that are there."""
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
    verdict: Verdict = (
        _verdict_unstreamed(day, recovered, is_whole=is_whole)
        if one_by_one + conflated <= VOLUME_NOISE
        else _verdict_streamed(recovered, is_whole=is_whole)
    )
    detail = _detail(balances)
    if one_by_one + conflated <= VOLUME_NOISE:
        detail.insert(0, "did not trade" if verdict == "complete" else "nothing was streamed")
    return QualityJudged(
        day.provider, day.symbol, day.session_date, now_ns, verdict, "; ".join(detail),
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
        "more at most, of an end that nobody saw": sum(filter(None, unseen)),
    }
    detail = [f"{volume:,.15g} shares {what}" for what, volume in amounts.items() if abs(volume) > VOLUME_NOISE]
    return [*detail, "nobody saw the end, or tells of it"] if None in unseen else detail


def _verdict_streamed(recovered: float, *, is_whole: bool) -> Verdict:
    if not is_whole:
        return "degraded"
    return "recovered" if recovered > VOLUME_NOISE else "complete"


def _verdict_unstreamed(day: SymbolDay, recovered: float, *, is_whole: bool) -> Verdict:
    """Nothing came: complete only when Track A saw that there was nothing."""
    if not day.gaps and day.intervals and all(_is_silent(interval) for interval in day.intervals):
        return "complete"
    return "recovered" if recovered > VOLUME_NOISE and is_whole else "missing"


def _is_silent(interval: Interval) -> bool:
    """Whether there was no trade from before the interval until after it; where nobody looked after it, in it."""
    seen = interval.witness
    latest = seen.last if seen.after is None and interval.has_end else seen.after
    return seen.before is not None and latest is not None and latest - seen.before <= VOLUME_NOISE


def _streamed_count(day: SymbolDay) -> int:
    """Trades that were streamed and kept one by one, each once, in the intervals."""
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


def _span(piece: Piece) -> Span:
    return piece.cumulative_volume - piece.volume, piece.cumulative_volume


def _hole(gap: GapDetected) -> Span:
    return gap.after_volume, gap.before_volume
