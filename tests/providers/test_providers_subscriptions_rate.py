"""How many subscriptions and removals may be sent: so many a minute, and a connection's first ones without a wait."""

from hypothesis import given
from hypothesis import strategies as st

from observer.providers.subscriptions import SubscriptionRateLimiter

S = 10**9
MINUTE_NS = 60 * S


def spent(limiter, count, now_ns=0):
    for _ in range(count):
        assert limiter.allowed_ns(now_ns) == now_ns
        limiter.spend(now_ns)
    return limiter


def test_a_change_beyond_the_rate_limit_waits_until_the_oldest_change_is_a_minute_old():
    limiter = SubscriptionRateLimiter(changes_per_minute=3, burst=0)
    spent(limiter, 1, 0)
    spent(limiter, 2, 10 * S)
    assert limiter.allowed_ns(20 * S) == MINUTE_NS
    spent(limiter, 1, MINUTE_NS)
    assert limiter.allowed_ns(MINUTE_NS) == MINUTE_NS + 10 * S


def test_a_new_connection_registers_everything_again_without_a_wait():
    limiter = spent(SubscriptionRateLimiter(changes_per_minute=3, burst=2), 3)
    assert limiter.allowed_ns(0) == MINUTE_NS
    limiter.connected()
    spent(limiter, 2)
    assert limiter.allowed_ns(0) == MINUTE_NS


def test_the_changes_of_a_burst_count_too():
    limiter = spent(SubscriptionRateLimiter(changes_per_minute=3, burst=3), 3)
    assert limiter.allowed_ns(S) == MINUTE_NS


waits = st.lists(st.tuples(st.integers(0, 30 * S), st.booleans()), max_size=150)


@given(waits, st.integers(1, 20), st.integers(0, 10))
def test_no_minute_has_more_changes_than_the_limiter_and_the_bursts_of_its_connections(waits, per_minute, burst):
    limiter, now_ns = SubscriptionRateLimiter(per_minute, burst), 0
    changes, connections = [], [0]
    for wait_ns, reconnects in waits:
        if reconnects:
            limiter.connected()
            connections.append(now_ns)
        allowed_ns = limiter.allowed_ns(now_ns)
        assert now_ns <= allowed_ns <= now_ns + MINUTE_NS
        now_ns = allowed_ns
        limiter.spend(now_ns)
        changes.append(now_ns)
        now_ns += wait_ns
    for start in changes:
        made = sum(1 for moment in changes if start <= moment < start + MINUTE_NS)
        opened = sum(1 for moment in connections if start < moment < start + MINUTE_NS)
        assert made <= per_minute + burst * (opened + 1)  # one was open when the minute began
