"""How often symbols find no slot, and when that is reported."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.events import SlotAssigned, SlotExtended, SlotOverflowed, SlotReleased
from observer.selection.overflow import (
    LEFT_BELOW,
    SYMBOLS_MIN,
    WINDOW_NS,
    OverflowWatch,
    next_level,
    overflow_rate,
    rates_of,
)
from observer.selection.settings import SlotSettings

RATES = rates_of(SlotSettings())
NOW_NS = 10 * WINDOW_NS
LEVELS = st.sampled_from(["normal", "warning", "alert", "urgent"])


def given_slot(number, at_ns=NOW_NS, trigger="volume_surge"):
    return SlotAssigned(f"a:{number}", f"{number:06d}", at_ns, trigger, 1.0, "free_slot", None)


def refused(number, at_ns=NOW_NS):
    return SlotOverflowed(f"{number:06d}", at_ns, "volume_surge", 1.0, 1.0, 2.0, "all_slots_hold_higher_scores")


def test_the_rate_is_of_symbols_not_of_refusals():
    changes = [*map(given_slot, range(30)), *(refused(99) for _ in range(500))]
    assert overflow_rate(changes, (), (), NOW_NS) == pytest.approx(1 / 31)


def test_a_symbol_that_got_a_slot_within_the_hour_did_not_overflow():
    assert overflow_rate([*map(given_slot, range(30)), refused(3)], (), (), NOW_NS) == 0


def test_decisions_older_than_an_hour_do_not_count():
    changes = [
        *map(given_slot, range(SYMBOLS_MIN)),
        refused(99, NOW_NS - WINDOW_NS),
    ]
    assert overflow_rate(changes, (), (), NOW_NS) == 0


def test_a_symbol_with_a_slot_counts_as_served_regardless_of_its_assignment_time():
    holding = [f"{number:06d}" for number in range(410)]
    assert overflow_rate(map(refused, range(500, 520)), holding, (), NOW_NS) == pytest.approx(20 / 430)
    assert overflow_rate(map(refused, range(20)), holding, (), NOW_NS) == 0


def test_a_waiting_symbol_counts_as_refused_regardless_of_its_refusal_time():
    waiting = [f"{number:06d}" for number in range(10)]
    assert overflow_rate(map(given_slot, range(10, 40)), (), waiting, NOW_NS) == pytest.approx(10 / 40)


def test_too_few_symbols_make_no_rate():
    assert overflow_rate(map(refused, range(SYMBOLS_MIN - 1)), (), (), NOW_NS) is None


@pytest.mark.parametrize(("refusals", "severity"), [(1, None), (2, "info"), (3, "warning"), (6, "critical")])
def test_a_warning_is_a_log_line_an_alert_a_notice_and_urgent_a_critical_alert(refusals, severity):
    watch = OverflowWatch(RATES)
    watch.apply([*map(given_slot, range(20)), *map(refused, range(100, 100 + refusals))])
    reported = watch.check(NOW_NS, ())
    assert (reported and reported.severity) == severity


@pytest.mark.parametrize(
    ("rate", "level"),
    [(0.05, "normal"), (0.051, "warning"), (0.10, "warning"), (0.101, "alert"), (0.20, "alert"), (0.201, "urgent")],
)
def test_levels_begin_above_the_rates_of_the_requirement(rate, level):
    assert next_level("normal", rate, RATES) == level


def test_a_level_is_left_only_clearly_below_its_beginning():
    assert next_level("alert", 0.09, RATES) == "alert"
    assert next_level("alert", 0.10 * LEFT_BELOW, RATES) == "alert"
    assert next_level("alert", 0.10 * LEFT_BELOW - 0.001, RATES) == "warning"
    assert next_level("urgent", 0.09, RATES) == "alert"


@given(LEVELS, st.none() | st.floats(0, 1))
def test_a_rate_that_stays_is_reported_at_most_once(level, rate):
    settled = next_level(level, rate, RATES)
    assert next_level(settled, rate, RATES) == settled


# --- Track B's state ---


def text_after(*changes, now_ns=NOW_NS, waiting=()):
    """What is reported after these decisions; None: nothing."""
    watch = OverflowWatch(RATES)
    for each in changes:
        watch.apply(each)
    reported = watch.check(now_ns, waiting)
    return reported and reported.text.removeprefix("slots, last hour: level ")


def all_given(count, at_ns=NOW_NS, trigger="volume_surge"):
    return [given_slot(number, at_ns, trigger) for number in range(count)]


def all_refused(first, last, at_ns=NOW_NS):
    return [refused(number, at_ns) for number in range(first, last)]


def all_released(count, at_ns):
    return [SlotReleased(f"a:{number}", f"{number:06d}", at_ns, 1.0, "expired") for number in range(count)]


def test_the_configured_rate_is_the_alert_level_and_the_levels_stay_in_order():
    for alert, warning, urgent in ((0.1, 0.05, 0.2), (0.01, 0.01, 0.2), (0.5, 0.05, 0.5)):
        expected = {"normal": -1.0, "warning": warning, "alert": alert, "urgent": urgent}
        assert rates_of(SlotSettings(overflow_alert_rate=alert)) == expected


def test_a_level_is_reported_once_and_its_end_once():
    watch = OverflowWatch(RATES)
    watch.apply([*(given_slot(number) for number in range(17)), *(refused(number) for number in range(20))])
    reported = watch.check(NOW_NS, ())
    assert reported.severity == "warning"
    assert "alert (15.0%" in reported.text
    assert watch.check(NOW_NS, ()) is None
    over = watch.check(NOW_NS + WINDOW_NS, ())
    assert over.severity is None
    assert over.text == "slots, last hour: level normal (too few symbols wanted a slot for a rate)"


def test_a_process_that_resumes_reports_no_level_again():
    decided = [*(given_slot(number) for number in range(17)), *(refused(number) for number in range(20))]
    watch = OverflowWatch(RATES)
    watch.resume(decided, NOW_NS)
    assert watch.check(NOW_NS, ()) is None


LONG_AGO_NS, MINUTE_NS = NOW_NS - 3 * WINDOW_NS, WINDOW_NS // 60
UNKNOWN_SLOT = SlotReleased("gone:1", "000001", NOW_NS, 1.0, "account_removed")


def test_slots_that_are_held_for_hours_keep_the_rate_low_until_they_are_released():
    held, left_out = all_given(410, LONG_AGO_NS), all_refused(500, 520)
    assert text_after([UNKNOWN_SLOT, *held], left_out) is None
    assert text_after(held, all_released(400, NOW_NS), left_out).startswith("urgent (66.7%")


def test_a_filler_counts_as_served_once_a_trigger_extends_its_slot():
    fillers, left_out = all_given(410, trigger="market_cap"), all_refused(500, 520)
    extended = [SlotExtended(f"a:{n}", f"{n:06d}", NOW_NS, "volume_surge", 12.0, None) for n in range(410)]
    unknown = SlotExtended("gone:1", "000001", NOW_NS, "volume_surge", 12.0, None)
    assert text_after(fillers, [unknown, *extended], left_out) is None
    assert text_after(fillers, all_refused(0, 20)).startswith("urgent (100.0%")
    lost = [all_given(410, LONG_AGO_NS, "market_cap"), extended, all_released(410, NOW_NS)]
    assert text_after(*lost, all_refused(0, 20)) is None  # served within the hour: an extension counts from its moment


def test_a_slot_in_the_hour_counts_though_it_was_lost_and_the_symbol_refused_since():
    """The state keeps each symbol's latest event of each kind, in any order of arrival."""
    changes = [all_given(20, NOW_NS - 20 * MINUTE_NS), all_released(20, NOW_NS - 10 * MINUTE_NS), all_refused(0, 20)]
    assert text_after(*changes) is None
    assert text_after(*changes, now_ns=NOW_NS + 45 * MINUTE_NS).startswith("urgent (100.0%")
    earlier = [all_refused(0, 20, NOW_NS - 30 * MINUTE_NS), all_given(20, NOW_NS - 70 * MINUTE_NS)]
    assert text_after(*earlier, all_released(20, NOW_NS - 69 * MINUTE_NS)).startswith("urgent (100.0%")


def test_a_waiting_symbol_that_was_refused_hours_ago_counts_in_the_report():
    waiting = [f"{number:06d}" for number in range(100, 160)]
    assert text_after(all_given(40, LONG_AGO_NS), waiting=waiting).startswith("urgent (60.0%")


DECISIONS = st.lists(
    st.builds(
        lambda kind, number, at_ns: kind(number, at_ns),
        st.sampled_from([given_slot, refused]),
        st.integers(0, 40),
        st.integers(NOW_NS - 2 * WINDOW_NS, NOW_NS),
    )
)


@given(DECISIONS)
def test_the_watch_reports_the_level_of_the_rate_over_all_decisions(
    decisions,
):
    in_order = sorted(
        decisions, key=lambda each: each.assigned_ns if isinstance(each, SlotAssigned) else each.overflowed_ns
    )
    watch = OverflowWatch(RATES)
    watch.apply(in_order)
    holding = {each.symbol for each in decisions if isinstance(each, SlotAssigned)}
    expected = next_level("normal", overflow_rate(decisions, holding, (), NOW_NS), RATES)
    reported = watch.check(NOW_NS, ())
    assert (reported is None) == (expected == "normal")
    assert reported is None or f": {expected} (" in reported.text
