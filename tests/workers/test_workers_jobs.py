"""A job of the day that fails is tried again until it is done; people hear of the first failure and of its end."""

from bus.events import AlertRaised
from observer.errors import DataFileError
from observer.schedule.jobs import Job
from observer.schedule.phases import DayPlan
from tests.workers.three_accounts import run, scene
from workers.master_file import _run_jobs
from workers.runtime import Worker

FAILURES = 3


def test_a_failure_is_told_once_however_often_it_comes() -> None:
    async def scenario() -> None:
        tries = 0

        async def build(_: DayPlan) -> None:
            nonlocal tries
            tries += 1
            if tries <= FAILURES:
                raise DataFileError("no listings")

        async with scene(8) as day:
            worker = Worker("master-file", day.settings, day.clock)
            try:
                plan = await worker.today.plan()
                async with worker.producer() as producer:
                    await _run_jobs(worker, producer, plan, [Job("universe", plan.starts_ns)], {"universe": build})
                    producer.flush()
            finally:
                worker.control.close()
            assert tries == FAILURES + 1
            alerts = day.told(AlertRaised, "master-file")
            assert [alert.severity for alert in alerts] == ["critical", "info"]
            assert "no listings" in alerts[0].text

    run(scenario)
