"""When a day's books are closed, and whose are opened again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.events import QualityJudged
from observer.gaps.judging import AT_LATEST_AFTER_NS, SETTLED_AFTER_NS, Closing, is_due, outdated

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


def verdict(gaps: int, gaps_open: int) -> QualityJudged:
    return QualityJudged(
        "kis", "005930", "2026-11-18", END_NS, "degraded", "", 1.0, 1, 1.0, 0.0, 0.0, 1.0, gaps, gaps_open
    )


@pytest.mark.parametrize(
    ("gaps", "gaps_open", "closed_after_ns", "is_outdated"),
    [
        (1, 1, [], False),  # it is as open as it was
        (1, 0, [-1], False),
        (1, 1, [1], True),  # closed later
        (1, 0, [1], True),  # filled again, by order of a person
        (1, 1, [-1], True),  # its outcome was on its way into the database
        (2, 1, [-1], False),
        (2, 1, [-1, -1], True),
    ],
)
def test_a_verdict_is_outdated_when_it_does_not_know_how_a_gap_ended(
    gaps: int, gaps_open: int, closed_after_ns: list[int], is_outdated: bool
) -> None:
    closings = [Closing("005930", END_NS + after_ns) for after_ns in closed_after_ns]
    other = Closing("000660", END_NS + 9)
    assert outdated([verdict(gaps, gaps_open)], [*closings, other]) == ({"005930"} if is_outdated else set())
