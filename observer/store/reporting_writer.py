"""A writer that reports what became of its commits: events in quarantine, lost numbers, a database that went back."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from bus.delivery import Part
from observer.alerts.process import DATABASE_WENT_BACK, DELIVERY_LOSSES, Alerts
from observer.store.systems import System
from observer.store.writer import Committed, StoreWriter

logger = logging.getLogger(__name__)

QUARANTINE: Final = "quarantine"


class ReportingWriter(StoreWriter):
    """Reports each commit's events in quarantine and lost numbers as alerts, and its rows of each kind to `on_stored`;
    nothing where the outcome is unknown.
    """

    def __init__(
        self,
        url: str,
        system: System,
        now_ns: Callable[[], int],
        alerts: Alerts,
        on_stored: Sequence[Callable[[Mapping[str, int]], None]],
    ) -> None:
        super().__init__(url, system, now_ns)
        self._alerts = alerts
        self._quarantine = QuarantineAlerts(alerts)
        self._on_stored = on_stored
        self._lost = 0

    def begin_epoch(self, reason: str) -> str:
        """As `StoreWriter.begin_epoch`."""
        if reason != "created":
            text = f"the database went back: {reason}; producers deliver again what it lacks"
            self._alerts.happened_from_thread(DATABASE_WENT_BACK, "critical", text)
        return super().begin_epoch(reason)

    def commit(self, batches: Sequence[Part]) -> Committed:
        """As `StoreWriter.commit`."""
        committed = super().commit(batches)
        if committed.quarantined:
            logger.error("%d events went to quarantine", committed.quarantined)
            self._quarantine.count_from_thread(committed.quarantined)
        if committed.lost:
            self._lost += committed.lost
            text = f"{self._lost:,} published events exist nowhere any more: see the table delivery_losses"
            self._alerts.report_from_thread(DELIVERY_LOSSES, "critical", text)
        for report in self._on_stored:
            report(committed.rows_by_kind)
        return committed


class QuarantineAlerts:
    """Counts events in quarantine, from any thread; the alert states their number of this run."""

    def __init__(self, alerts: Alerts) -> None:
        self._alerts = alerts
        self._count = 0

    def count_from_thread(self, count: int) -> None:
        """Add to the count; allowed while the loop runs, from one thread."""
        self._count += count
        text = f"{self._count} events are in quarantine: they could not be decoded or the database refused them"
        self._alerts.happened_from_thread(QUARANTINE, "critical", text)
