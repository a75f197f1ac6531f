"""Removes rows that the lake has from the database. The core writer does it, on its own thread, while no event waits.

The order of things makes a kill harmless. A day's rows are removed only when its manifest says that the database need
not have them (`observer.archive.sealing.allow_removal`), and from then on every reader takes them from the sealed
file. What is removed follows from the manifests, batch by batch, each in one transaction, again after a restart. Rows
whose sealed file is not there or damaged, or is the only one of the lake and its copy, stay.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from observer.archive.copies import kinds_apart
from observer.archive.day import days_to_remove, sealed_days
from observer.archive.scrub import known_damage, said
from observer.archive.whole import lost_or_damaged
from observer.base.clock import Clock
from observer.base.errors import DataFileError, StoreError
from observer.base.remedies import LAKE_IS_DAMAGED
from observer.base.units import NS_PER_S
from observer.calendar.service import TradingDayService
from observer.monitoring.alerts.process import LAKE_DAMAGED, Alerts
from observer.store.removal import SealedRows

logger = logging.getLogger(__name__)

_SAID_MAX: Final = 3  # of the files that are not there, in one alert
_IDENTITY: Final = "removal"  # of the alert
_LOOK_NS: Final = 600 * NS_PER_S  # market time between looks at the manifests, from the backup until the end of the day


class Remover(Protocol):
    """The writer of the database."""

    def remove(self, sealed: SealedRows, after: int) -> int | None:
        """Remove the next batch behind that number; return the number that was reached, None behind the last one."""
        ...


class Removal:
    """Rows to remove, and how far their removal came. The writer's thread steps, any other adds.

    Rows that were removed to the last one are not looked for again: no later row gets a number of theirs, and a new
    version of their day names other numbers. The memory ends with the process, and when the database goes back.
    """

    def __init__(self, remover: Remover) -> None:
        self._remover = remover
        self._lock = threading.Lock()
        self._waiting: deque[SealedRows] = deque()
        self._after = 0
        self._done: set[SealedRows] = set()
        self._failure = ""

    def add(self, rows: Sequence[SealedRows]) -> str:
        """Replace the set of removable rows by `rows`. Rows already removed or queued are not queued again; queued rows
        that are no longer in the set leave the queue. New rows join only an empty queue. Returns the reason of the last
        failed removal, empty without a failure.
        """
        with self._lock:
            self._done.intersection_update(rows)
            allowed = set(rows)
            if self._waiting and self._waiting[0] not in allowed:
                self._after = 0
            self._waiting = deque(each for each in self._waiting if each in allowed)
            if not self._waiting:
                self._waiting.extend(each for each in rows if each not in self._done)
                self._after = 0
            failure, self._failure = self._failure, ""
            return failure

    def is_done(self, rows: SealedRows) -> bool:
        """Whether all of these rows are removed."""
        with self._lock:
            return rows in self._done

    def clear(self) -> None:
        """Remove nothing until rows are added again."""
        with self._lock:
            self._waiting.clear()

    def forget(self) -> None:
        """Handle a database that went back and may hold removed rows again: the next added rows are removed from their
        beginning.
        """
        with self._lock:
            self._waiting.clear()
            self._done.clear()

    def step_from_thread(self) -> bool:
        """Remove one batch; return whether there may be more. A failure ends the removal until rows are added again."""
        with self._lock:
            if not self._waiting:
                return False
            rows, after = self._waiting[0], self._after
        try:  # without the lock: a database that stands still must not stop the event loop, which adds
            reached = self._remover.remove(rows, after)
        except StoreError as error:
            logger.warning("no rows are removed now: %s", error)
            with self._lock:
                self._waiting.clear()
                self._failure = str(error)
            return False
        with self._lock:
            if reached is None:
                self._done.add(rows)
            if self._waiting and self._waiting[0] == rows:  # they were not cleared meanwhile
                if reached is None:
                    self._waiting.popleft()
                self._after = reached or 0
            return bool(self._waiting)


class RemovalJob:
    """Has the rows of old sealed days removed each day after its backup.

    Args:
        lake: the lake's folder.
        market: of the instance.
        keep_days: so many of the newest sealed days keep their rows.
        copy: the folder of the lake's copy beside the packages; rows of a version stay until it has a file of its own.
            None: until the lake's target has it, as the manifest says.
    """

    def __init__(
        self,
        lake: Path,
        market: str,
        keep_days: int,
        removal: Removal,
        today: TradingDayService,
        clock: Clock,
        alerts: Alerts,
        *,
        copy: Path | None,
    ) -> None:
        self._copy = copy
        self._lake = lake
        self._market = market
        self._keep_days = keep_days
        self._removal = removal
        self._today = today
        self._clock = clock
        self._alerts = alerts

    async def run(self) -> None:
        """Work until cancelled. A failure is an alert until the next look succeeds."""
        while True:
            plan = await self._today.plan()
            await self._clock.sleep_until(plan.backup_ns)
            while self._clock.now_ns() < plan.ends_ns:
                self._look(
                    await asyncio.to_thread(self._rows),
                    is_whole=not await asyncio.to_thread(known_damage, self._lake),
                )
                await self._clock.sleep_until(min(self._clock.now_ns() + _LOOK_NS, plan.ends_ns))
            self._removal.clear()

    def _look(self, found: tuple[Sequence[SealedRows], Sequence[str]] | str, *, is_whole: bool = True) -> None:
        """Add rows; raise and resolve alerts. `is_whole`: no file of the lake is known to be damaged."""
        if isinstance(found, str):
            failure = found
        else:
            rows, lost = found
            failure = "; ".join(filter(None, [self._removal.add(rows), said(lost, _SAID_MAX)]))
        open_now = ""
        if failure:
            text = f"rows of old sealed days are not removed from the database: {failure}"
            open_now = LAKE_DAMAGED if LAKE_IS_DAMAGED in text else _IDENTITY
            self._alerts.report(open_now, "critical" if open_now == LAKE_DAMAGED else "warning", text)
        for identity in {_IDENTITY, LAKE_DAMAGED} - {open_now}:
            if is_whole or identity != LAKE_DAMAGED:
                self._alerts.resolve(identity, "rows of old sealed days are removed from the database")

    def _rows(self) -> tuple[Sequence[SealedRows], Sequence[str]] | str:
        """What the manifests say, the newest day first, without the kinds whose files are not there, and these files;
        or why the lake cannot be read. Kinds of one copy are left out and not named: a backup that cannot make another
        one says so.
        """
        rows: list[SealedRows] = []
        lost: list[str] = []
        try:
            for day in reversed(days_to_remove(sealed_days(self._lake), self._market, self._keep_days)):
                of_day = day.removable_rows(published_only=self._copy is None)
                left = dict.fromkeys(each.kind for each in of_day if not self._removal.is_done(each))
                newest = {kind: day.kinds[kind][-1] for kind in left}  # readers take the kind's rows from its file
                lost_here = {
                    kind: text
                    for kind, version in newest.items()
                    if (text := lost_or_damaged(self._lake, day, kind, version))
                }
                lost += lost_here.values()
                apart = kinds_apart(self._lake, self._copy, day) if self._copy is not None and left else left.keys()
                stay = {kind for kind in left if kind in lost_here or kind not in apart}
                rows += [each for each in of_day if each.kind not in stay]
        except (DataFileError, OSError) as error:
            return str(error)
        return rows, lost
