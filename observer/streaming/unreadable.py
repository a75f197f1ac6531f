"""Stores the inputs of the market data stream that cannot be read, and reports that they are too many."""

from collections.abc import Sequence
from typing import Final

from bus.events import InputQuarantined, Severity
from bus.producer import Producer
from observer.alerts.process import Alerts
from observer.clock import Clock
from observer.providers.quarantine import ROWS_PER_MINUTE_MAX, InputQuarantine

UNREADABLE: Final = "unreadable:"
"""How the identity of an alert begins that a source's inputs are only counted."""
QUARANTINE_FULL: Final = "input_quarantine_full"


class UnreadableInputs:
    """The quarantine of a day's stream, with its alerts."""

    def __init__(self, producer: Producer, alerts: Alerts, clock: Clock, day_bytes_max: int) -> None:
        self._quarantine = InputQuarantine(day_bytes_max)
        self._producer = producer
        self._alerts = alerts
        self._clock = clock

    def take(self, item: InputQuarantined) -> None:
        """Store an input: the first of a minute with its beginning, the others as a count."""
        self._publish(self._quarantine.take(item, self._clock.now_ns()))
        for source in self._quarantine.counted:
            text = f"{source}: more than {ROWS_PER_MINUTE_MAX} unreadable inputs in a minute, the others are counted"
            self._report(f"{UNREADABLE}{source}", "warning", text)
        if self._quarantine.is_full:
            text = "the day's quarantine is full, more inputs are only counted: see track_b.quarantine_bytes_max"
            self._report(QUARANTINE_FULL, "critical", text)

    def state_counts(self) -> None:
        """Store the counts of the minutes that are over, and resolve the alerts that are; called again and again."""
        self._publish(self._quarantine.after_time(self._clock.now_ns()))
        besides = {f"{UNREADABLE}{source}" for source in self._quarantine.counted}
        self._alerts.resolve_all(UNREADABLE, "unreadable inputs are none or few again", besides)
        if not self._quarantine.is_full:
            self._alerts.resolve(QUARANTINE_FULL, "the quarantine has room again")

    def finish(self) -> None:
        """Store all counts: the process stops, or its day ends."""
        self._publish(self._quarantine.finish(self._clock.now_ns()))

    def _publish(self, rows: Sequence[InputQuarantined]) -> None:
        if rows:
            self._producer.publish(*rows)

    def _report(self, identity: str, severity: Severity, text: str) -> None:
        """Once while it lasts: it is seen with each of thousands of frames."""
        if identity not in self._alerts.identities:
            self._alerts.report(identity, severity, text)
