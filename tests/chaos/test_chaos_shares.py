"""The judge's arithmetic of intervals is that of sets of shares."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.shares import common, united, volume, without

intervals = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=8)


def shares_of(parts):
    return {share for start, end in parts for share in range(start, end)}


@given(intervals, intervals)
def test_union_difference_and_intersection_are_those_of_sets(one, other):
    ours, theirs = united(one), united(other)
    assert shares_of(ours) == shares_of(one)
    assert shares_of(without(ours, theirs)) == shares_of(one) - shares_of(other)
    assert shares_of(common(ours, theirs)) == shares_of(one) & shares_of(other)
    assert volume(ours) == len(shares_of(one))
    assert all(before[1] < after[0] for before, after in pairwise(ours))
