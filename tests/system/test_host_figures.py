"""The host's exporter: what it finds on the disk, what is due, and a whole answer."""

import asyncio
import socket
from datetime import date
from pathlib import Path

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bus.commands import Sample
from observer.base.clock import ManualClock
from observer.base.local_time import local_ns
from observer.demo.configuration import DemoConfiguration, write_demo_configuration
from observer.monitoring.metrics.exporter import Exporter, System
from observer.monitoring.metrics.readiness import DayState, Readiness
from observer.supervisor.limits import HostFigures
from observer.system.config import load_settings
from observer.system.figures import day_state, disk_samples, machine_samples, storage_of
from observer.system.host import OWNERS, Host
from tests.day_plans import day_plan
from tests.folders import short_folder

DAY = date(2026, 11, 18)
PLAN = day_plan(DAY)
PORT = 9464
SENT = (Sample("observer_gap_queue", (), 3), Sample("observer_events_published_total", (), 9))


@pytest.fixture
def configuration():
    with short_folder() as name:
        yield write_demo_configuration(Path(name), DemoConfiguration(symbols=10, seed=7, metrics_port=PORT))


@pytest.fixture
def settings(configuration):
    return load_settings(configuration)


def exporter(settings, configuration, port=PORT):
    """The exporter of a system that has started nothing, whose gap recovery sends a figure."""
    clock = ManualClock(local_ns(DAY, 12))
    host = Host(settings, configuration, clock)
    figures = HostFigures(cpu_percent=50.0, memory_bytes=10**9, disk_percent=70.0)
    system = System(
        status=host.status,
        samples=lambda: {"gap-recovery": SENT},
        machine=lambda: machine_samples(figures),
        disk=lambda: disk_samples(settings),
        day=lambda: day_state(PLAN, clock.now_ns()),
        producer=lambda: None,
        accounts=lambda: ["main"],
        owners=OWNERS,
    )
    return Exporter(port, "supervisor", system, host.endpoints.feed, clock)


def test_an_answer_has_the_figures_of_the_host_and_those_of_heartbeats(settings, configuration):
    answer = exporter(settings, configuration)._metrics()
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.content.decode())
        for sample in family.samples
    }
    assert answer.media_type.startswith("text/plain; version=")
    assert found["observer_gap_queue",] == 3
    assert found["observer_events_published_total", "gap-recovery"] == 9
    assert found["observer_machine_cpu_ratio",] == 0.5
    assert found["observer_phase", "IDLE"] == 1


def test_a_system_that_has_started_nothing_lives_and_is_not_ready(settings, configuration):
    found = exporter(settings, configuration)
    assert found._health().status == 200
    answer = found._readiness()
    checks = msgspec.json.decode(answer.content, type=Readiness).checks
    assert answer.status == 503
    assert {check.name for check in checks if check.ready} == {"calendar"}


def test_sizes_on_the_disk_are_by_process_and_only_verified_packages_count(settings):
    outbox = Path(settings.run.runtime) / "outbox" / "track-b"
    (outbox / "archive").mkdir(parents=True)
    (outbox / "a.journal").write_bytes(b"x" * 7)
    (outbox / "archive" / "b.journal.zst").write_bytes(b"x" * 5)
    folder = settings.backup.folder_of(settings.run)
    verified = ("20261116T210000-daily-main", "20261118T210000-daily-other")
    for name in (*verified, "20261117T210000-daily-main", "20261118T100000-manual-main"):
        (folder / name).mkdir(parents=True)
    for name in verified:
        (folder / name / "verified.json").touch()
    database = Path(settings.store.url.partition(":///")[2])
    database.write_bytes(b"x" * 11)
    found = storage_of(settings)
    assert (found.outbox_bytes, found.archive_bytes) == ({"track-b": 7}, {"track-b": 5})
    assert found.backups_ns == {"daily": local_ns(date(2026, 11, 16), 21)}, "another instance's hides no missed backup"
    assert found.database_bytes == 11
    assert found.disk_free_bytes
    assert {(each.metric, *each.labels): each.value for each in disk_samples(settings)}.items() >= {
        ("observer_outbox_bytes", "track-b"): 7,
        ("observer_backup_timestamp_seconds", "daily"): local_ns(date(2026, 11, 16), 21) / 10**9,
    }.items()


def test_what_is_not_there_is_left_out(settings):
    server = msgspec.structs.replace(settings.store, url="postgresql+psycopg://user@host/database")
    found = storage_of(msgspec.structs.replace(settings, store=server))
    assert (found.database_bytes, found.outbox_bytes, found.backups_ns) == (None, {}, {})
    assert {each.metric for each in machine_samples(None)} <= {
        "observer_machine_network_bytes_total",
        "observer_machine_disk_bytes_total",
    }


@pytest.mark.parametrize(
    ("moment_ns", "state"),
    [
        (PLAN.context_sync_ns - 1, DayState(is_known=True)),
        (PLAN.context_sync_ns, DayState(is_known=True, connects=True)),
        (PLAN.track_b_start_ns, DayState(is_known=True, connects=True, streams=True)),
        (PLAN.track_b_stop_ns, DayState(is_known=True)),
    ],
)
def test_streams_and_slots_are_due_in_their_hours(moment_ns, state):
    assert day_state(PLAN, moment_ns) == state


def test_an_unknown_day_is_not_known():
    assert day_state(None, 1) == DayState(is_known=False)


def test_an_exporter_that_cannot_serve_says_why(settings, configuration):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        found = exporter(settings, configuration, held.getsockname()[1])
        assert "address already in use" in asyncio.run(found.run()).lower()
