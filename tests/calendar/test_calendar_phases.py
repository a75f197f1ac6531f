"""The phases of a day."""

from datetime import date, datetime, timedelta, timezone
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.base.local_time import local_datetime, local_ns
from observer.calendar.phases import (
    ScheduleSettings,
    contradictions,
    moment_of,
    next_change,
    phase_at,
    plan,
)
from observer.calendar.sessions import Shift, SpecialDay
from observer.calendar.trading_day import TradingDay
from tests.day_plans import RULES

KST = timezone(timedelta(hours=9))
DAY = date(2026, 11, 18)
MINUTE_NS = 60_000_000_000


def at(text):
    moment = datetime.fromisoformat(f"{DAY}T{text}").replace(tzinfo=KST)
    return int(moment.timestamp()) * 1_000_000_000


def moved(opens_s, closes_s):
    """The rules with a special day whose regular hours are from 09:00 and to 15:30, so many seconds later."""
    named = {"name": "announced", "venue": "KRX", "source": "test", "reviewed": DAY}
    shifts = (
        Shift(**named, sessions=("opening_auction",), absent=True),
        Shift(**named, sessions=("regular",), opens_later_s=opens_s, closes_later_s=closes_s),
        Shift(**named, sessions=("closing_auction",), opens_later_s=closes_s, closes_later_s=closes_s),
    )
    special = SpecialDay(day=DAY, shift="announced", reviewed=DAY)
    return msgspec.structs.replace(RULES.sessions, shift=shifts, special_day=(special,))


def day_plan(opens="09:00", closes="15:30", *, trades=True):
    opens_s, closes_s = (at(opens) - at("09:00")) // 10**9, (at(closes) - at("15:30")) // 10**9
    sessions = moved(opens_s, closes_s) if opens_s or closes_s else RULES.sessions
    return plan(TradingDay(DAY, trades, "test"), msgspec.structs.replace(RULES, sessions=sessions))


def collecting(*, track_a="requirement", track_b="requirement", **schedule):
    changes = {"track_a": (track_a,), "track_b": (track_b,), "schedule": ScheduleSettings(**schedule)}
    return msgspec.structs.replace(RULES, **changes)


@pytest.mark.parametrize(
    ("time", "phase"),
    [
        ("00:00", "IDLE"),
        ("07:59:59", "IDLE"),
        ("08:00", "WARMUP"),
        ("08:59:59", "WARMUP"),
        ("09:00", "TRACK_A_ONLY"),
        ("09:29:59", "TRACK_A_ONLY"),
        ("09:30", "FULL_OPERATION"),
        ("14:59:59", "FULL_OPERATION"),
        ("15:00", "TRACK_A_CLOSING"),
        ("15:29:59", "TRACK_A_CLOSING"),
        ("15:30", "SHUTDOWN"),
        ("20:59:59", "SHUTDOWN"),
        ("21:00", "IDLE"),
        ("23:59:59", "IDLE"),
    ],
)
def test_a_regular_day_has_the_phases_of_the_requirement(time, phase):
    assert phase_at(day_plan(), at(time)) == phase


def test_a_regular_day_has_the_moments_of_the_design():
    regular = day_plan()
    assert regular.trades
    assert regular.context_sync_ns == at("09:29:50")
    assert (moment_of(regular, "05:00"), regular.master_files_ns) == (at("05:00"), at("06:00"))
    assert (regular.token_renewal_ns, regular.stream_connect_ns) == (at("08:01"), at("08:03"))
    assert (regular.backup_ns, regular.proactive_renewal_ns) == (at("21:00"), at("23:00"))
    assert regular.starts_ns == local_ns(DAY) == at("00:00")


MORNING = {
    "wake_up_ns": "08:00",
    "token_renewal_ns": "08:01",
    "stream_connect_ns": "08:03",
    "warm_up_ns": "08:05",
    "health_check_ns": "08:10",
    "second_renewal_ns": "08:30",
    "ready_ns": "08:50",
}


@pytest.mark.parametrize(("opens", "earlier_min"), [("09:00", 0), ("10:00", 0), ("08:30", 30)])
def test_the_morning_moves_forward_with_an_early_opening_and_never_back(opens, earlier_min):
    found = day_plan(opens)
    assert found.day == DAY
    for name, text in MORNING.items():
        assert getattr(found, name) == at(text) - earlier_min * MINUTE_NS, name


@pytest.mark.parametrize(
    ("opens", "closes", "usual"),
    [("09:00", "15:30", True), ("10:00", "16:30", False), ("10:00", "15:30", False), ("09:00", "12:00", False)],
)
def test_a_day_plan_knows_whether_it_has_the_usual_hours(opens, closes, *, usual):
    assert day_plan(opens, closes).has_usual_hours is usual


def test_a_holiday_is_idle_all_day():
    holiday = day_plan(trades=False)
    assert not holiday.trades
    assert [span.phase for span in holiday.phases] == ["IDLE"]
    assert phase_at(holiday, at("10:00")) == "IDLE"
    assert next_change(holiday, at("10:00")) == holiday.ends_ns


def test_the_next_change_is_the_next_boundary_and_at_last_the_end_of_the_day():
    regular = day_plan()
    assert next_change(regular, at("08:30")) == at("09:00")
    assert next_change(regular, at("09:00")) == at("09:30")
    assert next_change(regular, at("22:00")) == regular.ends_ns
    assert next_change(regular, regular.ends_ns + 5) == regular.ends_ns


def test_outside_its_day_a_plan_is_idle():
    regular = day_plan()
    assert phase_at(regular, regular.starts_ns - 1) == "IDLE"
    assert phase_at(regular, regular.ends_ns) == "IDLE"


HOURS = st.integers(0, 24 * 60)  # minutes of the day


def day_of_hours(opens, closes):
    sessions = moved((opens - 9 * 60) * 60, (closes - 15 * 60 - 30) * 60)
    return plan(TradingDay(DAY, True, "test"), msgspec.structs.replace(RULES, sessions=sessions))


@given(opens=HOURS, closes=HOURS)
def test_whatever_the_session_the_phases_cover_the_day_without_gap_or_overlap(opens, closes):
    midnight_ns = local_ns(DAY)
    spans = day_of_hours(opens, closes).phases
    assert spans[0].start_ns == midnight_ns
    assert spans[-1].end_ns == midnight_ns + 24 * 60 * MINUTE_NS
    assert all(before.end_ns == after.start_ns for before, after in pairwise(spans))
    assert all(span.start_ns < span.end_ns for span in spans)


@given(opens=HOURS, closes=HOURS, minute=st.integers(0, 24 * 60 - 1))
def test_waiting_for_the_next_change_always_moves_on(opens, closes, minute):
    day_of_it = day_of_hours(opens, closes)
    now_ns = local_ns(DAY) + minute * MINUTE_NS
    change_ns = next_change(day_of_it, now_ns)
    assert change_ns > now_ns
    assert phase_at(day_of_it, change_ns - 1) == phase_at(day_of_it, now_ns)


@pytest.mark.parametrize(
    "text", ["9:00", "24:00", "09:60", "09", "09:00:60", "", "09:00:00:00", "nine", "०९:००", "09:0 "]
)
def test_an_invalid_time_of_day_is_refused_by_its_key(text):
    with pytest.raises(ValueError, match="wake_up"):
        ScheduleSettings(wake_up=text)


def test_a_backup_before_the_wake_up_is_refused_by_its_key():
    with pytest.raises(ValueError, match=r"backup: 07:00 is before wake_up: 08:00"):
        ScheduleSettings(backup="07:00")


def hours_of(found):
    moments = (found.track_a_start_ns, found.track_b_start_ns, found.track_b_stop_ns, found.track_a_stop_ns)
    return [f"{local_datetime(each):%H:%M}" for each in moments]


@pytest.mark.parametrize(
    ("opens", "closes", "hours"),
    [
        ("10:00", "16:30", ["10:00", "10:30", "16:00", "16:30"]),  # an exam day
        ("09:00", "12:30", ["09:00", "09:30", "12:00", "12:30"]),
    ],
)
def test_the_tracks_move_with_the_hours_of_the_day_and_the_preparations_do_not(opens, closes, hours):
    found = day_plan(opens, closes)
    assert hours_of(found) == hours
    assert found.context_sync_ns == found.track_b_start_ns - 10 * 10**9
    assert (found.wake_up_ns, found.backup_ns) == (at("08:00"), at("21:00"))
    assert phase_at(found, found.track_a_start_ns - 1) == "WARMUP"


@pytest.mark.parametrize(
    ("rules", "hours"),
    [
        (RULES, ["09:00", "09:30", "15:00", "15:30"]),
        (collecting(track_b="closing-auction"), ["09:00", "09:30", "15:25", "15:30"]),
        (collecting(track_a="whole-day", track_b="whole-day"), ["08:00", "08:10", "20:00", "20:00"]),
        (collecting(track_a="whole-day"), ["08:00", "09:30", "15:00", "20:00"]),
        (collecting(track_a="whole-day", track_b="KRX.after"), ["08:00", "16:00", "20:00", "20:00"]),
    ],
)
def test_the_tracks_run_with_the_sessions_that_they_name(rules, hours):
    assert hours_of(plan(TradingDay(DAY, True, "test"), rules)) == hours


def test_the_whole_day_moves_the_preparations_before_the_pre_market():
    found = plan(TradingDay(DAY, True, "test"), collecting(track_a="whole-day", track_b="whole-day"))
    assert (found.wake_up_ns, found.ready_ns) == (at("07:00"), at("07:50"))
    assert (found.opens_ns, found.closes_ns) == (at("09:00"), at("15:30"))


def test_on_a_first_session_the_whole_day_begins_with_the_orders_of_the_opening_auction():
    first = TradingDay(date(2027, 1, 4), True, "test", is_first_of_year=True)
    found = plan(first, collecting(track_a="whole-day", track_b="whole-day"))
    assert hours_of(found) == ["09:20", "09:30", "20:00", "20:00"]


def test_a_day_without_any_named_session_is_idle():
    before_nxt = TradingDay(date(2025, 3, 3), True, "test")
    found = plan(before_nxt, collecting(track_a="NXT.regular", track_b="NXT.regular"))
    assert not found.trades
    assert [span.phase for span in found.phases] == ["IDLE"]


@pytest.mark.parametrize(
    ("opens", "closes", "begin", "end"),
    [("09:00", "15:30", "15:31", "15:40"), ("10:00", "15:30", "15:31", "15:40"), ("09:00", "12:00", "12:01", "15:40")],
)
def test_the_closing_window_is_from_the_price_of_the_auction_to_the_next_session(opens, closes, begin, end):
    assert day_plan(opens, closes).closing_window_ns == (at(begin), at(end))


def test_trades_are_of_the_day_from_the_first_opening_of_a_venue_to_the_last_reports():
    found = day_plan()
    assert (found.trades_from_ns, found.trades_to_ns) == (at("08:00"), at("20:10"))


@pytest.mark.parametrize(
    ("rules", "problems"),
    [
        (RULES, []),
        (collecting(track_a="whole-day", track_b="whole-day"), []),
        (collecting(track_b="whole-day"), [("track_b", "sessions")]),
        (collecting(track_a="KRX.single_price"), [("track_a", "sessions")]),
        (collecting(track_b="KRX.single_price"), [("track_b", "sessions")]),
        (collecting(track_a="whole-day", backup="19:00"), [("schedule", "backup")]),
        (collecting(wake_up="09:10"), [("schedule", "wake_up")]),
    ],
)
def test_settings_that_contradict_the_sessions_are_named(rules, problems):
    assert [path for path, _ in contradictions(rules)] == problems


def test_a_configuration_file_with_a_wrong_time_or_key_is_refused():
    with pytest.raises(msgspec.ValidationError, match="wake_up"):
        msgspec.convert({"wake_up": "25:00"}, ScheduleSettings)
    with pytest.raises(msgspec.ValidationError, match="wakeup"):
        msgspec.convert({"wakeup": "08:00"}, ScheduleSettings)
