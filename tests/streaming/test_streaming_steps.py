"""A resumed process has the same state of the day as its predecessor."""

from hypothesis import example, given
from hypothesis import strategies as st

from bus.events import Event, ListingApplied, SelectionAdvanced, Snapshot
from observer.selection.selector import Selector
from observer.selection.settings import SelectionSettings
from observer.streaming import decisions
from tests.selection.builders import member, seen, state

DAY = "2026-11-20"
MEMBERS = [member("A", rank=1)]

REPORTED = st.one_of(st.booleans(), st.sampled_from(["suspended", "delisted", ""]), st.floats(0, 3, width=16))


def selector() -> Selector:
    return Selector(MEMBERS, {"main": 1}, SelectionSettings())


@given(st.lists(REPORTED, max_size=20))
@example([True, 1.0, 2.0])  # a halt that only a sweep saw the end of
@example(["suspended", 1.0, 2.0])
@example([True, ""])  # a listing that is not suspended says nothing of a halt
def test_a_resumed_process_bars_the_same_symbols_from_slots(past: list[bool | str | float]) -> None:
    lived, successor = selector(), selector()
    reported, swept = list[Event](), list[Snapshot]()
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
    decisions.update_latest(successor, swept)
    decisions.resume(successor, reported, swept, len(past))
    assert successor.market.dropped == lived.market.dropped
