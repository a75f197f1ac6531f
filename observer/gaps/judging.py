"""When a day's books can be closed, and whose must be opened again. Pure."""

from collections.abc import Iterable
from typing import Final

import msgspec

from bus.events import QualityJudged

NS_PER_MINUTE: Final = 60 * 1_000_000_000

SETTLED_AFTER_NS: Final = 5 * NS_PER_MINUTE
"""After the end of Track B: by then the last trades and gaps are stored."""

AT_LATEST_AFTER_NS: Final = 35 * NS_PER_MINUTE
"""After the end of Track B: by then the books are closed with what is open. More than five attempts at a gap take."""


DAYS_BACK: Final = 7
"""So many days before today are looked at again: as many as gaps are filled of."""


class Closing(msgspec.Struct, frozen=True):
    """That a gap of this symbol got an outcome, by its last one."""

    symbol: str
    closed_ns: int


def outdated(verdicts: Iterable[QualityJudged], closings: Iterable[Closing]) -> frozenset[str]:
    """The symbols of a day whose verdict does not know how their gaps ended: some were closed after it, or are closed
    now that it counts as open (they were on their way into the database when it was made).
    """
    closed_ns: dict[str, list[int]] = {}
    for closing in closings:
        closed_ns.setdefault(closing.symbol, []).append(closing.closed_ns)
    return frozenset(
        verdict.symbol
        for verdict in verdicts
        if (ended := closed_ns.get(verdict.symbol))
        and (max(ended) > verdict.judged_ns or len(ended) > verdict.gaps - verdict.gaps_open)
    )


def is_due(stream_ended_ns: int, open_gaps: int, now_ns: int) -> bool:
    """Whether to judge the day now: a while after its stream has ended, once no gap is open, or at the latest later."""
    since_end_ns = now_ns - stream_ended_ns
    return since_end_ns >= AT_LATEST_AFTER_NS or (since_end_ns >= SETTLED_AFTER_NS and open_gaps == 0)
