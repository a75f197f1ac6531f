"""A token bucket on our clock, for one process: so many requests a second, and so many at once after a pause.

The brokers' limits are shared by several processes and have priorities (`observer.accounts.limiter`); this is for a
source that one command asks.
"""

from observer.clock import Clock
from observer.units import NS_PER_S


class TokenBucket:
    """At most `burst` tokens at once, refilled at `rate_per_s` of market time. First come, first served."""

    def __init__(self, clock: Clock, *, rate_per_s: float, burst: int = 1) -> None:
        self._clock = clock
        self._interval_ns = round(NS_PER_S / rate_per_s)
        self._burst = burst
        self._full_ns = 0  # when the bucket is full again without further requests
        self.granted = 0

    async def take(self) -> None:
        """Return when this request may be sent."""
        now_ns = self._clock.now_ns()
        self._full_ns = max(self._full_ns, now_ns) + self._interval_ns
        self.granted += 1
        await self._clock.sleep_until(self._full_ns - self._burst * self._interval_ns)
