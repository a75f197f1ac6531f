"""Alerts for events that the disk did not take, and for messages that the writer's sockets refuse.

Intervals are machine seconds: the disk does not live in scaled time.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from bus.events import AlertRaised, AlertRepeated, AlertResolved, Event
from bus.producer import Producer
from observer.alerts.process import Alerts

DISK_QUIET_S: Final = 1.0  # for how long a disk that was full must refuse nothing to be well
DISK_FULL: Final = "disk_full"
REFUSED_MESSAGES: Final = "refused_messages"
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


class RefusedMessages:
    """Reports that sockets refuse messages; used from the thread that reads them.

    Args:
        alerts: of the process.
        count: returns how many messages the sockets have refused so far.
    """

    def __init__(self, alerts: Alerts, count: Callable[[], int]) -> None:
        self._alerts = alerts
        self._count = count
        self._reported = 0

    def check_from_thread(self) -> None:
        """Report if more were refused since the last call."""
        if (count := self._count()) != self._reported:
            self._reported = count
            text = (
                "messages of a client are refused: they cannot be read, or come again and again; the log of "
                f"{self._alerts.source} names their kind, `observer keys list` the clients of the network"
            )
            self._alerts.happened_from_thread(REFUSED_MESSAGES, "warning", text)
