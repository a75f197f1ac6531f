"""Runs the jobs of a day. A failed job is retried after a minute, until it is done; one whose files are gone ever more
rarely, at least once an hour.
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from observer.base.clock import Clock
from observer.base.errors import ConfigError, DataFileError, FileGoneError, NotYetError, ProviderError
from observer.base.units import NS_PER_S
from observer.calendar.jobs import Job, Name, due_jobs
from observer.monitoring.alerts.process import Alerts

RETRY_MARKET_S: Final = 60.0
RETRY_GONE_MARKET_S_MAX: Final = 3600.0
EARLY_MARKET_S_MAX: Final = 300.0
"""So long a job may wait for what another process makes at a first start, until that is an alert."""

logger = logging.getLogger(__name__)


class DayJobs:
    """Runs jobs; a failed job is an open alert until it succeeds.

    Args:
        clock: market time.
        alerts: of the process.
    """

    def __init__(self, clock: Clock, alerts: Alerts) -> None:
        self._clock = clock
        self._alerts = alerts

    async def run(self, jobs: Sequence[Job[Name]], until_ns: int, act: Callable[[Job[Name]], Awaitable[None]]) -> None:
        """Run each job by `act` when it is due; return when all are done, or at `until_ns`.

        A ConfigError, DataFileError or ProviderError of `act` counts as the job's failure. A NotYetError is an alert
        only when the job has waited for EARLY_MARKET_S_MAX.
        """
        tries_ns = {job: job.at_ns for job in jobs}
        failures: Counter[Job[Name]] = Counter()
        waits_until_ns: dict[Job[Name], int] = {}
        while tries_ns and self._clock.now_ns() < until_ns:
            for job in due_jobs(tries_ns, self._clock.now_ns()):
                try:
                    await act(job)
                except (ConfigError, DataFileError, ProviderError) as error:
                    tries_ns[job] = self._clock.now_ns() + round(_retry_s(error, failures[job]) * NS_PER_S)
                    failures[job] += 1
                    text = f"job {job.name} failed, will be tried again: {error}"
                    early_ns = self._clock.now_ns() + round(EARLY_MARKET_S_MAX * NS_PER_S)
                    if isinstance(error, NotYetError) and self._clock.now_ns() < waits_until_ns.setdefault(
                        job, early_ns
                    ):
                        logger.info("%s", text)
                        continue
                    self._alerts.report(job_identity(job.name), "critical", text, job=job.name)
                else:
                    del tries_ns[job]
                    failed = failures[job]
                    after = f", after {failed} failure{'s' * (failed > 1)}" if failed else ""
                    self._alerts.resolve(job_identity(job.name), f"job {job.name} is done{after}")
            if tries_ns:
                await self._clock.sleep_until(min(until_ns, *tries_ns.values()))


def _retry_s(error: Exception, failures: int) -> float:
    """Market seconds until the next attempt, after so many failures before this one."""
    doubled_s = RETRY_MARKET_S * 2.0 ** min(failures, 10)
    return min(doubled_s, RETRY_GONE_MARKET_S_MAX) if isinstance(error, FileGoneError) else RETRY_MARKET_S


def job_identity(job: str) -> str:
    """The identity of the alert that a job failed."""
    return f"job:{job}"
