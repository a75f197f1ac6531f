"""When a day's books are closed."""

from hypothesis import given
from hypothesis import strategies as st

from observer.gaps.judging import AT_LATEST_AFTER_NS, SETTLED_AFTER_NS, is_due

END_NS = 1_795_000_000_000_000_000


def test_a_day_without_open_gaps_is_judged_once_it_has_settled() -> None:
    assert not is_due(END_NS, 0, END_NS + SETTLED_AFTER_NS - 1)
    assert is_due(END_NS, 0, END_NS + SETTLED_AFTER_NS)


@given(st.integers(1, 1_000))
def test_open_gaps_are_waited_for_but_not_for_ever(gaps: int) -> None:
    assert not is_due(END_NS, gaps, END_NS + AT_LATEST_AFTER_NS - 1)
    assert is_due(END_NS, gaps, END_NS + AT_LATEST_AFTER_NS)


@given(st.integers(0, 5), st.integers(0, 10**13), st.integers(0, 10**13))
def test_what_is_due_stays_due(gaps: int, after_ns: int, longer_ns: int) -> None:
    assert not is_due(END_NS, gaps, END_NS + after_ns) or is_due(END_NS, gaps, END_NS + after_ns + longer_ns)
