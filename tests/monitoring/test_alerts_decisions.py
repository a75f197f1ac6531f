"""An alert is raised once while its condition lasts, counted, and resolved at most once."""

from collections import Counter
from datetime import date
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from bus.commands import OpenAlert
from bus.events import AlertRaised, AlertRepeated, AlertResolved, Event, Severity
from observer.base.local_time import local_ns
from observer.base.units import NS_PER_S
from observer.monitoring.alerts.decisions import (
    CALM_NS,
    REPEATED_EVERY_NS,
    SENT_MAX,
    SENT_TEXT_LENGTH_MAX,
    Conditions,
    Report,
    after_calm,
    after_end,
    after_report,
    after_time,
    history_text,
    sent_alerts,
)

IDENTITIES = ("disk_full", "token:main", "queue")
SECOND = NS_PER_S

steps = st.lists(
    st.tuples(
        st.integers(0, 90),  # seconds since the step before
        st.sampled_from(["report", "report", "report", "end", "settle", "wait"]),
        st.sampled_from(IDENTITIES),
        st.sampled_from(["warning", "warning", "critical"]),
    ),
    max_size=60,
)


@given(steps)
def test_an_alert_is_raised_once_while_it_lasts_resolved_at_most_once_and_its_counts_add_up(
    played,
):
    conditions: Conditions = {}
    now_ns = 0
    severities: dict[str, Severity] = {}  # of the open ones
    counts: Counter[str] = Counter()  # reports of the open ones
    stated: dict[str, tuple[int, int]] = {}  # the count of the last event, and its time
    calm: dict[str, int] = {}  # when those that settle ended
    for waited_s, what, identity, severity in played:
        now_ns += waited_s * SECOND
        events: list[Event]
        if what == "report":
            counts[identity] += 1
            calm.pop(identity, None)
            conditions, found = after_report(conditions, Report(identity, severity, "text"), now_ns, "trial")
        elif what == "end":
            conditions, found = after_end(conditions, identity, "over", now_ns, "trial")
        elif what == "settle":
            if identity in conditions:
                calm.setdefault(identity, now_ns)
            conditions, found = after_calm(conditions, identity, "calm", now_ns)
        else:
            conditions, found = after_time(conditions, now_ns, "trial")
        events = list(found)
        for event in events:
            match event:
                case AlertRaised():
                    assert severities.get(event.identity) != event.severity, "it was raised already"
                    severities[event.identity] = event.severity
                    stated[event.identity] = counts[event.identity], now_ns
                case AlertRepeated():
                    assert event.identity in severities
                    before, before_ns = stated[event.identity]
                    assert event.count == counts[event.identity] > before
                    assert now_ns - before_ns >= REPEATED_EVERY_NS
                    stated[event.identity] = event.count, now_ns
                case AlertResolved():
                    if event.text == "calm":
                        assert what == "wait"
                        assert event.resolved_ns == calm[event.identity] <= now_ns - CALM_NS
                    else:
                        assert (what, identity) == ("end", event.identity)
                    calm.pop(event.identity, None)
                    assert event.count == counts.pop(identity)
                    del severities[identity]
        assert set(conditions) == set(severities)
    conditions, events = after_time(conditions, now_ns, "trial", at_once=True)  # type: ignore[assignment]
    last = {name: count for name, (count, _) in stated.items() if name in conditions}
    last |= {event.identity: event.count for event in events if isinstance(event, AlertRepeated)}
    assert last == {name: counts[name] for name in conditions}


def test_a_condition_that_comes_and_goes_is_one_alert_until_it_was_calm():
    conditions, [raised] = after_report({}, Report("stream:main", "warning", "lost"), 0, "trial")
    assert isinstance(raised, AlertRaised)
    for second in range(0, 100, 20):
        conditions, published = after_calm(conditions, "stream:main", "connected", second * SECOND)
        assert after_time(conditions, second * SECOND + CALM_NS - 1, "trial").events in (
            [],
            [AlertRepeated(second * SECOND, "trial", "stream:main", second // 20 + 1, "lost")],
        )
        conditions, published = after_report(
            conditions, Report("stream:main", "warning", "lost"), (second + 20) * SECOND, "trial"
        )
        assert not any(isinstance(event, AlertRaised) for event in published)
    conditions, _ = after_calm(conditions, "stream:main", "connected", 110 * SECOND)
    conditions, _ = after_calm(conditions, "stream:main", "connected again", 120 * SECOND)
    step = after_time(conditions, 110 * SECOND + CALM_NS, "trial")
    assert step == ({}, [AlertResolved(110 * SECOND, "trial", "stream:main", 6, "connected")])


def test_the_end_of_an_alert_says_since_when_it_was_open_how_long_and_how_often_it_was_reported():
    since_ns = local_ns(date(2026, 11, 18), 9, 12, 5)
    assert history_text(since_ns, since_ns + 1_500_000_000, 1) == "open since 09:12:05, for 1.5 s, reported 1 time"
    assert history_text(since_ns, since_ns + 600 * SECOND, 7) == "open since 09:12:05, for 10 min, reported 7 times"
    assert history_text(since_ns, since_ns + 86_400 * SECOND, 7).startswith("open since 11-18 09:12:05, for 1,440 min")


def test_an_end_without_a_beginning_publishes_nothing():
    assert after_end({}, "disk_full", "over", 0, "trial").events == []


def test_what_happened_counts_as_open_until_its_time_and_leaves_no_event():
    report = Report("quarantine", "critical", "1 event", until_ns=10)
    conditions, [raised] = after_report({}, report, 0, "trial")
    assert raised == AlertRaised(0, "critical", "trial", "1 event", None, "quarantine", 10)
    assert set(after_time(conditions, 9, "trial").conditions) == {"quarantine"}
    assert after_time(conditions, 10, "trial") == ({}, [])
    _, [again] = after_report(conditions, Report("quarantine", "critical", "1 event", until_ns=20), 10, "trial")
    assert isinstance(again, AlertRaised), "of another day"


def test_a_heartbeat_carries_the_most_urgent_alerts_bounded_in_number_and_length():
    conditions: Conditions = {}
    for number in range(SENT_MAX + 5):
        report = Report(f"warning {number:02}", "warning", "x" * 1_000)
        conditions, _ = after_report(conditions, report, number, "trial")
    conditions, _ = after_report(conditions, Report("greeting", "info", "hello"), 0, "trial")
    conditions, _ = after_report(conditions, Report("disk_full", "critical", "full"), 100, "trial")
    sent = sent_alerts(conditions)
    assert sent[0] == OpenAlert("disk_full", "critical", 100, "full", 1, 100)
    assert [each.identity for each in sent[1:]] == [f"warning {number:02}" for number in range(SENT_MAX - 1)]
    assert {len(each.text) for each in sent[1:]} == {SENT_TEXT_LENGTH_MAX}


def test_every_severity_has_a_level_in_the_log():
    from observer.monitoring.alerts.process import LEVELS

    assert set(LEVELS) == set(get_args(Severity))
