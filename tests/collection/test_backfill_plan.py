"""The plan: each missing day is asked for once, and a run that goes on after any part asks for the rest."""

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from observer.brokers.domestic import BarReach
from observer.collection.backfill.plan import (
    OVERLAP_DAYS,
    Estimate,
    Span,
    estimated,
    missing_days,
    missing_spans,
    needs_of,
    outcome_of,
    weekdays_in,
)

BEGIN = date(2025, 1, 1)
PER_CALL = 100
REACH = BarReach(PER_CALL, 120, 30, 365)

days = st.integers(0, 900).map(lambda number: BEGIN + timedelta(days=number))
spans = st.tuples(days, days).map(lambda pair: Span(min(pair), max(pair)))


def weekdays_of(found):
    """Each weekday of the spans, as often as it is in one."""
    return [
        day
        for span in found
        for number in range((span.last - span.first).days + 1)
        if (day := span.first + timedelta(days=number)).weekday() < 5
    ]


@given(spans, st.lists(spans, max_size=6))
def test_each_uncovered_weekday_is_asked_for_once(asked, covered):
    found = missing_spans(asked, covered, PER_CALL)
    wanted = set(weekdays_of([asked])) - set(weekdays_of(covered))
    assert sorted(weekdays_of(found)) == sorted(wanted)
    assert [each.last for each in found] == sorted((each.last for each in found), reverse=True)


@given(spans)
def test_a_span_and_its_overlap_fit_one_call(asked):
    for span in missing_spans(asked, [], PER_CALL):
        assert weekdays_in(span.first, span.last + timedelta(days=OVERLAP_DAYS)) <= PER_CALL


@given(spans, st.lists(spans, max_size=4), st.data())
def test_after_any_part_the_rest_is_asked_for(asked, covered, data):
    whole = missing_spans(asked, covered, PER_CALL)
    done = whole[: data.draw(st.integers(0, len(whole)))]
    rest = missing_spans(asked, [*covered, *done], PER_CALL)
    assert sorted(weekdays_of([*done, *rest])) == sorted(weekdays_of(whole))


@given(spans, st.dictionaries(days, st.sampled_from([0.0, 5.0])), st.data())
def test_minute_bars_of_a_day_are_asked_for_once_after_any_part(asked, volumes, data):
    whole = missing_days(asked, volumes, [])
    assert all(volumes[day] > 0 and asked.first <= day <= asked.last for day in whole)
    done = data.draw(st.lists(st.sampled_from(whole), unique=True)) if whole else []
    assert sorted([*done, *missing_days(asked, volumes, done)], reverse=True) == list(whole)


@given(spans)
def test_weekdays_are_counted(span):
    assert weekdays_in(span.first, span.last) == len(weekdays_of([span]))
    assert weekdays_in(span.last, span.last - timedelta(days=1)) == 0


def test_without_its_daily_bar_a_day_of_minute_bars_is_not_known_yet():
    monday = date(2026, 11, 16)
    asked = Span(monday, monday + timedelta(days=4))
    volumes = {monday: 7.0, monday + timedelta(days=1): 0.0, monday + timedelta(days=3): 9.0}
    needs = needs_of("005930", asked, [Span(monday, monday + timedelta(days=2))], PER_CALL, volumes, [])
    assert (needs.daily, needs.minutes, needs.unknown_days) == (
        [Span(monday + timedelta(days=3), monday + timedelta(days=4))],
        [monday],
        2,
    )
    assert needs_of("005930", asked, [], PER_CALL, None, []).minutes == ()
    reached = needs_of("005930", asked, [], PER_CALL, volumes, [], minutes_first=monday + timedelta(days=4))
    assert (reached.minutes, reached.unknown_days) == ([], 1), "the broker keeps the last day alone"


def test_the_estimate_is_an_upper_bound():
    monday = date(2026, 11, 16)
    week = Span(monday, monday + timedelta(days=4))
    needs = [
        needs_of("A", week, [], PER_CALL, {}, []),
        needs_of("B", week, [week], PER_CALL, {monday: 1.0}, []),
        needs_of("C", week, [week], PER_CALL, {monday: 1.0}, [monday]),
    ]
    assert estimated(needs, REACH, 400, 10.0) == Estimate(2, 1, 6, 1 + 17 + 4, 6 * 400 + 5, 10.0)
    of_session = estimated(needs, REACH, 400, 10.0, session_day=monday)
    assert of_session.calls == 22 + 2 * (14 + 1)
    assert of_session.seconds == of_session.calls / 10.0


def test_the_volume_of_the_daily_bar_proves_a_day():
    assert outcome_of(3, 100.0, 0, 100.0) == "equal"
    assert outcome_of(3, 99.0, 0, 100.0) == "differs"
    assert outcome_of(3, 100.0, 1, 100.0) == "differs"
    assert outcome_of(3, 100.0, 0, None) == "unproved"
    assert outcome_of(0, 0.0, 0, 100.0) == "nothing"
