"""The end of a halt that nobody tells: a sweep sees the volume grow."""

from observer.selection.halts import Halt, after_sweep


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
