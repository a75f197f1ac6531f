"""The two jobs about sectors (requirement 003): each is `observer enrich run` in a process of its own.

With that process go yfinance and its memory when it is done; it delivers from its own outbox to the writer, as it does
when a person runs it. It may take hours at one request a second, so it runs beside its worker's other jobs.
"""

import asyncio
import logging
import sys
from collections.abc import Collection, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from bus.events import AlertRaised, Severity
from bus.producer import Producer
from observer.errors import ConfigError
from observer.reference.sectors_settings import SectorSettings
from observer.schedule.jobs import Job
from observer.schedule.phases import DayPlan, moment_of
from observer.store.sectors import SectorReader
from workers.day_jobs import DayJobs
from workers.runtime import Worker

logger = logging.getLogger(__name__)

DAILY: Final = "sectors_daily"
WEEKLY: Final = "sectors_weekly"
_WORDS: Final = {
    DAILY: ("--max-age-days", "30", "--max-retries", "5"),  # requirement 003, "Daily Incremental Updates"
    WEEKLY: ("--force-refresh",),
}
_UNANSWERED: Final = 1  # the command's status when stocks are left for the next run
_LAST_RESORT: Final = "yahoo_profile"
_STOP_S: Final = 3.0


def sector_jobs(plan: DayPlan, settings: SectorSettings) -> Sequence[Job[str]]:
    """The jobs of a day, trading day or not."""
    if not settings.scheduled:
        return []
    jobs = [Job(DAILY, moment_of(plan, settings.daily_at))]
    if plan.day.strftime("%A").lower() == settings.weekly_day:
        jobs.append(Job(WEEKLY, moment_of(plan, settings.weekly_at)))
    return jobs


async def look_up_sectors(worker: Worker, producer: Producer) -> None:
    """Run the jobs, each when it is due and was not done; never returns."""
    day_jobs = DayJobs(worker.clock, producer, worker.name)
    while True:
        plan = await worker.today.plan()
        jobs = sector_jobs(plan, worker.settings.sectors)
        left = [job for job in jobs if not await asyncio.to_thread(_is_done, worker, job)]
        await day_jobs.run(left, plan.ends_ns, partial(_run, worker, producer))
        await worker.today.end_of(plan)


def _is_done(worker: Worker, job: Job[str]) -> bool:
    """Whether every market that has stocks had a whole round since the job's time."""
    with SectorReader(worker.settings.store.url) as reader:
        rounds = {done.region for done in reader.last_rounds() if done.started_ns >= job.at_ns}
        missing = [region for region in worker.settings.sectors.regions if region not in rounds]
        return not any(reader.stocks(region) for region in missing)


async def _run(worker: Worker, producer: Producer, job: Job[str]) -> None:
    """Run it to its end; what it could not do is told of, and left for the next day."""
    data, settings = Path(worker.settings.run.data), worker.settings.sectors
    log_path = data / "logs" / "enrich.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "observer", "enrich", "run", "--config", str(_configuration(worker)), "--parallel", "--verbose"),
            *("--regions", ",".join(settings.regions), "--sources", ",".join(settings.sources), *_WORDS[job.name]),
            *(("--metrics-file", str(data / "enrichment" / "metrics.prom")) if _has_metrics() else ()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            status = await process.wait()
        finally:
            await _stop(process)
    logger.info("%s: status %d, see %s", job.name, status, log_path)
    if told := told_of(job.name, status, settings.sources, log_path):
        producer.publish(AlertRaised(worker.clock.now_ns(), told[0], worker.name, told[1]))


def told_of(job: str, status: int, sources: Collection[str], log_path: Path) -> tuple[Severity, str] | None:
    """What a person is to hear of an end with this status; where nobody is asked who knows all, some have no answer."""
    if status == _UNANSWERED and _LAST_RESORT in sources:
        return "warning", f"job {job}: some stocks got no answer, and are asked for again; {log_path} says why"
    if status not in (0, _UNANSWERED):
        return "critical", f"job {job} failed: {_last_line(log_path)} (status {status}, {log_path})"
    return None


def _has_metrics() -> bool:
    """They need a package of the extra `sectors`; KIS's codes and a FinanceDatabase file do not."""
    return find_spec("prometheus_client") is not None


def _configuration(worker: Worker) -> Path:
    if worker.configuration is None:
        raise ConfigError(f"{worker.name} was started without a file of its configuration")
    return worker.configuration


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Leave none behind: what it found is in its outbox. The daily job goes on where it was; the weekly one, which asks
    for everything anew, begins again.
    """
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(_STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").splitlines()
    return lines[-1] if lines else "nothing was said"
