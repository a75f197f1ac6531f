"""What a process that takes over knows of the day: as much as the one before it did."""

from hypothesis import example, given
from hypothesis import strategies as st

from bus.events import Event, SelectionAdvanced, Snapshot
from observer.selection.selector import Selector
from observer.selection.settings import SelectionSettings
from observer.streaming import steps
from tests.selection.builders import member, seen, state

DAY = "2026-11-20"
MEMBERS = [member("A", rank=1)]

TOLD = st.one_of(st.booleans(), st.sampled_from(["suspended", "delisted", ""]), st.floats(0, 3, width=16))


def selector() -> Selector:
    return Selector(MEMBERS, {"main": 1}, SelectionSettings())


@given(st.lists(TOLD, max_size=20))
@example([True, 1.0, 2.0])  # a halt that only a sweep saw the end of
@example(["suspended", 1.0, 2.0])
@example([True, ""])  # a listing that is not suspended says nothing of a halt
def test_who_may_hold_no_place_is_the_same_for_a_process_that_takes_over(past: list[bool | str | float]) -> None:
    lived, successor = selector(), selector()
    told, swept = list[Event](), list[Snapshot]()
    for moment_ns, item in enumerate(past, start=1):
        match item:
            case bool():
                halt = state("A", halted=item, told_ns=moment_ns)
                lived.see_state(halt)
                told.append(halt)
            case str():
                steps.see_listing(lived, "A", item, moment_ns)
                told.append(SelectionAdvanced(DAY, moment_ns, "listing", "A", 0, 0, item))
            case float():
                swept.append(seen("A", item, receive_time_ns=moment_ns))
                lived.see_snapshot(swept[-1])
    steps.see_latest(successor, swept)
    steps.take_over(successor, told, swept, len(past))
    assert successor._sights.dropped == lived._sights.dropped


@given(st.sampled_from(["", DAY]), st.none() | st.integers(0, 2**62), st.booleans(), st.booleans())
def test_what_a_day_began_with_can_be_read_back(universe: str, built_ns: int | None, usual: bool, knows: bool) -> None:
    beginning = steps.Beginning(universe, built_ns, usual, knows)
    assert steps.beginning_of(SelectionAdvanced(DAY, 1, "began", "", 0, 0, beginning.detail)) == beginning


def test_a_day_of_before_builds_were_told_has_its_session_alone() -> None:
    began = SelectionAdvanced(DAY, 1, "began", "", 0, 0, f"{DAY}, unusual hours")
    assert steps.beginning_of(began) == steps.Beginning(DAY, None, has_usual_hours=False, knows_earlier_days=True)
