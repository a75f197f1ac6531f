"""When a day's quality reports are due, which of them are stale, and the day's gap rate. Pure."""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

import msgspec

from bus.events import QualityJudged
from observer.base.units import NS_PER_MINUTE

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
