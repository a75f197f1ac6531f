"""The token bucket: over any time span, at most rate times span plus the burst."""

import asyncio
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from observer.base.units import NS_PER_S
from observer.reference.sectors.yahoo import TokenBucket


class SteppingClock:
    """A clock that is where the last sleeper wanted it to be."""

    def __init__(self):
        self.time_ns = 1_000_000 * NS_PER_S

    def now_ns(self):
        return self.time_ns

    async def sleep_until(self, moment_ns):
        self.time_ns = max(self.time_ns, moment_ns)

    async def sleep(self, market_seconds):
        self.time_ns += round(market_seconds * NS_PER_S)


def times_of(pauses, rate_per_s, burst):
    async def body():
        clock = SteppingClock()
        bucket = TokenBucket(clock, rate_per_s=rate_per_s, burst=burst)
        taken = []
        for pause_s in pauses:
            await clock.sleep(pause_s)
            await bucket.take()
            taken.append(clock.now_ns())
        return taken

    return asyncio.run(body())


def test_a_rate_of_one_a_second_spaces_tokens_by_a_second():
    taken = times_of([0] * 5, 1.0, 1)
    assert [later - earlier for earlier, later in pairwise(taken)] == [NS_PER_S] * 4


def test_a_burst_is_available_at_once_after_a_pause():
    taken = times_of([0, 100, 0, 0, 0], 1.0, 3)
    assert [later - earlier for earlier, later in pairwise(taken)] == [100 * NS_PER_S, 0, 0, NS_PER_S]


@given(st.lists(st.floats(0, 5), min_size=2, max_size=30), st.sampled_from([0.5, 1.0, 20.0]), st.integers(1, 4))
def test_no_interval_has_more_tokens_than_the_burst_and_its_rate(pauses, rate_per_s, burst):
    taken = times_of(pauses, rate_per_s, burst)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            seconds = (taken[last] - taken[first]) / NS_PER_S
            assert last - first + 1 <= burst + seconds * rate_per_s + 1e-6
