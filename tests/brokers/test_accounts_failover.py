"""When an account's symbols move: not after a short loss, and not before the account had time to connect."""

from hypothesis import given
from hypothesis import strategies as st

from observer.brokers.accounts.failover import StreamOutages

NS = 1_000_000_000


def outages(now_s=0):
    return StreamOutages(["main", "second"], now_s * NS, after_s=30)


def test_an_account_has_time_to_connect_for_the_first_time():
    watched = outages(now_s=5)
    watched.came_up("second", 5 * NS)
    assert watched.closed(34 * NS) == frozenset()
    assert watched.closed(35 * NS) == {"main"}


def test_no_account_closes_while_no_stream_is_up_and_each_has_time_once_the_first_one_is():
    watched = outages(now_s=5)
    watched.came_up("second", 5 * NS)
    watched.went_down("second", 20 * NS)
    assert watched.closed(40 * NS) == frozenset(), "its symbols would move to an account without a stream"
    assert watched.closed(90 * NS) == frozenset(), "an outage of the broker"
    watched.came_up("second", 91 * NS)
    assert watched.closed(120 * NS) == frozenset(), "the others come up at other moments"
    assert watched.closed(121 * NS) == {"main"}


def test_a_closed_account_stays_closed_while_no_stream_is_up():
    watched = outages()
    watched.came_up("second", 0)
    assert watched.closed(30 * NS) == {"main"}
    watched.went_down("second", 40 * NS)
    assert watched.closed(90 * NS) == {"main"}
    watched.came_up("main", 110 * NS)
    assert watched.closed(139 * NS) == frozenset()
    assert watched.closed(140 * NS) == {"second"}


def test_an_account_closed_by_an_earlier_process_stays_closed_until_its_stream_comes_up():
    watched = outages(now_s=5)
    watched.came_up("second", 5 * NS)
    watched.stay_down(["main", "second", "removed"])
    assert watched.closed(5 * NS) == {"main"}
    assert watched.closed(6 * NS) == {"main"}
    watched.came_up("main", 0)
    assert watched.closed(6 * NS) == frozenset()


def test_a_moments_loss_closes_nothing():
    watched = outages()
    watched.came_up("main", 0)
    watched.came_up("second", 0)
    watched.went_down("main", 100 * NS)
    assert watched.closed(129 * NS) == frozenset()
    assert watched.closed(130 * NS) == {"main"}


def test_failed_reconnection_attempts_do_not_restart_the_outage_timer():
    watched = outages()
    watched.came_up("main", 0)
    watched.came_up("second", 0)
    watched.went_down("main", 100 * NS)
    watched.went_down("main", 125 * NS)
    assert watched.closed(130 * NS) == {"main"}


def test_an_account_whose_stream_is_back_is_open():
    watched = outages()
    watched.came_up("second", 0)
    assert watched.closed(30 * NS) == {"main"}
    watched.came_up("main", 0)
    assert watched.closed(30 * NS) == frozenset()


@given(st.lists(st.tuples(st.sampled_from(["up", "down"]), st.integers(1, 40)), max_size=20))
def test_an_account_is_closed_exactly_after_thirty_seconds_without_stream(steps):
    watched = outages()
    watched.came_up("second", 0)
    now_s = 0
    down: int | None = 0
    for kind, wait_s in steps:
        if kind == "up":
            watched.came_up("main", now_s * NS)
            down = None
        else:
            watched.went_down("main", now_s * NS)
            down = now_s if down is None else down
        now_s += wait_s
        assert ("main" in watched.closed(now_s * NS)) == (down is not None and now_s - down >= 30)
