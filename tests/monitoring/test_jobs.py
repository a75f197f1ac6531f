"""A failed job is retried every minute until it succeeds; the worker raises alerts for its first failure and its end.

Time is market time; a waiting task moves it on.
"""

import asyncio
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from bus.events import AlertRaised, AlertResolved, Event
from observer.base.clock import ManualClock
from observer.base.errors import ConfigError, DataFileError, FileGoneError, NotYetError, TransportError
from observer.base.units import NS_PER_S
from observer.monitoring.alerts.process import Alerts
from observer.monitoring.jobs import Job, run_jobs

MINUTE_NS = 60 * NS_PER_S
HOUR_NS = 60 * MINUTE_NS
MASTER_FILES, UNIVERSE = ("master_files", 6 * HOUR_NS), ("universe", 8 * HOUR_NS)
MIDNIGHT_NS = 24 * HOUR_NS


class HastyClock(ManualClock):
    """Waits by moving the time on."""

    async def sleep_until(self, moment_ns):
        await self.advance((moment_ns - self.now_ns()) / NS_PER_S)


class Day:
    """Jobs that fail a given number of times; records each attempt and each alert."""

    def __init__(self, failures, now_ns=0):
        self.clock = HastyClock(now_ns)
        self.tries: list[tuple[str, int]] = []
        self.alerts: list[Event] = []
        self._failures = failures

    def publish(self, *events):
        self.alerts += [event for event in events if isinstance(event, AlertRaised | AlertResolved)]

    def run(self, jobs):
        alerts = Alerts(self.clock, "trial", self.publish)
        found = [Job(name, at_ns, partial(self._try, name)) for name, at_ns in jobs]
        asyncio.run(run_jobs(found, MIDNIGHT_NS, clock=self.clock, alerts=alerts, turn=asyncio.Lock()))

    async def _try(self, name):
        self.tries.append((name, self.clock.now_ns()))
        if failures := self._failures.get(name):
            raise failures.pop()


def test_each_job_runs_once_at_its_due_time():
    day = Day({})
    day.run([UNIVERSE, ("another", 8 * HOUR_NS), MASTER_FILES])
    assert day.tries == [MASTER_FILES, UNIVERSE, ("another", 8 * HOUR_NS)]
    assert day.alerts == []


def test_a_failed_job_is_retried_every_minute_while_another_waits_for_its_time():
    day = Day({"master_files": [DataFileError("no file"), TransportError("gone"), ConfigError("no keys")]})
    day.run([MASTER_FILES, UNIVERSE])
    assert day.tries == [
        *(("master_files", 6 * HOUR_NS + minute * MINUTE_NS) for minute in range(4)),
        ("universe", 8 * HOUR_NS),
    ]


def test_a_job_whose_files_are_gone_is_retried_ever_more_rarely_and_at_least_once_an_hour():
    day = Day({"master_files": [FileGoneError("HTTP 404") for _ in range(40)]})
    day.run([MASTER_FILES])
    minutes = [(at_ns - 6 * HOUR_NS) // MINUTE_NS for _, at_ns in day.tries]
    assert minutes[:8] == [0, 1, 3, 7, 15, 31, 63, 123]
    assert len(minutes) < 25


def test_a_failed_job_does_not_delay_another_due_job():
    day = Day({"master_files": [DataFileError("no file")]}, now_ns=9 * HOUR_NS)
    day.run([MASTER_FILES, UNIVERSE])
    assert day.tries == [
        *(("master_files", 9 * HOUR_NS), ("universe", 9 * HOUR_NS)),
        ("master_files", 9 * HOUR_NS + MINUTE_NS),
    ]


def test_a_failure_is_reported_once_however_often_it_comes_and_so_is_its_end():
    day = Day({"universe": [DataFileError("no listings") for _ in range(3)]})
    day.run([UNIVERSE])
    assert day.alerts == [
        AlertRaised(
            *(8 * HOUR_NS, "critical", "trial"),
            *("job universe failed, will be tried again: no listings", "universe", "job:universe"),
        ),
        AlertResolved(
            8 * HOUR_NS + 3 * MINUTE_NS, "trial", "job:universe", 3, "job universe is done, after 3 failures"
        ),
    ]


def test_a_job_that_fails_until_the_end_of_the_day_is_given_up_then():
    day = Day({"universe": [DataFileError("no listings") for _ in range(24 * 60)]})
    day.run([UNIVERSE])
    assert day.clock.now_ns() == MIDNIGHT_NS
    assert day.tries[-1] == ("universe", MIDNIGHT_NS - MINUTE_NS)


@given(st.lists(st.tuples(st.integers(0, 23 * 60), st.integers(0, 5)), min_size=1, max_size=5))
def test_all_jobs_run_at_their_own_times_whatever_job_fails_however_often(plan):
    jobs = [(str(number), minute * MINUTE_NS) for number, (minute, _) in enumerate(plan)]
    day = Day({str(number): [DataFileError("no")] * failures for number, (_, failures) in enumerate(plan)})
    day.run(jobs)
    assert sorted(day.tries) == sorted(
        (name, at_ns + attempt * MINUTE_NS)
        for (name, at_ns), (_, failures) in zip(jobs, plan, strict=True)
        for attempt in range(failures + 1)
    )


def test_a_job_that_waits_for_another_process_is_an_alert_only_after_five_minutes():
    early = [NotYetError("no listings are known yet") for _ in range(4)]
    day = Day({"universe": early.copy()})
    day.run([UNIVERSE])
    assert len(day.tries) == 5
    assert day.alerts == []

    late = Day({"universe": [*early, *early]})
    late.run([UNIVERSE])
    [raised, resolved] = late.alerts
    assert isinstance(raised, AlertRaised)
    assert raised.raised_ns == UNIVERSE[1] + 5 * MINUTE_NS
    assert isinstance(resolved, AlertResolved)
