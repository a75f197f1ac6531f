"""Which jobs about ETFs are to be done, of a day and of those before it."""

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from bus.events import EtfJob
from observer.base.local_time import local_ns
from observer.reference.etf.schedule import Session, jobs_to_do, last_due_ns, last_over
from observer.reference.etf.settings import EtfSettings
from tests.day_plans import day_plan

FRIDAY, SUNDAY, MONDAY, TUESDAY = date(2026, 11, 20), date(2026, 11, 22), date(2026, 11, 23), date(2026, 11, 24)
TRADING_DAYS = [day for back in range(60) if (day := TUESDAY - timedelta(days=back)).weekday() < 5]
ALL_OF_FRIDAY: dict[EtfJob, int] = {
    "etf_list": local_ns(FRIDAY, 9, 1),
    "etf_values": local_ns(FRIDAY, 16, 1),
    "etf_ranges": local_ns(FRIDAY, 17, 1),
    "etf_measures": local_ns(date(2026, 11, 15), 21, 5),
}


def plan_of(day):
    return day_plan(day, trades=day in TRADING_DAYS)


def wanted(day, ended_ns, hour):
    return list(jobs_to_do(plan_of(day), TRADING_DAYS, EtfSettings(), ended_ns, local_ns(day, hour)))


def test_a_late_start_schedules_all_jobs_of_the_day_and_a_restart_only_the_unfinished_ones():
    ended_ns = ALL_OF_FRIDAY | {"etf_measures": local_ns(SUNDAY, 21, 5)}
    of_the_day: list[tuple[EtfJob, int]] = [
        ("etf_list", local_ns(MONDAY, 9)),
        ("etf_values", local_ns(MONDAY, 16)),
        ("etf_ranges", local_ns(MONDAY, 17)),
    ]
    assert wanted(MONDAY, ended_ns, 18) == of_the_day
    assert wanted(MONDAY, ended_ns | {"etf_list": local_ns(MONDAY, 9, 1)}, 18) == of_the_day[1:]


def test_measures_of_a_sunday_that_was_missed_are_due_on_monday():
    assert ("etf_measures", local_ns(SUNDAY, 21)) in wanted(MONDAY, ALL_OF_FRIDAY, 0)


def test_a_job_missed_on_friday_is_due_on_the_weekend():
    ended_ns = ALL_OF_FRIDAY | {"etf_values": local_ns(date(2026, 11, 19), 16, 1)}
    assert wanted(SUNDAY, ended_ns, 8) == [
        ("etf_values", local_ns(FRIDAY, 16)),
        ("etf_measures", local_ns(SUNDAY, 21)),
    ]


def test_a_job_missed_on_several_days_is_due_once():
    ended_ns = ALL_OF_FRIDAY | {"etf_measures": local_ns(SUNDAY, 21, 5)}
    moments = [at_ns for job, at_ns in wanted(TUESDAY, ended_ns, 8) if job == "etf_values"]
    assert moments == [local_ns(MONDAY, 16), local_ns(TUESDAY, 16)]


def test_no_missed_job_is_due_before_the_first_list():
    assert wanted(SUNDAY, {}, 22) == []
    assert all(at_ns >= local_ns(MONDAY, 9) for _, at_ns in wanted(MONDAY, {}, 8))


def test_on_the_first_day_the_measures_do_not_wait_for_sunday_and_precede_the_ranges():
    due = sorted(wanted(MONDAY, {}, 8), key=lambda found: found[1])
    assert [job for job, _ in due] == ["etf_list", "etf_values", "etf_measures", "etf_ranges"]


def test_a_job_that_never_ran_is_due_once_there_is_a_list():
    assert wanted(MONDAY, {"etf_list": local_ns(MONDAY, 9, 1)}, 10)[-1] == ("etf_ranges", local_ns(MONDAY, 17))
    due = [found for found in wanted(MONDAY, {"etf_list": local_ns(MONDAY, 9, 1)}, 10) if found[1] < local_ns(MONDAY)]
    assert [job for job, _ in due] == ["etf_values", "etf_ranges", "etf_measures"]


@given(st.sampled_from((FRIDAY, SUNDAY, MONDAY, TUESDAY)), st.integers(0, 23), st.integers(0, 14 * 24))
def test_when_all_that_is_due_was_done_no_job_is_stale(day, hour, hours_ago):
    now_ns = local_ns(day, hour)
    ended_ns: dict[EtfJob, int] = dict.fromkeys(ALL_OF_FRIDAY, now_ns - hours_ago * 3_600 * 10**9)
    due_ns = last_due_ns(EtfSettings(), TRADING_DAYS, now_ns)
    stale = {job for job in ended_ns if ended_ns[job] < due_ns[job]}
    assert {job for job, at_ns in wanted(day, ended_ns, hour) if at_ns <= now_ns} == stale


def test_the_last_session_during_a_running_session_is_the_one_before_it():
    assert last_over(Session(MONDAY, is_over=True), TRADING_DAYS) == MONDAY
    assert last_over(Session(MONDAY, is_over=False), TRADING_DAYS) == FRIDAY
