"""Which of the day's jobs are due."""

from hypothesis import given
from hypothesis import strategies as st

from observer.calendar.jobs import Job, due_jobs

UNIVERSE, MASTER_FILES, BACKUP = Job("universe", 5), Job("master_files", 6), Job("backup", 21)
TRIES_NS = {job: job.at_ns for job in (BACKUP, UNIVERSE, MASTER_FILES)}


def test_nothing_is_due_before_its_time():
    assert due_jobs(TRIES_NS, 4) == ()


def test_a_job_is_due_from_its_moment_on():
    assert due_jobs(TRIES_NS, 5) == (UNIVERSE,)


def test_a_process_that_starts_late_makes_up_for_missed_jobs_in_order():
    assert due_jobs(TRIES_NS, 22) == (UNIVERSE, MASTER_FILES, BACKUP)


def test_a_postponed_job_keeps_its_rank_among_the_due_jobs():
    tries_ns = TRIES_NS | {UNIVERSE: 22}
    assert due_jobs(tries_ns, 21) == (MASTER_FILES, BACKUP)
    assert due_jobs(tries_ns, 22) == (UNIVERSE, MASTER_FILES, BACKUP)


def test_jobs_of_one_moment_keep_their_order():
    assert due_jobs({Job("b", 5): 5, Job("a", 5): 5}, 5) == (Job("b", 5), Job("a", 5))


@given(st.dictionaries(st.builds(Job, st.text(max_size=3), st.integers(0, 20)), st.integers(0, 20)), st.integers(0, 20))
def test_every_job_is_either_due_or_to_come(tries_ns, now_ns):
    due = due_jobs(tries_ns, now_ns)
    assert set(due) == {job for job, at_ns in tries_ns.items() if at_ns <= now_ns}
    assert list(due) == sorted(due, key=lambda job: job.at_ns)
