"""When a day's books can be closed. Pure."""

from typing import Final

NS_PER_MINUTE: Final = 60 * 1_000_000_000

SETTLED_AFTER_NS: Final = 5 * NS_PER_MINUTE
"""After the end of Track B: by then the last trades and gaps are stored."""

AT_LATEST_AFTER_NS: Final = 35 * NS_PER_MINUTE
"""After the end of Track B: by then the books are closed with what is open. More than five attempts at a gap take."""


def is_due(stream_ended_ns: int, open_gaps: int, now_ns: int) -> bool:
    """Whether to judge the day now: a while after its stream has ended, once no gap is open, or at the latest later."""
    since_end_ns = now_ns - stream_ended_ns
    return since_end_ns >= AT_LATEST_AFTER_NS or (since_end_ns >= SETTLED_AFTER_NS and open_gaps == 0)
