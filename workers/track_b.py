"""Track B: streams the trades of the symbols that have a place, decides who has one, and finds what is missing."""

import asyncio

from observer.schedule.phases import DayPlan
from observer.streaming.day import StreamingDay
from observer.streaming.keeping import SOURCE
from observer.streaming.pins import Pins
from workers.runtime import Worker, run


async def track_b(worker: Worker) -> None:
    """Stream on every trading day, from Track B's start to its stop, until the process is stopped."""
    brokers = worker.brokers()
    async with worker.producer() as producer:
        await worker.ready()
        await worker.settled(producer)
        async with worker.reader() as reader, brokers.rest() as rest:
            while True:
                plan = await worker.today.plan()
                if plan.trades:
                    day = StreamingDay(
                        plan=plan,
                        settings=worker.settings,
                        brokers=brokers,
                        quotes=rest,
                        halts=rest,
                        producer=producer,
                        reader=reader,
                        feed_address=worker.endpoints.feed,
                        clock=worker.clock,
                    )
                    with producer.telling(day.trades.on_refused):
                        await _stream(worker, day, plan)
                await worker.today.end_of(plan)


async def _stream(worker: Worker, day: StreamingDay, plan: DayPlan) -> None:
    """One day. A process that is stopped before its end releases nothing: the next one takes the places over."""
    if not await day.connect():
        await day.end_for_earlier_process()
        return
    async with asyncio.TaskGroup() as tasks:
        selector, running = await day.begin(tasks)
        worker.orders.slots = Pins(selector, day.moment, day.carry_out)
        await worker.clock.sleep_until(plan.track_b_stop_ns)
        worker.orders.slots = None
        await day.end(selector)
        for task in running:
            task.cancel()


if __name__ == "__main__":
    run(SOURCE, track_b)
