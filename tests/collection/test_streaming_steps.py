"""A resumed process has the same state of the day as its predecessor."""

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bus.events import ListingApplied, SelectionAdvanced, SlotsOpened, TriggerFired
from observer.collection import decisions
from tests.builders import day_began
from tests.selection.builders import member, seen, selector_of, state

DAY = "2026-11-20"
MEMBERS = [member("A", rank=1)]
MINUTE_NS = 60_000_000_000

REPORTED = st.one_of(st.booleans(), st.sampled_from(["suspended", "delisted", ""]), st.floats(0, 3, width=16))


def selector():
    return selector_of(MEMBERS, {"main": 1})


@given(st.lists(REPORTED, max_size=20))
@example([True, 1.0, 2.0])  # a halt that only a sweep saw the end of
@example(["suspended", 1.0, 2.0])
@example([True, ""])  # a listing that is not suspended says nothing of a halt
def test_a_resumed_process_bars_the_same_symbols_from_slots(past):
    lived, successor = selector(), selector()
    reported, swept = [], []
    for moment_ns, item in enumerate(past, start=1):
        match item:
            case bool():
                halt = state("A", halted=item, reported_ns=moment_ns)
                lived.market.update_state(halt)
                reported.append(halt)
            case str():
                listing = ListingApplied("A", delisted=item == "delisted", suspended=item == "suspended")
                decisions.update_listing(lived, listing, moment_ns)
                reported.append(SelectionAdvanced(DAY, moment_ns, listing))
            case float():
                swept.append(seen("A", item, receive_time_ns=moment_ns))
                lived.market.update_snapshot(swept[-1])
    decisions.update_seen(successor, swept)
    decisions.resume(successor, reported, swept, len(past))
    assert successor.market.dropped == lived.market.dropped


@pytest.mark.parametrize("volume", [0.0, 1.0], ids=["stopped", "trading"])
def test_a_resumed_process_has_the_same_stops_and_halts_also_where_the_stop_s_end_was_lost(volume):
    lived, successor = (selector_of([*MEMBERS, member("B")], {"main": 1}) for _ in range(2))
    stop = msgspec.structs.replace(state("A", halted=True, reported_ns=1), market_notice="halted")
    own = state("A", halted=True, reported_ns=4 * MINUTE_NS)
    swept = [seen("B", volume * minute, receive_time_ns=minute * MINUTE_NS) for minute in (2, 3)]
    lived.market.update_state(stop)
    for snapshot in swept:
        lived.market.update_snapshot(snapshot)
    lived.market.update_state(own)
    decisions.update_seen(successor, swept)
    decisions.resume(successor, [stop, own], swept, 5 * MINUTE_NS)
    assert dict(successor.market.dropped) == dict(lived.market.dropped) == ({"A": "halted"} if volume else {})
    assert successor.market.stops.running == lived.market.stops.running


def test_a_resumed_process_compares_symbols_without_a_history_with_the_same_opening():
    members = [member("A"), member("N", average_volume_20d=None)]
    lived, successor = (selector_of(members, {"main": 1}) for _ in range(2))
    opening = [seen("A", volume, receive_time_ns=at_ns) for volume, at_ns in ((0.0, 0), (100.0, 10))]
    decisions.open_slots(lived, *decisions.opening_of(opening), 20)
    steps = (day_began(DAY, snapshots=len(opening)), SlotsOpened(), day_began(DAY, snapshots=3))
    reported = [SelectionAdvanced(DAY, 20, step) for step in steps]
    decisions.resume(successor, reported, [*opening, seen("A", 1e9, receive_time_ns=25)], 30)
    for each in (lived, successor):
        each.market.update_snapshot(seen("N", 450.0, receive_time_ns=30))
    fired, again = (
        [event for event in each.evaluate_universe(30) if isinstance(event, TriggerFired)]
        for each in (lived, successor)
    )
    assert [(event.symbol, event.basis, event.measure) for event in fired] == [("N", "opening", 1.5)]
    assert again == fired
