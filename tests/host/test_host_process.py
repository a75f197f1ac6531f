"""The host's own alerts: processes that ended or are given up, a scarce resource, a day that the calendar lacks."""

import asyncio
import itertools
import tempfile
import uuid
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from bus.outbox import Outbox
from bus.producer import Producer
from observer.calendar.day_file import write_trading_days
from observer.calendar.trading_day import TradingDay
from observer.clock import ManualClock
from observer.config import load_settings
from observer.demo.configuration import DemoConfiguration, write_demo_configuration
from observer.host import process
from observer.host.process import Host
from observer.local_time import local_ns
from observer.supervisor.limits import Crossing
from observer.supervisor.states import ProcessState
from tests.waiting import until_async

DAY = date(2026, 11, 18)


@pytest.fixture
def host() -> Iterator[Host]:
    """A host that has started nothing."""
    with tempfile.TemporaryDirectory(prefix="obs") as name:
        folder = Path(name)
        configuration = write_demo_configuration(folder, DemoConfiguration(symbols=10, seed=7))
        yield Host(load_settings(configuration), configuration, ManualClock(local_ns(DAY, 8)))


def producer_of(host: Host) -> Producer:
    folder = host.endpoints.runtime_directory / "outbox" / "test"
    return Producer(Outbox(folder, "test", uuid.uuid4().hex), host.endpoints.ingest)


def changes(host: Host, *states: ProcessState) -> None:
    """Changes of one process, reported while the host publishes."""

    async def reported() -> None:
        host._producer = producer = producer_of(host)
        for previous, current in itertools.pairwise(states):
            host.on_change("etf", previous, current, 7, "exit 1")
        producer.close()
        host._producer = None

    asyncio.run(reported())


def open_alerts(host: Host) -> list[tuple[str, str]]:
    return [(alert.identity, alert.severity) for alert in host._alerts.open]


def test_a_process_that_ended_is_an_alert_until_it_runs(host: Host) -> None:
    changes(host, ProcessState.RUNNING, ProcessState.BACKOFF, ProcessState.STARTING)
    assert open_alerts(host) == [("ended:etf", "warning")]
    changes(host, ProcessState.STARTING, ProcessState.RUNNING)
    assert open_alerts(host) == []


def test_a_process_that_is_given_up_is_a_critical_alert_until_it_runs_again(host: Host) -> None:
    changes(host, ProcessState.RUNNING, ProcessState.BACKOFF, ProcessState.STARTING, ProcessState.FATAL)
    assert open_alerts(host) == [("given_up:etf", "critical")]
    changes(host, ProcessState.FATAL, ProcessState.STARTING, ProcessState.RUNNING)
    assert open_alerts(host) == []


def test_a_scarce_resource_is_an_alert_until_it_recovers(host: Host) -> None:
    host.on_crossing(Crossing("disk_percent", is_over=True, figure=95.0, limit=90.0))
    assert open_alerts(host) == [("host:disk_percent", "warning")]
    host.on_crossing(Crossing("disk_percent", is_over=False, figure=80.0, limit=90.0))
    assert open_alerts(host) == []


def test_what_an_earlier_system_measured_is_no_alert_of_this_one(host: Host) -> None:
    host.on_crossing(Crossing("disk_percent", is_over=True, figure=95.0, limit=90.0))
    host._alerts.report("not_ready", "critical", "etf is BACKOFF")

    async def scene() -> None:
        producer = producer_of(host)
        host._begin_alerts(producer)
        assert open_alerts(host) == []
        producer.close()

    asyncio.run(scene())


def test_a_day_that_the_calendar_lacks_is_a_critical_alert_until_it_is_known(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "CALENDAR_GRACE_S", 0.0)
    monkeypatch.setattr(process, "_CALENDAR_CHECK_S", 0.01)

    async def scene() -> None:
        host.started.set()
        reporting = asyncio.create_task(host._report_calendar())
        await until_async(lambda: open_alerts(host) == [("no_calendar", "critical")])
        day = TradingDay(DAY, local_ns(DAY, 9), local_ns(DAY, 15, 30), "test")
        write_trading_days(host.endpoints.runtime_directory, [day])
        await until_async(lambda: open_alerts(host) == [])
        reporting.cancel()

    asyncio.run(scene())
