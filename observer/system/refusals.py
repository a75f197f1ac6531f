"""Alerts for events that the outbox did not take, and for messages that a process's sockets refuse.

Intervals are machine seconds: the disk does not live in scaled time.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from bus.events import AlertRaised, AlertRepeated, AlertResolved, Event, Severity
from bus.producer import Producer
from observer.monitoring.alerts.process import Alerts

DISK_QUIET_S: Final = 1.0  # for how long a disk that was full must refuse nothing to be well
DISK_FULL: Final = "disk_full"
REFUSED_MESSAGES: Final = "refused_messages"
REFUSED_EVENTS: Final = "refused_events"
_KEPT_MAX: Final = 1_000
_ALERTS: Final = (AlertRaised, AlertRepeated, AlertResolved)


class DiskAlerts:
    """Reports that the disk refuses events, and that this is over. Alerts that it refuses are published afterwards."""

    def __init__(self, alerts: Alerts) -> None:
        self._alerts = alerts
        self._count = 0
        self._kept: deque[Event] = deque(maxlen=_KEPT_MAX)
        self._refused = asyncio.Event()

    def count(self, events: Sequence[Event], error: OSError) -> None:
        """Count refused events (a listener of `Producer.reporting`)."""
        kept = [event for event in events if isinstance(event, _ALERTS)]
        self._kept += kept
        self._refused.set()
        if len(events) > len(kept):
            self._count += len(events) - len(kept)
            self._alerts.report(DISK_FULL, "critical", f"the disk takes no events: {error}")

    async def run(self, producer: Producer) -> None:
        """Publish kept alerts when the disk takes them, until cancelled. A process that stops while the disk refuses
        has logged them.
        """
        if DISK_FULL in self._alerts.identities:  # an earlier process's: it is over unless this one meets it again
            self._refused.set()
        while True:
            if not self._kept:  # one may have been refused in the quiet second
                await self._refused.wait()
            while self._kept:
                await producer.publish_when_taken(self._kept[0])
                self._kept.popleft()
            await self._until_quiet()
            if not self._kept and DISK_FULL in self._alerts.identities:
                count, self._count = self._count, 0
                self._alerts.resolve(DISK_FULL, f"the disk takes events again: {count} were refused")

    async def _until_quiet(self) -> None:
        while self._refused.is_set():
            self._refused.clear()
            await asyncio.sleep(DISK_QUIET_S)


class Refusals:
    """Reports that a count of refused things has grown.

    Args:
        alerts: of the process.
        identity: of the alert.
        severity: of the alert.
        text: of the alert; the log names each cause.
        count: returns how many were refused so far; what it returns now is not reported.
    """

    def __init__(self, alerts: Alerts, identity: str, severity: Severity, text: str, count: Callable[[], int]) -> None:
        self._alerts = alerts
        self._identity = identity
        self._severity = severity
        self._text = text
        self._count = count
        self._reported = count()

    def check(self) -> None:
        """Report if more were refused since the last call."""
        if self._has_grown():
            self._alerts.happened(self._identity, self._severity, self._text)

    def check_from_thread(self) -> None:
        """As `check`, from any thread; one thread calls these."""
        if self._has_grown():
            self._alerts.happened_from_thread(self._identity, self._severity, self._text)

    def _has_grown(self) -> bool:
        before, self._reported = self._reported, self._count()
        return self._reported > before


def refused_messages(alerts: Alerts, count: Callable[[], int]) -> Refusals:
    """For messages that the process's sockets refuse."""
    text = (
        "messages of a client are refused: they cannot be read, come again and again, or are not allowed to its key; "
        f"the log of {alerts.source} names their kind, `observer keys list` the clients of the network"
    )
    return Refusals(alerts, REFUSED_MESSAGES, "warning", text, count)


def refused_events(alerts: Alerts, count: Callable[[], int]) -> Refusals:
    """For events that the process's outbox did not take: they are lost."""
    text = f"events are lost, the outbox of {alerts.source} did not take them: its log names the errors"
    return Refusals(alerts, REFUSED_EVENTS, "critical", text, count)
