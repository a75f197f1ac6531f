"""How many subscriptions and removals may be sent: so many a minute, what was saved, and a connection's first ones."""

from hypothesis import given
from hypothesis import strategies as st

from observer.brokers.dialect import Subscription
from observer.brokers.subscriptions import Step, SubscriptionRateLimiter, Subscriptions
from tests.reach import reaches

S = 10**9
MINUTE_NS = 60 * S
REGISTER, UNREGISTER = Step("register", Subscription("trades", "A")), Step("unregister", Subscription("trades", "B"))


def spent(limiter, count, now_ns=0):
    for _ in range(count):
        assert limiter.allowed_ns(now_ns, REGISTER) == now_ns
        limiter.spend(now_ns)
    return limiter


def test_a_change_beyond_the_saved_ones_waits_for_its_share_of_a_minute():
    limiter = spent(SubscriptionRateLimiter(changes_per_minute=4, burst=3), 3)
    assert limiter.allowed_ns(S, REGISTER) == 15 * S
    limiter.spend(15 * S)
    assert limiter.allowed_ns(15 * S, REGISTER) == 30 * S


def test_a_removal_waits_until_the_subscription_in_its_place_is_allowed_too():
    limiter = spent(SubscriptionRateLimiter(changes_per_minute=4, burst=3), 3)
    assert limiter.allowed_ns(0, UNREGISTER) == 30 * S
    limiter.spend(30 * S)
    assert limiter.allowed_ns(30 * S, REGISTER) == 30 * S


def test_what_a_quiet_time_saves_is_used_at_once_and_no_more_than_a_burst():
    limiter = spent(SubscriptionRateLimiter(changes_per_minute=4, burst=3), 3)
    spent(limiter, 2, 30 * S)
    spent(limiter, 3, 10 * MINUTE_NS)
    assert limiter.allowed_ns(10 * MINUTE_NS, REGISTER) == 10 * MINUTE_NS + 15 * S


def test_a_new_connection_registers_everything_again_without_a_wait():
    limiter = spent(SubscriptionRateLimiter(changes_per_minute=3, burst=2), 2)
    assert limiter.allowed_ns(0, REGISTER) > 0
    limiter.connected()
    spent(limiter, 2)


SLOTS = 4
turns = st.lists(
    st.tuples(st.integers(0, 90 * S), st.permutations("ABCDEFGH").map(lambda names: names[:SLOTS]), st.integers(0, 9)),
    min_size=5,
    max_size=60,
)


@reaches(changes=299, replaced=61, waited=251, reconnected=21, full_minute=229)
@given(turns=turns, per_minute=st.integers(1, 12))
def test_no_minute_has_more_changes_than_allowed_and_the_most_important_lines_are_subscribed_in_the_end(
    turns, per_minute, reach
):
    """Surges that want ever other lines: the changes of one connection, sent as soon as they are allowed."""
    client, limiter, now_ns = Subscriptions(SLOTS, ["trades"]), SubscriptionRateLimiter(per_minute, SLOTS), 0
    changes, connections = [], [0]

    def work_off(until_ns, now_ns):
        while (step := client.next_step()) is not None:
            allowed_ns = limiter.allowed_ns(now_ns, step)
            reach.count("waited", allowed_ns > now_ns)
            if allowed_ns > until_ns:
                return
            now_ns = allowed_ns
            limiter.spend(now_ns)
            changes.append(now_ns)
            reach.count("changes")
            reach.count("replaced", step.action == "unregister")
            (client.note_subscribed if step.action == "register" else client.note_unsubscribed)(step.subscription)
            assert len(client) <= SLOTS

    for wait_ns, wanted, luck in turns:
        if luck == 0:
            client.lose_all()
            limiter.connected()
            connections.append(now_ns)
            reach.count("reconnected")
        client.want(wanted)
        work_off(now_ns + wait_ns, now_ns)
        now_ns += wait_ns
    work_off(now_ns + 2 * SLOTS * MINUTE_NS, now_ns)
    assert client.symbols == set(wanted)
    for start in changes:
        made = sum(1 for moment in changes if start <= moment < start + MINUTE_NS)
        opened = sum(1 for moment in connections if start <= moment < start + MINUTE_NS)
        reach.count("full_minute", made >= per_minute)
        assert made <= per_minute + SLOTS * (opened + 1)
