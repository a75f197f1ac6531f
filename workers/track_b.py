"""Track B: streams the trades of the symbols that have a place, decides who has one, and finds what is missing."""

import asyncio

from observer.clock import Clock
from observer.providers.interfaces import QuoteSource
from observer.schedule.phases import DayPlan
from observer.streaming.day import StreamingDay
from observer.streaming.keeping import SOURCE
from observer.streaming.pins import Pins
from observer.streaming.unfinished import Unfinished
from workers.runtime import Worker, run


async def track_b(worker: Worker) -> None:
    """Stream on every trading day, from Track B's start to its stop, until the process is stopped."""
    brokers = worker.brokers()
    async with worker.producer() as producer:
        await worker.ready()
        await worker.settled(producer)
        async with worker.reader() as reader, brokers.rest() as rest:

            def new_day(plan: DayPlan, quotes: QuoteSource, clock: Clock) -> StreamingDay:
                return StreamingDay(
                    plan=plan,
                    settings=worker.settings,
                    brokers=brokers,
                    quotes=quotes,
                    halts=rest,
                    producer=producer,
                    reader=reader,
                    feed_address=worker.endpoints.feed,
                    clock=clock,
                )

            unfinished = Unfinished(
                reader=reader,
                history=rest,
                producer=producer,
                clock=worker.clock,
                plan_of=worker.today.plan_of,
                new_day=new_day,
            )
            while True:
                plan = await worker.today.plan()
                if worker.clock.now_ns() < plan.track_a_start_ns:  # in the session today's trades come first
                    await unfinished.end_all()
                if plan.trades:
                    day = new_day(plan, rest, worker.clock)
                    with producer.telling(day.trades.on_refused):
                        await _stream(worker, day, plan)
                await unfinished.end_all()  # of which the broker did not tell before
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
