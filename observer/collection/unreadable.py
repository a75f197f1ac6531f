"""Stores the inputs of the market data stream that cannot be read, and reports that they are too many."""

from collections.abc import Sequence
from typing import Final

from bus.events import InputQuarantined, Severity
from bus.producer import Producer
from observer.base.clock import Clock
from observer.base.units import NS_PER_S
from observer.brokers.quarantine import ROWS_PER_MINUTE_MAX, InputQuarantine
from observer.monitoring.alerts.process import Alerts

TRADES_PER_MINUTE_MAX: Final = 1_000
"""Rows of trades that are not believed: each is small, and may be a true one where this machine's clock is wrong."""
UNREADABLE: Final = "unreadable:"
"""How the identity of an alert begins that a source's inputs are only counted."""
CALM_NS: Final = 120 * NS_PER_S
"""Market time without a counted input until that alert ends; a flood counts none at the beginning of each minute."""
QUARANTINE_FULL: Final = "input_quarantine_full"
QUARANTINE_UNCOUNTED: Final = "input_quarantine_uncounted"


class UnreadableInputs:
    """The quarantine of a day's stream, with its alerts."""

    def __init__(self, producer: Producer, alerts: Alerts, clock: Clock, day_bytes_max: int) -> None:
        self._quarantine = InputQuarantine(day_bytes_max)
        self._producer = producer
        self._alerts = alerts
        self._clock = clock
        self._counted_ns: dict[str, int] = {}  # by source: when its inputs were last only counted

    def resume(self, stored_bytes: int) -> None:
        """Count the part of this day's quarantine that an earlier process stored."""
        self._quarantine.resume(stored_bytes, self._clock.now_ns())

    def take(self, item: InputQuarantined, rows_max: int = ROWS_PER_MINUTE_MAX) -> None:
        """Store an input: the first of a minute with its beginning, the others as a count."""
        self._publish(self._quarantine.take(item, self._clock.now_ns(), rows_max))
        for source in self._quarantine.counted:
            text = f"{source}: too many inputs go to quarantine: those beyond the first of a minute are counted"
            self._report(f"{UNREADABLE}{source}", "warning", text)
        if self._quarantine.is_full:
            text = "the day's quarantine is full, more inputs are only counted: see track_b.quarantine_bytes_max"
            self._report(QUARANTINE_FULL, "critical", text)

    def state_counts(self) -> None:
        """Store the counts of the minutes that are over, and resolve the alerts that are; called again and again."""
        now_ns = self._clock.now_ns()
        counted = dict.fromkeys(self._quarantine.counted, now_ns)
        self._publish(self._quarantine.after_time(now_ns))
        recent = {source: at_ns for source, at_ns in self._counted_ns.items() if 0 <= now_ns - at_ns < CALM_NS}
        self._counted_ns = recent | counted
        besides = {f"{UNREADABLE}{source}" for source in self._counted_ns}
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
        """Report once while the condition lasts: thousands of frames can show it."""
        if identity not in self._alerts.identities:
            self._alerts.report(identity, severity, text)
