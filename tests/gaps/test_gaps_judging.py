"""When a day's quality report is due, and which reports are stale."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.events import QualityJudged
from observer.base.units import NS_PER_MINUTE
from observer.gaps import reconciliation
from observer.gaps.reconciliation import (
    AT_LATEST_AFTER_NS,
    SETTLED_AFTER_NS,
    Closing,
    gap_rate,
    gap_rate_alert,
    outdated,
)

END_NS = 1_795_000_000_000_000_000


CLOSE_NS = END_NS + 30 * NS_PER_MINUTE


def is_due(now_ns, *, open_gaps=0, is_settled=True):
    return reconciliation.is_due(END_NS, CLOSE_NS, open_gaps=open_gaps, is_settled=is_settled, now_ns=now_ns)


def test_the_report_of_a_day_without_open_gaps_is_due_once_the_closed_session_has_settled():
    assert not is_due(CLOSE_NS + SETTLED_AFTER_NS - 1)
    assert is_due(CLOSE_NS + SETTLED_AFTER_NS)


def test_the_report_of_a_day_waits_for_its_last_sweep_and_releases_for_a_limited_time():
    assert not is_due(CLOSE_NS + AT_LATEST_AFTER_NS - 1, is_settled=False)
    assert is_due(CLOSE_NS + AT_LATEST_AFTER_NS, is_settled=False)


@given(st.integers(1, 1_000))
def test_the_report_of_a_day_waits_for_open_gaps_for_a_limited_time(gaps):
    end_ns = CLOSE_NS + NS_PER_MINUTE
    latest_ns = end_ns + AT_LATEST_AFTER_NS
    assert not reconciliation.is_due(end_ns, CLOSE_NS, open_gaps=gaps, is_settled=True, now_ns=latest_ns - 1)
    assert reconciliation.is_due(end_ns, CLOSE_NS, open_gaps=gaps, is_settled=True, now_ns=latest_ns)


@given(st.integers(0, 5), st.booleans(), st.integers(0, 10**13), st.integers(0, 10**13))
def test_a_due_report_stays_due(gaps, is_settled, after_ns, longer_ns):
    now_ns = CLOSE_NS + after_ns
    assert not is_due(now_ns, open_gaps=gaps, is_settled=is_settled) or is_due(
        now_ns + longer_ns, open_gaps=gaps, is_settled=is_settled
    )


def report(gaps, gaps_open):
    return QualityJudged(
        "kis", "005930", "2026-11-18", END_NS, "degraded", "", 1.0, 1, 1.0, 0.0, 0.0, 1.0, gaps, gaps_open
    )


@pytest.mark.parametrize(
    ("gaps", "gaps_open", "closed_after_ns", "is_outdated"),
    [
        (1, 1, [], False),  # still as many open gaps
        (1, 0, [-1], False),
        (1, 1, [1], True),  # closed later
        (1, 0, [1], True),  # filled again by an operator's order
        (1, 1, [-1], True),  # its outcome was not committed yet
        (2, 1, [-1], False),
        (2, 1, [-1, -1], True),
    ],
)
def test_a_report_is_outdated_when_it_does_not_know_how_a_gap_ended(gaps, gaps_open, closed_after_ns, is_outdated):
    closings = [Closing("005930", END_NS + after_ns) for after_ns in closed_after_ns]
    other = Closing("000660", END_NS + 9)
    assert outdated([report(gaps, gaps_open)], [*closings, other], {}, {}) == ({"005930"} if is_outdated else set())


@pytest.mark.parametrize(
    ("seconds", "symbols"),
    [
        ({"005930": 1.0}, set()),
        ({}, set()),
        ({"005930": 2.0}, {"005930"}),  # its release was stored later
        ({"005930": 1.0, "000660": 1.0}, {"000660"}),  # its slot assignment was stored later
    ],
)
def test_a_report_over_other_intervals_is_outdated(seconds, symbols):
    assert outdated([report(0, 0)], [], seconds, {}) == symbols


def test_a_report_without_the_volume_of_the_day_is_outdated_when_it_is_known():
    assert outdated([report(0, 0)], [], {}, {"005930": 9.0}) == {"005930"}
    known = msgspec.structs.replace(report(0, 0), day_volume=8.0)
    assert outdated([known], [], {}, {"005930": 9.0}) == set()


# --- the gap rate ---


def volumes(streamed, recovered, missing, symbol="005930"):
    return QualityJudged(
        "kis", symbol, "2026-11-18", END_NS, "degraded", "", 1.0, 1, streamed, recovered, 0.0, missing, 1, 0
    )


def test_the_gap_rate_counts_recovered_and_missing_volume():
    assert gap_rate([volumes(60, 20, 10), volumes(10, 0, 0)]) == 0.3
    assert gap_rate([volumes(0, 0, 0)]) is None
    assert gap_rate([]) is None


@pytest.mark.parametrize(("recovered", "is_reported"), [(4.9, False), (5.0, True)])
def test_a_gap_rate_of_five_percent_is_reported(recovered, is_reported):
    reported = gap_rate_alert("2026-11-18", [volumes(45 - recovered, 0, 0), volumes(55, recovered, 0, "000660")])
    assert (reported is not None) == is_reported
    if reported is not None:
        assert "5.0%" in reported
        assert "000660" in reported
