"""Fills the gaps that Track B found, judges the quality of each day, and stores its volumes by time of day."""

import asyncio
from typing import Final

from observer.collection.gap_filler import GapFiller, GapWorklist
from observer.collection.profiles import ProfileJob
from observer.collection.quality import QualityJudge
from observer.system.worker import Worker, run

GAPS_AT_ONCE: Final = 4  # the limiter sets the pace; this only hides the answers' latency behind each other


async def gap_recovery(worker: Worker) -> None:
    """Recover gaps by priority, judge each day, and store its volumes, until stopped."""
    settings, clock = worker.settings.recovery, worker.clock
    async with worker.producer() as producer, worker.brokers().rest() as rest:
        await worker.ready()
        await worker.settled(producer)
        async with worker.reader() as reader:
            worklist = GapWorklist(
                settings,
                reader=reader,
                feed_address=worker.endpoints.feed,
                clock=clock,
                alerts=worker.alerts,
            )
            await worklist.resume()
            quality = quality_judge(worker)
            worker.orders.gaps = worklist
            worker.orders.jobs = {"quality": lambda: quality.judge_now(producer)}
            filler = GapFiller(
                settings,
                worklist,
                history=rest,
                producer=producer,
                clock=clock,
                plan_of=worker.today.plan_of,
            )
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(worklist.follow_feed())
                tasks.create_task(worklist.check_now_and_then())
                tasks.create_task(quality.run(producer))
                tasks.create_task(profile_job(worker).run(producer))
                tasks.create_task(worklist.publish_figures(producer))
                for _ in range(GAPS_AT_ONCE):
                    tasks.create_task(filler.work())


def quality_judge(worker: Worker) -> QualityJudge:
    """The judge of days, as this worker is configured."""
    return QualityJudge(
        open_reader=worker.reader,
        feed_address=worker.endpoints.feed,
        settled=worker.settled,
        turn=worker.orders.turn,
        today=worker.today,
        clock=worker.clock,
        alerts=worker.alerts,
    )


def profile_job(worker: Worker) -> ProfileJob:
    """The job that stores volumes by time of day, as this worker is configured."""
    return ProfileJob(
        worker.settings.selection.triggers.time_of_day,
        open_reader=worker.reader,
        settled=worker.settled,
        turn=worker.orders.turn,
        today=worker.today,
        clock=worker.clock,
    )


if __name__ == "__main__":
    run("gap-recovery", gap_recovery)
