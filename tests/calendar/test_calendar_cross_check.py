"""Calendar cross-check: the coming days on which another source disagrees with the calendar."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.calendar.checks import days_at_stake, doubts
from observer.calendar.trading_day import TradingDay

FRIDAY = date(2026, 11, 20)


def day(ahead, trades, disagreement=""):
    return TradingDay(FRIDAY + timedelta(days=ahead), trades, "test", disagreement)


WEEK = [day(-1, True), day(0, True), day(1, False), day(2, False), day(3, True), day(4, True)]


def said(opens):
    return {FRIDAY + timedelta(days=ahead): is_open for ahead, is_open in opens.items()}


SURE, DOUBTED = day(0, True), day(1, True, "holidays says closed")


@pytest.mark.parametrize(
    ("days", "opens", "reported"),
    [
        (WEEK, {0: True, 1: False, 2: False, 3: True}, []),
        (WEEK, {}, []),  # what the broker does not list
        (WEEK, {0: True, 3: False}, ["2026-11-23: the calendar says open, the broker says closed"]),
        (WEEK, {1: True}, ["2026-11-21: the calendar says closed, the broker says open"]),
        (WEEK, {0: False}, ["2026-11-20: the calendar says open, the broker says closed"]),
        (WEEK, {-1: False, 4: False}, []),  # before today, and behind the next session
        ([SURE, DOUBTED], {}, ["2026-11-21: the calendar says open, holidays says closed"]),
        (
            [SURE, DOUBTED],
            {1: False},
            ["2026-11-21: the calendar says open, holidays says closed, the broker says closed"],
        ),
    ],
)
def test_a_day_at_stake_that_a_source_contradicts_is_reported(days, opens, reported):
    assert [doubt.text.partition(";")[0] for doubt in doubts(days, said(opens), FRIDAY)] == reported


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
