"""How many registrations and removals an account may send: courtesy to the broker. Pure.

The broker is reported to block keys that re-subscribe in loops (issue 6, "Reconnect"), so what triggers ask for beyond
the budget waits, the most important first.
"""

from collections import deque
from typing import Final

_MINUTE_NS: Final = 60 * 1_000_000_000


class ChangeBudget:
    """At most `changes_per_minute` in any minute of market time, beside the first `burst` changes of a connection.

    Every change counts; those first ones are merely not made to wait, because a place that is not registered again
    after a reconnection is a hole. So no minute has more than `changes_per_minute` + `burst` for each connection that
    was open in it, and those are few by themselves (see `patience.py`).
    """

    def __init__(self, changes_per_minute: int, burst: int) -> None:
        self._burst = burst
        self._burst_left = burst
        self._sent_ns: deque[int] = deque(maxlen=changes_per_minute)  # the latest changes, oldest first

    def connected(self) -> None:
        """A new connection: everything on it has to be registered again."""
        self._burst_left = self._burst

    def spend(self, now_ns: int) -> None:
        """A change is being sent."""
        self._burst_left = max(0, self._burst_left - 1)
        self._sent_ns.append(now_ns)

    def allowed_ns(self, now_ns: int) -> int:
        """The moment from which on the next change may be sent; `now_ns` if it may be now."""
        if self._burst_left > 0 or len(self._sent_ns) < (self._sent_ns.maxlen or 0):
            return now_ns
        return max(now_ns, self._sent_ns[0] + _MINUTE_NS)
