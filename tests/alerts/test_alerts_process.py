"""The alerts of one process: events, log lines, what a next process of the name takes up, and silences."""

import asyncio
import logging
import re
from pathlib import Path

import pytest

from bus.events import AlertRaised, AlertRepeated, AlertResolved, Event
from observer import logs
from observer.alerts.process import Alerts
from observer.alerts.silences import Silences
from observer.clock import ManualClock
from observer.local_time import local_ns
from observer.units import NS_PER_S
from tests.waiting import until_async


class Published(list[Event]):
    def __call__(self, *events: Event) -> None:
        self.extend(events)


def test_each_alert_is_an_event_and_a_line_of_its_level_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    published, clock = Published(), ManualClock(5)
    alerts = Alerts(clock, "track-b", published)
    with caplog.at_level(logging.INFO):
        for severity in ("info", "warning", "critical"):
            alerts.report(f"{severity} one", severity, "a text")
            alerts.report(f"{severity} one", severity, "a text")
        alerts.resolve("critical one", "it is over")
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", "info one: a text"),
        ("WARNING", "warning one: a text"),
        ("CRITICAL", "critical one: a text"),
        ("INFO", "critical one: resolved, reported 2 times: it is over"),
    ]
    assert [type(event) for event in published] == [AlertRaised] * 3 + [AlertResolved]
    assert [each.identity for each in alerts.open] == ["warning one"]


def test_alerts_before_the_outbox_is_open_are_published_when_it_is() -> None:
    alerts, published = Alerts(ManualClock(5), "core-writer"), Published()
    alerts.report("database_unavailable", "critical", "no answer")
    alerts.publish_with(published)
    alerts.resolve("database_unavailable", "it answers")
    assert [type(event) for event in published] == [AlertRaised, AlertResolved]


def test_the_next_process_of_the_name_raises_nothing_twice_and_resolves_what_the_earlier_raised(tmp_path: Path) -> None:
    clock, published = ManualClock(5), Published()
    Alerts(clock, "track-a", published, runtime=tmp_path).report("no_universe", "critical", "none is built")
    second = Alerts(clock, "track-a", published, runtime=tmp_path)
    assert [each.text for each in second.open] == ["none is built"]
    second.report("no_universe", "critical", "none is built")
    second.resolve("no_universe", "it is built")
    raised, resolved = published
    assert isinstance(raised, AlertRaised)
    assert resolved == AlertResolved(5, "track-a", "no_universe", 2, "it is built")
    assert Alerts(clock, "track-a", published, runtime=tmp_path).open == []
    assert Alerts(clock, "track-b", published, runtime=tmp_path).open == []


def test_a_damaged_file_of_open_alerts_is_none(tmp_path: Path) -> None:
    (tmp_path / "alerts").mkdir()
    (tmp_path / "alerts" / "track-a.json").write_text('{"no_universe": {"severity"')
    assert Alerts(ManualClock(5), "track-a", runtime=tmp_path).open == []


def test_what_happened_is_open_until_the_end_of_the_market_s_day() -> None:
    from datetime import date

    evening_ns = local_ns(date(2026, 11, 18), 21)
    clock, published = ManualClock(evening_ns), Published()
    alerts = Alerts(clock, "core-writer", published)
    alerts.happened("quarantine", "critical", "1 event")
    alerts.tick()
    assert [each.identity for each in alerts.open] == ["quarantine"]
    asyncio.run(clock.advance(3 * 3600))
    alerts.tick()
    assert (alerts.open, len(published)) == ([], 1)


def test_counts_are_published_once_a_minute_and_at_the_end() -> None:
    clock, published = ManualClock(0), Published()
    alerts = Alerts(clock, "accounts", published)

    async def scene() -> None:
        for _ in range(130):
            alerts.report("token:main", "critical", "refused")
            alerts.tick()
            await clock.advance(1)
        alerts.finish()

    asyncio.run(scene())
    assert [event.count for event in published if isinstance(event, AlertRepeated)] == [61, 121, 130]


def test_another_thread_reports_and_resolves() -> None:
    published = Published()

    async def scene() -> None:
        alerts = Alerts(ManualClock(0), "core-writer", published)
        alerts.use_loop()
        await asyncio.to_thread(alerts.report_from_thread, "database_unavailable", "critical", "locked")
        await asyncio.to_thread(alerts.resolve_from_thread, "database_unavailable", "for 3 s")
        await until_async(lambda: len(published) == 2)

    asyncio.run(scene())
    assert [type(event) for event in published] == [AlertRaised, AlertResolved]


def test_no_secret_is_in_an_alert() -> None:
    published = Published()
    logs.conceal("a-very-secret-key")
    Alerts(ManualClock(0), "accounts", published).report("token:main", "critical", "refused a-very-secret-key")
    [raised] = published
    assert isinstance(raised, AlertRaised)
    assert raised.text == "refused ***"


def test_a_silence_ends_at_its_time_or_by_order(tmp_path: Path) -> None:
    silences = Silences(tmp_path)
    silences.silence("disk_full", 10 * NS_PER_S, 0)
    silences.silence("queue", 20 * NS_PER_S, 0)
    assert silences.until(0) == {"disk_full": 10 * NS_PER_S, "queue": 20 * NS_PER_S}
    assert set(silences.until(10 * NS_PER_S)) == {"queue"}
    silences.silence("queue", 0, 0)
    assert set(silences.until(0)) == {"disk_full"}


def test_only_the_room_of_alerts_makes_alerts() -> None:
    """So each is a row, a line and in the heartbeat, and has an identity."""
    root = Path(__file__).parents[2]
    sources = [path for package in ("bus", "observer", "workers") for path in (root / package).rglob("*.py")]
    makers = {
        path.relative_to(root).as_posix()
        for path in sources
        for line in path.read_text().splitlines()
        if re.search(r"(?<!case )\b(AlertRaised|AlertRepeated|AlertResolved)\((?!Fact)", line)
    }
    assert makers == {"observer/alerts/decisions.py"}
