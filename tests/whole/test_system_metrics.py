"""The exporter of a running day shows what docs/metrics.md says, all of it and nothing else."""

import pytest

from observer.monitoring.metrics.table import METRICS

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

# What a day without faults has none of, and what the end of a quick day has for less than the time between two scrapes.
EVENING = "made when the day's gaps are judged, or after it"
ABSENT = {
    "observer_backup_timestamp_seconds": EVENING,
    "observer_gap_rate_ratio": EVENING,
    "observer_gap_seconds": EVENING,
    "observer_gap_in_time_ratio": EVENING,
    "observer_heartbeat_left_out": "all figures fit",
    "observer_tape_held_ratio": "needs [tape]",
    "observer_tape_lines": "needs [tape]",
    "observer_tape_calls": "needs [tape]",
    "observer_tape_left_seconds": "needs [tape]",
    "observer_slot_overflow_ratio": "needs 20 symbols that want a slot",
    "observer_machine_disk_bytes_total": "some machines do not count it",
    "observer_alert_open": "no alert need be open at a scrape",
    "observer_alerts_raised_total": "no alert need be raised",
    "observer_unwatched_trades_dropped_total": "needs a trade after the broker's acknowledgement that a line is left",
    "observer_page_connections_dropped_total": "needs [web], and a client that stalls",
}


def test_every_metric_of_the_table_is_shown_in_the_course_of_a_day(day):
    assert METRICS.keys() - ABSENT.keys() - day.scraped.metrics.keys() == set()


def test_every_metric_that_is_shown_is_in_the_table_with_its_type_and_its_labels(day):
    shown = {name: (kind, sorted(labels)) for name, (kind, labels) in day.scraped.metrics.items()}
    assert shown == {name: (METRICS[name].type, sorted(METRICS[name].labels)) for name in shown}


def test_the_system_was_ready_with_every_line(day):
    checks = day.scraped.ready["checks"]
    assert isinstance(checks, list)
    assert [check["name"] for check in checks] == ["slots", "database", "token", "stream", "calendar"]
    assert day.scraped.ready["ready"] is True


def test_the_events_that_are_shown_are_those_of_the_database(day):
    """Up to the last scrape: a figure is of a heartbeat a second ago, and the day went on."""
    shown = day.scraped.values['observer_events_stored_total{"kind": "sweep_completed"}']
    assert 0 < shown <= day.value("SELECT count(*) FROM sweeps")
    assert day.scraped.values["observer_delivery_losses_events{}"] == 0
