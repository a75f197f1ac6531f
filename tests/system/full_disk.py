"""A test worker whose disk is full for a while: it runs Track B's gap detection on the test's trades."""

import asyncio
import resource
from collections.abc import Sequence

from observer.brokers.broker import Priority, Quote
from observer.collection.parts import StreamParts
from observer.collection.recorder import TradeRecorder
from observer.system.worker import Worker, run
from tests.builders import screen, trades

TAKEN, REFUSED = 600, 10


class NoQuotes:
    """A quote source that these tests never call."""

    quotes_per_call = 30

    async def quotes(self, symbols: Sequence[str], priority: Priority = "bulk") -> Sequence[Quote]:
        raise AssertionError(symbols)


def fill_disk(worker: Worker) -> None:
    """RLIMIT_FSIZE stands in for it: no file may grow beyond the outbox's size."""
    [segment] = (worker.runtime / "outbox" / worker.name).glob("*.journal")
    resource.setrlimit(resource.RLIMIT_FSIZE, (segment.stat().st_size + 50, resource.RLIM_INFINITY))


async def full_disk(worker: Worker) -> None:
    async with worker.producer() as producer:
        parts = StreamParts(
            provider="kis", quotes=NoQuotes(), producer=producer, clock=worker.clock, alerts=worker.alerts
        )
        keeping = TradeRecorder(
            parts,
            screen(),
            apply=lambda _kept: None,
            quarantine=producer.publish,
            account_of=lambda _symbol: "main",
        )
        keeping.detector.start("005930")
        with producer.reporting(keeping.on_refused):
            for trade in trades(TAKEN):
                keeping.take(trade)
            producer.flush()
            fill_disk(worker)
            for first in (TAKEN + 1, TAKEN + 1 + REFUSED // 2):
                for trade in trades(REFUSED // 2, first=first):
                    keeping.take(trade)
                producer.flush()
            await asyncio.sleep(0)  # the alert is tried, and refused
            await asyncio.sleep(0)
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            for trade in trades(2, first=TAKEN + REFUSED + 1):
                keeping.take(trade)
            await worker.ready()
            await asyncio.Event().wait()


if __name__ == "__main__":
    run("trial", full_disk)
