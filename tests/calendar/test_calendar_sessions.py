"""The sessions of the venues: by date, weekday and special day; never two at one instant."""

from datetime import date, time, timedelta
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.base.errors import ConfigError
from observer.base.local_time import local_ns
from observer.calendar.checks import explained, time_of
from observer.calendar.session_file import SHIPPED, parse_session_rules, read_session_rules
from observer.calendar.sessions import (
    SessionRules,
    Window,
    sessions_on,
    sessions_under,
    windows_of,
)
from observer.calendar.trading_day import TradingDay
from tests.calendar.trading_years import years
from tests.day_plans import RULES

OURS = RULES.sessions
DAY = date(2026, 11, 18)
EXAM_DAY = date(2026, 11, 19)
DAY_NS = 86_400_000_000_000


def on(day, *, is_first=False):
    return sessions_on(OURS, TradingDay(day, True, "test", is_first_of_year=is_first))


def hours(found, venue):
    return {each.name: f"{time_of(each.opens_ns)}-{time_of(each.closes_ns)}" for each in found.of(venue)}


KRX_OF_TODAY = {
    "opening_auction": "08:20-09:00",
    "regular": "09:00-15:20",
    "closing_auction": "15:20-15:30",
    "closing_price": "15:40-16:00",
    "after": "16:00-20:00",
}
KRX_ON_AN_EXAM_DAY = {
    "opening_auction": "09:20-10:00",
    "regular": "10:00-16:20",
    "closing_auction": "16:20-16:30",
    "closing_price": "16:40-17:00",
    "after": "17:00-20:00",
}
NXT_AT_FIRST = {"pre": "08:00-08:50", "regular": "09:00:30-15:20", "after": "15:30-20:00"}


@pytest.mark.parametrize(
    ("found", "venue", "sessions"),
    [
        (on(DAY), "KRX", KRX_OF_TODAY),
        (on(date(2025, 2, 28)), "NXT", {}),
        (on(date(2025, 3, 4)), "NXT", NXT_AT_FIRST),
        (on(EXAM_DAY), "KRX", KRX_ON_AN_EXAM_DAY),
        (on(EXAM_DAY), "NXT", {"regular": "10:00:30-16:20", "after": "16:30-20:00"}),
        (
            on(date(2027, 1, 4), is_first=True),
            "KRX",
            {**KRX_OF_TODAY, "opening_auction": "09:20-10:00", "regular": "10:00-15:20"},
        ),
        (on(date(2027, 1, 4), is_first=True), "NXT", {"regular": "10:00:30-15:20", "after": "15:30-20:00"}),
        (sessions_on(OURS, TradingDay(DAY, False, "test")), "KRX", {}),
    ],
)
def test_a_venue_has_the_sessions_of_its_dated_rules(found, venue, sessions):
    assert hours(found, venue) == sessions


def test_the_krx_before_the_after_market_had_a_single_price_session():
    before, after = (hours(on(date(2026, 9, day)), "KRX") for day in (11, 14))
    assert (before["single_price"], before["opening_auction"]) == ("16:00-18:00", "08:30-09:00")
    assert "after" not in before
    assert "single_price" not in after


@pytest.mark.parametrize(
    ("venue", "at", "session"),
    [
        ("KRX", time(8, 0), None),
        ("NXT", time(8, 0), "pre"),
        ("KRX", time(8, 59, 59), "opening_auction"),
        ("NXT", time(8, 59, 59), None),
        ("KRX", time(9, 0), "regular"),
        ("NXT", time(9, 0, 30), "regular"),
        ("KRX", time(15, 20), "closing_auction"),
        ("KRX", time(15, 30, 30), "closing_auction"),
        ("KRX", time(15, 35), None),
        ("NXT", time(15, 35), "after"),
        ("KRX", time(19, 59, 59), "after"),
        ("KRX", time(20, 9, 59), "after"),
        ("KRX", time(20, 10), None),
        ("XXX", time(10, 0), None),
    ],
)
def test_a_trade_belongs_to_the_session_of_its_venue_and_instant(venue, at, session):
    assert on(DAY).session_at(venue, local_ns(DAY, at.hour, at.minute, at.second)) == session


# --- all days ---------------------------------------------------------------------------------------------------------


def test_every_day_of_four_years_is_walked_and_the_unusual_ones_are_these():
    days = [day for day in years().values() if date(2025, 1, 1) <= day.day]
    assert len(days) == 4 * 365 + 1
    found = {each.day.day.isoformat(): each.why for each in explained(OURS, days) if each.why}
    assert found == {
        "2025-01-02": "first_session",
        "2025-03-04": "NXT.pre begins, NXT.regular begins, NXT.after begins",
        "2025-11-13": "exam_day",
        "2026-01-02": "first_session",
        "2026-09-14": "KRX.single_price ended, KRX.opening_auction 08:20 to 09:00, KRX.after begins",
        "2026-11-19": "exam_day",
        "2027-01-04": "first_session",
        "2028-01-03": "first_session",
    }


def test_on_every_day_of_eight_years_the_requirement_has_the_same_hours_as_before():
    tracks = ("track_a", "track_b")
    for day in years().values():
        found = sessions_on(OURS, day)
        windows = [list(windows_of(OURS, found, track, ["requirement"])) for track in tracks]
        opens = 10 if found.shift else 9
        closes = 16 if found.shift == "exam_day" else 15
        swept = Window("KRX", local_ns(day.day, opens), local_ns(day.day, closes, 30))
        streamed = Window("KRX", local_ns(day.day, opens, 30), local_ns(day.day, closes))
        assert windows == ([[swept], [streamed]] if day.trades else [[], []])


DAYS = st.dates(date(2016, 8, 1), date(2035, 12, 31))
SHIFTS = st.sampled_from(["", *OURS.shift_names])


@given(DAYS, SHIFTS)
def test_on_any_day_the_sessions_of_a_venue_are_in_order_and_apart(day, shift):
    found = sessions_under(OURS, day, shift)
    assert found.of("KRX")
    for venue in ("KRX", "NXT"):
        for before, after in pairwise(found.of(venue)):
            assert before.closes_ns <= before.reported_until_ns <= after.opens_ns
    assert all(each.opens_ns < each.closes_ns <= each.reported_until_ns for each in found.sessions)


@given(DAYS, SHIFTS, st.integers(0, DAY_NS - 1))
def test_any_instant_has_at_most_one_session_of_a_venue(day, shift, offset_ns):
    found = sessions_under(OURS, day, shift)
    instant_ns = local_ns(day) + offset_ns
    for venue in ("KRX", "NXT"):
        inside = [each.name for each in found.of(venue) if each.opens_ns <= instant_ns < each.reported_until_ns]
        assert inside == ([session] if (session := found.session_at(venue, instant_ns)) else [])


@given(DAYS, SHIFTS, st.lists(st.sampled_from(OURS.names), max_size=5), st.sampled_from(["track_a", "track_b"]))
def test_windows_are_in_order_and_apart_and_sessions_give_them_their_edges(day, shift, names, track):
    found = sessions_under(OURS, day, shift)
    windows = windows_of(OURS, found, track, names)
    assert windows == sorted(windows, key=lambda each: (each.venue, each.from_ns))
    assert all(before.to_ns < after.from_ns for before, after in pairwise(windows) if before.venue == after.venue)
    assert all(each.from_ns < each.to_ns for each in windows)
    if all("." in name for name in names):
        begins = {(each.venue, each.opens_ns) for each in found.sessions}
        ends = {(each.venue, each.closes_ns) for each in found.sessions}
        assert {(each.venue, each.from_ns) for each in windows} <= begins
        assert {(each.venue, each.to_ns) for each in windows} <= ends


def test_the_windows_of_the_whole_day_are_those_of_both_venues():
    found = windows_of(OURS, on(DAY), "track_a", ["whole-day"])
    shown = [(each.venue, time_of(each.from_ns), time_of(each.to_ns)) for each in found]
    assert shown == [
        ("KRX", "08:20", "15:30"),
        ("KRX", "15:40", "20:00"),
        ("NXT", "08:00", "08:50"),
        ("NXT", "09:00:30", "15:20"),
        ("NXT", "15:30", "20:00"),
    ]


# --- the file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('venue = "KRX"', 'venue = "krx"', "must be a name of capital letters"),
        ('session = "regular"', 'session = "regulr"', "did you mean regular"),
        ("opens = 09:00:00", 'opens = "9"', 'session[2].opens = "9": must be a time without quotation marks'),
        ("closes = 15:20:00", "closes = 08:00:00", "KRX.regular must open before it closes, within the day"),
        ("closes = 15:20:00", "closes = 15:25:00", "KRX.closing_auction opens before KRX.regular closes"),
        ("opens_later_s = 3600", "opens_later_s = 36000", "(shift exam_day)"),
        ('sessions = ["pre"]', 'sessions = ["single_price"]', "no session NXT.single_price"),
        ('shift = "exam_day"', 'shift = "exam"', "unknown shift; did you mean exam_day?"),
        ("date = 2022-11-17", "date = 2021-11-18", "is there twice"),
        ('"KRX.closing_auction"]', '"KRX.closing"]', "unknown session KRX.closing; did you mean KRX.closing_"),
        ('name = "closing-auction"', 'name = "requirement"', "is there twice"),
        ('sessions = ["regular"]', 'sessions = ["regular", "after"]', "is moved twice"),
        ('kinds = ["stock"]', 'kinds = ["bond"]', "unknown value"),
        ("reviewed = 2026-11-22", "", "is missing"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_line(old, new, problem):
    text = SHIPPED.read_text()
    assert old in text
    with pytest.raises(ConfigError) as refused:
        parse_session_rules(text.replace(old, new).encode(), "sessions.toml")
    assert all(line.startswith("sessions.toml:") for line in str(refused.value).splitlines())
    assert problem in str(refused.value)


def test_a_file_that_is_absent_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(ConfigError, match=r"run\.sessions = .*absent.*name the file in \[run\] sessions"):
        read_session_rules(tmp_path / "absent.toml")


def rule(**changes):
    return msgspec.structs.replace(OURS.session[0], **changes)


def test_a_session_can_be_held_on_some_weekdays_alone():
    rules = SessionRules(session=(rule(days=("friday",), valid_to=None),))
    days = [TradingDay(DAY + timedelta(days=ahead), True, "test") for ahead in range(3)]
    assert [len(sessions_on(rules, day).sessions) for day in days] == [0, 0, 1]
