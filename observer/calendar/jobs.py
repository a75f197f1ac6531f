"""Which of the day's jobs are due. Missed jobs run late, in order; failed jobs run again."""

from collections.abc import Mapping
from typing import Generic, TypeVar

import msgspec

Name = TypeVar("Name", bound=str)


class Job(msgspec.Struct, Generic[Name], frozen=True):
    """A job that runs once, from `at_ns` (UTC) on."""

    name: Name
    at_ns: int


def due_jobs(tries_ns: Mapping[Job[Name], int], now_ns: int) -> tuple[Job[Name], ...]:
    """The jobs whose next attempt is due, earliest first; the mapping holds the time of each job's next attempt.

    The order is that of the jobs' own times, however late one of them is tried; jobs of the same moment keep the given
    order. A process that starts late gets all jobs it missed.
    """
    due = (job for job, at_ns in tries_ns.items() if at_ns <= now_ns)
    return tuple(sorted(due, key=lambda job: job.at_ns))
