"""What `observer run` prints of the processes' alerts: each once when it is raised, and once when it is resolved."""

import asyncio
from collections.abc import Sequence
from datetime import date

import pytest

from bus.commands import Done, OpenAlert, Refused, SilenceAlert
from observer.base.clock import ManualClock
from observer.base.local_time import local_ns
from observer.base.units import NS_PER_S
from observer.monitoring.alerts.decisions import SENT_MAX
from observer.monitoring.alerts.process import Alerts, kept_alerts
from observer.monitoring.alerts.silences import Silences
from observer.monitoring.alerts.system import SystemAlerts, news_of, resolved_text


def alert(identity, process="track-b", severity="warning", silenced=None):
    return OpenAlert(identity, severity, 0, "a text", process=process, silenced_until_ns=silenced)


def names(alerts):
    return [each.identity for each in alerts]


def test_an_alert_is_printed_when_it_is_raised_and_when_it_is_not_open_any_more():
    news = news_of({}, [alert("queue"), alert("disk_full")])
    assert (names(news.raised), names(news.resolved)) == (["queue", "disk_full"], [])
    news = news_of(news.printed, [alert("queue"), alert("disk_full", severity="critical")])
    assert (names(news.raised), names(news.resolved)) == (["disk_full"], []), "with another severity"
    news = news_of(news.printed, [alert("queue")])
    assert (names(news.raised), names(news.resolved)) == ([], ["disk_full"])


def test_the_line_for_an_alert_that_is_over_says_since_when_how_long_and_how_often_and_not_its_text():
    since_ns = local_ns(date(2026, 11, 18), 9, 12, 5)
    over = OpenAlert(
        "database_unavailable", "critical", since_ns, "database unavailable", process="core-writer", count=4
    )
    line = "resolved (open since 09:12:05, for 30.0 s, reported 4 times)"
    assert resolved_text(over, since_ns + 30 * NS_PER_S) == line


def test_a_silenced_alert_is_not_printed_until_its_silence_is_over():
    news = news_of({}, [alert("queue", silenced=5)])
    assert (news.raised, news.resolved) == ([], [])
    news = news_of(news.printed, [alert("queue")])
    assert names(news.raised) == ["queue"]


def test_an_alert_that_had_no_room_in_a_full_heartbeat_is_not_taken_for_resolved():
    news = news_of({}, [alert("old")])
    full = [alert(f"{number}") for number in range(SENT_MAX)]
    news = news_of(news.printed, full)
    assert news.resolved == []
    news = news_of(news.printed, full[1:])
    assert names(news.resolved) == ["old", "0"]


@pytest.fixture
def system(tmp_path):
    clock = ManualClock(NS_PER_S)
    own = Alerts(clock, "supervisor")
    own.report("not_ready", "critical", "etf is BACKOFF")
    children = {"track-b": [OpenAlert("stream:main", "critical", 0, "refused", 2, 1)], "etf": []}
    return SystemAlerts(own, Silences(tmp_path), clock, lambda: children)


def test_the_alerts_of_a_system_are_those_of_its_processes_and_of_the_host(system):
    assert [(each.process, each.identity) for each in system.all()] == [
        ("track-b", "stream:main"),
        ("supervisor", "not_ready"),
    ]


def test_alerts_of_an_earlier_system_stay_open_until_their_process_sends_a_heartbeat(tmp_path):
    clock = ManualClock(local_ns(date(2026, 11, 18), 12))
    earlier = Alerts(clock, "etf", runtime=tmp_path, publish=lambda *_: None)
    earlier.report("etf:list", "warning", "no source answers")
    earlier.report("etf:values", "warning", "a source refuses")
    earlier.settle("etf:values", "it answers")
    earlier.happened("etf:removed", "warning", "5 were removed")
    beats: dict[str, Sequence[OpenAlert] | None] = {"etf": None, "track-b": None}
    own, silences = Alerts(clock, "supervisor"), Silences(tmp_path)
    system = SystemAlerts(own, silences, clock, lambda: beats, kept_alerts(tmp_path))
    assert {(each.process, each.identity) for each in system.all()} == {
        *(("etf", "etf:list"), ("etf", "etf:values"), ("etf", "etf:removed"))
    }, "its process does not run: a FATAL one never sends a heartbeat"
    asyncio.run(clock.advance(86_400))
    assert names(system.all()) == ["etf:list"], "what settled or happened is over by itself"
    beats["etf"] = []
    assert system.all() == []
    beats["etf"] = None
    assert system.all() == [], "a reload removed it, and a later one added it: its first life has ended the alert"


def test_an_open_alert_is_silenced_by_order_and_an_unknown_one_is_refused(system):
    assert isinstance(system.silence(SilenceAlert("stream:main", 60.0)), Done)
    assert [each.silenced_until_ns for each in system.all()] == [61 * NS_PER_S, None]
    assert isinstance(system.silence(SilenceAlert("stream:main", 0.0)), Done)
    assert [each.silenced_until_ns for each in system.all()] == [None, None]
    refused = system.silence(SilenceAlert("stream", 60.0))
    assert isinstance(refused, Refused)
    assert refused.message == "no open alert is named 'stream'; open are not_ready, stream:main"
