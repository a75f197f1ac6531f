"""The policy matrix and the wake-up table, row by row (docs/requirement.md)."""

import itertools
from datetime import date
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.base.local_time import local_ns
from observer.brokers.accounts.tokens import (
    ISSUE_SPACING_NS,
    Cause,
    TokenSchedule,
    TokenState,
    after_failure,
    after_key_rejection,
    after_key_renewal,
    after_rejection,
    after_success,
    due,
    renews_approval_key,
)

DAY = date(2026, 11, 20)
MINUTE_NS = 60 * 10**9
LIFE_NS = 24 * 60 * MINUTE_NS
SCHEDULE = TokenSchedule(
    wake_up_ns=local_ns(DAY, 8, 1), pre_market_ns=local_ns(DAY, 8, 30), scheduled_ns=local_ns(DAY, 23)
)
HOLIDAY = TokenSchedule(wake_up_ns=None, pre_market_ns=None, scheduled_ns=None)


def at(hour, minute=0, second=0):
    return local_ns(DAY, hour, minute, second)


def issued_at(moment_ns):
    return after_success(moment_ns, moment_ns + LIFE_NS, moment_ns)


LAST_NIGHT = issued_at(local_ns(date(2026, 11, 19), 23))


def failed_at(state, *moments):
    for moment in moments:
        state = after_failure(state, moment)
    return state


MORNING = after_success(at(8, 1), at(8, 1) + LIFE_NS, at(8, 1))
ALL_FAILED = failed_at(LAST_NIGHT, at(8, 1), at(8, 2), at(8, 3), at(8, 30), at(8, 31), at(8, 32))
MATRIX = [
    ("without a token", TokenState(), SCHEDULE, at(3), "none_yet"),
    ("expired", issued_at(at(5)), HOLIDAY, at(5) + LIFE_NS, "none_yet"),
    ("before the wake-up", LAST_NIGHT, SCHEDULE, at(8, 0, 59), None),
    ("at the wake-up", LAST_NIGHT, SCHEDULE, at(8, 1), "wake_up"),
    ("renewed this morning", MORNING, SCHEDULE, at(8, 45), None),
    ("the same token again", after_success(at(5), at(5) + LIFE_NS, at(8, 1)), SCHEDULE, at(8, 30), None),
    ("three failed", failed_at(LAST_NIGHT, at(8, 1), at(8, 2), at(8, 3)), SCHEDULE, at(8, 30), "pre_market"),
    ("two more failed", failed_at(LAST_NIGHT, at(8, 30), at(8, 31)), SCHEDULE, at(8, 32), "pre_market"),
    ("all failed", ALL_FAILED, SCHEDULE, at(9), None),
    ("all failed and old", ALL_FAILED, SCHEDULE, at(22), "age"),
    ("a late start", LAST_NIGHT, SCHEDULE, at(13), "pre_market"),
    ("nearly 23 hours old", issued_at(at(0)), HOLIDAY, at(22, 59, 59), None),
    ("23 hours old", issued_at(at(0)), HOLIDAY, at(23), "age"),
    ("at night", MORNING, SCHEDULE, at(23), "scheduled"),
    ("at night, once", after_failure(MORNING, at(23)), SCHEDULE, at(23, 1), None),
    ("refused", after_rejection(issued_at(at(8, 1))), SCHEDULE, at(10), "rejected"),
    ("renewed in the future and refused", after_rejection(issued_at(at(20))), SCHEDULE, at(12), "rejected"),
    ("a holiday has no morning", LAST_NIGHT, HOLIDAY, at(12), None),
]


@pytest.mark.parametrize(
    ("state", "schedule", "now_ns", "cause"), [row[1:] for row in MATRIX], ids=[r[0] for r in MATRIX]
)
def test_each_row_of_the_matrix_has_its_cause(state, schedule, now_ns, cause):
    assert due(state, schedule, now_ns) == cause


def test_the_wake_up_is_tried_three_times_a_minute_apart():
    state = LAST_NIGHT
    for minute in (1, 2, 3):
        assert due(state, SCHEDULE, at(8, minute)) == "wake_up"
        state = after_failure(state, at(8, minute))
        assert due(state, SCHEDULE, at(8, minute, 30)) is None
    assert due(state, SCHEDULE, at(8, 4)) is None


@given(st.lists(st.integers(0, 48 * 60), max_size=4), st.integers(0, 48 * 60))
def test_a_rejected_token_waits_for_no_attempt_of_a_clock_that_was_set_back(attempts, now):
    state = after_rejection(failed_at(LAST_NIGHT, *(at(0) + minute * MINUTE_NS for minute in attempts)))
    now_ns = at(0) + now * MINUTE_NS
    waits = any(0 <= now_ns - moment_ns < ISSUE_SPACING_NS for moment_ns in state.failed_ns)
    assert (due(state, SCHEDULE, now_ns) is None) == waits


@pytest.mark.parametrize("state", [failed_at(TokenState(), at(9)), after_rejection(issued_at(at(9)))])
def test_the_broker_is_asked_at_most_once_a_minute(state):
    assert due(state, SCHEDULE, at(9, 0, 59)) is None
    assert due(state, SCHEDULE, at(9, 1)) is not None


@pytest.mark.parametrize("cause", get_args(Cause))
def test_a_token_issue_renews_the_approval_key_only_for_the_listed_causes(cause):
    expected = cause in {"none_yet", "key_rejected", "wake_up", "pre_market"}
    assert renews_approval_key(TokenState(), cause) is expected
    assert renews_approval_key(after_key_rejection(TokenState()), cause)


def test_a_refused_approval_key_is_renewed_alone_at_once_and_then_at_most_once_a_minute():
    state = after_key_rejection(issued_at(at(8, 1)))
    assert due(state, SCHEDULE, at(10)) == "key_rejected"
    renewed = after_key_renewal(state, at(10))
    assert due(renewed, SCHEDULE, at(10)) is None
    refused = after_key_rejection(renewed)
    assert due(refused, SCHEDULE, at(10, 0, 59)) is None
    assert due(refused, SCHEDULE, at(10, 1)) == "key_rejected"
    assert renewed.renewed_ns == at(8, 1)


transitions = st.lists(
    st.tuples(st.integers(0, 3 * 3600), st.sampled_from(["succeeds", "fails", "is rejected"])), max_size=60
)


@given(transitions)
def test_over_any_day_issues_are_a_minute_apart_and_a_cause_waits_no_longer(transitions):
    state, now, issued = TokenState(), at(0), []
    for pause_s, outcome in transitions:
        now += pause_s * 10**9
        if outcome == "is rejected":
            state = after_rejection(state)
        if due(state, SCHEDULE, now):
            issued.append(now)
            state = after_failure(state, now) if outcome == "fails" else after_success(now, now + LIFE_NS, now)
        elif state.rejected or state.expires_ns is None:
            assert now - issued[-1] < ISSUE_SPACING_NS
    assert all(later - earlier >= ISSUE_SPACING_NS for earlier, later in itertools.pairwise(issued))


@given(transitions)
def test_whatever_fails_the_token_in_hand_stays(transitions):
    state, now = issued_at(at(0)), at(0)
    for pause_s, _ in transitions:
        now += pause_s * 10**9
        after = after_failure(state, now)
        assert (after.issued_ns, after.expires_ns, after.renewed_ns) == (state.issued_ns, state.expires_ns, at(0))
        state = after
