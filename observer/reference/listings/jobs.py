"""The jobs of the master files, started by the day's plan or by an operator."""

from collections.abc import Mapping, Sequence
from typing import Final

from bus.commands import Refused
from observer.base.errors import DataFileError, FileGoneError
from observer.base.units import NS_PER_S
from observer.calendar.phases import DayPlan, moment_of
from observer.monitoring.jobs import Job
from observer.monitoring.metrics.counters import COUNTERS
from observer.reference.listings.diff import ReferenceSettings
from observer.reference.listings.sync import FORCE, Examined, MasterFiles

PENDING: Final = "pending_approval"
"""The code of a refusal: the changes are held, and the file in force stays."""


def approval_of(run: str) -> str:
    """How the changes of a held run are applied."""
    return f"`observer master approve {run}` applies it"


class MasterFileJobs:
    """The day's jobs of the master files, and the jobs that an operator orders."""

    def __init__(self, settings: ReferenceSettings, masters: MasterFiles) -> None:
        self._settings = settings
        self._masters = masters
        self._record_ages()

    def _record_ages(self) -> None:
        for exchange in self._settings.exchanges:
            if checked_ns := self._masters.checked_ns(exchange):
                at_s = checked_ns / NS_PER_S
                COUNTERS.set("observer_master_file_checked_timestamp_seconds", exchange, to=at_s)

    def _require_all(self, found: Sequence[Examined]) -> None:
        """Raises DataFileError when a check failed."""
        self._record_ages()
        if failed := [f"{each.exchange}: {each.outcome.reason}" for each in found if each.outcome.decision == "failed"]:
            is_gone = all(each.gone for each in found if each.outcome.decision == "failed")
            raise (FileGoneError if is_gone else DataFileError)("; ".join(failed))

    def of_the_day(self, plan: DayPlan) -> Sequence[Job]:
        """The daily check, and on one day of the week the full refresh before it."""
        jobs = [Job("master_files", plan.master_files_ns, lambda: self.check_all(plan))]
        if plan.day.strftime("%A").lower() == self._settings.weekly_refresh_day:
            at_ns = moment_of(plan, self._settings.weekly_refresh_time)
            jobs.append(Job("weekly_refresh", at_ns, lambda: self.refresh_all(at_ns)))
        return jobs

    def checked_ns(self) -> Mapping[str, int]:
        """When each exchange's file was last checked with success; 0: never."""
        return {exchange: self._masters.checked_ns(exchange) for exchange in self._settings.exchanges}

    async def check_all(self, plan: DayPlan) -> None:
        """Check every exchange without a check since this day's time for it.

        Raises:
            DataFileError: some failed; only these are tried again later.
        """
        self._require_all(await self._masters.check_all(self._settings.exchanges, since_ns=plan.master_files_ns))

    async def refresh_all(self, since_ns: int) -> None:
        """Download every exchange's file without a download since then.

        Raises:
            DataFileError: as for `check_all`.
        """
        self._require_all(await self._masters.check_all(self._settings.exchanges, force=True, since_ns=since_ns))

    async def check_now(self, arguments: Sequence[str] = ()) -> str | Refused:
        """Check these exchanges, or all, regardless of earlier checks; with `FORCE` download unchanged files too."""
        exchanges = [name for name in arguments if name != FORCE] or self._settings.exchanges
        if unknown := [name for name in exchanges if name not in self._settings.exchanges]:
            return Refused("unknown_exchange", f"not among [reference] exchanges: {', '.join(unknown)}")
        found = await self._masters.check_all(exchanges, force=FORCE in arguments)
        self._require_all(found)
        return ", ".join(f"{each.exchange} {each.outcome.decision}" for each in found)

    async def approve(self, arguments: Sequence[str]) -> str:
        """Apply the changes of a run that is pending approval."""
        found = await self._masters.approve(arguments[0], self._settings.exchanges)
        return f"{found.exchange}: {found.outcome.reason}"

    async def restore(self, arguments: Sequence[str]) -> str | Refused:
        """Put an exchange's newest backup in force; refused while its changes are pending approval."""
        found = await self._masters.restore(arguments[0])
        text = f"{found.exchange}: {found.outcome.decision}, {found.outcome.reason}"
        return Refused(PENDING, f"{text}; {approval_of(found.run)}") if found.outcome.decision == "pending" else text

    async def bring(self, exchange: str) -> None:
        """Check one exchange now, because its listings are missing.

        Raises:
            DataFileError: the check failed.
        """
        self._require_all([await self._masters.check(exchange)])
