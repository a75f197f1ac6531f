"""The backups of one system: each day's at its time, and those that a person orders."""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bus.commands import Refused
from bus.events import BackupCompleted
from observer.archive.backup import Made, Plan, back_up_apart
from observer.archive.manifest import Kind, encoded
from observer.archive.package import Package, manifest_of, packages_of
from observer.base.clock import Clock
from observer.base.errors import ObserverError, StoreError
from observer.base.local_time import local_datetime
from observer.base.remedies import DATABASE_IS_DAMAGED
from observer.base.units import NS_PER_DAY, NS_PER_S
from observer.calendar.service import TradingDayService
from observer.monitoring.alerts.process import DATABASE_DAMAGED, Alerts
from observer.store.summary import SummaryReader

if TYPE_CHECKING:
    from bus.producer import Producer

logger = logging.getLogger(__name__)

_IDENTITY: Final = "backup"  # of the alert
RESULT: Final = "result"  # the argument of the job that asks how the last package by hand ended
MISSED: Final = "backup_missed"  # the alert that no daily package was made, whatever the reason
TARGET: Final = "backup_target"  # the alert that the folder of second copies is not there
_TARGET_S: Final = 20.0  # machine seconds in which a folder on the network has to answer
_RETRY_S: Final = 3_600.0  # market seconds from a failed daily package to the next attempt
OVERDUE_S: Final = 7_200.0  # market seconds from a package's time until it is missed: a package and one more attempt
_WATCH_S: Final = 600.0  # market seconds


def last_due_ns(backup_ns: int, now_ns: int) -> int:
    """When the last daily package was due: at the day's time, or the day before while that is still to come."""
    return backup_ns if now_ns >= backup_ns else backup_ns - NS_PER_DAY


def is_missing(due_ns: int, database_since_ns: int | None, daily_ns: Sequence[int]) -> bool:
    """Whether the package that was due then has to be made up for: there was a database, and no later daily package was
    taken.
    """
    existed = database_since_ns is not None and database_since_ns <= due_ns
    return existed and max(daily_ns, default=0) < due_ns


class BackupJobs:
    """Has the packages of one system made by `back_up`: each in a process of its own beside the writer.

    `turn` is held while the day's package is made, so that no two jobs of the process run at once.
    """

    def __init__(
        self,
        *,
        plan: Plan,
        turn: asyncio.Lock,
        today: TradingDayService,
        clock: Clock,
        alerts: Alerts,
        back_up: Callable[[Plan, Kind, int, str], Awaitable[Made]] = back_up_apart,
    ) -> None:
        self._plan = plan
        self._back_up = back_up
        self._turn = turn
        self._today = today
        self._clock = clock
        self._alerts = alerts
        self._result: str | Refused | None = None  # of the last package by hand
        self._look: asyncio.Task[bool] | None = None  # for the folder of second copies, while there is no answer
        self._is_unlisted = False  # the packages could not be listed when the daily one was due

    async def run(self, producer: "Producer") -> None:
        """One package a day at its time; a process that starts later makes it only if there is none yet, and at once
        that of the day before if it is missing.

        An attempt that leaves no package is repeated after an hour, past midnight too.
        """
        day = await self._today.plan()
        due_ns = last_due_ns(day.backup_ns, self._clock.now_ns())
        if await self._is_to_make_up(due_ns):
            await self._make_daily(due_ns, producer)
        while True:
            await self._clock.sleep_until(day.backup_ns)
            await self._make_daily(day.backup_ns, producer)
            await self._today.end_of(day)
            day = await self._today.plan()

    async def watch(self) -> None:
        """Report a daily package that is missing OVERDUE_S after its time, also while an attempt hangs.

        In the first OVERDUE_S it reports none, because what was missed before the start is made up for first; but it
        resolves the alert that an earlier process left, when the package is there. Report, too, that the folder of
        second copies is not there: it may be mounted after the start.
        """
        begins_ns = self._clock.now_ns() + round(OVERDUE_S * NS_PER_S)
        while True:
            day = await self._today.plan()
            now_ns = self._clock.now_ns()
            due_ns = last_due_ns(day.backup_ns, now_ns - round(OVERDUE_S * NS_PER_S))
            try:
                lacks = await asyncio.to_thread(self._lacks_package_of, due_ns)
                self._report_missed(due_ns, lacks=lacks, may_report=now_ns >= begins_ns)
            except (OSError, StoreError) as error:  # the alert stays as it is
                logger.warning("whether the daily package is missing is not known, and is looked for again: %s", error)
            await self._look_for_target()
            await self._clock.sleep(_WATCH_S)

    def _report_missed(self, due_ns: int, *, lacks: bool, may_report: bool) -> None:
        if not lacks:
            self._alerts.resolve(MISSED, "the daily package is made")
        elif may_report and not self._alerts.are_open(DATABASE_DAMAGED):  # which is why there is none
            text = f"no daily package since {local_datetime(due_ns):%m-%d %H:%M}, when it was due: the log says why"
            self._alerts.report(MISSED, "critical", text)

    async def _look_for_target(self) -> None:
        """A look that hangs, as in a folder of a server that is down, goes on; meanwhile there is no second one."""
        name = self._plan.settings.copy_to
        if not name:
            self._alerts.resolve(TARGET, "there is no second target any more")
            return
        look = self._look or asyncio.create_task(asyncio.to_thread(Path(name).is_dir))
        found, _ = await asyncio.wait([look], timeout=_TARGET_S)
        self._look = None if found else look
        error = "" if found else "it does not answer"
        try:
            if found and not look.result():
                error = "no such folder"
        except OSError as refusal:
            error = str(refusal.strerror)
        if error:
            text = f"backup.copy_to = {name}: {error}: mount or make it, or remove the setting"
            self._alerts.report(TARGET, "critical", text)
        else:
            self._alerts.resolve(TARGET, f"{name} is there")

    async def make_now(self, producer: "Producer") -> str | Refused:
        """Make a package beside the day's, on request of a person."""
        self._result = None
        self._result = await self._make("manual", producer)
        return self._result

    async def result(self, arguments: Sequence[str]) -> str | Refused:
        """The result of the last package that a person requested; the one argument is "result"."""
        if list(arguments) != [RESULT]:
            return Refused("unknown_job", f"backup takes no argument but {RESULT!r}")
        return self._result or Refused(
            "failed", "no package was made: the log says why, `observer backup now` repeats it"
        )

    def _lacks_package_of(self, due_ns: int) -> bool:
        try:
            with SummaryReader(self._plan.contents.url) as reader:
                since_ns = reader.created_ns()
        except StoreError:
            if not (daily_ns := self._daily_ns()):
                raise  # whether there was a database then is not known
            since_ns = min(daily_ns)  # the packages alone decide
        return is_missing(due_ns, since_ns, self._daily_ns())

    async def _is_to_make_up(self, due_ns: int) -> bool:
        try:
            return await asyncio.to_thread(self._lacks_package_of, due_ns)
        except (OSError, StoreError):
            return True  # the attempt states what is wrong

    async def _make_daily(self, due_ns: int, producer: "Producer") -> None:
        while not await self._has_made_daily(due_ns, producer):
            await self._clock.sleep(_RETRY_S)

    async def _has_made_daily(self, due_ns: int, producer: "Producer") -> bool:
        """Make the package that is due, unless it is there; False when that leaves none.

        A whole package whose copy or command failed is not made again: packages of one day would take the turns of
        earlier days' ones.
        """
        async with self._turn:
            try:
                is_made = max(self._daily_ns(), default=0) >= due_ns
                if self._is_unlisted:
                    self._alerts.resolve(_IDENTITY, "the packages can be listed again")
                    self._is_unlisted = False
                if not is_made:
                    await self._make("daily", producer)
                return is_made or max(self._daily_ns(), default=0) >= due_ns
            except OSError as error:
                text = f"backup failed: the packages cannot be listed: {error}; it is tried again in an hour"
                self._alerts.report(_IDENTITY, "critical", text)
                self._is_unlisted = True
                return False

    def _daily_ns(self) -> Sequence[int]:
        """When this instance's daily packages were taken."""
        manifests = [each.manifest for each in packages_of(self._plan.folder, self._plan.contents.instance)]
        return [each.taken_ns for each in manifests if each is not None and each.kind == "daily"]

    async def _make(self, kind: Kind, producer: "Producer") -> str | Refused:
        try:
            day, now_ns = await self._today.plan(), self._clock.now_ns()
            last_day = local_datetime(last_due_ns(day.backup_ns, now_ns)).date()
            made = await self._back_up(self._plan, kind, now_ns, last_day.isoformat())
        except (ObserverError, OSError) as error:
            again = ", and the daily one is tried again in an hour" if kind == "daily" else ""
            if DATABASE_IS_DAMAGED in str(error):
                identity, text = DATABASE_DAMAGED, f"{error}; no package is made of it{again}"
            else:
                identity, text = _IDENTITY, f"backup failed: {error}; `observer backup now` makes another one{again}"
            self._alerts.report(identity, "critical", text)
            return Refused("failed", text)
        self._alerts.resolve(DATABASE_DAMAGED, "the database is whole: it was checked for a package")
        producer.publish(_completed(made.package, self._clock.now_ns()))
        if made.failures:
            text = f"{made.package.name} is whole, but: {'; '.join(made.failures)}"
            self._alerts.report(_IDENTITY, "critical", text)
        else:
            self._alerts.resolve(_IDENTITY, f"{made.package.name} is made")
        size_bytes = manifest_of(made.package).size_bytes
        text = "; ".join((f"{made.package.path}, {size_bytes:,} bytes", *made.failures))
        return Refused("failed", text) if made.failures else text


def _completed(package: Package, now_ns: int) -> BackupCompleted:
    manifest = manifest_of(package)
    digest = hashlib.sha256(encoded(manifest)).hexdigest()
    return BackupCompleted(now_ns, str(package.path), manifest.size_bytes, digest)
