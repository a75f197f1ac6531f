"""A registration that brings nothing, told from a symbol that does not trade."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.gaps.deafness import Deafness


def sweeps(*volumes: float, reached: float | None) -> list[dict[str, float]]:
    """What each of these sweeps over one symbol tells, when the stream has brought so much."""
    deafness = Deafness()
    return [dict(deafness.after_sweep({"A": volume}, lambda _symbol: reached)) for volume in volumes]


def test_a_symbol_of_which_a_sweep_saw_more_than_came_until_the_next_one_is_not_heard() -> None:
    assert sweeps(100, 150, 150, reached=100) == [{}, {}, {"A": 50.0}]


def test_a_trade_has_until_the_next_sweep_to_arrive() -> None:
    assert sweeps(100, 150, reached=100) == [{}, {}]


def test_a_symbol_that_does_not_trade_is_no_silence() -> None:
    assert sweeps(100, 100, 100, reached=100) == [{}, {}, {}]


def test_what_was_traded_before_the_first_sweep_after_the_registration_is_not_the_streams_to_bring() -> None:
    assert sweeps(100, 100, 100, reached=None) == [{}, {}, {}]
    assert sweeps(100, 100, 120, 120, reached=None) == [{}, {}, {}, {"A": 20.0}]


def test_a_new_registration_begins_anew() -> None:
    deafness = Deafness()
    for volume in (100.0, 150.0):
        deafness.after_sweep({"A": volume}, lambda _symbol: 100.0)
    deafness.registered_anew("A")
    assert deafness.after_sweep({"A": 200.0}, lambda _symbol: 100.0) == {}


def test_a_symbol_that_left_is_forgotten() -> None:
    deafness = Deafness()
    deafness.after_sweep({"A": 100.0}, lambda _symbol: 0.0)
    deafness.after_sweep({}, lambda _symbol: 0.0)
    assert deafness.after_sweep({"A": 200.0}, lambda _symbol: 0.0) == {}


@pytest.mark.parametrize(
    ("known", "reached", "is_behind"),
    [
        (None, None, False),  # nobody knows what was traded before it was registered
        (100.0, None, True),
        (150.0, None, False),
        (150.0, 100.0, True),  # once a trade came, all that follows is the stream's to bring
        (None, 150.0, False),
        (None, 149.0, True),
    ],
)
def test_a_symbol_is_behind_when_more_was_seen_than_came_since_it_is_heard(
    known: float | None, reached: float | None, is_behind: bool
) -> None:
    deafness = Deafness()
    deafness.registered_anew("A", known)
    assert deafness.is_behind("A", 150.0, reached) == is_behind


def test_a_volume_that_is_known_at_the_registration_counts_as_a_sweep() -> None:
    deafness = Deafness()
    deafness.registered_anew("A", 100.0)
    assert deafness.after_sweep({"A": 120.0}, lambda _symbol: None) == {}
    assert deafness.after_sweep({"A": 120.0}, lambda _symbol: None) == {"A": 20.0}


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12))
def test_a_stream_that_brings_everything_in_time_is_never_called_deaf(volumes: list[int]) -> None:
    deafness, total = Deafness(), 0
    for volume in volumes:
        before, total = total, total + volume
        assert deafness.after_sweep({"A": float(total)}, lambda _symbol, seen=before: float(seen)) == {}
