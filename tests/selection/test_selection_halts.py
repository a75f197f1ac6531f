"""The unannounced end of a halt: a sweep sees the volume grow."""

from observer.selection.market_state import HaltState, after_sweep


def left(reported_ns, *sweeps):
    """The halt's state after sweeps with these volumes at these times."""
    halt = HaltState(reported_ns)
    for seen_ns, volume in sweeps:
        halt = after_sweep(halt, volume, seen_ns)
    return halt


def test_a_sweep_from_before_the_halt_sets_no_reference_volume():
    assert left(5, (4, 100.0), (5, 100.0)) == HaltState(5)


def test_the_first_sweep_of_a_halt_sets_its_reference_volume():
    assert left(5, (6, 100.0)) == HaltState(5, 100.0)


def test_a_halt_lasts_while_the_volume_stands_still_and_ends_when_it_grows():
    assert left(5, (6, 100.0), (7, 100.0)) == HaltState(5, 100.0)
    assert left(5, (6, 100.0), (7, 100.0), (8, 101.0)) is None


def test_a_sweep_begins_no_halt():
    assert after_sweep(None, 100.0, 6) is None
