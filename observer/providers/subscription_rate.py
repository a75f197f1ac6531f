"""Limits the subscriptions and removals of an account. Pure.

The broker is reported to block keys that re-subscribe in loops (issue 6, "Reconnect"), so requests beyond the budget
wait, the most important first.
"""

from collections import deque

from observer.units import NS_PER_MINUTE


class SubscriptionRateLimiter:
    """At most `changes_per_minute` in any minute of market time, beside the first `burst` changes of a connection.

    Every change counts, but the first ones do not wait, because a slot without a subscription after a reconnection is a
    gap. So no minute has more than `changes_per_minute` + `burst` for each connection that was open in it, and
    `backoff.py` keeps those few.
    """

    def __init__(self, changes_per_minute: int, burst: int) -> None:
        self._burst = burst
        self._burst_left = burst
        self._sent_ns: deque[int] = deque(maxlen=changes_per_minute)  # the latest changes, oldest first

    def connected(self) -> None:
        """Record a new connection: it needs all subscriptions again."""
        self._burst_left = self._burst

    def spend(self, now_ns: int) -> None:
        """Record a change."""
        self._burst_left = max(0, self._burst_left - 1)
        self._sent_ns.append(now_ns)

    def allowed_ns(self, now_ns: int) -> int:
        """The time of the next allowed change; `now_ns` if it is allowed now."""
        if self._burst_left > 0 or len(self._sent_ns) < (self._sent_ns.maxlen or 0):
            return now_ns
        return max(now_ns, self._sent_ns[0] + NS_PER_MINUTE)
