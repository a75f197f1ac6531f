"""Which of the day's jobs are due."""

from hypothesis import given
from hypothesis import strategies as st

from observer.schedule.jobs import Job, due_jobs, next_job

UNIVERSE, MASTER_FILES, BACKUP = Job("universe", 5), Job("master_files", 6), Job("backup", 21)
JOBS = (BACKUP, UNIVERSE, MASTER_FILES)


def test_nothing_is_due_before_its_time() -> None:
    assert due_jobs(JOBS, set(), 4) == ()


def test_a_job_is_due_from_its_moment_on() -> None:
    assert due_jobs(JOBS, set(), 5) == (UNIVERSE,)


def test_who_starts_late_makes_up_for_what_was_missed_in_order() -> None:
    assert due_jobs(JOBS, set(), 22) == (UNIVERSE, MASTER_FILES, BACKUP)


def test_a_job_is_done_once_a_day() -> None:
    assert due_jobs(JOBS, {"universe", "backup"}, 22) == (MASTER_FILES,)


def test_jobs_of_one_moment_keep_their_order() -> None:
    assert due_jobs((Job("b", 5), Job("a", 5)), set(), 5) == (Job("b", 5), Job("a", 5))


def test_the_next_job_is_the_earliest_to_come() -> None:
    assert next_job(JOBS, set(), 5) == MASTER_FILES
    assert next_job(JOBS, {"master_files"}, 5) == BACKUP
    assert next_job(JOBS, set(), 21) is None


@given(st.lists(st.tuples(st.text(max_size=3), st.integers(0, 20)), max_size=8), st.integers(0, 20))
def test_every_job_is_either_done_or_due_or_to_come(pairs: list[tuple[str, int]], now_ns: int) -> None:
    jobs = [Job(name, at_ns) for name, at_ns in pairs]
    done = {name for name, _ in pairs[::2]}
    due = due_jobs(jobs, done, now_ns)
    for job in jobs:
        assert (job in due) == (job.name not in done and job.at_ns <= now_ns)
    assert list(due) == sorted(due, key=lambda job: job.at_ns)
