"""The open alerts of one process, and the events that a report or the end of a condition publishes. Pure.

Every function takes the open alerts by identity and returns those after it, with its events. A condition is raised once
while it lasts, again only when its severity changes, and counted in between. What happened and has no end (`until_ns`)
counts as open until then, and leaves no event when it stops.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from bus.commands import OpenAlert
from bus.events import AlertRaised, AlertRepeated, AlertResolved, Event, Severity
from observer.units import NS_PER_S

REPEATED_EVERY_NS: Final = 60 * NS_PER_S  # market time between two `AlertRepeated` of one identity
SENT_MAX: Final = 20
SENT_TEXT_LENGTH_MAX: Final = 300
_URGENCY: Final[Mapping[Severity, int]] = {"info": 0, "warning": 1, "critical": 2}


class Report(msgspec.Struct, frozen=True):
    """A condition as the code that sees it states it; `until_ns` and `job` as in `AlertRaised`."""

    identity: str
    severity: Severity
    text: str
    until_ns: int | None = None
    job: str | None = None


class Condition(msgspec.Struct, frozen=True):
    """An open alert: `count` reports so far, the last at `last_ns`; `published` of them are in the last event, which is
    of `published_ns`.
    """

    severity: Severity
    since_ns: int
    text: str
    count: int
    last_ns: int
    published: int
    published_ns: int
    until_ns: int | None = None


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
    count = before.count + 1 if before else 1
    if before is None or before.severity != report.severity:
        raised = AlertRaised(now_ns, report.severity, source, report.text, report.job, report.identity, report.until_ns)
        since_ns = before.since_ns if before else now_ns
        after = Condition(report.severity, since_ns, report.text, count, now_ns, count, now_ns, report.until_ns)
        return Step({**conditions, report.identity: after}, [raised])
    after = msgspec.structs.replace(before, text=report.text, count=count, last_ns=now_ns, until_ns=report.until_ns)
    return _repeated({**conditions, report.identity: after}, now_ns, source)


def after_end(conditions: Conditions, identity: str, text: str, now_ns: int, source: str) -> Step:
    """Resolve the condition; nothing where it is not open."""
    before = conditions.get(identity)
    rest = {name: condition for name, condition in conditions.items() if name != identity}
    if before is None or _is_over(before, now_ns):
        return Step(rest, [])
    return Step(rest, [AlertResolved(now_ns, source, identity, before.count, text)])


def after_time(conditions: Conditions, now_ns: int, source: str, *, at_once: bool = False) -> Step:
    """Drop what counts as open no longer, and state counts that are due; all counts when `at_once`."""
    rest = {name: condition for name, condition in conditions.items() if not _is_over(condition, now_ns)}
    return _repeated(rest, now_ns, source, at_once=at_once)


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
    urgent.sort(key=lambda named: (-_URGENCY[named[1].severity], named[1].since_ns, named[0]))
    return [
        OpenAlert(name, each.severity, each.since_ns, each.text[:SENT_TEXT_LENGTH_MAX], each.count, each.last_ns)
        for name, each in urgent[:SENT_MAX]
    ]
