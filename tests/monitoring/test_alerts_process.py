"""The alerts of one process: events, log lines, what a next process of the name takes up, and silences."""

import asyncio
import logging
import re
from pathlib import Path

from bus.events import AlertRaised, AlertRepeated, AlertResolved, Event
from observer.base.clock import ManualClock
from observer.base.local_time import local_ns
from observer.base.remedies import SEEN
from observer.base.text import conceal
from observer.base.units import NS_PER_S
from observer.monitoring.alerts.process import Alerts, damage_identity, identity_of, kept_alerts
from observer.monitoring.alerts.silences import Silences
from tests.waiting import until_async


class Published(list[Event]):
    def __call__(self, *events):
        self.extend(events)


def test_each_alert_is_an_event_and_a_line_of_its_level_and_so_is_its_end(caplog):
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
        ("INFO", "critical one: resolved: it is over (open since 09:00:00, for 0.0 s, reported 2 times)"),
    ]
    assert [type(event) for event in published] == [AlertRaised] * 3 + [AlertResolved]
    assert [each.identity for each in alerts.open] == ["warning one"]


def test_alerts_before_the_outbox_is_open_are_published_when_it_is():
    alerts, published = Alerts(ManualClock(5), "core-writer"), Published()
    alerts.report("database_unavailable", "critical", "no answer")
    alerts.publish_with(published)
    alerts.resolve("database_unavailable", "it answers")
    assert [type(event) for event in published] == [AlertRaised, AlertResolved]


def test_the_next_process_of_the_name_raises_nothing_twice_and_resolves_what_the_earlier_raised(tmp_path):
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


def test_a_condition_settles_when_it_was_calm_for_a_while_also_in_the_next_process_of_the_name(tmp_path):
    clock, published = ManualClock(0), Published()
    first = Alerts(clock, "track-b", published, runtime=tmp_path)
    first.report("stream:main", "warning", "lost")
    first.settle("stream:main", "connected")
    first.settle("queue", "was not open")
    first.tick()
    assert [each.identity for each in first.open] == ["stream:main"]
    second = Alerts(clock, "track-b", published, runtime=tmp_path)
    asyncio.run(clock.advance(30))
    second.tick()
    assert second.open == []
    assert published[1:] == [AlertResolved(0, "track-b", "stream:main", 1, "connected")]


def test_a_damaged_file_of_open_alerts_is_none(tmp_path):
    (tmp_path / "alerts").mkdir()
    (tmp_path / "alerts" / "track-a.json").write_text('{"no_universe": {"severity"')
    assert Alerts(ManualClock(5), "track-a", runtime=tmp_path).open == []


def test_what_happened_is_open_until_the_end_of_the_market_s_day():
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


def test_counts_are_published_once_a_minute_and_at_the_end():
    clock, published = ManualClock(0), Published()
    alerts = Alerts(clock, "accounts", published)

    async def scene():
        for _ in range(130):
            alerts.report("token:main", "critical", "refused")
            alerts.tick()
            await clock.advance(1)
        alerts.finish()

    asyncio.run(scene())
    assert [event.count for event in published if isinstance(event, AlertRepeated)] == [61, 121, 130]


def test_another_thread_reports_and_resolves():
    published = Published()

    async def scene():
        alerts = Alerts(ManualClock(0), "core-writer", published)
        alerts.use_loop()
        await asyncio.to_thread(alerts.report_from_thread, "database_unavailable", "critical", "locked")
        await asyncio.to_thread(alerts.resolve_from_thread, "database_unavailable", "for 3 s")
        await until_async(lambda: len(published) == 2)

    asyncio.run(scene())
    assert [type(event) for event in published] == [AlertRaised, AlertResolved]


def test_no_secret_is_in_an_alert():
    published = Published()
    conceal("a-very-secret-key")
    Alerts(ManualClock(0), "accounts", published).report("token:main", "critical", "refused a-very-secret-key")
    [raised] = published
    assert isinstance(raised, AlertRaised)
    assert raised.text == "refused ***"


def test_an_alert_is_one_short_line_whatever_it_quotes():
    published = Published()
    alerts = Alerts(ManualClock(0), "accounts", published)
    alerts.report("token:main", "critical", "refused: \x1b[2J\n\u202e" + "x" * 20_000_000)
    alerts.resolve("token:main", "y" * 20_000_000)
    raised, resolved = published
    assert isinstance(raised, AlertRaised)
    assert isinstance(resolved, AlertResolved)
    for text in (raised.text, resolved.text):
        assert len(text.encode()) <= 2_048
        assert text.isprintable()
        assert text.endswith(" bytes more)")


def test_a_silence_ends_at_its_time_or_by_order(tmp_path):
    silences = Silences(tmp_path)
    silences.silence("disk_full", 10 * NS_PER_S, 0)
    silences.silence("queue", 20 * NS_PER_S, 0)
    assert silences.until(0) == {"disk_full": 10 * NS_PER_S, "queue": 20 * NS_PER_S}
    assert set(silences.until(10 * NS_PER_S)) == {"queue"}
    silences.silence("queue", 0, 0)
    assert set(silences.until(0)) == {"disk_full"}


def test_only_the_room_of_alerts_makes_alerts():
    """So each is a row, a line and in the heartbeat, and has an identity."""
    root = Path(__file__).parents[2]
    sources = [path for package in ("bus", "observer", "workers") for path in (root / package).rglob("*.py")]
    makers = {
        path.relative_to(root).as_posix()
        for path in sources
        for line in path.read_text().splitlines()
        if re.search(r"(?<!case )\b(AlertRaised|AlertRepeated|AlertResolved)\((?!Fact)", line)
    }
    assert makers == {"observer/monitoring/alerts/decisions.py"}


def test_the_file_has_an_alert_only_when_the_outbox_has_its_event(tmp_path):
    """A process that is killed in between leaves nothing: the next one raises the alert."""
    appended: list[list[str]] = []

    async def scene():
        def append_soon(*_events):  # as `Producer.publish`
            asyncio.get_running_loop().call_soon(lambda: appended.append(list(kept_alerts(tmp_path))))

        alerts = Alerts(ManualClock(5), "track-a", append_soon, runtime=tmp_path)
        alerts.report("no_universe", "critical", "none is built")
        await until_async(lambda: list(kept_alerts(tmp_path)) == ["track-a"])
        append_soon(*alerts.resolved("no_universe", "it is built"))
        await until_async(lambda: list(kept_alerts(tmp_path)) == [])

    asyncio.run(scene())
    assert appended == [[], ["track-a"]]


def test_an_alert_that_was_not_published_is_raised_by_the_next_process(tmp_path):
    Alerts(ManualClock(5), "core-writer", runtime=tmp_path).report("database_unavailable", "critical", "no answer")
    second, published = Alerts(ManualClock(5), "core-writer", runtime=tmp_path), Published()
    second.report("database_unavailable", "critical", "no answer")
    second.publish_with(published)
    assert [type(event) for event in published] == [AlertRaised]
    assert list(kept_alerts(tmp_path)) == ["core-writer"]


def test_damage_is_an_alert_with_its_remedy_until_a_person_has_deleted_the_kept_segments():
    alerts = Alerts(ManualClock(5), "track-a", Published())
    alerts.report_damage(["2 lines cannot be read"], keeps_damaged=False)
    alerts.report_damage([f"segment {'a' * 32}-1.journal is damaged; kept as damaged/x"], keeps_damaged=True)
    alerts.report_damage([], keeps_damaged=True)
    lines, segment = alerts.open
    assert lines.text == "2 lines cannot be read; `observer doctor` states what is lost"
    assert segment.text.endswith("; examine the kept segments, then delete them")
    alerts.report_damage([], keeps_damaged=False)
    assert alerts.open == [lines]


def test_what_happened_to_several_objects_has_an_identity_for_each_of_a_bounded_length():
    first, second = (f"segment {name * 32}-1.journal of track-a is damaged: it is short" for name in "ab")
    assert damage_identity(first) == f"journal_damaged:{'a' * 32}-1.journal"
    assert damage_identity(second) != damage_identity(first)
    stream = f"numbers 3 to 5 of stream {'c' * 32} are in no segment any more"
    assert damage_identity(stream) == f"journal_damaged:{'c' * 32}"
    assert damage_identity("2 lines cannot be read") == "journal_damaged"
    assert identity_of("unsettled_symbols", ["000660", "005930"]) == "unsettled_symbols:000660,005930"
    many = identity_of("unsettled_symbols", [f"{number:06d}" for number in range(30)])
    assert many.endswith("000004,+25")
    assert len(many) <= 128, "`observer alerts silence` takes no longer one"


DAMAGE = "the database is damaged: page 7: `observer backup restore --yes` puts a whole one in its place"


def test_whatever_fails_because_the_database_is_damaged_is_one_alert():
    published = Published()
    alerts = Alerts(ManualClock(0), "track-a", published)
    alerts.report("sweep_unread", "warning", f"a sweep could not be read: {DAMAGE}")
    alerts.report("earlier_days", "warning", f"triggers compare with no earlier days: {DAMAGE}")
    assert [(each.identity, each.severity, each.count) for each in alerts.open] == [("database_damaged", "critical", 2)]
    assert len(published) == 1


def test_damage_that_a_failure_states_is_over_when_nothing_meets_it_and_that_of_a_check_stays():
    clock = ManualClock(0)
    reader, writer = (Alerts(clock, name, Published()) for name in ("track-a", "core-writer"))
    for alerts in (reader, writer):
        alerts.report("sweep_unread", "warning", DAMAGE)
    writer.report("database_damaged", "critical", DAMAGE)
    writer.report("statistics", "warning", DAMAGE)
    asyncio.run(clock.advance(31))
    for alerts in (reader, writer):
        alerts.tick()
    assert (reader.open, [each.identity for each in writer.open]) == ([], ["database_damaged"])


def test_damage_that_the_database_stated_to_the_process_is_reported_once():
    alerts = Alerts(ManualClock(0), "web", Published())
    SEEN.damage = DAMAGE
    for _ in range(2):
        alerts.report_seen()
    assert [(each.identity, each.count) for each in alerts.open] == [("database_damaged", 1)]
