"""The day's hours by venue, from the session rules that come with Observer: what is traded, and when slots are held."""

from datetime import date

import msgspec

from observer.base.local_time import local_datetime, local_ns
from observer.base.units import NS_PER_S
from observer.collection.hours import hours_of, openings_of, slot_windows
from observer.gaps.plausibility import TradeScreen
from observer.selection.selector import VenueHours
from tests.builders import trade
from tests.day_plans import RULES, day_plan

DAY = date(2026, 11, 18)
LINES = ("005930", "005930.NXT")
WHOLE_DAY = msgspec.structs.replace(RULES, track_a=("whole-day",), track_b=("whole-day",))


def windows_of(plan):
    def time(moment_ns):
        return local_datetime(moment_ns).strftime("%H:%M:%S")

    return {(each.venue, time(each.from_ns), time(each.to_ns)) for each in slot_windows(plan, LINES)}


def test_the_windows_of_the_whole_day_end_when_the_last_trades_of_a_session_are_reported():
    """The closing price of the KRX comes within a minute after 15:30."""
    assert windows_of(day_plan(DAY, rules=WHOLE_DAY)) == {
        ("", "08:20:00", "15:31:00"),
        ("", "15:40:00", "20:10:00"),
        ("NXT", "08:10:00", "08:50:00"),
        ("NXT", "09:00:30", "15:20:00"),
        ("NXT", "15:30:00", "20:10:00"),
    }


def test_a_pause_that_is_short_enough_ends_no_window():
    """The KRX's at 15:31 has nine minutes; the longest, the NXT's in the morning, has 630 s."""
    plan = day_plan(DAY, rules=WHOLE_DAY)
    assert len(slot_windows(plan, LINES, 540 * NS_PER_S)) == 4
    whole = slot_windows(plan, LINES, 630 * NS_PER_S)
    assert [(each.venue, each.from_ns) for each in whole] == [("", local_ns(DAY, 8, 20)), ("NXT", local_ns(DAY, 8, 10))]
    assert {each.to_ns for each in whole} == {local_ns(DAY, 20, 10)}


def test_a_venue_begins_to_trade_with_each_session_that_is_no_auction():
    opened = openings_of(day_plan(DAY))
    found = {venue: [f"{local_datetime(each):%H:%M:%S}" for each in moments] for venue, moments in opened.items()}
    assert found == {"": ["09:00:00", "15:40:00", "16:00:00"], "NXT": ["08:00:00", "09:00:30", "15:30:00"]}


def test_lines_of_the_main_venue_alone_have_no_windows():
    assert slot_windows(day_plan(DAY), LINES[:1]) == ()
    assert slot_windows(day_plan(DAY, rules=WHOLE_DAY), LINES[:1]) == ()


def test_a_line_of_a_venue_that_track_b_does_not_collect_holds_no_slot():
    plan = day_plan(DAY)
    hours = VenueHours(slot_windows(plan, LINES), LINES)
    assert hours.closed(plan.track_b_start_ns) == {"005930.NXT"}


def test_on_an_exam_day_the_windows_move_with_the_sessions():
    exam_day = windows_of(day_plan(date(2026, 11, 19), rules=WHOLE_DAY))
    assert ("NXT", "10:00:30", "16:20:00") in exam_day
    assert not any(venue == "NXT" and begins < "10" for venue, begins, _ in exam_day)


def refused(line, hour, minute):
    at_ns = local_ns(DAY, hour, minute)
    made = trade(symbol=line, session_date=DAY.isoformat(), exchange_time_ns=at_ns, receive_time_ns=at_ns)
    return bool(TradeScreen(hours_of(day_plan(DAY))).misdated(made))


def test_a_trade_is_judged_by_the_hours_of_its_own_venue():
    assert (refused("005930", 8, 5), refused("005930.NXT", 8, 5)) == (True, False)
    assert (refused("005930", 8, 30), refused("005930.NXT", 7, 59)) == (False, True)
    assert (refused("005930", 20, 5), refused("005930.NXT", 20, 5)) == (False, False)
    assert (refused("005930", 20, 11), refused("005930.NXT", 20, 11)) == (True, True)
