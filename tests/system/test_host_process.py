"""The host's own alerts: processes that ended or are given up, a scarce resource, a day that the calendar lacks."""

import asyncio
import itertools
import uuid
from datetime import date
from pathlib import Path

import pytest

from bus.outbox import Outbox
from bus.peers import NETWORK
from bus.producer import Producer
from observer.base.clock import ManualClock
from observer.base.local_time import local_ns
from observer.calendar.day_file import write_trading_days
from observer.calendar.trading_day import TradingDay
from observer.demo.configuration import DemoConfiguration, write_demo_configuration
from observer.monitoring.alerts.process import Alerts, kept_alerts
from observer.supervisor.limits import RESOURCES, Crossing
from observer.supervisor.states import ProcessState
from observer.system import host as process
from observer.system.config import load_settings
from observer.system.host import Host, is_readiness_due
from tests.day_plans import day_plan
from tests.folders import short_folder
from tests.waiting import until_async

DAY = date(2026, 11, 18)


@pytest.fixture
def host():
    """A host that has started nothing."""
    with short_folder() as name:
        folder = Path(name)
        configuration = write_demo_configuration(folder, DemoConfiguration(symbols=10, seed=7))
        yield Host(load_settings(configuration), configuration, ManualClock(local_ns(DAY, 8)))


def producer_of(host):
    folder = host.endpoints.runtime_directory / "outbox" / "test"
    return Producer(Outbox(folder, "test", uuid.uuid4().hex), host.endpoints.ingest)


def changes(host, *states):
    """Changes of the writer, reported while the host publishes."""

    async def reported():
        host._producer = producer = producer_of(host)
        for previous, current in itertools.pairwise(states):
            host.on_change("core-writer", previous, current, 7, "exit 1")
        producer.close()
        host._producer = None

    asyncio.run(reported())


def open_alerts(host):
    return [(alert.identity, alert.severity) for alert in host._alerts.open]


def test_a_writer_that_ends_because_of_its_database_is_a_critical_alert_with_the_remedy(host):
    host._writer_log.parent.mkdir(parents=True)
    host._writer_log.write_text("a line\ncore-writer: observer.db: its schema is 9999: use another program\n")
    changes(host, ProcessState.RUNNING, ProcessState.BACKOFF)
    [alert] = host._alerts.open
    assert (alert.identity, alert.severity) == ("given_up:core-writer", "critical")
    assert alert.text == "core-writer cannot work: observer.db: its schema is 9999: use another program"


async def test_an_alert_of_a_process_of_an_earlier_system_is_none_of_this_one(host):
    host._alerts.report("given_up:etf", "critical", "exit 1")
    host._alerts.report("ended:track-a", "warning", "exit 1")

    producer = producer_of(host)
    host._begin_alerts(producer)
    assert open_alerts(host) == []
    producer.close()


@pytest.fixture
def left(host):
    """The host, and alerts that processes of an earlier system left open."""
    for name in ("dismissed", "etf"):
        alerts = Alerts(ManualClock(0), name, lambda *_: None, runtime=host.endpoints.runtime_directory)
        alerts.report("queue", "warning", "a text")
    return host


async def test_the_alerts_of_a_dismissed_process_are_resolved_its_own_among_them(left):
    host, runtime = left, left.endpoints.runtime_directory
    host = Host(host._settings, host._configuration, host._clock)
    host._alerts.report("given_up:dismissed", "critical", "exit 1")
    host._alerts.report("given_up:etf", "critical", "exit 1")

    producer = producer_of(host)
    host._settle_dismissed(frozenset({"etf"}), producer)
    assert open_alerts(host) == [("given_up:etf", "critical")]
    await until_async(lambda: list(kept_alerts(runtime)) == ["etf"], "its file")
    assert producer.published == 1, "the end of the row"
    host._system_alerts._children = lambda: {"dismissed": None, "etf": None}  # a reload added it again
    found = [(each.process, each.identity) for each in host._system_alerts.all()]
    assert found == [("etf", "queue"), ("supervisor", "given_up:etf")]
    producer.close()


async def test_a_writer_that_does_not_run_for_longer_than_a_restart_is_a_critical_alert_until_it_runs(
    host, monkeypatch
):
    monkeypatch.setattr(process, "_CHECK_S", 0.01)
    host.started.set()
    problem = ["it does not run"]
    watching = asyncio.create_task(host._watch("writer_stopped", 0.02, lambda: problem[0], "it runs"))
    await until_async(lambda: open_alerts(host) == [("writer_stopped", "critical")])
    assert host._alerts.open[0].text == "it does not run"
    problem[0] = ""
    await until_async(lambda: open_alerts(host) == [])
    watching.cancel()


async def test_a_client_that_the_host_refuses_is_an_alert(host):
    producer = producer_of(host)
    host._report_damage(producer)
    before = open_alerts(host)
    NETWORK.refuse("a client without a known key", "from a test")
    host._report_damage(producer)
    assert set(open_alerts(host)) - set(before) == {("refused_messages", "warning")}
    producer.close()


async def test_damage_of_the_host_s_own_outbox_is_a_critical_alert(host):
    folder = host.endpoints.runtime_directory / "outbox" / "test"
    folder.mkdir(parents=True)
    (folder / "x-1.journal").write_bytes(b"no journal")

    producer = producer_of(host)
    host._report_damage(producer)
    assert ("journal_damaged:x-1.journal", "critical") in open_alerts(host)
    producer.close()


def test_readiness_is_checked_in_the_session_while_its_alert_is_open():
    day = day_plan(DAY)
    noon_ns = local_ns(DAY, 12)
    assert is_readiness_due(day, local_ns(DAY, 8), is_open=False)
    assert not is_readiness_due(day, noon_ns, is_open=False)
    assert is_readiness_due(day, noon_ns, is_open=True), "a reload began the reports anew"


@pytest.mark.parametrize("resource", RESOURCES)
def test_a_scarce_resource_is_an_alert_until_it_recovers(host, resource):
    host.on_crossing(Crossing(resource, is_over=True, figure=95.0, limit=90.0))
    assert open_alerts(host) == [(f"host:{resource}", "warning")]
    host.on_crossing(Crossing(resource, is_over=False, figure=80.0, limit=90.0))
    assert open_alerts(host) == []


async def test_what_an_earlier_system_measured_is_no_alert_of_this_one(host):
    host.on_crossing(Crossing("disk_percent", is_over=True, figure=95.0, limit=90.0))
    host._alerts.report("not_ready", "critical", "etf is BACKOFF")

    producer = producer_of(host)
    host._begin_alerts(producer)
    assert open_alerts(host) == []
    producer.close()


def test_a_day_that_the_calendar_lacks_is_a_problem_until_it_is_known(host):
    assert host._without_calendar().startswith("the trading day is not known")
    write_trading_days(host.endpoints.runtime_directory, [TradingDay(DAY, True, "test")])
    assert host._without_calendar() == ""
