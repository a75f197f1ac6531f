"""Which of the day's jobs are due. What was missed is made up for in order, and what failed is tried again."""

from collections.abc import Mapping
from typing import Generic, TypeVar

import msgspec

Name = TypeVar("Name", bound=str)


class Job(msgspec.Struct, Generic[Name], frozen=True):
    """Something to be done once, from `at_ns` (UTC) on."""

    name: Name
    at_ns: int


def due_jobs(tries_ns: Mapping[Job[Name], int], now_ns: int) -> tuple[Job[Name], ...]:
    """Of the jobs that are to be done, by when each is to be tried next, those whose time has come, earliest first.

    The order is that of the jobs, however late one of them is tried; jobs of the same moment keep the one in which they
    were given. A process that starts late gets all it missed.
    """
    due = (job for job, at_ns in tries_ns.items() if at_ns <= now_ns)
    return tuple(sorted(due, key=lambda job: job.at_ns))
