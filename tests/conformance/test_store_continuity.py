"""The reader's continuity data of a day and the resulting quality reports, on both databases."""

from datetime import date

import msgspec
import pytest

from bus.events import (
    DailyBar,
    GapDetected,
    GapEmpty,
    GapOpened,
    GapRecovered,
    GapUnrecoverable,
    PhaseChanged,
    Pinned,
    QualityJudged,
    Reached,
    SelectionAdvanced,
    SlotAssigned,
    SlotExtended,
    SlotOverflowed,
    SlotReleased,
    Snapshot,
    SweepCompleted,
    TradesConflated,
    TriggerFired,
    UniverseBuilt,
    UniverseMember,
    Unpinned,
    WatchChanged,
    WatchInterrupted,
    WatchLearned,
    WatchSettled,
    WatchStarted,
    WatchStopped,
)
from observer.base.errors import NoDataError
from observer.base.local_time import local_ns
from observer.cli.lines import AskedLines
from observer.cli.quality import quality_of
from observer.cli.slots import explain, slots_of
from observer.gaps.intervals import Interval, ObservedVolumes
from observer.gaps.reconciliation import reconcile
from observer.reference.universe.eligibility import KOREAN_STOCKS
from observer.selection.settings import UniverseSettings
from tests.builders import day_began, trade

DAY = "2026-11-18"
START_NS, STOP_NS, NOW_NS = (local_ns(date(2026, 11, 18), hour) for hour in (10, 15, 20))
SECOND_NS = 10**9
SESSION = Interval(local_ns(date(2026, 11, 18), 9), local_ns(date(2026, 11, 18), 15, 30))
PRICES = (1.0, None, None, None, None, None, None, None, None)
SYMBOL, OTHER = "005930", "000660"


def streamed(number, **changes):
    """The day's `number`-th trade, of one share, received so many seconds after ten o'clock."""
    base = trade(number, receive_time_ns=START_NS + number * SECOND_NS)
    return msgspec.structs.replace(base, **changes)


def gap(gap_id="g", after=1.0, before=3.0, second=4):
    at_ns = START_NS + second * SECOND_NS
    return GapDetected(
        gap_id, "kis", SYMBOL, DAY, at_ns, START_NS, at_ns, after, before, before - after, 2, "reconnect"
    )


def assigned(symbol=SYMBOL, *, second=0, replaced=None, slot="a:01"):
    return SlotAssigned(slot, symbol, START_NS + second * SECOND_NS, "volume_surge", 9.5, "free_slot", replaced)


CLOSED = GapRecovered("g", SYMBOL, NOW_NS, "time_and_sales", 2, 2.0, True)
RELEASED = SlotReleased("a:01", SYMBOL, STOP_NS, 9.5, "closed")
STOPPED = PhaseChanged(DAY, STOP_NS, "FULL_OPERATION", "TRACK_A_CLOSING")


def test_a_recovered_day_reconciles_without_difference(store, reader):
    found = [streamed(number, gap_id="g", receive_time_ns=NOW_NS) for number in (2, 3)]
    store(assigned(), STOPPED, RELEASED, streamed(1), streamed(4), gap(), *found, CLOSED)
    [day] = reader.symbol_days(DAY, NOW_NS, SESSION)
    [reconciliations], quality = reconcile(day, NOW_NS)
    assert (reconciliations.from_ns, reconciliations.to_ns) == (START_NS, STOP_NS)
    assert (reconciliations.streamed_volume, reconciliations.recovered_volume, reconciliations.difference) == (2, 2, 0)
    assert (quality.provider, quality.slots_quality, quality.gaps_open) == ("kis", "recovered", 0)


def cut(gap_id):
    return GapOpened(gap_id, "kis", SYMBOL, DAY, START_NS + SECOND_NS, START_NS + SECOND_NS, 1.0, "reconnect")


def test_cuts_that_are_neither_a_gap_nor_empty_are_unresolved(store, reader):
    empty = GapEmpty("e", "kis", SYMBOL, DAY, NOW_NS, START_NS, NOW_NS, 1.0)
    lost = GapUnrecoverable("l", SYMBOL, NOW_NS, "the symbol was left")
    store(assigned(), STOPPED, RELEASED, streamed(1), *map(cut, "gelo"), gap(), empty, lost)
    [day] = reader.symbol_days(DAY, NOW_NS, SESSION)
    assert day.unresolved_cuts == 2


def test_an_interval_without_a_stored_phase_lasts_until_now(store, reader):
    store(assigned())
    [day] = reader.symbol_days(DAY, START_NS + 5 * SECOND_NS, SESSION)
    assert day.intervals == [Interval(START_NS, START_NS + 5 * SECOND_NS)]


def snapshot(second, volume):
    return Snapshot("kis", SYMBOL, DAY, 1, START_NS + second * SECOND_NS, *PRICES, volume, 0.0)


def swept(second, until_second):
    return SweepCompleted("kis", DAY, 1, START_NS + second * SECOND_NS, START_NS + until_second * SECOND_NS, 1, 1, 1)


LEFT = SlotReleased("a:01", SYMBOL, START_NS + 60 * SECOND_NS, 9.5, "expired")
STOPPED_WATCH = WatchChanged("kis", SYMBOL, DAY, START_NS + 60 * SECOND_NS, WatchStopped())
DAY_BEGAN = SelectionAdvanced(DAY, START_NS, day_began(DAY))


def acknowledged(second):
    return WatchChanged("kis", SYMBOL, DAY, START_NS + second * SECOND_NS, WatchStarted())


@pytest.mark.parametrize(
    ("seen", "observed", "report"),
    [
        (
            [(-1, 100), (30, 130), (90, 130)],
            ObservedVolumes(100, 130, 130, 130),
            "unknown",
        ),  # perhaps in the second before the slot, perhaps not
        (
            [(-1, 100), (20, 110), (30, 130), (90, 130)],
            ObservedVolumes(100, 110, 130, 130),
            "missing",
        ),  # it traded, and nothing came
        ([(-1, 100), (90, 100)], ObservedVolumes(before=100, after=100), "complete"),  # a minute between two sweeps
        ([(-1, 100), (30, 100)], ObservedVolumes(before=100, first=100, last=100), "complete"),
        (
            [(-1, 100), (90, 120)],
            ObservedVolumes(before=100, after=120),
            "unknown",
        ),  # perhaps in that minute, perhaps not
        ([(30, 100), (90, 100)], ObservedVolumes(first=100, last=100, after=100), "unknown"),
        ([(-1, 100)], ObservedVolumes(before=100), "unknown"),
    ],
)
def test_snapshots_prove_whether_a_silent_symbol_traded(seen, observed, report, store, reader):
    sweeps = [swept(second - 1, second + 1) for second, _ in seen]
    store(assigned(), LEFT, *sweeps, *(snapshot(*each) for each in seen))
    [day] = reader.symbol_days(DAY, NOW_NS, SESSION)
    assert [interval.observed for interval in day.intervals] == [observed]
    assert reconcile(day, NOW_NS)[1].slots_quality == report


def test_a_stream_that_went_stale_is_found_out_by_the_last_snapshot(store, reader):
    store(assigned(), streamed(1), swept(49, 51), snapshot(50, 4.0), LEFT)
    [day] = reader.symbol_days(DAY, NOW_NS, SESSION)
    [reconciliations], quality = reconcile(day, NOW_NS)
    assert (quality.slots_quality, reconciliations.difference) == ("degraded", 3)


def test_a_sweep_that_began_before_the_subscription_yields_no_first_volume(store, reader):
    at_ns = START_NS + 20 * SECOND_NS
    watched = WatchChanged("kis", SYMBOL, DAY, at_ns, WatchStarted(Reached(0.0, None, START_NS)))
    store(assigned(), watched, swept(19, 31), snapshot(30, 2.0), swept(40, 50), snapshot(49, 3.0), LEFT)
    [day] = reader.symbol_days(DAY, NOW_NS, SESSION)
    assert day.intervals[0].observed == ObservedVolumes(first=3, last=3)


def test_the_volume_requested_at_the_subscription_is_the_start_of_the_interval(store, reader):
    at_ns = START_NS + 2 * SECOND_NS
    subscribed = WatchChanged("kis", SYMBOL, DAY, START_NS + SECOND_NS, WatchStarted())
    asked = WatchChanged("kis", SYMBOL, DAY, at_ns + 1, WatchLearned(Reached(1.0, None, at_ns)))
    store(assigned(), subscribed, asked, streamed(4), streamed(5), swept(50, 51), snapshot(51, 5.0), LEFT)
    [day] = reader.symbol_days(DAY, NOW_NS, SESSION)
    assert day.intervals[0].observed == ObservedVolumes(first=1, last=5)
    assert reconcile(day, NOW_NS)[0][0].difference == 2


def bar(volume):
    return DailyBar("kis", SYMBOL, DAY, 1.0, 1.0, 1.0, 1.0, volume, 0.0)


@pytest.mark.parametrize(
    ("reported", "report", "detail"),
    [
        ((), "degraded", "the end is unobserved or unknown"),
        ((bar(9.0), bar(7.0)), "degraded", "5 shares more at most, before an unobserved end"),
        ((bar(2.0),), "complete", ""),
    ],
)
def test_a_day_without_a_recorded_end_is_complete_only_if_its_daily_bar_confirms_it(
    reported, report, detail, store, reader
):
    store(assigned(), streamed(1), streamed(2), *reported)
    midnight_ns = local_ns(date(2026, 11, 19))
    [day] = reader.symbol_days(DAY, midnight_ns, SESSION)
    quality = reconcile(day, midnight_ns)[1]
    assert (quality.slots_quality, quality.detail) == (report, detail)


def test_the_volume_requested_at_the_release_is_the_end_of_the_interval(store, reader):
    asked = WatchChanged("kis", SYMBOL, DAY, STOP_NS + 5, WatchSettled(Reached(2.0, None, STOP_NS + 5)))
    given_up = SlotReleased("a:01", SYMBOL, STOP_NS, 9.5, "unfinished")
    store(assigned(), streamed(1), streamed(2), asked, given_up, bar(9.0))
    [day] = reader.symbol_days(DAY, NOW_NS, SESSION)
    assert day.intervals == [Interval(START_NS, STOP_NS, ObservedVolumes(after=2), has_end=False)]
    assert reconcile(day, NOW_NS)[1].slots_quality == "complete"


def test_the_gap_rate_and_the_use_of_slots_are_reported(store, reader):
    began = PhaseChanged(DAY, START_NS, "TRACK_A_ONLY", "FULL_OPERATION")
    ended = PhaseChanged(DAY, START_NS + 120 * SECOND_NS, "FULL_OPERATION", "TRACK_A_CLOSING")
    store(began, DAY_BEGAN, assigned(), acknowledged(0), streamed(1), streamed(4), gap(), LEFT, STOPPED_WATCH, ended)
    found = quality_of(reader, DAY, AskedLines(), NOW_NS, 2, SESSION)
    assert (found.gap_rate_percent, found.gap_rate_limit_percent, found.slot_utilization_percent) == (50, 5, 25)
    assert quality_of(reader, "2026-11-17", AskedLines(), NOW_NS, 2, SESSION).slot_utilization_percent is None


def test_a_slot_is_used_while_the_broker_acknowledges_its_subscription(store, reader):
    began = PhaseChanged(DAY, START_NS, "TRACK_A_ONLY", "FULL_OPERATION")
    ended = PhaseChanged(DAY, START_NS + 120 * SECOND_NS, "FULL_OPERATION", "TRACK_A_CLOSING")
    lost = WatchChanged("kis", SYMBOL, DAY, START_NS + 30 * SECOND_NS, WatchInterrupted("reconnect"))
    store(began, DAY_BEGAN, assigned(), acknowledged(18), lost, acknowledged(48), LEFT, STOPPED_WATCH, ended)
    found = quality_of(reader, DAY, AskedLines(), NOW_NS, 1, SESSION)
    assert found.slot_utilization_percent == 20
    assert found.session_time_percent == 100 * 24 / (6.5 * 3600)
    times = [(START_NS + since * SECOND_NS, START_NS + until * SECOND_NS) for since, until in ((18, 30), (48, 60))]
    assert [(each.from_ns, each.to_ns) for each in found.symbols[0].intervals] == times


def test_the_volume_of_the_day_is_that_of_a_sweep_after_the_closing_auction(store, reader):
    close_s = (SESSION.to_ns - START_NS) // SECOND_NS
    store(assigned(), STOPPED, RELEASED, streamed(1), streamed(2))
    store(swept(close_s, close_s + 2), snapshot(close_s + 1, 5.0))
    assert reader.day_volumes(DAY, SESSION, [SYMBOL]) == {}
    store(swept(close_s + 90, close_s + 92), snapshot(close_s + 91, 8.0))
    assert reader.day_volumes(DAY, SESSION, [SYMBOL]) == {SYMBOL: 8}
    [day] = reader.symbol_days(DAY, NOW_NS, SESSION)
    quality = reconcile(day, NOW_NS)[1]
    assert (quality.day_quality, quality.day_volume, quality.volume_share) == ("part", 8, 0.25)
    store(bar(9.0), swept(close_s + 3_600, close_s + 3_602), snapshot(close_s + 3_601, 20.0))
    assert reader.day_volumes(DAY, SESSION, [SYMBOL]) == {SYMBOL: 8}, "neither a bar nor the after-market's volume"


def test_without_a_sweep_the_volume_of_the_day_is_that_of_the_daily_bar(store, reader):
    store(assigned(), STOPPED, RELEASED, streamed(1), streamed(2), bar(2.0))
    [day] = reader.symbol_days(DAY, NOW_NS, SESSION)
    assert reconcile(day, NOW_NS)[1].day_quality == "whole"


def test_reconciliation_counts_conflated_rows(store, reader):
    at_ns = START_NS + 3 * SECOND_NS
    row = TradesConflated("kis", SYMBOL, DAY, at_ns, at_ns, at_ns, 2, 2.0, 1.0, 1.0, 1.0, 1.0, 3.0, 3)
    store(assigned(), STOPPED, streamed(1), row, streamed(4))
    found = quality_of(reader, DAY, AskedLines(), NOW_NS, 2, SESSION)
    assert (found.stored, found.streamed_volume, found.conflated_volume, found.missing_volume) == (False, 4, 2, 0)
    assert found.slots_quality == {"degraded": 1}


def test_a_stored_quality_report_is_returned_with_the_days_trades(store, reader):
    store(assigned(), STOPPED, streamed(1), streamed(2))
    assert reader.judged_trades(SYMBOL, DAY)[0] is None
    [day] = reader.symbol_days(DAY, NOW_NS, SESSION)
    early, late = (reconcile(day, NOW_NS + later)[1] for later in (0, 1))
    store(late, early)
    report, rows = reader.judged_trades(SYMBOL, DAY)
    assert report == late
    assert [row.cumulative_volume for row in rows] == [1, 2]
    assert quality_of(reader, DAY, AskedLines(), NOW_NS, 2, SESSION).stored
    assert isinstance(report, QualityJudged)


def test_quality_can_be_requested_for_one_symbol(store, reader):
    store(assigned(), assigned(OTHER, slot="a:02"), streamed(1), streamed(1, symbol=OTHER))
    assert [each.symbol for each in quality_of(reader, DAY, AskedLines(OTHER), NOW_NS, 2, SESSION).symbols] == [OTHER]


def test_a_gap_is_listed_once_with_its_outcome(store, reader):
    lost = GapUnrecoverable("lost", SYMBOL, NOW_NS, "the day is over")
    partial = msgspec.structs.replace(CLOSED, gap_id="part", complete=False)
    store(gap(), gap(), gap("lost", second=5), gap("part", second=6), gap("open", second=7), CLOSED, lost, partial)
    stories = reader.gaps(DAY)
    assert [story.gap.gap_id for story in stories] == ["g", "lost", "part", "open"]
    assert [story.is_open for story in stories] == [False, False, False, True]
    assert (stories[1].unrecoverable, stories[2].recovered) == (lost, partial)
    assert reader.gaps(DAY, OTHER) == []


# --- why a symbol has a slot ---


def why(reader, symbol=SYMBOL):
    found = explain(reader, symbol, DAY, NOW_NS, UniverseSettings())
    return found.slot, found.why


def test_why_names_the_trigger_of_a_symbol_with_a_slot(store, reader):
    store(assigned())
    assert why(reader) == ("a:01", "10:00:00 005930 has a:01: volume_surge, score 9.500, free_slot")


def test_why_names_the_trigger_that_keeps_a_slot_now(store, reader):
    store(assigned(), SlotExtended("a:01", SYMBOL, START_NS + 60 * SECOND_NS, "market_cap", 2.5, None))
    text = "10:01:00 005930 keeps a:01 without end: market_cap, score 2.500"
    assert why(reader) == ("a:01", f"10:00:00 005930 has a:01: volume_surge, score 9.500, free_slot; {text}")


def test_why_names_the_score_that_a_refused_symbol_had_to_exceed(store, reader):
    store(SlotOverflowed(SYMBOL, START_NS, "volume_surge", 0.8, 9.2, 9.5, "all_slots_hold_higher_scores"))
    slot, text = why(reader)
    assert slot is None
    assert "score 9.200 against the lowest that can be replaced, 9.500" in text


def test_why_names_the_trigger_of_a_slot_and_the_reason_of_its_release(store, reader):
    store(assigned(), SlotReleased("a:01", SYMBOL, START_NS + 60 * SECOND_NS, 9.5, "expired"))
    had = "10:00:00 005930 has a:01: volume_surge, score 9.500, free_slot"
    assert why(reader) == (None, f"{had}; 10:01:00 005930 left a:01: expired")


def test_why_names_the_symbol_that_replaced_another(store, reader):
    replaced = SlotReleased("a:01", SYMBOL, START_NS + 60 * SECOND_NS, 7.0, "replaced", OTHER)
    store(assigned(), replaced, assigned(OTHER, second=60, replaced=SYMBOL))
    slot, text = why(reader)
    assert slot is None
    assert "10:01:00 005930 left a:01: replaced by 000660; 10:01:00 000660 has a:01 instead of 005930" in text
    assert "score 9.500" in text


def test_why_ignores_an_assignment_of_the_next_day(store, reader):
    store(assigned(), assigned(OTHER, second=24 * 3600))
    assert why(reader) == ("a:01", "10:00:00 005930 has a:01: volume_surge, score 9.500, free_slot")


def test_why_names_the_reason_for_which_a_pinned_symbol_waits(store, reader):
    pinned = SelectionAdvanced(DAY, START_NS, Pinned(SYMBOL))
    store(assigned(), pinned, SlotReleased("a:01", SYMBOL, START_NS + 60 * SECOND_NS, 9.5, "halted"))
    text = "10:01:00 005930 left a:01: halted; 005930 is pinned; halted: gets a slot when trading resumes"
    assert why(reader) == (None, text)


def test_why_reports_a_symbol_that_was_pinned_while_halted(store, reader):
    store(SelectionAdvanced(DAY, START_NS, Pinned(SYMBOL, "halted")))
    assert why(reader) == (None, "005930 is pinned; halted: gets a slot when trading resumes")
    store(SelectionAdvanced(DAY, START_NS, Unpinned(SYMBOL)), *universe())
    assert "pinned" not in why(reader)[1]


def universe(date_of_it=DAY):
    member = UniverseMember("kis", KOREAN_STOCKS, date_of_it, 1, SYMBOL, "Samsung", "KOSPI", 1e12, 70_000.0, None, None)
    return member, UniverseBuilt("kis", KOREAN_STOCKS, date_of_it, date_of_it, START_NS, 1, 1, 0.0)


FIRED = TriggerFired(SYMBOL, "volume_surge", START_NS, None, 3.0, 3.0, 1.0, 0.6, 17.0)


def test_why_reports_no_trigger_before_the_first_slot_is_assigned(store, reader):
    store(*universe())
    assert why(reader) == (None, f"no symbol had a slot on {DAY}")


@pytest.mark.parametrize(
    ("fired", "text"),
    [
        ((), "no trigger of 005930 held on 2026-11-18, and others of larger market value filled what was free"),
        (
            (FIRED,),
            "10:00:00 005930 could hold no slot when volume_surge fired: halted, at its upper limit or delisted",
        ),
    ],
)
def test_why_reports_whether_a_trigger_fired_for_a_member_without_a_decision(store, reader, fired, text):
    store(*universe("2026-11-17"), *fired, assigned(OTHER))
    assert why(reader) == (None, text)


def test_why_reports_a_symbol_without_universe_and_master_file(reader):
    with pytest.raises(NoDataError, match="005930 is not in the universe of 2026-11-18, and no master file has it"):
        why(reader)


# --- the slots of a day, and its gaps' ids ---


def test_the_slots_of_a_day_that_is_over_are_those_before_its_end(store, reader):
    began, left = SelectionAdvanced(DAY, START_NS, day_began(DAY)), assigned(OTHER, slot="a:02")
    expired = SlotReleased("a:02", OTHER, START_NS + 60 * SECOND_NS, 9.5, "expired")
    store(began, assigned(), left, expired)
    states, closed_ns = slots_of(reader.slot_status_events(DAY))
    assert (list(states.holders), closed_ns) == (["a:01"], None)
    store(RELEASED)
    states, closed_ns = slots_of(reader.slot_status_events(DAY))
    assert (list(states.holders), closed_ns) == (["a:01"], STOP_NS)


def test_the_ids_of_a_day_are_found_by_a_part(store, reader):
    store(gap("kis-1-100-200"), gap("kis-1-100-200"), gap("kis-2-100-300"))
    assert reader.gap_ids(DAY, "100-200") == ["kis-1-100-200"]
    assert reader.gap_ids(DAY, "100") == ["kis-1-100-200", "kis-2-100-300"]
    assert reader.gap_ids(DAY, "%") == []
    assert reader.gap_ids("2026-11-17", "100") == []


# --- which sessions are stored ---


def test_without_a_session_none_is_the_last(store, reader):
    store(streamed(1), assigned())
    assert reader.last_session() is None, "trades and slots are never searched for a day"
    assert not reader.has_session(DAY)


@pytest.mark.parametrize(
    "event",
    [universe()[1], swept(1, 2), gap(), SelectionAdvanced(DAY, START_NS, Pinned(SYMBOL))],
    ids=lambda event: type(event).__name__,
)
def test_a_session_is_stored_by_any_of_its_signs(event, store, reader):
    store(universe("2026-11-17")[1], event, SweepCompleted("kis", "2026-11-16", 1, START_NS, START_NS, 1, 1, 1))
    assert reader.last_session() == DAY
    assert [reader.has_session(f"2026-11-{day}") for day in (15, 16, 17, 18, 19)] == [False, True, True, True, False]
