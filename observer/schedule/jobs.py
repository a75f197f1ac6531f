"""Which of the day's jobs are due. A job is done once a day; what was missed is made up for in order."""

from collections.abc import Container, Iterable

import msgspec


class Job(msgspec.Struct, frozen=True):
    """Something to be done once a day, from `at_ns` (UTC) on."""

    name: str
    at_ns: int


def due_jobs(jobs: Iterable[Job], done: Container[str], now_ns: int) -> tuple[Job, ...]:
    """The jobs whose time has come and that are not among the `done` names of the day, earliest first.

    Jobs of the same moment keep the order in which they were given. A process that starts late gets all it missed.
    """
    due = (job for job in jobs if job.at_ns <= now_ns and job.name not in done)
    return tuple(sorted(due, key=_moment))


def next_job(jobs: Iterable[Job], done: Container[str], now_ns: int) -> Job | None:
    """The job to wait for: the earliest whose time is still to come; None when there is none today."""
    coming = (job for job in jobs if job.at_ns > now_ns and job.name not in done)
    return min(coming, key=_moment, default=None)


def _moment(job: Job) -> int:
    return job.at_ns
