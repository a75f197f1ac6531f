"""Calendar cross-check: the coming days on which another source disagrees with the calendar."""

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from observer.calendar.checks import days_at_stake, doubts
from observer.calendar.trading_day import TradingDay

FRIDAY = date(2026, 11, 20)


def day(ahead, trades, disagreement=""):
    return TradingDay(FRIDAY + timedelta(days=ahead), trades, "test", disagreement)


WEEK = [day(-1, True), day(0, True), day(1, False), day(2, False), day(3, True), day(4, True)]


def reported(days, opens):
    return [doubt.text.partition(";")[0] for doubt in doubts(days, opens, FRIDAY)]


def said(opens):
    return {FRIDAY + timedelta(days=ahead): is_open for ahead, is_open in opens.items()}


def test_a_day_on_which_broker_and_calendar_agree_is_not_reported():
    assert reported(WEEK, said({0: True, 1: False, 2: False, 3: True})) == []


def test_a_day_that_the_broker_does_not_list_follows_the_calendar():
    assert reported(WEEK, {}) == []


def test_a_holiday_that_the_calendar_does_not_know_is_reported():
    assert reported(WEEK, said({0: True, 3: False})) == ["2026-11-23: the calendar says open, the broker says closed"]


def test_a_session_that_the_calendar_does_not_know_is_reported_even_on_a_day_without_a_session():
    assert reported(WEEK, said({1: True})) == ["2026-11-21: the calendar says closed, the broker says open"]


def test_today_counts():
    assert reported(WEEK, said({0: False})) == ["2026-11-20: the calendar says open, the broker says closed"]


def test_days_behind_the_next_session_and_before_today_can_wait():
    assert reported(WEEK, said({-1: False, 4: False})) == []


def test_a_difference_between_the_calendars_own_sources_is_reported():
    days = [day(0, True), day(1, True, "holidays says closed")]
    assert reported(days, {}) == ["2026-11-21: the calendar says open, holidays says closed"]
    assert reported(days, said({1: False})) == [
        "2026-11-21: the calendar says open, holidays says closed, the broker says closed"
    ]


def test_the_report_of_a_doubt_names_the_remedy():
    [doubt] = doubts(WEEK, said({0: False}), FRIDAY)
    assert doubt.text.endswith("if it is wrong, enter the day in trading_days.toml, or its hours in sessions.toml")


@given(st.lists(st.booleans(), max_size=20), st.dictionaries(st.integers(-3, 20), st.booleans()))
def test_each_day_at_stake_on_which_the_broker_differs_has_a_doubt_and_no_other_day_has(trades, opens):
    days, word = [day(ahead, each) for ahead, each in enumerate(trades)], said(opens)
    at_stake = days_at_stake(days, word, FRIDAY)
    otherwise = [each.day for each in days if each.day in at_stake and word.get(each.day, each.trades) != each.trades]
    assert [doubt.day for doubt in doubts(days, word, FRIDAY)] == otherwise
    assert list(at_stake) == [each.day for each in days[: len(at_stake)]]
    sessions = [each for each in at_stake[1:] if days[at_stake.index(each)].trades or word.get(each, False)]
    assert sessions == [] or sessions == [at_stake[-1]]
