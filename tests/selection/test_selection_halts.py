"""The end of a halt that nobody tells: a sweep sees the volume grow."""

from hypothesis import given
from hypothesis import strategies as st

from observer.selection.halts import Halt, after_sweep
from observer.selection.profile import EarlierDays
from observer.selection.sights import Sights
from tests.selection.builders import seen, state


def left(told_ns: int, *sweeps: tuple[int, float]) -> Halt | None:
    """What is left of a halt after sweeps that saw these volumes at these times."""
    halt: Halt | None = Halt(told_ns)
    for seen_ns, volume in sweeps:
        halt = after_sweep(halt, volume, seen_ns)
    return halt


def test_a_sweep_from_before_the_halt_says_nothing_of_it() -> None:
    assert left(5, (4, 100.0), (5, 100.0)) == Halt(5)


def test_the_first_sweep_of_a_halt_may_show_what_was_traded_before_it() -> None:
    assert left(5, (6, 100.0)) == Halt(5, 100.0)


def test_a_halt_lasts_while_the_volume_stands_still_and_ends_when_it_grows() -> None:
    assert left(5, (6, 100.0), (7, 100.0)) == Halt(5, 100.0)
    assert left(5, (6, 100.0), (7, 100.0), (8, 101.0)) is None


def test_where_there_is_no_halt_a_sweep_makes_none() -> None:
    assert after_sweep(None, 100.0, 6) is None


TOLD = st.one_of(st.booleans(), st.floats(0, 3, width=16))


@given(st.lists(TOLD, max_size=20))
def test_whoever_reads_a_days_halts_and_sweeps_afterwards_comes_to_the_same(told: list[bool | float]) -> None:
    lived, later = (Sights([], 60.0, EarlierDays()) for _ in "12")
    for moment_ns, item in enumerate(told, start=1):
        if isinstance(item, bool):
            halt = state("A", halted=item, told_ns=moment_ns)
            lived.see_state(halt)
            later.see_state(halt)
        else:
            swept = seen("A", item, receive_time_ns=moment_ns)
            lived.see_snapshot(swept)
            later.see_traded(swept)
    assert later.dropped == lived.dropped
