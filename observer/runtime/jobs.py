"""Runs the jobs of a day. A failed job is retried after a minute, until it is done."""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from bus.events import AlertRaised, Event, Severity
from observer.calendar.jobs import Job, Name, due_jobs
from observer.clock import Clock
from observer.errors import ConfigError, DataFileError, ProviderError
from observer.units import NS_PER_S

logger = logging.getLogger(__name__)

RETRY_MARKET_S: Final = 60.0


class Publisher(Protocol):
    """Takes the alerts; `bus.producer.Producer` satisfies it."""

    def publish(self, *events: Event) -> None:
        """Publish events soon."""
        ...


class DayJobs:
    """Runs jobs; raises an alert at the first failure of each job, and when it succeeds again.

    Args:
        clock: market time.
        publisher: takes the alerts.
        source: the source named in the alerts.
    """

    def __init__(self, clock: Clock, publisher: Publisher, source: str) -> None:
        self._clock = clock
        self._publisher = publisher
        self._source = source

    async def run(self, jobs: Sequence[Job[Name]], until_ns: int, act: Callable[[Job[Name]], Awaitable[None]]) -> None:
        """Run each job by `act` when it is due; return when all are done, or at `until_ns`.

        A ConfigError, DataFileError or ProviderError of `act` counts as the job's failure.
        """
        tries_ns = {job: job.at_ns for job in jobs}
        failures: Counter[Job[Name]] = Counter()
        while tries_ns and self._clock.now_ns() < until_ns:
            for job in due_jobs(tries_ns, self._clock.now_ns()):
                try:
                    await act(job)
                except (ConfigError, DataFileError, ProviderError) as error:
                    tries_ns[job] = self._clock.now_ns() + round(RETRY_MARKET_S * NS_PER_S)
                    failures[job] += 1
                    text = f"job {job.name} failed, will be tried again: {error}"
                    logger.error(text)
                    if failures[job] == 1:
                        self._alert("critical", text, job.name)
                else:
                    del tries_ns[job]
                    if failed := failures[job]:
                        text = f"job {job.name} is done, after {failed} failure{'s' * (failed > 1)}"
                        self._alert("info", text, job.name)
            if tries_ns:
                await self._clock.sleep_until(min(until_ns, *tries_ns.values()))

    def _alert(self, severity: Severity, text: str, job: str) -> None:
        self._publisher.publish(AlertRaised(self._clock.now_ns(), severity, self._source, text, job))
