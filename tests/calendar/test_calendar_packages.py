"""Trading days: the reviewed overlay wins, and every disagreement between sources is reported."""

from datetime import date, time, timedelta

import pytest

from observer.base.errors import DataFileError
from observer.base.local_time import local_datetime
from observer.calendar.day_file import CalendarFiles
from observer.calendar.packages import read_overlay, trading_days
from observer.calendar.sessions import sessions_on
from tests.calendar.trading_years import OURS, years
from tests.day_plans import RULES


def hours(day):
    opens_ns, closes_ns = sessions_on(RULES.sessions, day).regular_hours("KRX")
    return local_datetime(opens_ns).time(), local_datetime(closes_ns).time()


def one(day):
    return years()[day]


def test_an_ordinary_day_is_from_nine_to_half_past_three():
    assert hours(one(date(2026, 11, 20))) == (time(9), time(15, 30))


@pytest.mark.parametrize("day", [date(2026, 11, 21), date(2026, 10, 9), date(2026, 12, 31)])
def test_weekends_and_holidays_do_not_trade(day):
    assert not one(day).trades


def test_the_first_session_of_a_year_opens_an_hour_later():
    assert hours(one(date(2026, 1, 2))) == (time(10), time(15, 30))


@pytest.mark.parametrize(
    "day",
    [date(2021, 11, 18), date(2022, 11, 17), date(2023, 11, 16), date(2024, 11, 14), date(2025, 11, 13),
     date(2026, 11, 19)],
    ids=str,
)  # fmt: skip
def test_exam_days_are_an_hour_later_at_both_ends(day):
    assert hours(one(day)) == (time(10), time(16, 30))


@pytest.mark.parametrize("day", [date(2026, 6, 3), date(2026, 7, 17)], ids=str)
def test_holidays_that_one_package_misses_are_closed_by_the_overlay(day):
    found = one(day)
    assert (found.trades, found.source, found.disagreement) == (False, "overlay", "")


@pytest.fixture
def silent(tmp_path):
    overlay = tmp_path / "overlay.toml"
    overlay.write_text("day = []")
    return CalendarFiles(overlay, OURS.sessions)


def with_sessions(tmp_path, text, day):
    sessions = tmp_path / "sessions.toml"
    sessions.write_text(text)
    (found,) = trading_days(CalendarFiles(OURS.overlay, sessions), day, day)
    return found


def test_hours_that_exchange_calendars_contradicts_are_reported(tmp_path):
    without_first_session = OURS.sessions.read_text().replace('"first_session"', '"late_opening"')
    found = with_sessions(tmp_path, without_first_session, date(2026, 1, 2))
    assert (found.trades, found.disagreement) == (True, "exchange_calendars says 10:00 to 15:30")


def test_a_reviewed_special_day_is_not_compared_with_exchange_calendars(tmp_path):
    special = '\n[[special_day]]\ndate = 2026-11-20\nshift = "exam_day"\nreviewed = 2026-11-22\n'
    assert with_sessions(tmp_path, OURS.sessions.read_text() + special, date(2026, 11, 20)).disagreement == ""


def test_a_session_before_the_oldest_rule_is_reported(tmp_path):
    (found,) = trading_days(OURS, date(2016, 7, 29), date(2016, 7, 29))
    assert (found.trades, found.disagreement) == (True, "the session rules have no regular session")


def test_session_rules_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(DataFileError, match="absent"):
        trading_days(CalendarFiles(OURS.overlay, tmp_path / "absent.toml"), date(2026, 6, 3), date(2026, 6, 3))


def test_the_first_session_of_a_year_is_known_whatever_day_is_asked_first():
    asked = trading_days(OURS, date(2026, 12, 30), date(2027, 1, 5))
    assert [day.day for day in asked if day.is_first_of_year] == [date(2027, 1, 4)]
    (second,) = trading_days(OURS, date(2027, 1, 5), date(2027, 1, 5))
    assert second.trades
    assert not second.is_first_of_year


def test_a_difference_between_the_packages_is_reported_where_the_overlay_is_silent(silent):
    (found,) = trading_days(silent, date(2026, 6, 3), date(2026, 6, 3))
    assert found.trades
    assert found.disagreement == "holidays says closed"


def test_every_day_of_the_range_comes_once_in_order():
    days = [day for day in years().values() if date(2026, 12, 28) <= day.day <= date(2027, 1, 4)]
    assert [day.day.isoformat()[5:] for day in days] == [
        "12-28", "12-29", "12-30", "12-31", "01-01", "01-02", "01-03", "01-04",
    ]  # fmt: skip
    assert [day.trades for day in days] == [True, True, True, False, False, False, False, True]
    assert len(years()) == (date(2029, 1, 1) - date(2021, 1, 1)) // timedelta(days=1)


def test_our_overlay_leaves_no_difference_open():
    assert [day.day for day in years().values() if day.disagreement] == []


def test_every_entry_of_our_overlay_gives_its_reason():
    assert all(entry.reason for entry in read_overlay(OURS.overlay).values())


ENTRY = '[[day]]\ndate = 2026-06-03\ntrades = false\nreason = "election"\nreviewed = 2026-11-21\n'


@pytest.mark.parametrize(
    "text",
    [
        "?",
        "[[day]]\n",
        ENTRY + ENTRY,
        ENTRY + "opens = 10:00:00\n",
        ENTRY.replace("trades = false\n", ""),
        ENTRY + "open = 1\n",
    ],
)
def test_an_overlay_that_contradicts_itself_is_refused(tmp_path, text):
    path = tmp_path / "overlay.toml"
    path.write_text(text)
    with pytest.raises(DataFileError, match="overlay"):
        read_overlay(path)
