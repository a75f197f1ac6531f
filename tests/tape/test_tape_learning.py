"""Volumes count when Track B has evaluated them, and none of a line while it streams."""

from bus.events import SlotAssigned, SlotReleased
from observer.tape.learning import SETTLED_NS, Learning, claims_of
from observer.tape.planner import TapePlanner
from observer.units import NS_PER_S
from tests.selection.builders import seen

A, B = "000001", "000002"
S = NS_PER_S


def snapshot(symbol, second, volume, venue="KRX"):
    return seen(symbol, float(volume), session_date="2026-11-18", receive_time_ns=second * S, venue=venue)


def assigned(symbol, second):
    return SlotAssigned("a:01", symbol, second * S, "volume_surge", 1.0, "free_slot", None)


def released(symbol, second):
    return SlotReleased("a:01", symbol, second * S, 1.0, "expired")


def learned(volumes, changes=(), evaluated=10**6, now=10**6, lines=(), preroll=600.0):
    planner = TapePlanner(30)
    learning = Learning(planner, lines, preroll, 0)
    learning.learn(volumes, claims_of(changes), evaluated * S, now * S)
    return planner


def limit(planner, symbol):
    return planner.chain(symbol).limit


def test_a_volume_counts_when_it_is_evaluated():
    planner = learned([snapshot(A, 100, 10), snapshot(A, 700, 50)], evaluated=105, now=800)
    assert limit(planner, A) == 10


def test_what_was_evaluated_for_an_assignment_counts_and_nothing_while_it_streams():
    settled_s = SETTLED_NS // S
    volumes = [snapshot(A, 100, 10), snapshot(A, 101, 20), snapshot(A, 700, 50), snapshot(B, 700, 5)]
    planner = learned(volumes, [assigned(A, 100 + settled_s)], evaluated=50, now=800)
    assert limit(planner, A) == 10
    assert limit(planner, B) == 0
    assert planner.chain(A).is_streamed


def test_a_released_line_waits_until_what_streamed_is_stored():
    changes, settled_s = [assigned(A, 101), released(A, 200)], SETTLED_NS // S
    within, after = snapshot(A, 200 + settled_s, 50), snapshot(A, 201 + settled_s, 60)
    assert limit(learned([within], changes), A) == 0
    assert limit(learned([within, after], changes), A) == 60


def test_only_the_venues_that_are_covered_count():
    planner = learned([snapshot(A, 100, 10), snapshot(f"{A}.NXT", 100, 20, "NXT")], lines=("NXT",))
    assert {symbol: limit(planner, symbol) for symbol in planner.chains} == {f"{A}.NXT": 20}


def test_a_line_whose_slot_was_over_before_its_first_volume_was_streamed():
    after = snapshot(A, 201 + SETTLED_NS // S, 60)
    planner = learned([after], [assigned(A, 101), released(A, 200)], lines=("KRX",))
    assert limit(planner, A) == 60
    assert planner.chain(A).is_streamed, "what it streamed is not asked again"


def test_a_won_slot_is_visited_first_from_its_evaluated_volume_back():
    planner = learned([snapshot(A, 700, 50), snapshot(B, 700, 10**6)], [assigned(A, 701)], now=702)
    visit = planner.take()
    assert (visit.symbol, visit.since_s, planner.ask(visit)) == (A, 101, 700)
