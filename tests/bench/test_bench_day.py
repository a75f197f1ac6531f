"""The figures of `observer bench day`."""

import pytest

from observer.bench.day import most_at_once


@pytest.mark.parametrize(
    ("spans", "most"),
    [
        ([], 0),
        ([(0, 10)], 1),
        ([(0, 10), (10, 20)], 1),  # a slot that another symbol takes over at once
        ([(0, 10), (9, 20), (9, 12), (15, 30)], 3),
    ],
)
def test_the_most_slots_are_those_held_at_the_same_moment(spans: list[tuple[int, int]], most: int) -> None:
    assert most_at_once(spans) == most
