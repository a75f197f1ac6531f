"""What the exporter counts of the feed."""

from bus.commands import Sample
from bus.events import (
    ConnectionChanged,
    Event,
    GapRecovered,
    GapTimesMeasured,
    GapUnrecoverable,
    MasterFileChecked,
    PhaseChanged,
    ProcessChanged,
    SlotOverflowed,
    TapeProgressed,
    TokenRenewed,
    TriggerFired,
)
from observer.monitoring.metrics.counters import Counters
from observer.monitoring.metrics.events import KINDS, FeedFigures
from observer.monitoring.metrics.families import fits
from observer.monitoring.metrics.table import METRICS

NOW_NS = 20 * 10**9
TAPE = TapeProgressed("kis", "2026-11-18", 1, 10, 4, 50, 900, 1_000.0, 250.0, 0.0, 0, 0, 60.0, is_done=False)
EVENTS: tuple[Event, ...] = (
    ConnectionChanged("kis", "main", 1, "connected", "", 0),
    GapRecovered("g1", "A", 1, "time_and_sales", 3, 3.0, complete=True),
    GapRecovered("g2", "A", 1, "time_and_sales", 3, 3.0, complete=False),
    GapUnrecoverable("g3", "A", 1, "too old"),
    GapTimesMeasured("2026-11-18", 1, "detection", 20, 19, 0.1, 0.5, 0.9, 1.5),
    MasterFileChecked("kis", "KOSPI", 1, "updated", "", 500, "", 95, 5, 0, 0, 0),
    PhaseChanged("2026-11-18", NOW_NS - 3 * 10**9, "IDLE", "WARMUP"),
    SlotOverflowed("A", NOW_NS - 2 * 10**9, "volume_surge", 1.0, 1.0, 1.0, "not_above_threshold"),
    TapeProgressed("kis", "2026-11-18", 1, 10, 4, 50, 900, 1_000.0, 250.0, 0.0, 0, 0, None, is_done=False),
    TokenRenewed("kis", "main", NOW_NS, None, "age", succeeded=False, error="refused"),
    TriggerFired("A", "volume_surge", NOW_NS - 10**9, None, 1.0, 1.0, 1.0, 1.0, 1.0),
)


def counted(*found):
    counters = Counters()
    figures = FeedFigures(counters, "track-b")
    for event in found:
        figures.count(event, NOW_NS)
    return {(each.metric, *each.labels): each.value for each in counters.samples()}


def test_each_kind_that_is_read_has_figures_and_none_is_a_kind_with_many_rows():
    assert {type(event) for event in EVENTS} <= set(KINDS)
    counters = Counters()
    figures = FeedFigures(counters, "track-b")
    for event in EVENTS:
        before = list(counters.samples())
        figures.count(event, NOW_NS)
        assert list(counters.samples()) != before, event
    assert all(fits(METRICS.get(each.metric), each) for each in counters.samples())


def test_gaps_are_counted_by_their_outcome():
    found = counted(*(event for event in EVENTS if isinstance(event, GapRecovered | GapUnrecoverable)))
    assert found == {
        ("observer_gaps_total", "recovered"): 1,
        ("observer_gaps_total", "recovered_in_part"): 1,
        ("observer_gaps_total", "unrecoverable"): 1,
    }


def test_the_day_s_times_of_gaps_replace_the_earlier_ones():
    first = GapTimesMeasured("2026-11-18", 1, "detection", 20, 19, 0.1, 0.5, 0.9, 1.5)
    later = GapTimesMeasured("2026-11-18", 2, "detection", 40, 20, 0.2, 0.6, 1.0, 2.5)
    found = counted(first, later)
    assert found["observer_gap_seconds", "detection", "0.95"] == 0.6
    assert found["observer_gap_in_time_ratio", "detection"] == 0.5


def test_a_lost_connection_reads_0():
    states = ("connected", "lost", "connected", "lost")
    found = counted(*(ConnectionChanged("kis", "main", 1, state, "", 0) for state in states))
    assert found["observer_stream_connected", "main"] == 0
    assert found["observer_stream_connection_changes_total", "main", "lost"] == 2


def test_a_connection_is_not_known_any_more_when_its_process_does_not_run():
    connected = ConnectionChanged("kis", "main", 1, "connected", "", 0)
    other, ended, runs = (
        ProcessChanged(name, 2, "STARTING", state, 1, "")
        for name, state in (("track-a", "BACKOFF"), ("track-b", "BACKOFF"), ("track-b", "RUNNING"))
    )
    assert ("observer_stream_connected", "main") in counted(connected, other)
    assert ("observer_stream_connected", "main") not in counted(connected, ended)
    assert ("observer_stream_connected", "main") in counted(connected, runs)


def test_figures_of_a_day_are_forgotten_with_the_first_phase_of_another():
    gaps = GapTimesMeasured("2026-11-18", 1, "detection", 20, 19, 0.1, 0.5, 0.9, 1.5)
    phases = [PhaseChanged(day, 1, "IDLE", "WARMUP") for day in ("2026-11-18", "2026-11-18", "2026-11-19")]
    assert ("observer_gap_in_time_ratio", "detection") in counted(phases[0], gaps, TAPE, phases[1])
    found = {metric for metric, *_ in counted(phases[0], gaps, TAPE, phases[2])}
    assert found == {"observer_feed_lag_seconds"}


def test_an_unchanged_master_file_leaves_the_figures_of_the_last_one_that_was_read():
    read = MasterFileChecked("kis", "KOSPI", 1, "updated", "", 500, "", 95, 5, 0, 0, 0)
    same = MasterFileChecked("kis", "KOSPI", 2, "unchanged", "", 0, "", 0, 0, 0, 0, 0)
    found = counted(read, same)
    assert found["observer_master_file_readable_ratio", "KOSPI"] == 0.95
    assert found["observer_master_file_listings", "KOSPI"] == 95
    assert found["observer_master_file_checks_total", "KOSPI", "unchanged"] == 1


def test_the_lag_of_the_feed_is_the_age_of_an_event_at_its_arrival():
    assert counted(EVENTS[6])["observer_feed_lag_seconds",] == 3.0
    ahead = PhaseChanged("2026-11-18", NOW_NS + 1, "IDLE", "WARMUP")
    assert counted(ahead)["observer_feed_lag_seconds",] == 0.0


def test_an_estimate_that_is_not_known_any_more_is_absent():
    assert ("observer_tape_left_seconds",) in counted(TAPE)
    found = counted(TAPE, EVENTS[8])
    assert ("observer_tape_left_seconds",) not in found
    assert found["observer_tape_held_ratio",] == 0.25


def test_samples_are_what_a_heartbeat_carries():
    counters = Counters()
    FeedFigures(counters, "track-b").count(EVENTS[0], NOW_NS)
    assert Sample("observer_stream_connected", ("main",), True) in counters.samples()
