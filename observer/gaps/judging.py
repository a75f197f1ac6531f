"""When a day's books can be closed, and whose must be opened again. Pure."""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

import msgspec

from bus.events import QualityJudged

NS_PER_MINUTE: Final = 60 * 1_000_000_000

SETTLED_AFTER_NS: Final = 5 * NS_PER_MINUTE
"""After the end of Track B: by then the last trades and gaps are stored."""

AT_LATEST_AFTER_NS: Final = 35 * NS_PER_MINUTE
"""After the end of Track B: by then the books are closed with what is open. More than five attempts at a gap take."""


GAP_RATE_LIMIT: Final = 0.05
"""A day's gap rate stays below this. Requirement 004, Production Deployment Checklist: "Gap rate tracking (< 5%)"."""


class Closing(msgspec.Struct, frozen=True):
    """That a gap of this symbol got an outcome, by its last one."""

    symbol: str
    closed_ns: int


def outdated(
    verdicts: Collection[QualityJudged], closings: Iterable[Closing], seconds: Mapping[str, float]
) -> frozenset[str]:
    """The symbols of a day whose verdict, if there is one, does not know what is known now.

    Either of how their gaps ended: some were closed after it, or are closed now that it counts as open (they were on
    their way into the database when it was made). Or of when they were in the stream: what was told of a place came
    late.

    Args:
        verdicts: of the day.
        closings: of the day's gaps.
        seconds: how long each symbol was in the stream; empty while that goes on.
    """
    closed_ns: dict[str, list[int]] = {}
    for closing in closings:
        closed_ns.setdefault(closing.symbol, []).append(closing.closed_ns)
    judged_seconds = {verdict.symbol: verdict.seconds for verdict in verdicts}
    in_other_times = (symbol for symbol, each in seconds.items() if judged_seconds.get(symbol) != each)
    behind_gaps = (
        verdict.symbol
        for verdict in verdicts
        if (ended := closed_ns.get(verdict.symbol))
        and (max(ended) > verdict.judged_ns or len(ended) > verdict.gaps - verdict.gaps_open)
    )
    return frozenset((*in_other_times, *behind_gaps))


def is_due(stream_ended_ns: int, open_gaps: int, now_ns: int) -> bool:
    """Whether to judge the day now: a while after its stream has ended, once no gap is open, or at the latest later."""
    since_end_ns = now_ns - stream_ended_ns
    return since_end_ns >= AT_LATEST_AFTER_NS or (since_end_ns >= SETTLED_AFTER_NS and open_gaps == 0)


def gap_rate(verdicts: Iterable[QualityJudged]) -> float | None:
    """Which part of what was traded in the stream's time the stream did not bring, recovered later or not; None when
    there was no trading.
    """
    streamed = missed = 0.0
    for verdict in verdicts:
        streamed += verdict.streamed_volume
        missed += verdict.recovered_volume + verdict.missing_volume
    return missed / (streamed + missed) if streamed + missed else None


def gap_rate_alert(session_date: str, verdicts: Collection[QualityJudged]) -> str | None:
    """What to tell of a day whose gap rate is too high; None while it is not."""
    rate = gap_rate(verdicts)
    if rate is None or rate < GAP_RATE_LIMIT:
        return None
    most = max(verdicts, key=lambda verdict: verdict.recovered_volume + verdict.missing_volume)
    return (
        f"{session_date}: the stream did not bring {rate:.1%} of the volume traded in its symbols, {GAP_RATE_LIMIT:.0%}"
        f" is the limit (gap rate); most of {most.symbol}; `observer quality {session_date}` tells more"
    )
