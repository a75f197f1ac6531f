"""The two jobs about sectors: each is `python -m observer.reference.sectors` in a process of its own.

With that process go yfinance and its memory when it is done; it delivers from its own outbox to the writer, as
`observer enrich run` does. It may take hours at one request a second, so it runs beside its worker's other jobs.
"""

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from bus.archive import ArchiveLimits
from bus.endpoints import Address
from bus.events import Severity
from observer.base.logs import event_of, present_head
from observer.base.programs import program
from observer.base.signals import stop_process
from observer.calendar.phases import DayPlan, moment_of
from observer.monitoring.alerts.process import Alerts
from observer.monitoring.jobs import Job
from observer.reference.sectors.options import OUTBOX, EnrichmentOptions, EnrichmentProcess
from observer.reference.sectors.settings import SectorSettings
from observer.store.sectors import SectorReader

logger = logging.getLogger(__name__)

DAILY: Final = "sectors_daily"
WEEKLY: Final = "sectors_weekly"
_REGIONS_AT_ONCE: Final = 5
_UNANSWERED: Final = 1  # the command's status when stocks are left for the next run
_LAST_RESORT: Final = "yahoo_profile"
_STOP_S: Final = 3.0


def sector_jobs(plan: DayPlan, settings: SectorSettings) -> Mapping[str, int]:
    """The jobs of a day, trading day or not, with their due times (UTC ns)."""
    if not settings.scheduled:
        return {}
    jobs = {DAILY: moment_of(plan, settings.daily_at)}
    if plan.day.strftime("%A").lower() == settings.weekly_day:
        jobs[WEEKLY] = moment_of(plan, settings.weekly_at)
    return jobs


class SectorJobs:
    """Runs the jobs of one system, each in a process of its own.

    Args:
        settings: the times, regions and sources.
        url: the database.
        data: the folder of logs and metrics.
        outboxes: the folder of the processes' outboxes.
        ingest: the writer's socket.
        alerts: of the process.
    """

    def __init__(
        self,
        settings: SectorSettings,
        *,
        url: str,
        data: Path,
        outboxes: Path,
        archive_limits: ArchiveLimits,
        ingest: Address,
        alerts: Alerts,
    ) -> None:
        self._settings = settings
        self._url = url
        self._data = data
        self._outboxes = outboxes
        self._archive_limits = archive_limits
        self._ingest = ingest
        self._alerts = alerts

    async def left(self, plan: DayPlan) -> Sequence[Job]:
        """The jobs of the day that are not done."""
        jobs = sector_jobs(plan, self._settings)
        return [
            Job(name, at_ns, partial(self.run, name))
            for name, at_ns in jobs.items()
            if not await asyncio.to_thread(self.is_done, at_ns)
        ]

    def is_done(self, since_ns: int) -> bool:
        """Whether every market that has stocks had a whole round since then."""
        with SectorReader(self._url) as reader:
            rounds = {done.region for done in reader.last_rounds() if done.started_ns >= since_ns}
            missing = [region for region in self._settings.regions if region not in rounds]
            return not any(reader.stocks(region) for region in missing)

    async def run(self, job: str) -> None:
        """Run the job to its end; report unanswered stocks as an alert, and leave them for the next day."""
        log_path = self._data / "logs" / "enrich.log"
        log_path.parent.mkdir(parents=True, exist_ok=True)
        with log_path.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *program("observer.reference.sectors"),
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
            try:
                await process.communicate(self._process(job).to_json())
                status = await process.wait()
            finally:  # its findings are in its outbox: the daily job goes on there, the weekly one starts over
                await stop_process(process, _STOP_S)
        logger.info("%s: status %d, see %s", job, status, log_path)
        identity = f"sectors:{job}"
        if reported := reported_of(job, status, self._settings.sources, log_path):
            self._alerts.report(identity, *reported)
        else:
            self._alerts.resolve(identity, f"job {job} is done")

    def _process(self, job: str) -> EnrichmentProcess:
        """The input of the job's process."""
        is_weekly = job == WEEKLY
        options = EnrichmentOptions(
            url=self._url,
            data=self._data,
            outbox=self._outboxes / OUTBOX,
            archive_limits=self._archive_limits,
            regions=self._settings.regions,
            sources=self._settings.sources,
            force_refresh=is_weekly,
            max_age_days=None if is_weekly else 30.0,
            max_retries=3 if is_weekly else 5,
            at_once=_REGIONS_AT_ONCE,
            metrics_file=self._data / "enrichment" / "metrics.prom",
            verbose=True,
        )
        return EnrichmentProcess(options, self._ingest, present_head())


def reported_of(job: str, status: int, sources: Collection[str], log_path: Path) -> tuple[Severity, str] | None:
    """The alert for this exit status, if any; without the source of last resort some stocks never get an answer."""
    if status == _UNANSWERED and _LAST_RESORT in sources:
        return "warning", f"job {job}: some stocks got no answer, and are asked for again; {log_path} says why"
    if status not in (0, _UNANSWERED):
        return "critical", f"job {job} failed: {_last_line(log_path)} (status {status}, {log_path})"
    return None


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").splitlines()
    return event_of(lines[-1]) if lines else "nothing was said"
