"""Fetches every trade of the day's lines with the calls that nothing else needs; runs only where [tape] is on."""

from observer.brokers.accounts.limiter import background_pace
from observer.brokers.broker import broker_named
from observer.collection.tape.collector import TapeDay
from observer.collection.tape.official import fetch_official_bars
from observer.collection.tape.output import TapeParts
from observer.collection.track_a import sweeps_on
from observer.system.worker import Worker, run


async def tape(worker: Worker) -> None:
    """Fetch each trading day's tape, until the process is stopped."""
    settings = worker.settings
    assert settings.tape is not None, "this process exists only with [tape]"
    broker = broker_named(settings.provider)
    answers, reach = broker.time_and_sales, broker.bar_reach
    assert answers is not None, f"{settings.provider} has no past trades"
    async with worker.producer() as producer, worker.brokers().rest() as rest, worker.reader() as reader:
        await worker.ready()
        await worker.settled(producer)
        parts = TapeParts(
            settings=settings.tape,
            provider=settings.provider,
            page_trades=answers.page_trades,
            calls_per_second=background_pace(settings.broker.rate_limit, settings.tape.share_of_limit),
            sweeps=lambda plan: sweeps_on(plan, settings.track_a, settings.sessions, settings.universe.venues),
            sweep_interval_s=settings.track_a.interval_s,
            rest=rest,
            reader=reader,
            producer=producer,
            feed_address=worker.endpoints.feed,
            clock=worker.clock,
            alerts=worker.alerts,
        )
        async for plan in worker.today.days():
            if plan.trades:
                await worker.clock.sleep_until(plan.track_a_start_ns)
                await TapeDay(parts, plan).run()
                await fetch_official_bars(parts, reach, worker.today, plan)


if __name__ == "__main__":
    run("tape", tape)
