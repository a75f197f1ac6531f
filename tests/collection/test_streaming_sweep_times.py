"""When Track A sweeps which venues, by the profiles of the shipped sessions."""

from datetime import date

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.base.local_time import local_datetime, local_ns
from observer.base.units import NS_PER_S
from observer.calendar.sessions import windows_of
from observer.collection.sweep_times import open_venues, session_of, sweeps_of
from observer.collection.track_a import elsewhere
from tests.day_plans import RULES, day_plan

DAY = date(2026, 11, 18)
BOTH = {"KRX", "NXT"}
INTERVAL_NS = 600 * NS_PER_S


def planned(profile, day=DAY):
    return day_plan(day, rules=msgspec.structs.replace(RULES, track_a=(profile,), track_b=(profile,)))


def windows(plan, profile, venues=BOTH):
    found = windows_of(RULES.sessions, plan.sessions, "track_a", (profile,))
    return [window for window in found if window.venue in venues]


def swept(profile, venues=BOTH, day=DAY):
    plan = planned(profile, day)
    return sweeps_of(plan, windows(plan, profile, venues), INTERVAL_NS, "KRX")


def by_time(sweeps):
    """The venues of each sweep, by its local time."""
    return {f"{local_datetime(each.begins_ns):%H:%M:%S}": " ".join(sorted(each.venues)) for each in sweeps}


def test_the_requirement_s_day_sweeps_the_main_venue_each_ten_minutes_and_once_after_its_close():
    found = by_time(swept("requirement"))
    assert list(found) == [*(f"{9 + n // 6:02}:{n % 6}0:00" for n in range(40)), "15:31:30"]
    assert set(found.values()) == {"KRX"}


def test_sweeps_are_numbered_from_one_whatever_venues_they_ask():
    for profile in ("requirement", "whole-day"):
        assert [sweep.number for sweep in swept(profile)] == list(range(1, len(swept(profile)) + 1))


def test_a_whole_day_asks_each_venue_while_it_has_a_session():
    found = by_time(swept("whole-day"))
    assert found["08:00:00"] == found["08:10:00"] == "NXT"
    assert found["08:20:00"] == found["08:50:00"] == "KRX NXT"  # the end of a session is within it
    assert found["09:00:00"] == "KRX"  # NXT begins 30 seconds later
    assert found["09:10:00"] == found["15:20:00"] == "KRX NXT"
    assert found["19:50:00"] == found["20:00:00"] == "KRX NXT"


def test_a_venue_that_is_collected_to_its_end_is_swept_once_more_when_its_last_trades_are_reported():
    found = by_time(swept("whole-day"))
    assert list(found.items())[-1] == ("20:10:00", "KRX NXT")
    assert found["15:31:30"] == "KRX"  # the finished regular hours


def test_of_the_main_venue_alone_no_sweep_is_made_while_it_has_no_session():
    found = by_time(swept("whole-day", {"KRX"}))
    assert next(iter(found)) == "08:20:00"
    assert set(found.values()) == {"KRX"}


def test_on_an_exam_day_nothing_is_asked_before_the_first_session():
    found = by_time(swept("whole-day", day=date(2026, 11, 19)))
    assert next(iter(found)) == "09:20:00"  # the KRX's opening auction; NXT has no pre-market


@given(st.sampled_from(["requirement", "whole-day", "closing-auction"]), st.sampled_from([BOTH, {"KRX"}]))
def test_no_sweep_is_without_a_venue_and_no_two_begin_at_once(profile, venues):
    found = swept(profile, venues)
    moments = [sweep.begins_ns for sweep in found]
    assert moments == sorted(set(moments))
    assert all(sweep.venues and sweep.venues <= venues for sweep in found)


@pytest.mark.parametrize(
    ("time", "main", "further"),
    [
        ((8, 10), "closed", "pre"),
        ((8, 55), "regular", "closed"),
        ((12, 0), "regular", "regular"),
        ((15, 25), "regular", "closed"),
        ((15, 35), "closed", "after"),
        ((18, 0), "after", "after"),
        ((21, 0), "closed", "closed"),
    ],
)
def test_a_record_has_the_session_of_its_venue_at_its_time(time, main, further):
    sessions, now_ns = planned("whole-day").sessions, local_ns(DAY, *time)
    assert session_of(sessions, "KRX", now_ns) == main
    assert session_of(sessions, "NXT", now_ns) == further


def test_no_venue_is_open_outside_the_windows():
    plan = planned("whole-day")
    assert open_venues(windows(plan, "whole-day"), local_ns(DAY, 7)) == frozenset()


def test_lines_of_a_venue_that_is_not_collected_now_are_not_asked_between_sweeps():
    lines = ["A", "A.NXT", "B"]
    assert elsewhere(lines, frozenset({"KRX"}), "KRX") == {"A.NXT"}
    assert elsewhere(lines, frozenset({"NXT"}), "KRX") == {"A", "B"}
    assert elsewhere(lines, frozenset({"KRX", "NXT"}), "KRX") == frozenset()
