"""Track B: streams trades of subscribed symbols, allocates slots, detects gaps."""

import asyncio
from collections.abc import Iterator

from bus.commands import Sample
from observer.base.clock import Clock
from observer.brokers.accounts.clients import Brokers
from observer.calendar.phases import DayPlan
from observer.collection.day import StreamingDay
from observer.collection.late_end import TradesAroundStop
from observer.collection.parts import DayParts
from observer.collection.pins import Pins
from observer.collection.recorder import SOURCE
from observer.collection.stream_alerts import resolve_earlier_alerts
from observer.collection.unfinished import Unfinished, WholeDay
from observer.selection.selector import Selector
from observer.system.worker import Worker, run


async def track_b(worker: Worker) -> None:
    """Stream on every trading day, from Track B's start to its stop, until the process is stopped."""
    brokers = worker.brokers()
    async with worker.producer() as producer:
        await worker.ready()
        await worker.settled(producer)
        async with worker.reader() as reader, brokers.rest() as rest:

            def new_day(plan: DayPlan, past: WholeDay | None, clock: Clock) -> StreamingDay:
                parts = DayParts(
                    provider=brokers.provider,
                    quotes=past or rest,
                    producer=producer,
                    clock=clock,
                    alerts=worker.alerts,
                    halts=rest,
                    stop_volumes=past or TradesAroundStop(rest, clock, plan),
                    reader=reader,
                    feed_address=worker.endpoints.feed,
                )
                return StreamingDay(plan, worker.settings.streaming, brokers, parts)

            unfinished = Unfinished(
                reader=reader,
                history=rest,
                alerts=worker.alerts,
                clock=worker.clock,
                plan_of=worker.today.plan_of,
                new_day=new_day,
            )
            async for plan in worker.today.days():
                resolve_earlier_alerts(worker.alerts, plan, worker.clock.now_ns())
                if worker.clock.now_ns() < plan.track_a_start_ns:  # in the session today's trades come first
                    await unfinished.end_all()
                if plan.trades:
                    day = new_day(plan, None, worker.clock)
                    with producer.reporting(day.trades.on_refused):
                        await _stream(worker, brokers, day, plan)
                await unfinished.end_all()  # the broker did not report these before


async def _stream(worker: Worker, brokers: Brokers, day: StreamingDay, plan: DayPlan) -> None:
    """Stream one day. A process stopped before the day's end releases no slot: the next one resumes them."""
    if not await day.connect():
        await day.end_for_earlier_process()
        return
    try:
        async with asyncio.TaskGroup() as tasks:
            selector, running = await day.begin(tasks)
            worker.orders.slots = Pins(selector, day.moment, day.carry_out)
            worker.figures = lambda: tuple(slot_samples(day, selector, brokers))
            await worker.clock.sleep_until(plan.track_b_stop_ns)
            worker.orders.slots = None
            await day.end(selector)
            for task in running:
                task.cancel()
    finally:
        worker.figures = tuple
        day.receiver.unreadable.finish()


def slot_samples(day: StreamingDay, selector: Selector, brokers: Brokers) -> Iterator[Sample]:
    """Slots by account and state, candidates, and the overflow of the last hour."""
    wanted = selector.wanted_by_account
    for account in brokers.accounts:
        symbols = set(wanted.get(account.name, ()))
        streaming = len(symbols & day.stream.subscribed_at(account.name))
        requested, free = len(symbols) - streaming, account.capacity - len(symbols)
        states = {"streaming": streaming, "requested": requested, "free": free}
        yield from (Sample("observer_slots", (account.name, state), count) for state, count in states.items())
    yield Sample("observer_slot_candidates_waiting", (), len(selector.waiting))
    if day.overflow.rate is not None:
        yield Sample("observer_slot_overflow_ratio", (), day.overflow.rate)


if __name__ == "__main__":
    run(SOURCE, track_b)
