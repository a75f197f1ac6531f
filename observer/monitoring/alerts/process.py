"""The alerts of one process: rows, log lines, and the list that its heartbeat carries.

The list is also a file beside the sockets. A process that starts again takes it up, so that what an earlier one
raised is resolved by the code that finds its condition ended, and is not raised twice while it lasts. The file is
written after the outbox has the event: what was not published is not raised, and the next process raises it.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from bus.commands import OpenAlert
from bus.events import AlertRaised, AlertResolved, Event, Severity
from observer.base.clock import Clock
from observer.base.local_time import local_datetime, local_ns
from observer.base.remedies import DATABASE_IS_DAMAGED, LAKE_IS_DAMAGED, SEEN
from observer.base.state_file import StateFile
from observer.base.text import shown
from observer.monitoring.alerts.decisions import (
    Condition,
    Conditions,
    Report,
    Step,
    after_calm,
    after_end,
    after_report,
    after_time,
    history_text,
    sent_alerts,
)

logger = logging.getLogger(__name__)

# Identities that several modules use; all are critical.
DATABASE_WENT_BACK: Final = "database_went_back"
DATABASE_UNAVAILABLE: Final = "database_unavailable"
DATABASE_DAMAGED: Final = "database_damaged"
LAKE_DAMAGED: Final = "lake_damaged"
DELIVERY_LOSSES: Final = "delivery_losses"
JOURNAL_DAMAGED: Final = "journal_damaged"

FEED_LOSSES: Final = "feed_losses"
OBJECTS_NAMED_MAX: Final = 5  # in an identity
_DAMAGED: Final = re.compile(r"[\w-]{1,80}\.journal(\.zst)?|(?<=of stream )\w{1,40}")  # a segment's file, or a stream

FOLDER: Final = "alerts"  # in the runtime directory
LEVELS: Final[Mapping[Severity, int]] = {
    "info": logging.INFO,
    "warning": logging.WARNING,
    "critical": logging.CRITICAL,
}

_DAMAGE_IN_TEXT: Final = {DATABASE_IS_DAMAGED: DATABASE_DAMAGED, LAKE_IS_DAMAGED: LAKE_DAMAGED}
DAMAGES: Final = frozenset(_DAMAGE_IN_TEXT.values())
REFUSALS: Final = (DATABASE_UNAVAILABLE, DATABASE_DAMAGED)
"""Alerts of the core writer while the database may take no events."""

Publish = Callable[..., object]
"""Takes events, as `bus.producer.Producer.publish` does."""


class Alerts:
    """Reports and resolves conditions; used from one event loop but for the methods named `..._from_thread`.

    A condition is `report`ed as often as the code sees it, and `resolve`d when the code sees its end; one that comes
    and goes within one outage, say, is `settle`d. A thing that `happened` once and has no end counts as open until the
    end of the market's day; a job that can succeed later reports its failure as a condition instead, and resolves it
    when it succeeds.

    Args:
        clock: market time.
        source: the process, in events.
        publish: takes the events; None: they wait for `publish_with`.
        runtime: the runtime directory that keeps the open alerts for the next process of this name; None keeps none.
    """

    def __init__(
        self, clock: Clock, source: str, publish: Publish | None = None, *, runtime: Path | None = None
    ) -> None:
        self._clock = clock
        self.source = source
        self._publish = publish
        self._waiting: list[Event] = []
        self._file = _file(runtime / FOLDER / f"{source}.json") if runtime else None
        self._conditions = (self._file.read() if self._file else None) or {}
        self._is_to_keep = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._left_out: frozenset[str] = frozenset()

    def leave_out(self, identity: str) -> None:
        """Raise no alert of this identity: the command that began this process causes the condition and reports it."""
        self._left_out |= {identity}

    @property
    def open(self) -> Sequence[OpenAlert]:
        """The open alerts of severity warning and above, as a heartbeat carries them."""
        return sent_alerts(self._conditions)

    @property
    def identities(self) -> Sequence[str]:
        """Identities of all open alerts, in the order of their raising."""
        return list(self._conditions)

    def are_open(self, prefix: str) -> bool:
        """Whether an alert is open whose identity begins so."""
        return any(identity.startswith(prefix) for identity in self._conditions)

    def publish_with(self, publish: Publish | None) -> None:
        """Publish with this function from now on, first what waited; None: let events wait."""
        self._publish = publish
        if publish is not None and self._waiting:
            waiting, self._waiting = self._waiting, []
            publish(*waiting)
        if publish is not None:
            self._keep_soon()

    def report(self, identity: str, severity: Severity, text: str, *, job: str | None = None) -> None:
        """Report that the condition holds."""
        self._send(self._take(Report(identity, severity, shown(text), job=job)))

    def happened(self, identity: str, severity: Severity, text: str) -> None:
        """Report a thing that happened and has no end."""
        day = local_datetime(self._clock.now_ns()).date() + timedelta(days=1)
        self._send(self._take(Report(identity, severity, shown(text), until_ns=local_ns(day))))

    def feed_lost(self, severity: Severity, text: str) -> None:
        """Report that a `FeedSubscriber` of the process lost events, or may have."""
        self.happened(FEED_LOSSES, severity, text)

    def resolve(self, identity: str, text: str) -> None:
        """Report that the condition has ended; nothing where it was not open."""
        self._send(self._end(identity, text))

    def settle(self, identity: str, text: str) -> None:
        """Report that the condition has ended, to be resolved once it was calm for CALM_NS; nothing where it was not
        open.
        """
        step = after_calm(self._conditions, identity, shown(text), self._clock.now_ns())
        self._is_to_keep |= step.conditions is not self._conditions
        self._send(self._adopt(step))

    def resolve_all(self, prefix: str, text: str, besides: Collection[str] = ()) -> None:
        """Resolve every open alert whose identity begins so, besides these."""
        for identity in self.identities:
            if identity.startswith(prefix) and identity not in besides:
                self.resolve(identity, text)

    def reported(self, identity: str, severity: Severity, text: str, *, job: str | None = None) -> Sequence[Event]:
        """As `report`; the caller publishes the events, in a batch of its own."""
        events = self._take(Report(identity, severity, shown(text), job=job))
        self._keep_soon()
        return events

    def resolved(self, identity: str, text: str) -> Sequence[Event]:
        """As `resolve`; the caller publishes the events, in a batch of its own."""
        events = self._end(identity, text)
        self._keep_soon()
        return events

    def report_damage(self, texts: Sequence[str], *, keeps_damaged: bool) -> None:
        """Report what was found damaged in the process's outbox. While damaged segments are kept there, the alerts stay
        open until a person has deleted the segments; else until the end of the market's day.
        """
        for text in texts:
            if keeps_damaged:
                self.report(damage_identity(text), "critical", f"{text}; examine the kept segments, then delete them")
            else:
                self.happened(damage_identity(text), "critical", f"{text}; `observer doctor` states what is lost")
        if not keeps_damaged:
            for identity, condition in list(self._conditions.items()):
                if identity.startswith(JOURNAL_DAMAGED) and condition.until_ns is None:
                    self.resolve(identity, "the damaged segments were deleted")

    def tick(self) -> None:
        """Resolve conditions that stayed over, forget those past their time, publish due counts; once a second."""
        self._send(self._adopt(after_time(self._conditions, self._clock.now_ns(), self.source)))

    def finish(self) -> None:
        """Publish all counts: the process ends."""
        self._send(self._adopt(after_time(self._conditions, self._clock.now_ns(), self.source, at_once=True)))

    # --- from other threads --------------------------------------------------------------------------------

    def use_loop(self) -> None:
        """Allow the methods for other threads; call it on the event loop."""
        self._loop = asyncio.get_running_loop()

    def report_from_thread(self, identity: str, severity: Severity, text: str) -> None:
        """As `report`, from any thread, while the event loop runs."""
        self._soon(lambda: self.report(identity, severity, text))

    def happened_from_thread(self, identity: str, severity: Severity, text: str) -> None:
        """As `happened`, from any thread, while the event loop runs."""
        self._soon(lambda: self.happened(identity, severity, text))

    def resolve_from_thread(self, identity: str, text: str) -> None:
        """As `resolve`, from any thread, while the event loop runs."""
        self._soon(lambda: self.resolve(identity, text))

    def settle_from_thread(self, identity: str, text: str) -> None:
        """As `settle`, from any thread, while the event loop runs."""
        self._soon(lambda: self.settle(identity, text))

    def _soon(self, act: Callable[[], None]) -> None:
        assert self._loop is not None, "use_loop is called first"
        self._loop.call_soon_threadsafe(act)

    # --- small parts ---------------------------------------------------------------------------------------

    def _take(self, report: Report) -> Sequence[Event]:
        """A failure whose text states damage is the alert of that damage. It settles, unless what checks the damaged
        thing has reported it.
        """
        if report.identity in self._left_out:
            return []
        now_ns = self._clock.now_ns()
        damage = next(
            (identity for words, identity in _DAMAGE_IN_TEXT.items() if words in report.text), report.identity
        )
        if damage == report.identity:
            return self._adopt(after_report(self._conditions, report, now_ns, self.source))
        before = self._conditions.get(damage)
        report = Report(damage, "critical", report.text, job=report.job)
        events = self._adopt(after_report(self._conditions, report, now_ns, self.source))
        if before is None or before.ended_ns is not None:
            self._adopt(after_calm(self._conditions, damage, "nothing meets it any more", now_ns))
        return events

    def report_seen(self) -> None:
        """Report the damage that the database has stated to this process, wherever its failure went."""
        if text := SEEN.take_damage():
            self.report(DATABASE_UNAVAILABLE, "critical", text)

    def _end(self, identity: str, text: str) -> Sequence[Event]:
        if identity not in self._conditions:
            return []
        step = after_end(self._conditions, identity, shown(text), self._clock.now_ns(), self.source)
        return self._adopt(step)

    def _adopt(self, step: Step) -> Sequence[Event]:
        has_changed = bool(step.events) or step.conditions.keys() != self._conditions.keys()
        before, self._conditions = self._conditions, dict(step.conditions)
        for event in step.events:
            _log(event, before)
        self._is_to_keep |= has_changed
        return step.events

    def _send(self, events: Sequence[Event]) -> None:
        if self._publish is None:
            self._waiting += events
            return
        if events:
            self._publish(*events)
        self._keep_soon()

    def _keep_soon(self) -> None:
        """Replace the file after the outbox has taken the events: a producer gathers one turn of the event loop, and
        the caller of `reported` or `resolved` publishes in this turn.
        """
        if self._file is None or not self._is_to_keep:
            return
        self._is_to_keep = False
        keep = partial(_keep, self._file, self._conditions)  # the list is replaced, never changed
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            keep()
        else:
            loop.call_soon(loop.call_soon, keep)


def kept_alerts(runtime: Path) -> Mapping[str, Conditions]:
    """The open alerts of each process that has a file of them in this runtime directory, by its name."""
    found = {path.stem: _file(path).read() for path in sorted((runtime / FOLDER).glob("*.json"))}
    return {name: conditions for name, conditions in found.items() if conditions}


def database_identity(text: str) -> str:
    """The identity of the alert that the database takes no events, for the text of its failure."""
    return DATABASE_DAMAGED if DATABASE_IS_DAMAGED in text else DATABASE_UNAVAILABLE


def identity_of(kind: str, objects: Collection[str]) -> str:
    """The identity of a thing that happened to these objects; its length is bounded."""
    named = sorted(objects)
    more = f",+{len(named) - OBJECTS_NAMED_MAX}" if len(named) > OBJECTS_NAMED_MAX else ""
    return f"{kind}:{','.join(named[:OBJECTS_NAMED_MAX])}{more}"


def damage_identity(text: str) -> str:
    """The identity of the alert for this text of `Producer.take_damage`: damaged files and streams have one each."""
    found = _DAMAGED.search(text)
    return f"{JOURNAL_DAMAGED}:{found[0]}" if found else JOURNAL_DAMAGED


def _log(event: Event, before: Mapping[str, Condition]) -> None:
    if isinstance(event, AlertRaised):
        logger.log(LEVELS[event.severity], "%s: %s", event.identity, event.text)
    elif isinstance(event, AlertResolved):
        history = history_text(before[event.identity].since_ns, event.resolved_ns, event.count)
        logger.info("%s: resolved: %s (%s)", event.identity, event.text, history)


def _file(path: Path) -> StateFile[dict[str, Condition]]:
    """The open alerts of a process, which an earlier one may have left."""
    return StateFile(path, dict[str, Condition], survives_power_failure=False)


def _keep(file: StateFile[dict[str, Condition]], conditions: dict[str, Condition]) -> None:
    try:
        file.write(conditions)
    except OSError as error:  # a full disk is itself an alert; the list in memory is whole
        logger.warning("the open alerts are not kept for the next start: %s", error)
