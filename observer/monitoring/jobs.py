"""Runs the jobs of a day. A failed job is an open alert and is retried each minute, until it is done; one whose files
are gone ever more rarely, at least once an hour.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from observer.base.clock import Clock
from observer.base.errors import ConfigError, DataFileError, FileGoneError, NotYetError, ProviderError
from observer.base.units import NS_PER_S
from observer.monitoring.alerts.process import Alerts

RETRY_MARKET_S: Final = 60.0
RETRY_GONE_MARKET_S_MAX: Final = 3600.0
EARLY_MARKET_S_MAX: Final = 300.0
"""So long a job may wait for what another process makes at a first start, until that is an alert."""

logger = logging.getLogger(__name__)


class Job(msgspec.Struct, frozen=True):
    """A job that is due from `at_ns` (UTC) on. It fails when `run` raises ConfigError, DataFileError or ProviderError;
    a NotYetError is an alert only when the job has waited for EARLY_MARKET_S_MAX.
    """

    name: str
    at_ns: int
    run: Callable[[], Awaitable[object]]


async def run_jobs(jobs: Sequence[Job], until_ns: int, *, clock: Clock, alerts: Alerts, turn: asyncio.Lock) -> None:
    """Run each job when it is due, holding `turn`; return when all are done, or at `until_ns` of market time.

    Of due jobs the earliest comes first, however late it is tried; jobs of the same moment keep the given order. A
    process that starts late does all jobs that it missed.
    """
    tries_ns = {job: job.at_ns for job in sorted(jobs, key=lambda job: job.at_ns)}
    failures: Counter[Job] = Counter()
    early_until_ns: dict[Job, int] = {}
    while tries_ns and clock.now_ns() < until_ns:
        for job in [job for job, at_ns in tries_ns.items() if at_ns <= clock.now_ns()]:
            identity = job_identity(job.name)
            try:
                async with turn:
                    await job.run()
            except (ConfigError, DataFileError, ProviderError) as error:
                now_ns = clock.now_ns()
                tries_ns[job] = now_ns + round(_retry_s(error, failures[job]) * NS_PER_S)
                failures[job] += 1
                early_until_ns.setdefault(job, now_ns + round(EARLY_MARKET_S_MAX * NS_PER_S))
                text = f"job {job.name} failed, will be tried again: {error}"
                if isinstance(error, NotYetError) and now_ns < early_until_ns[job]:
                    logger.info("%s", text)
                else:
                    alerts.report(identity, "critical", text, job=job.name)
            else:
                del tries_ns[job]
                failed = failures[job]
                after = f", after {failed} failure{'s' * (failed > 1)}" if failed else ""
                alerts.resolve(identity, f"job {job.name} is done{after}")
        if tries_ns:
            await clock.sleep_until(min(until_ns, *tries_ns.values()))


def _retry_s(error: Exception, failures: int) -> float:
    """Market seconds until the next attempt, after so many failures before this one."""
    doubled_s = RETRY_MARKET_S * 2.0 ** min(failures, 10)
    return min(doubled_s, RETRY_GONE_MARKET_S_MAX) if isinstance(error, FileGoneError) else RETRY_MARKET_S


def job_identity(job: str) -> str:
    """The identity of the alert that a job failed."""
    return f"job:{job}"
