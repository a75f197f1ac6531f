"""The phases of a day."""

from datetime import date, datetime, timedelta, timezone
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.calendar.phases import DayPlan, ScheduleSettings, midnight_of, moment_of, next_change, phase_at, plan
from observer.calendar.trading_day import TradingDay

KST = timezone(timedelta(hours=9))
DAY = date(2026, 11, 18)
MINUTE_NS = 60_000_000_000


def at(text: str) -> int:
    moment = datetime.fromisoformat(f"{DAY}T{text}").replace(tzinfo=KST)
    return int(moment.timestamp()) * 1_000_000_000


def day_plan(opens: str | None = "09:00", closes: str | None = "15:30", **settings: str) -> DayPlan:
    day = TradingDay(DAY, at(opens) if opens else None, at(closes) if closes else None, "test")
    return plan(day, ScheduleSettings(**settings))


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
def test_a_regular_day_has_the_phases_of_the_requirement(time: str, phase: str) -> None:
    assert phase_at(day_plan(), at(time)) == phase


def test_a_regular_day_has_the_moments_of_the_design() -> None:
    regular = day_plan()
    assert regular.trades
    assert regular.context_sync_ns == at("09:29:50")
    assert (moment_of(regular, "05:00"), regular.master_files_ns) == (at("05:00"), at("06:00"))
    assert (regular.token_renewal_ns, regular.stream_connect_ns) == (at("08:01"), at("08:03"))
    assert (regular.backup_ns, regular.proactive_renewal_ns) == (at("21:00"), at("23:00"))
    assert regular.starts_ns == midnight_of(DAY) == at("00:00")


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
def test_the_morning_moves_forward_with_an_early_opening_and_never_back(opens: str, earlier_min: int) -> None:
    found = day_plan(opens)
    assert found.day == DAY
    for name, text in MORNING.items():
        assert getattr(found, name) == at(text) - earlier_min * MINUTE_NS, name


@pytest.mark.parametrize(
    ("opens", "closes", "usual"),
    [("09:00", "15:30", True), ("10:00", "16:30", False), ("10:00", "15:30", False), ("09:00", "12:00", False)],
)
def test_a_day_plan_knows_whether_it_has_the_usual_hours(opens: str, closes: str, *, usual: bool) -> None:
    assert day_plan(opens, closes).has_usual_hours is usual


def test_on_an_exam_day_the_tracks_start_and_stop_an_hour_later_and_the_preparations_do_not() -> None:
    exam = day_plan("10:00", "16:30")
    assert (exam.track_a_start_ns, exam.context_sync_ns, exam.track_b_start_ns) == (
        at("10:00"),
        at("10:29:50"),
        at("10:30"),
    )
    assert (exam.track_b_stop_ns, exam.track_a_stop_ns) == (at("16:00"), at("16:30"))
    assert (exam.wake_up_ns, exam.token_renewal_ns, exam.backup_ns) == (at("08:00"), at("08:01"), at("21:00"))
    assert phase_at(exam, at("09:30")) == "WARMUP"


def test_an_early_close_moves_only_the_stops() -> None:
    short = day_plan("09:00", "12:30")
    assert (short.track_b_start_ns, short.track_b_stop_ns, short.track_a_stop_ns) == (
        at("09:30"),
        at("12:00"),
        at("12:30"),
    )


def test_an_early_opening_moves_the_preparations_forward() -> None:
    early = day_plan("08:30", "15:30")
    assert (early.wake_up_ns, early.token_renewal_ns, early.ready_ns) == (at("07:30"), at("07:31"), at("08:20"))


def test_a_holiday_is_idle_all_day() -> None:
    holiday = day_plan(None, None)
    assert not holiday.trades
    assert [span.phase for span in holiday.phases] == ["IDLE"]
    assert phase_at(holiday, at("10:00")) == "IDLE"
    assert next_change(holiday, at("10:00")) == holiday.ends_ns


def test_the_next_change_is_the_next_boundary_and_at_last_the_end_of_the_day() -> None:
    regular = day_plan()
    assert next_change(regular, at("08:30")) == at("09:00")
    assert next_change(regular, at("09:00")) == at("09:30")
    assert next_change(regular, at("22:00")) == regular.ends_ns
    assert next_change(regular, regular.ends_ns + 5) == regular.ends_ns


def test_outside_its_day_a_plan_is_idle() -> None:
    regular = day_plan()
    assert phase_at(regular, regular.starts_ns - 1) == "IDLE"
    assert phase_at(regular, regular.ends_ns) == "IDLE"


HOURS = st.integers(0, 24 * 60)


@given(opens=HOURS, closes=HOURS)
def test_whatever_the_session_the_phases_cover_the_day_without_gap_or_overlap(opens: int, closes: int) -> None:
    midnight_ns = midnight_of(DAY)
    day = TradingDay(DAY, midnight_ns + opens * MINUTE_NS, midnight_ns + closes * MINUTE_NS, "test")
    spans = plan(day, ScheduleSettings()).phases
    assert spans[0].start_ns == midnight_ns
    assert spans[-1].end_ns == midnight_ns + 24 * 60 * MINUTE_NS
    assert all(before.end_ns == after.start_ns for before, after in pairwise(spans))
    assert all(span.start_ns < span.end_ns for span in spans)


@given(opens=HOURS, closes=HOURS, minute=st.integers(0, 24 * 60 - 1))
def test_waiting_for_the_next_change_always_moves_on(opens: int, closes: int, minute: int) -> None:
    midnight_ns = midnight_of(DAY)
    day = TradingDay(DAY, midnight_ns + opens * MINUTE_NS, midnight_ns + closes * MINUTE_NS, "test")
    day_of_it = plan(day, ScheduleSettings())
    now_ns = midnight_ns + minute * MINUTE_NS
    change_ns = next_change(day_of_it, now_ns)
    assert change_ns > now_ns
    assert phase_at(day_of_it, change_ns - 1) == phase_at(day_of_it, now_ns)


@pytest.mark.parametrize(
    "text", ["9:00", "24:00", "09:60", "09", "09:00:60", "", "09:00:00:00", "nine", "०९:००", "09:0 "]
)
def test_an_invalid_time_of_day_is_refused_by_its_key(text: str) -> None:
    with pytest.raises(ValueError, match="track_b_start"):
        ScheduleSettings(track_b_start=text)


def test_phases_in_the_wrong_order_are_refused_by_their_keys() -> None:
    with pytest.raises(ValueError, match=r"track_b_stop: 09:10 is before track_b_start: 09:30"):
        ScheduleSettings(track_b_stop="09:10")


def test_a_configuration_file_with_a_wrong_time_or_key_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="wake_up"):
        msgspec.convert({"wake_up": "25:00"}, ScheduleSettings)
    with pytest.raises(msgspec.ValidationError, match="wakeup"):
        msgspec.convert({"wakeup": "08:00"}, ScheduleSettings)
