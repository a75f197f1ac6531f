"""The open alerts of one process, and the events that a report or the end of a condition publishes. Pure.

Every function takes the open alerts by identity and returns those after it, with its events. A condition is raised once
while it lasts, again only when its severity changes, and counted in between. One that comes and goes settles: it is
resolved when it has been calm for CALM_NS, and keeps its severity when it comes back before. What happened and has no
end (`until_ns`) counts as open until then, and leaves no event when it stops.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from bus.commands import OpenAlert
from bus.events import AlertRaised, AlertRepeated, AlertResolved, Event, Severity
from observer.base.local_time import local_datetime
from observer.base.units import NS_PER_S

REPEATED_EVERY_NS: Final = 60 * NS_PER_S  # market time between two `AlertRepeated` of one identity
CALM_NS: Final = 30 * NS_PER_S  # market time without a report until a settling condition is resolved
SENT_MAX: Final = 20
SENT_TEXT_LENGTH_MAX: Final = 300
URGENCY: Final[Mapping[Severity, int]] = {"info": 0, "warning": 1, "critical": 2}


class Report(msgspec.Struct, frozen=True):
    """A condition as the code that sees it states it; `until_ns` and `job` as in `AlertRaised`."""

    identity: str
    severity: Severity
    text: str
    until_ns: int | None = None
    job: str | None = None


class Condition(msgspec.Struct, frozen=True):
    """An open alert: `count` reports so far, the last at `last_ns`; `published` of them are in the last event, which is
    of `published_ns`. One that settles has ended at `ended_ns`, with that text, unless it is reported again.
    """

    severity: Severity
    since_ns: int
    text: str
    count: int
    last_ns: int
    published: int
    published_ns: int
    until_ns: int | None = None
    ended_ns: int | None = None
    ended_text: str = ""


Conditions = Mapping[str, Condition]


class Step(NamedTuple):
    """The open alerts after a report, an end or a while, and the events to publish."""

    conditions: Conditions
    events: Sequence[Event]


def after_report(conditions: Conditions, report: Report, now_ns: int, source: str) -> Step:
    """Raise the condition, or count it where it is open: then one event a minute states the count."""
    before = conditions.get(report.identity)
    if before is not None and _is_over(before, now_ns):
        before = None
    if before is not None and before.ended_ns is not None:  # it has come back
        severity = max(before.severity, report.severity, key=URGENCY.__getitem__)
        report = msgspec.structs.replace(report, severity=severity)
    count = before.count + 1 if before else 1
    if before is None or before.severity != report.severity:
        raised = AlertRaised(now_ns, report.severity, source, report.text, report.job, report.identity, report.until_ns)
        since_ns = before.since_ns if before else now_ns
        after = Condition(report.severity, since_ns, report.text, count, now_ns, count, now_ns, report.until_ns)
        return Step({**conditions, report.identity: after}, [raised])
    after = msgspec.structs.replace(
        before,
        text=report.text,
        count=count,
        last_ns=now_ns,
        until_ns=report.until_ns,
        ended_ns=None,
        ended_text="",
    )
    return _repeated({**conditions, report.identity: after}, now_ns, source)


def after_end(conditions: Conditions, identity: str, text: str, now_ns: int, source: str) -> Step:
    """Resolve the condition; nothing where it is not open."""
    before = conditions.get(identity)
    rest = {name: condition for name, condition in conditions.items() if name != identity}
    if before is None or _is_over(before, now_ns):
        return Step(rest, [])
    return Step(rest, [AlertResolved(now_ns, source, identity, before.count, text)])


def after_calm(conditions: Conditions, identity: str, text: str, now_ns: int) -> Step:
    """Let the condition settle: it ends now, unless it is reported within CALM_NS; nothing where it is not open."""
    before = conditions.get(identity)
    if before is None or before.ended_ns is not None:
        return Step(conditions, [])
    return Step({**conditions, identity: msgspec.structs.replace(before, ended_ns=now_ns, ended_text=text)}, [])


def after_time(conditions: Conditions, now_ns: int, source: str, *, at_once: bool = False) -> Step:
    """Resolve what has settled, drop what counts as open no longer, and state counts that are due; all counts when
    `at_once`.
    """
    rest = {name: condition for name, condition in conditions.items() if not _is_over(condition, now_ns)}
    settled = {
        name: AlertResolved(each.ended_ns, source, name, each.count, each.ended_text)
        for name, each in rest.items()
        if each.ended_ns is not None and now_ns - each.ended_ns >= CALM_NS
    }
    rest = {name: each for name, each in rest.items() if name not in settled}
    repeated = _repeated(rest, now_ns, source, at_once=at_once)
    return Step(repeated.conditions, [*settled.values(), *repeated.events])


def history_text(since_ns: int, ended_ns: int, count: int) -> str:
    """How long an alert was open, and how often it was reported, in words."""
    since, seconds = local_datetime(since_ns), max(0, ended_ns - since_ns) / NS_PER_S
    days = "" if since.date() == local_datetime(ended_ns).date() else f"{since:%m-%d} "
    lasted = f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:,.0f} min"
    return f"open since {days}{since:%H:%M:%S}, for {lasted}, reported {count} {'time' if count == 1 else 'times'}"


def _repeated(conditions: Conditions, now_ns: int, source: str, *, at_once: bool = False) -> Step:
    due = {
        name: msgspec.structs.replace(each, published=each.count, published_ns=now_ns)
        for name, each in conditions.items()
        if each.count > each.published and (at_once or now_ns - each.published_ns >= REPEATED_EVERY_NS)
    }
    events = [AlertRepeated(each.last_ns, source, name, each.count, each.text) for name, each in due.items()]
    return Step({**conditions, **due}, events)


def _is_over(condition: Condition, now_ns: int) -> bool:
    return condition.until_ns is not None and now_ns >= condition.until_ns


def sent_alerts(conditions: Conditions) -> list[OpenAlert]:
    """The open alerts of a heartbeat: warnings and critical ones, the most urgent and oldest first, bounded in number
    and in the length of their texts.
    """
    urgent = [(name, each) for name, each in conditions.items() if each.severity != "info"]
    urgent.sort(key=lambda named: (-URGENCY[named[1].severity], named[1].since_ns, named[0]))
    return [
        OpenAlert(name, each.severity, each.since_ns, each.text[:SENT_TEXT_LENGTH_MAX], each.count, each.last_ns)
        for name, each in urgent[:SENT_MAX]
    ]


def key_of(alert: OpenAlert) -> tuple[str, str]:
    """An alert's process and identity, which are its own while it is open."""
    return alert.process, alert.identity


def full_processes(alerts: Iterable[OpenAlert]) -> Collection[str]:
    """The processes whose heartbeats are full: an alert that is absent there may be one that had no room."""
    counts = Counter(each.process for each in alerts)
    return {process for process, count in counts.items() if count >= SENT_MAX}
