"""Alerts for refused events: events that went to quarantine, events that the disk did not take.

Intervals between alerts are machine seconds: their reader does not live in scaled time.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from bus.events import AlertRaised, Event, Severity
from bus.producer import Producer
from observer.clock import Clock

QUARANTINE_EVERY_S: Final = 60.0
DISK_QUIET_S: Final = 1.0  # for how long a disk that was full must refuse nothing to be well


class QuarantineAlerts:
    """Counts events in quarantine, from any thread, and raises an alert with their number: at once, then at most once a
    minute.

    Create it on the event loop of `run`.
    """

    def __init__(self, clock: Clock, source: str) -> None:
        self._clock = clock
        self._source = source
        self._loop = asyncio.get_running_loop()
        self._count = 0
        self._counted = asyncio.Event()

    def count_from_thread(self, count: int) -> None:
        """Add to the count; allowed while the loop runs."""
        self._loop.call_soon_threadsafe(self._add, count)

    def _add(self, count: int) -> None:
        self._count += count
        self._counted.set()

    async def run(self, producer: Producer) -> None:
        """Raise alerts until cancelled; at the end also for the events not yet reported."""
        try:
            while True:
                await self._counted.wait()
                self._report(producer)
                await asyncio.sleep(QUARANTINE_EVERY_S)
        finally:
            self._report(producer)

    def _report(self, producer: Producer) -> None:
        if self._count:
            text = f"{self._count} events are in quarantine: they could not be decoded or the database refused them"
            producer.publish(AlertRaised(self._clock.now_ns(), "critical", self._source, text))
        self._count = 0
        self._counted.clear()


class DiskAlerts:
    """Raises an alert when the disk refuses events, as soon as it takes the alert itself, and one when this is over."""

    def __init__(self, clock: Clock, source: str) -> None:
        self._clock = clock
        self._source = source
        self._count = 0
        self._began: AlertRaised | None = None
        self._refused = asyncio.Event()

    def count(self, events: Sequence[Event], error: OSError) -> None:
        """Count refused events (a listener of `Producer.reporting`)."""
        self._count += len(events)
        self._began = self._began or self._alert("critical", f"the disk takes no events: {error}")
        self._refused.set()

    async def run(self, producer: Producer) -> None:
        """Raise alerts until cancelled. A process that stops while the disk refuses has logged it."""
        while True:
            await self._refused.wait()
            if self._began is not None:
                await producer.publish_when_taken(self._began)
            await self._until_quiet()
            count, self._count, self._began = self._count, 0, None
            over = self._alert("warning", f"the disk takes events again: {count} were refused")
            await producer.publish_when_taken(over)

    async def _until_quiet(self) -> None:
        while self._refused.is_set():
            self._refused.clear()
            await asyncio.sleep(DISK_QUIET_S)

    def _alert(self, severity: Severity, text: str) -> AlertRaised:
        return AlertRaised(self._clock.now_ns(), severity, self._source, text)
