"""Fills the gaps that Track B found."""

import asyncio
from typing import Final

from observer.runtime.worker import Worker, run
from observer.streaming.gap_filler import GapFiller, GapWorklist

GAPS_AT_ONCE: Final = 4  # the limiter sets the pace; this only hides the answers' latency behind each other


async def gap_recovery(worker: Worker) -> None:
    """Recover gaps by priority until stopped."""
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
            worker.orders.gaps = worklist
            filler = GapFiller(settings, worklist, history=rest, producer=producer, clock=clock)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(worklist.follow_feed())
                tasks.create_task(worklist.check_now_and_then())
                for _ in range(GAPS_AT_ONCE):
                    tasks.create_task(filler.work())


if __name__ == "__main__":
    run("gap-recovery", gap_recovery)
