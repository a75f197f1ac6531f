"""A writer that reports what became of its commits: events in quarantine, lost numbers, a database that went back."""

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from bus.delivery import Part
from observer.base.errors import StoreError
from observer.monitoring.alerts.process import DATABASE_WENT_BACK, DELIVERY_LOSSES, Alerts
from observer.monitoring.metrics.counters import COUNTERS
from observer.store.systems import System
from observer.store.writer import Committed, StoreWriter

logger = logging.getLogger(__name__)

QUARANTINE: Final = "quarantine"
OWNERSHIP: Final = "ownership_not_renewed"


class ReportingWriter(StoreWriter):
    """Reports each commit's events in quarantine and lost numbers as alerts, and its rows of each kind to `on_stored`;
    nothing where the outcome is unknown. Each new epoch of the database calls `on_epoch`.
    """

    def __init__(
        self,
        url: str,
        system: System,
        now_ns: Callable[[], int],
        alerts: Alerts,
        on_stored: Sequence[Callable[[Mapping[str, int]], None]],
        on_epoch: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(url, system, now_ns)
        self._alerts = alerts
        self._quarantine = QuarantineAlerts(alerts)
        self._on_stored = on_stored
        self._on_epoch = on_epoch

    def open(self) -> None:
        """As `StoreWriter.open`; the database may be another one than that of an earlier process."""
        super().open()
        self._report_losses()

    def begin_epoch(self, reason: str) -> str:
        if reason != "created":
            self._alerts.report_from_thread(DATABASE_WENT_BACK, "critical", went_back_text(reason))
        epoch = super().begin_epoch(reason)
        self._on_epoch()
        self._report_losses()
        return epoch

    def report_lacking(self, events: int) -> None:
        """Report how many events producers deliver again to a database that went back."""
        if events:
            text = went_back_text(f"it lacks {events:,} events")
            self._alerts.report_from_thread(DATABASE_WENT_BACK, "critical", text)
        else:
            over = "what it lacked was delivered again, or is stated as lost"
            self._alerts.settle_from_thread(DATABASE_WENT_BACK, over)

    def commit(self, batches: Sequence[Part]) -> Committed:
        committed = super().commit(batches)
        COUNTERS.add("observer_commits_total")
        COUNTERS.add("observer_events_quarantined_total", amount=committed.quarantined)
        for kind, rows in committed.rows_by_kind.items():
            COUNTERS.add("observer_events_stored_total", kind, amount=rows)
        if committed.quarantined:
            logger.error("%d events went to quarantine", committed.quarantined)
            self._quarantine.count_from_thread(committed.quarantined)
        if committed.lost:
            self._report_losses()
        for report in self._on_stored:
            report(committed.rows_by_kind)
        return committed

    def renew_ownership(self) -> str | None:
        """As `StoreWriter.renew_ownership`; a failure is an alert until the next success."""
        failure = super().renew_ownership()
        if failure:
            text = f"the ownership of the database is not renewed, so another machine may take it over: {failure}"
            self._alerts.report_from_thread(OWNERSHIP, "warning", text)
        elif failure is not None:
            self._alerts.resolve_from_thread(OWNERSHIP, "the ownership of the database is renewed")
        return failure

    def _report_losses(self) -> None:
        """Report the losses that the database states; a restored database may state none."""
        with contextlib.suppress(StoreError):  # the next commit or the next process reports them
            lost = self.lost_events()
            COUNTERS.set("observer_delivery_losses_events", to=lost)
            if lost:
                self._alerts.report_from_thread(DELIVERY_LOSSES, "critical", losses_text(lost))
            else:
                self._alerts.resolve_from_thread(DELIVERY_LOSSES, "the database states no losses")


def went_back_text(why: str) -> str:
    return (
        f"the database went back: {why}; producers deliver again what it lacks, and then this alert ends: "
        "`observer doctor` states what is missing"
    )


def losses_text(lost: int) -> str:
    return (
        f"{lost:,} published events exist nowhere any more: `observer doctor` states them, a package of `observer "
        f"backup list` may hold them, `observer alerts silence {DELIVERY_LOSSES}` accepts the loss"
    )


class QuarantineAlerts:
    """Counts events in quarantine, from any thread. The alert states the number since the start of the process."""

    def __init__(self, alerts: Alerts) -> None:
        self._alerts = alerts
        self._count = 0

    def count_from_thread(self, count: int) -> None:
        """Add to the count; allowed while the loop runs, from one thread."""
        self._count += count
        text = f"{self._count} events are in quarantine: they could not be decoded or the database refused them"
        self._alerts.happened_from_thread(QUARANTINE, "critical", text)
