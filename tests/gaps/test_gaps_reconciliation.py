"""A symbol's day reconciles to the share, or the report states the missing volume."""

from itertools import accumulate, pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.events import TAPE, MinuteBarRecovered, StreamedTime
from observer.gaps.intervals import Interval, ObservedVolumes
from observer.gaps.reconciliation import Piece, SymbolDay, reconcile
from tests.gaps.builders import detected
from tests.reach import reaches

DAY, NOW_NS, CLOSE_NS = "2026-11-18", 99, 10_000
SYMBOL = "005930"
ALL_DAY = Interval(0, CLOSE_NS)


def tape(*volumes):
    """Streamed trades of these volumes, one a nanosecond from 1 on, from the day's first share on."""
    return [
        Piece(moment, volume, total)
        for moment, (volume, total) in enumerate(zip(volumes, accumulate(volumes), strict=True), 1)
    ]


def gap(gap_id, after, before, detected_ns):
    return detected(gap_id, after, before, detected_ns=detected_ns, to_ns=detected_ns)


def bar(gap_id, minute, volume):
    return MinuteBarRecovered("kis", SYMBOL, DAY, minute, 1.0, 1.0, 1.0, 1.0, volume, gap_id)


def day(**changes):
    base = SymbolDay(provider="kis", symbol=SYMBOL, session_date=DAY, intervals=[ALL_DAY])
    return msgspec.structs.replace(base, **changes)


def recovered(piece, gap_id):
    return msgspec.structs.replace(piece, gap_id=gap_id, received_ns=CLOSE_NS - 1)


# --- the reconciliation ---


def test_a_tape_without_a_gap_reconciles_without_difference():
    [reconciliations], quality = reconcile(day(pieces=tape(10, 20, 30)), NOW_NS)
    assert (
        reconciliations.after_volume,
        reconciliations.before_volume,
        reconciliations.streamed_volume,
        reconciliations.difference,
    ) == (0, 60, 60, 0)
    assert (quality.slots_quality, quality.streamed_trades, quality.detail) == ("complete", 3, "")


def test_a_day_with_a_cut_that_has_an_unknown_loss_is_not_complete():
    _, quality = reconcile(day(pieces=tape(10, 20, 30), unresolved_cuts=2), NOW_NS)
    assert quality.slots_quality == "degraded"
    assert quality.detail == "cuts with an unknown loss: 2"
    assert (quality.gaps, quality.gaps_open) == (2, 2)


def test_a_cut_is_resolved_where_all_that_was_traded_is_stored():
    pieces, observed = tape(10, 20, 30), ObservedVolumes(before=0, after=60)
    whole = msgspec.structs.replace(ALL_DAY, observed=observed)
    _, quality = reconcile(day(pieces=pieces, intervals=[whole], unresolved_cuts=1), NOW_NS)
    assert (quality.missing_at_most, quality.slots_quality, quality.detail) == (0, "complete", "")


def test_a_trade_stored_twice_counts_once():
    first, second = tape(10, 20)
    [reconciliations], quality = reconcile(day(pieces=[first, second, second]), NOW_NS)
    assert (reconciliations.streamed_volume, reconciliations.difference, quality.streamed_trades) == (30, 0, 2)


def test_missing_trades_without_a_recorded_gap_are_stated():
    first, _, third = tape(10, 20, 30)
    [reconciliations], quality = reconcile(day(pieces=[first, third]), NOW_NS)
    assert reconciliations.difference == 20
    assert quality.slots_quality == "degraded"
    assert "20 shares missing outside of every recorded gap" in quality.detail


def test_shares_are_written_out():
    first, _, third = tape(10, 1_234_567, 30)
    _, quality = reconcile(day(pieces=[first, third]), NOW_NS)
    assert "1,234,567 shares missing" in quality.detail


def test_an_open_gap_is_missing_and_open():
    first, _, third = tape(10, 20, 30)
    _, quality = reconcile(day(pieces=[first, third], gaps=[gap("g", 10, 30, 3)]), NOW_NS)
    assert (quality.slots_quality, quality.missing_volume, quality.gaps, quality.gaps_open) == ("degraded", 20, 1, 1)
    assert "outside" not in quality.detail


def test_a_gap_filled_trade_by_trade_is_recovered():
    first, second, third = tape(10, 20, 30)
    pieces = [first, recovered(second, "g"), third]
    found = day(pieces=pieces, gaps=[gap("g", 10, 30, 3)], closed_gaps=frozenset({"g"}))
    [reconciliations], quality = reconcile(found, NOW_NS)
    assert (reconciliations.streamed_volume, reconciliations.recovered_volume, reconciliations.difference) == (
        40,
        20,
        0,
    )
    assert (quality.slots_quality, quality.gaps, quality.gaps_open) == ("recovered", 1, 0)


def test_a_gap_that_the_tape_has_is_recovered_and_what_it_has_beside_the_gap_is_not_counted():
    first, second, third, fourth = tape(10, 20, 30, 40)
    pieces = [first, recovered(second, TAPE), third, recovered(fourth, TAPE)]
    found = day(pieces=pieces, gaps=[gap("g", 10, 30, 3)], closed_gaps=frozenset({"g"}))
    [each], quality = reconcile(found, NOW_NS)
    assert (each.before_volume, each.streamed_volume, each.recovered_volume, each.difference) == (60, 40, 20, 0)
    assert (quality.slots_quality, quality.missing_volume) == ("recovered", 0)


@pytest.mark.parametrize(("in_bars", "counted"), [(500.0, 20.0), (20.0, 20.0), (5.0, 5.0)])
def test_minute_bars_count_as_far_as_the_gap_misses(in_bars, counted):
    first, _, third = tape(10, 20, 30)
    found = day(pieces=[first, third], gaps=[gap("g", 10, 30, 3)], bars=[bar("g", 0, in_bars)])
    [reconciliations], quality = reconcile(found, NOW_NS)
    assert (reconciliations.recovered_volume, reconciliations.difference) == (counted, 20 - counted)
    assert quality.slots_quality == "degraded"


def test_a_minute_that_was_fetched_twice_counts_once():
    first, _, third = tape(10, 20, 30)
    found = day(pieces=[first, third], gaps=[gap("g", 10, 30, 3)], bars=[bar("g", 0, 8), bar("g", 0, 8)])
    assert reconcile(found, NOW_NS)[0][0].recovered_volume == 8


def test_conflated_rows_count_by_volume_and_degrade():
    first, second, third = tape(10, 20, 30)
    [reconciliations], quality = reconcile(
        day(pieces=[first, msgspec.structs.replace(second, conflated=True), third]), NOW_NS
    )
    assert (reconciliations.streamed_volume, reconciliations.difference) == (60, 0)
    assert (quality.slots_quality, quality.conflated_volume, quality.streamed_trades) == ("degraded", 20, 2)


@pytest.mark.parametrize(
    ("seen", "report", "missing"),
    [
        (ObservedVolumes(before=100, after=100), "complete", 0),
        (ObservedVolumes(before=100, first=100, last=100), "complete", 0),  # no observation afterwards
        (ObservedVolumes(before=100, first=110, last=150, after=160), "missing", 40),
        (ObservedVolumes(before=100, last=150), "unknown", 0),  # perhaps before the symbol's first trade
        (ObservedVolumes(before=100, last=100, after=120), "unknown", 0),  # perhaps in the interval, perhaps not
        (ObservedVolumes(after=100), "unknown", 0),
        (ObservedVolumes(), "unknown", 0),
    ],
)
def test_silence_is_complete_only_if_track_a_saw_no_trading_and_missing_only_if_it_saw_some(seen, report, missing):
    _, quality = reconcile(day(intervals=[Interval(0, CLOSE_NS, seen)]), NOW_NS)
    assert (quality.slots_quality, quality.missing_volume) == (report, missing)


# --- volume observations ---


def seen(**volumes):
    return [Interval(0, CLOSE_NS, ObservedVolumes(**volumes))]


def test_volume_in_a_snapshot_beyond_the_last_trade_is_missing_outside_of_every_gap():
    [reconciliations], quality = reconcile(day(pieces=tape(10, 20), intervals=seen(last=50.0)), NOW_NS)
    assert (reconciliations.after_volume, reconciliations.before_volume, reconciliations.difference) == (0, 50, 20)
    assert (quality.slots_quality, quality.missing_volume) == ("degraded", 20)
    assert "20 shares missing outside of every recorded gap" in quality.detail


def test_volume_between_the_first_snapshot_and_the_first_trade_is_missing():
    late = tape(10, 20, 30, 40)[2:]
    [reconciliations], quality = reconcile(day(pieces=late, intervals=seen(first=12.0, last=100.0)), NOW_NS)
    assert (reconciliations.after_volume, reconciliations.difference, quality.slots_quality) == (12, 18, "degraded")


def test_volume_in_a_snapshot_can_lie_in_a_recorded_gap():
    found = day(pieces=tape(10, 20), intervals=seen(last=50.0), gaps=[gap("g", 30, 60, 9)])
    [reconciliations], quality = reconcile(found, NOW_NS)
    assert (reconciliations.before_volume, reconciliations.difference) == (60, 30)
    assert "outside" not in quality.detail


def test_snapshots_that_agree_with_the_trades_change_nothing():
    found = day(pieces=tape(10, 20, 30), intervals=seen(before=0.0, first=10.0, last=60.0, after=90.0))
    reconciliations, quality = reconcile(found, NOW_NS)
    unbounded = msgspec.structs.replace(quality, missing_at_most=None)
    assert (reconciliations, unbounded) == reconcile(day(pieces=tape(10, 20, 30)), NOW_NS)


def test_a_trade_in_transit_at_the_release_counts_up_to_the_volume_of_an_earlier_snapshot():
    times = [Interval(0, 2, ObservedVolumes(first=10.0, last=60.0))]
    [reconciliations], quality = reconcile(day(pieces=tape(10, 20, 30, 40), intervals=times), NOW_NS)
    assert (reconciliations.before_volume, reconciliations.streamed_volume, reconciliations.difference) == (60, 60, 0)
    assert quality.slots_quality == "complete"


@pytest.mark.parametrize(
    ("volumes", "report", "says"),
    [
        ({}, "degraded", "the end is unobserved"),
        ({"last": 30.0}, "degraded", "the end is unobserved"),
        ({"after": 50.0}, "degraded", "20 shares more at most, before an unobserved end"),
        ({"after": 30.0}, "complete", ""),
    ],
)
def test_an_interval_without_an_end_is_complete_only_if_a_volume_observation_confirms_it(volumes, report, says):
    times = [Interval(0, CLOSE_NS, ObservedVolumes(**volumes), has_end=False)]
    _, quality = reconcile(day(pieces=tape(10, 20), intervals=times), NOW_NS)
    assert quality.slots_quality == report
    assert says in quality.detail


@pytest.mark.parametrize(("after", "report"), [(None, "unknown"), (5.0, "complete"), (6.0, "unknown")])
def test_a_silent_interval_without_an_end_needs_a_volume_observation_after_it(after, report):
    times = [Interval(0, CLOSE_NS, ObservedVolumes(before=5.0, last=5.0, after=after), has_end=False)]
    assert reconcile(day(intervals=times), NOW_NS)[1].slots_quality == report


# --- what the report covers ---

HALF = [StreamedTime(0, CLOSE_NS // 2)]


def covered(*pieces, volume, **changes):
    """The report on trades in the first half of a day of this volume."""
    times = [Interval(0, CLOSE_NS // 2, ObservedVolumes(before=0.0, after=volume))]
    scene = {"pieces": pieces, "intervals": times, "streamed": HALF, "session": ALL_DAY, "day_volume": volume}
    return reconcile(day(**{**scene, **changes}), NOW_NS)[1]


def test_a_report_complete_in_its_slots_says_which_part_of_the_day_it_covers():
    quality = covered(*tape(10, 20, 30), volume=240.0)
    assert (quality.slots_quality, quality.day_quality) == ("complete", "part")
    assert (quality.day_volume, quality.volume_share, quality.time_share) == (240, 0.25, 0.5)
    assert quality.intervals == tuple(HALF)


def test_a_day_is_whole_if_every_share_is_in_a_trade():
    first, second, third = tape(10, 20, 30)
    assert covered(first, second, third, volume=60.0).day_quality == "whole"
    assert covered(first, recovered(second, "g"), third, volume=60.0).day_quality == "whole"
    assert covered(first, msgspec.structs.replace(second, conflated=True), third, volume=60.0).day_quality == "part"
    assert covered(first, third, volume=60.0).day_quality == "part"


def test_a_day_of_unknown_volume_is_unknown_and_a_day_without_a_trade_is_whole():
    quality = covered(*tape(10), volume=None)
    assert (quality.day_quality, quality.volume_share, quality.missing_at_most) == ("unknown", None, None)
    silent = covered(volume=0.0)
    assert (silent.slots_quality, silent.day_quality, silent.volume_share) == ("complete", "whole", None)
    assert silent.missing_at_most == 0


@pytest.mark.parametrize(
    ("before", "after", "at_most"),
    [
        (0.0, 60.0, 0),
        (0.0, 75.0, 15),  # perhaps between the last trade and the end
        (None, 75.0, 15),
        (None, None, 180),  # of the day's volume
    ],
)
def test_at_most_missing_is_what_the_observations_around_the_slot_do_not_exclude(before, after, at_most):
    times = [Interval(0, CLOSE_NS // 2, ObservedVolumes(before=before, after=after))]
    assert covered(*tape(10, 20, 30), volume=240.0, intervals=times).missing_at_most == at_most


def test_conflated_rows_and_gaps_may_be_missing_trade_by_trade():
    first, second, third = tape(10, 20, 30)
    quality = covered(first, msgspec.structs.replace(second, conflated=True), third, volume=60.0)
    assert (quality.missing_volume, quality.missing_at_most) == (0, 20)
    assert covered(first, third, volume=60.0, gaps=[gap("g", 10, 30, 3)]).missing_at_most == 20


# --- several intervals, and all days ---


def test_a_trade_after_the_release_is_not_reconciled():
    [reconciliations], _ = reconcile(day(pieces=tape(10, 20, 30), intervals=[Interval(0, 2)]), NOW_NS)
    assert (reconciliations.before_volume, reconciliations.streamed_volume, reconciliations.difference) == (30, 30, 0)


def test_volume_between_two_intervals_is_not_missing():
    pieces = tape(10, 20, 30, 40)
    found = day(pieces=[pieces[0], pieces[3]], intervals=[Interval(0, 1), Interval(4, CLOSE_NS)])
    first, second = reconcile(found, NOW_NS)[0]
    assert (first.difference, second.difference) == (0, 0)
    assert (second.after_volume, second.before_volume) == (60, 100)


@st.composite
def days(draw):
    """A tape with cuts inside intervals, some trades recovered; and the missing volume by interval."""
    volumes = draw(st.lists(st.integers(1, 1_000), min_size=draw(st.integers(1, 20)), max_size=60))
    trades = tape(*map(float, volumes))
    fates = st.sampled_from(["streamed", "conflated", "lost", "recovered"])
    kept = draw(st.lists(fates, min_size=len(trades), max_size=len(trades)))
    edges = sorted(draw(st.sets(st.integers(1, len(trades)), max_size=4)) | {0, len(trades)})
    spans, pieces, gaps, lost = [], [], [], []
    for start, end in zip(edges[::2], edges[1::2], strict=False):
        inside = list(range(start, end))
        came = [index for index in inside if kept[index] in ("streamed", "conflated")]
        spans.append(Interval(trades[start].received_ns, trades[end - 1].received_ns))
        lost.append(0.0)
        for before, after in pairwise(came):
            if after == before + 1:
                continue
            name = f"g{before}"
            low, high = trades[before].cumulative_volume, trades[after - 1].cumulative_volume
            gaps.append(gap(name, low, high, trades[after].received_ns))
            for index in range(before + 1, after):
                if kept[index] == "recovered":
                    pieces.append(recovered(trades[index], name))
                else:
                    lost[-1] += trades[index].volume
        pieces += [msgspec.structs.replace(trades[index], conflated=kept[index] == "conflated") for index in came]
    return day(pieces=draw(st.permutations(pieces)), gaps=draw(st.permutations(gaps)), intervals=spans), lost


@reaches(interval_with_a_loss=18, interval_with_a_recovery=23, several_intervals=10)
@given(days())
def test_the_difference_is_exactly_the_volume_that_is_neither_streamed_nor_recovered(
    reach,
    example,
):
    found, lost = example
    reconciliations, quality = reconcile(found, NOW_NS)
    assert [each.difference for each in reconciliations] == lost
    assert quality.missing_volume == sum(lost)
    for each in reconciliations:
        assert each.streamed_volume + each.recovered_volume + each.difference == each.before_volume - each.after_volume
    assert "outside" not in quality.detail
    reach.count("interval_with_a_loss", sum(map(bool, lost)))
    reach.count("interval_with_a_recovery", sum(each.recovered_volume > 0 for each in reconciliations))
    reach.count("several_intervals", len(lost) > 1)


@reaches(bar_takes_a_part=21, loss=17)
@given(days(), st.integers(0, 5_000))
def test_minute_bars_never_make_more_than_was_missing(reach, example, volume):
    found, lost = example
    bars = [bar(each.gap_id, 0, float(volume)) for each in found.gaps]
    reconciliations, quality = reconcile(msgspec.structs.replace(found, bars=bars), NOW_NS)
    for each, unknown in zip(reconciliations, lost, strict=True):
        assert 0 <= each.difference <= unknown
    if sum(lost):
        assert quality.slots_quality in ("degraded", "missing")
    reach.count(
        "bar_takes_a_part", sum(each.difference < unknown for each, unknown in zip(reconciliations, lost, strict=True))
    )
    reach.count("loss", bool(sum(lost)))
