"""Premium and tracking error, each under its right name; what days to ask for; and the report."""

import math
from datetime import date, timedelta

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from observer.reference.etf.measures import NavSpan, measure, premium_percent, rest_of, spans_to_ask
from observer.reference.etf.report import JOBS, report
from tests.store.etf import etf, etf_job_ended, etf_nav_day

LAST = date(2026, 11, 20)
HOUR_NS = 3_600 * 10**9


BEGIN = LAST - timedelta(days=380)


def days_before(last, newest, oldest):
    """The dates from `newest` to `oldest` days before `last`, latest first."""
    return [last - timedelta(days=back) for back in range(newest, oldest + 1)]


def days(closes, navs, indices=None):
    indices = indices or [None] * len(navs)
    first = date(2025, 1, 1)
    return [
        etf_nav_day((first + timedelta(days=number)).isoformat(), close=close, nav=nav, index_close=index)
        for number, (close, nav, index) in enumerate(zip(closes, navs, indices, strict=True))
    ]


def test_a_premium_is_the_price_above_the_nav_and_a_discount_is_negative():
    assert premium_percent(etf_nav_day(close=101.0, nav=100.0)) == pytest.approx(1.0)
    assert premium_percent(etf_nav_day(close=99.0, nav=100.0)) == pytest.approx(-1.0)


def test_without_a_nav_the_stated_premium_counts():
    assert premium_percent(etf_nav_day(nav=None, premium_percent=0.3)) == 0.3
    assert premium_percent(etf_nav_day(nav=None, premium_percent=None)) is None


def test_each_window_is_the_mean_of_its_last_sessions_with_their_signs():
    closes = [110.0] * 40 + [101.0] * 10 + [99.0] * 10
    measured = measure("069500", days(closes, [100.0] * 60), 1.0, "2026-11-20", 7)
    assert measured.premium_20d_percent == pytest.approx(0.0)
    assert measured.premium_60d_percent == pytest.approx(10 * 40 / 60)
    assert measured.premium_120d_percent is None
    assert measured.premium_250d_percent is None
    assert (measured.nav_days, measured.measured_ns, measured.session_date) == (60, 7, "2026-11-20")


def test_an_etf_that_follows_its_index_exactly_has_no_tracking_error_whatever_its_premium():
    indices = [300.0 * (1.01 if number % 2 else 0.99) for number in range(21)]
    navs = [index * 100 for index in indices]
    measured = measure("069500", days([nav * 1.05 for nav in navs], navs, indices), 1.0, "2026-11-20", 7)
    assert measured.tracking_error_20d_percent == pytest.approx(0.0, abs=1e-9)
    assert measured.premium_20d_percent == pytest.approx(5.0)


def test_the_tracking_error_is_the_annualised_deviation_from_the_index():
    indices = [300.0] * 21
    navs = [1000.0]
    for number in range(20):
        navs.append(navs[-1] * (1.001 if number % 2 else 0.999))
    measured = measure("069500", days(navs, navs, indices), 1.0, "2026-11-20", 7)
    assert measured.tracking_error_20d_percent == pytest.approx(0.1 * math.sqrt(20 / 19) * math.sqrt(250))
    assert measured.tracking_error_60d_percent is None


@pytest.mark.parametrize("leverage", [2.0, -1.0, -2.0])
def test_the_tracking_error_of_a_leveraged_etf_compares_with_the_multiple_of_its_index(leverage):
    indices, navs = [300.0], [1000.0]
    for number in range(20):
        move = 0.01 if number % 3 else -0.02
        indices.append(indices[-1] * (1 + move))
        navs.append(navs[-1] * (1 + leverage * move))
    measured = measure("252670", days(navs, navs, indices), leverage, "2026-11-20", 7)
    assert measured.tracking_error_20d_percent == pytest.approx(0.0, abs=1e-9)


def test_an_etf_without_an_index_has_a_premium_and_no_tracking_error():
    measured = measure("069500", days([100.0] * 30, [100.0] * 30), 1.0, "2026-11-20", 7)
    assert (measured.premium_20d_percent, measured.tracking_error_20d_percent) == (0.0, None)


@given(st.lists(st.tuples(*[st.none() | st.floats(0.5, 1e6)] * 2), max_size=260))
def test_each_window_has_measures_exactly_when_it_has_enough_days(pairs):
    measured = measure("069500", days([100.0] * len(pairs), *zip(*pairs, strict=True)) if pairs else [], 1.0, "x", 1)
    known = [value is not None for value in msgspec.structs.astuple(measured)[4:8]]
    assert known == sorted(known, reverse=True)
    assert known == [measured.nav_days >= window for window in (20, 60, 120, 250)]


# --- which days to ask for -----------------------------------------------------------------------------------


def test_an_etf_without_measures_requests_the_longest_window_from_its_first_day_on():
    lately = days_before(LAST, 0, 5)  # the job of the values stores a day each
    assert spans_to_ask([], None, date(2002, 10, 14), LAST) == (NavSpan(BEGIN, LAST),)
    assert spans_to_ask(lately, None, None, LAST) == (NavSpan(BEGIN, LAST),)
    assert spans_to_ask([], None, date(2026, 11, 1), LAST) == (NavSpan(date(2026, 11, 1), LAST),)
    assert spans_to_ask([], None, date(2026, 11, 23), LAST) == ()


def test_a_measured_etf_requests_the_days_since_and_one_week_before():
    measured_on = date(2026, 11, 15)
    spans = (NavSpan(date(2026, 11, 8), LAST),)
    assert spans_to_ask(days_before(LAST, 5, 380), measured_on, None, LAST) == spans
    assert spans_to_ask(days_before(LAST, 0, 380), measured_on, None, LAST) == spans


def test_a_measured_etf_without_stored_days_requests_them_again():
    measured_on = LAST - timedelta(days=5)
    assert spans_to_ask([], measured_on, None, LAST) == (NavSpan(BEGIN, LAST),)
    assert spans_to_ask(days_before(LAST, 0, 5), measured_on, None, LAST) == (NavSpan(BEGIN, LAST),)
    assert spans_to_ask(days_before(LAST, 20, 380), measured_on, None, LAST) == (
        NavSpan(LAST - timedelta(days=27), LAST),
    )


def test_days_that_are_missing_before_those_that_are_stored_are_asked_for_again():
    measured_on = LAST - timedelta(days=5)
    recent = NavSpan(LAST - timedelta(days=12), LAST)
    assert spans_to_ask(days_before(LAST, 0, 100), measured_on, None, LAST) == (
        recent,
        NavSpan(BEGIN, LAST - timedelta(days=101)),
    )
    with_gap = [*days_before(LAST, 0, 100), *days_before(LAST, 120, 380)]
    assert spans_to_ask(with_gap, measured_on, None, LAST) == (recent, NavSpan(BEGIN, LAST - timedelta(days=101)))
    listed_on = LAST - timedelta(days=103)
    assert spans_to_ask(days_before(LAST, 0, 100), measured_on, listed_on, LAST) == (recent,)


@given(st.sets(st.integers(0, 400)), st.none() | st.integers(0, 400), st.none() | st.integers(0, 500))
@example(stored={0, 2, 16}, measured=0, listed=None)
@example(stored={0, 11, 22}, measured=0, listed=None)
def test_days_neither_stored_nor_requested_are_no_longer_than_the_longest_closure(stored, measured, listed):
    def back(number):
        return None if number is None else LAST - timedelta(days=number)

    days_stored = [LAST - timedelta(days=number) for number in stored]
    spans = spans_to_ask(days_stored, back(measured), back(listed), LAST)
    covered = set(days_stored) | {
        span.first + timedelta(days=number) for span in spans for number in range((span.last - span.first).days + 1)
    }
    missing = 0
    for number in range(min(380, 380 if listed is None else listed) + 1):
        missing = 0 if LAST - timedelta(days=number) in covered else missing + 1
        assert missing <= 10


@given(st.integers(1, 120), st.integers(0, 500))
@example(1, 237)
def test_asking_on_behind_the_oldest_day_ends_and_leaves_no_day_out(days_a_call, age):
    """A broker with a page size in days, for an ETF of a given age in days."""
    listed_on = LAST - timedelta(days=age)
    traded = {LAST - timedelta(days=back) for back in range(age + 1)}
    [span], got, calls = spans_to_ask([], None, None, LAST), set[date](), 0
    first = span.first
    while span is not None:
        found = sorted(day for day in traded if span.first <= day <= span.last)[-days_a_call:]
        got |= set(found)
        span = rest_of(span, found[0]) if found else None
        calls += 1
    assert calls <= 380 / days_a_call + 2
    wanted = {day for day in traded if day >= first}
    assert {day for day in wanted - got if day > max(first, listed_on) + timedelta(days=7)} == set()


# --- the report ----------------------------------------------------------------------------------------------


def test_a_job_is_fresh_when_it_ended_after_it_was_due_stale_before_and_never_without_an_end():
    ended = {
        "etf_list": etf_job_ended(ended_ns=5 * HOUR_NS),
        "etf_values": etf_job_ended(job="etf_values", ended_ns=3 * HOUR_NS),
        "etf_ranges": etf_job_ended(job="etf_ranges", ended_ns=4 * HOUR_NS),
    }
    found = report([], ended, dict.fromkeys(JOBS, 4 * HOUR_NS), 6 * HOUR_NS)
    assert {job.job: job.freshness for job in found.jobs} == {
        "etf_list": "fresh",
        "etf_values": "stale",
        "etf_ranges": "fresh",
        "etf_measures": "never",
    }
    assert [job.age_hours for job in found.jobs] == [1.0, 3.0, None, 2.0]
    assert not found.is_fresh


def test_completeness_counts_active_etfs_that_can_have_the_field():
    etfs = [etf(issuer="삼성자산운용", aum=1.0), etf(symbol="114800"), etf(symbol="Q500001", group="EN")]
    found = report([*etfs, etf(symbol="999999", active=False, issuer="gone")], {}, dict.fromkeys(JOBS, 0), 1)
    fields = {field.field: (field.known, field.products, field.percent) for field in found.fields}
    assert (found.products, found.etfs) == (3, 2)
    assert fields["issuer"] == (1, 3, pytest.approx(100 / 3))
    assert fields["aum"] == (1, 2, 50.0)
    assert report([], {}, dict.fromkeys(JOBS, 0), 1).fields[0].percent == 100.0
