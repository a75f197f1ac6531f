"""Volumes count when Track B has evaluated them, and none of a line while its trades come over the stream."""

import pytest

from bus.events import SlotAssigned, SlotReleased, WatchChanged, WatchSettled, WatchStarted, WatchStopped
from observer.base.units import NS_PER_S
from observer.collection.tape.learning import UNSTREAMED_NS, Claim, Learning, claims_of
from observer.collection.tape.planner import TapePlanner
from tests.selection.builders import seen

A, B = "000001", "000002"
S = NS_PER_S


def snapshot(symbol, second, volume, venue="KRX"):
    return seen(symbol, float(volume), session_date="2026-11-18", receive_time_ns=second * S, venue=venue)


def assigned(symbol, second, slot="a:01"):
    return SlotAssigned(slot, symbol, second * S, "volume_surge", 1.0, "free_slot", None)


def released(symbol, second, slot="a:01"):
    return SlotReleased(slot, symbol, second * S, 1.0, "expired")


def watch(symbol, second, change):
    return WatchChanged("kis", symbol, "2026-11-18", second * S, change)


def claims(*changes, over_s=None):
    over_ns = None if over_s is None else over_s * S
    found = claims_of((each if isinstance(each, tuple) else (1, each) for each in changes), over_ns)
    return {symbol: [(span.from_ns // S, span.to_ns // S) for span in spans] for symbol, spans in found.items()}


OPEN = Claim(0).to_ns // S


def learned(volumes, changes=(), evaluated=10**6, now=10**6, lines=(), preroll=600.0, started=0):
    planner = TapePlanner(30)
    learning = Learning(planner, lines, preroll, started * S)
    learning.learn(volumes, claims_of((1, each) for each in changes), evaluated * S, now * S)
    return planner


def limit(planner, symbol):
    return planner.chain(symbol).limit


def test_a_volume_counts_when_it_is_evaluated():
    planner = learned([snapshot(A, 100, 10), snapshot(A, 700, 50)], evaluated=105, now=800)
    assert limit(planner, A) == 10


def test_what_was_evaluated_for_an_assignment_counts_and_nothing_while_it_streams():
    unstreamed_s = UNSTREAMED_NS // S
    volumes = [snapshot(A, 100, 10), snapshot(A, 101, 20), snapshot(A, 700, 50), snapshot(B, 700, 5)]
    planner = learned(volumes, [assigned(A, 100 + unstreamed_s)], evaluated=50, now=800)
    assert limit(planner, A) == 10
    assert limit(planner, B) == 0
    assert planner.chain(A).is_streamed


def test_a_line_is_claimed_until_it_has_no_slot_and_is_not_watched():
    slot = [assigned(A, 101), watch(A, 102, WatchStarted()), released(A, 200)]
    within, after = snapshot(A, 290, 50), snapshot(A, 301, 60)
    assert limit(learned([within, after], slot), A) == 0
    slot.append(watch(A, 300, WatchStopped()))
    assert limit(learned([within], slot), A) == 0
    assert limit(learned([within, after], slot), A) == 60


@pytest.mark.parametrize("end", [WatchStopped(), WatchSettled(None)])
def test_a_claim_ends_with_the_later_of_slot_and_watch(end):
    begin = [assigned(A, 1), watch(A, 2, WatchStarted())]
    assert claims(*begin, watch(A, 5, end)) == {A: [(1, OPEN)]}
    assert claims(*begin, released(A, 4), watch(A, 5, end)) == {A: [(1, 5)]}
    assert claims(*begin, watch(A, 4, end), released(A, 5)) == {A: [(1, 5)]}
    assert claims(*begin, released(A, 4), assigned(A, 6), watch(A, 7, end), released(A, 8)) == {A: [(1, 8)]}
    assert claims(*begin, released(A, 4), watch(A, 5, end), assigned(A, 6)) == {A: [(1, 5), (6, OPEN)]}


def test_a_line_that_moves_to_another_slot_stays_claimed():
    moved = SlotAssigned("b:01", A, 4 * S, "volume_surge", 1.0, "free_slot", None)
    assert claims(assigned(A, 1), moved, released(A, 5)) == {A: [(1, OPEN)]}


def test_a_new_process_watches_nothing_and_keeps_the_slots():
    of_b = [assigned(B, 1, "a:02"), watch(B, 2, WatchStarted()), released(B, 3, "a:02")]
    changes = [assigned(A, 1), watch(A, 2, WatchStarted()), *of_b]
    assert claims(*changes) == {A: [(1, OPEN)], B: [(1, OPEN)]}
    assert claims(*changes, (2, watch(A, 9, WatchStarted()))) == {A: [(1, OPEN)], B: [(1, 9)]}


def test_a_closed_day_streams_nothing_whatever_was_lost_of_its_end():
    changes = [assigned(A, 1), watch(A, 2, WatchStarted()), watch(B, 2, WatchStarted())]
    assert claims(*changes, over_s=9) == {A: [(1, 9)], B: [(2, 9)]}
    assert claims(*changes, released(A, 8), over_s=9) == {A: [(1, 9)], B: [(2, 9)]}


def test_a_slot_that_goes_to_another_line_was_released_whatever_the_disk_refused():
    changes = [assigned(A, 1), assigned(B, 4)]
    assert claims(*changes) == {A: [(1, 4)], B: [(4, OPEN)]}
    assert claims(*changes, assigned(B, 5), released(B, 8)) == {A: [(1, 4)], B: [(4, 8)]}


def test_only_the_venues_that_are_covered_count():
    planner = learned([snapshot(A, 100, 10), snapshot(f"{A}.NXT", 100, 20, "NXT")], lines=("NXT",))
    assert {symbol: limit(planner, symbol) for symbol in planner.chains} == {f"{A}.NXT": 20}


def test_a_line_whose_slot_was_over_before_its_first_volume_was_streamed():
    after = snapshot(A, 201, 60)
    planner = learned([after], [assigned(A, 101), released(A, 200)], lines=("KRX",))
    assert limit(planner, A) == 60
    assert planner.chain(A).is_streamed, "what it streamed is not asked again"


def test_a_won_slot_is_visited_first_from_its_evaluated_volume_back():
    planner = learned([snapshot(A, 700, 50), snapshot(B, 700, 10**6)], [assigned(A, 701)], now=702)
    visit = planner.take()
    assert (visit.symbol, visit.since_s, planner.ask(visit)) == (A, 101, 700)


@pytest.mark.parametrize(
    ("won", "now", "is_asked"), [(399, 900, False), (400, 900, True), (901, 900, False), (900, 900, True)]
)
def test_a_slot_is_asked_back_from_if_it_was_won_in_the_pre_roll_before_the_start_or_later(won, now, is_asked):
    """What an earlier process asked for before is not asked again, and no slot of a later moment yet."""
    planner = learned([], [assigned(A, won)], now=now, started=1_000)
    assert planner.waits_first(A) == is_asked
