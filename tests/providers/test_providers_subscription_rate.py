"""How many registrations and removals may be sent: so many a minute, and a connection's first ones without a wait."""

from hypothesis import given
from hypothesis import strategies as st

from observer.providers.budget import ChangeBudget

S = 10**9
MINUTE_NS = 60 * S


def spent(budget, count, now_ns=0):
    for _ in range(count):
        assert budget.allowed_ns(now_ns) == now_ns
        budget.spend(now_ns)
    return budget


def test_what_is_beyond_the_budget_waits_until_the_oldest_change_is_a_minute_old():
    budget = ChangeBudget(changes_per_minute=3, burst=0)
    spent(budget, 1, 0)
    spent(budget, 2, 10 * S)
    assert budget.allowed_ns(20 * S) == MINUTE_NS
    spent(budget, 1, MINUTE_NS)
    assert budget.allowed_ns(MINUTE_NS) == MINUTE_NS + 10 * S


def test_a_new_connection_registers_everything_again_without_a_wait():
    budget = spent(ChangeBudget(changes_per_minute=3, burst=2), 3)
    assert budget.allowed_ns(0) == MINUTE_NS
    budget.connected()
    spent(budget, 2)
    assert budget.allowed_ns(0) == MINUTE_NS


def test_the_changes_of_a_burst_count_too():
    budget = spent(ChangeBudget(changes_per_minute=3, burst=3), 3)
    assert budget.allowed_ns(S) == MINUTE_NS


waits = st.lists(st.tuples(st.integers(0, 30 * S), st.booleans()), max_size=150)


@given(waits, st.integers(1, 20), st.integers(0, 10))
def test_no_minute_has_more_changes_than_the_budget_and_the_bursts_of_its_connections(waits, per_minute, burst):
    budget, now_ns = ChangeBudget(per_minute, burst), 0
    changes, connections = [], [0]
    for wait_ns, reconnects in waits:
        if reconnects:
            budget.connected()
            connections.append(now_ns)
        allowed_ns = budget.allowed_ns(now_ns)
        assert now_ns <= allowed_ns <= now_ns + MINUTE_NS
        now_ns = allowed_ns
        budget.spend(now_ns)
        changes.append(now_ns)
        now_ns += wait_ns
    for start in changes:
        made = sum(1 for moment in changes if start <= moment < start + MINUTE_NS)
        opened = sum(1 for moment in connections if start < moment < start + MINUTE_NS)
        assert made <= per_minute + burst * (opened + 1)  # one was open when the minute began
