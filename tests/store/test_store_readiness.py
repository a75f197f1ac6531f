"""A database that stands still is an alert, as one that raises errors is."""

import asyncio

from bus.events import AlertRaised, AlertResolved, Event
from observer.base.clock import ManualClock
from observer.monitoring.alerts.process import DATABASE_UNAVAILABLE, Alerts
from observer.store import readiness
from observer.store.readiness import SILENT_S_MAX, report_silence
from tests.waiting import until_async


class Commit:
    """What the ingest says of its database, and how often it was asked."""

    def __init__(self, silent_s):
        self.silence_s = silent_s
        self.is_in_outage = False
        self.asked = 0

    @property
    def silent_s(self):
        self.asked += 1
        return self.silence_s

    async def is_asked(self):
        """Return when it was asked again, twice."""
        asked = self.asked + 3
        await until_async(lambda: self.asked >= asked)


def test_a_commit_without_an_answer_is_an_alert_until_the_answer_comes(monkeypatch):
    monkeypatch.setattr(readiness, "SILENCE_CHECK_S", 0.001)
    published: list[Event] = []
    alerts, commit = (
        Alerts(ManualClock(0), "core-writer", lambda *events: published.extend(events)),
        Commit(SILENT_S_MAX),
    )

    async def scenario():
        watching = asyncio.create_task(report_silence(commit, alerts))
        await commit.is_asked()
        assert published == [], "no longer than a lock is waited for"
        commit.silence_s = SILENT_S_MAX + 0.1
        await until_async(lambda: published)
        commit.silence_s = 0.0
        await until_async(lambda: len(published) > 1)
        watching.cancel()

    asyncio.run(scenario())
    raised, resolved = published
    assert isinstance(raised, AlertRaised)
    assert isinstance(resolved, AlertResolved)
    assert (raised.identity, raised.severity, resolved.identity) == (
        DATABASE_UNAVAILABLE,
        "critical",
        DATABASE_UNAVAILABLE,
    )


async def test_a_silence_that_ends_with_an_error_leaves_the_alert_to_the_outage(monkeypatch):
    monkeypatch.setattr(readiness, "SILENCE_CHECK_S", 0.001)
    alerts, commit = Alerts(ManualClock(0), "core-writer", lambda *_: None), Commit(SILENT_S_MAX + 1)

    watching = asyncio.create_task(report_silence(commit, alerts))
    await until_async(lambda: alerts.open)
    commit.is_in_outage, commit.silence_s = True, 0.0
    await commit.is_asked()
    assert [alert.identity for alert in alerts.open] == [DATABASE_UNAVAILABLE]
    watching.cancel()
