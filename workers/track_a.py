"""Track A: sweeps the whole universe over REST on every trading day."""

from bus.producer import Producer
from observer.brokers.accounts.clients import RestOfAll
from observer.collection.sweeps import Sweeps
from observer.collection.track_a import TrackAParts
from observer.store.reader import StoreReader
from observer.system.worker import Worker, run


async def track_a(worker: Worker) -> None:
    """Sweep on every trading day, from Track A's start to its stop, until the process is stopped."""
    async with worker.producer() as producer, worker.brokers().rest() as rest, worker.reader() as reader:
        await worker.ready()
        await worker.settled(producer)
        sweeps = sweeps_of(worker, producer, rest, reader)
        async for plan in worker.today.days():
            if plan.trades:
                await sweeps.run(plan)


def sweeps_of(worker: Worker, producer: Producer, rest: RestOfAll, reader: StoreReader) -> Sweeps:
    """The sweeps, as this worker is configured."""
    return Sweeps(
        TrackAParts(
            settings=worker.settings.track_a,
            selection=worker.settings.selection,
            provider=worker.settings.provider,
            venues=worker.settings.universe.venues,
            sessions=worker.settings.sessions,
            calls_per_second=worker.settings.broker.rate_limit.calls_per_second,
            rest=rest,
            reader=reader,
            producer=producer,
            clock=worker.clock,
            alerts=worker.alerts,
        )
    )


if __name__ == "__main__":
    run("track-a", track_a)
