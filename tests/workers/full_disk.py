"""A worker for tests whose disk is full for a while: Track B's own judgement of trades that the test makes."""

import asyncio
import datetime as dt
import resource
from types import SimpleNamespace
from typing import Any, cast

from bus.producer import Producer
from tests.builders import trades
from workers.runtime import Worker, run
from workers.track_b import Session

TAKEN, REFUSED = 600, 10


def session_of(worker: Worker, producer: Producer) -> Session:
    """Track B's session on a day of which only the stream is heard."""
    brokers = SimpleNamespace(accounts=())
    plan = SimpleNamespace(day=dt.date(2026, 11, 18))
    return Session(worker, producer, *cast("tuple[Any, ...]", (None, brokers, None, plan)))


def fill_disk(worker: Worker) -> None:
    """RLIMIT_FSIZE stands in for it: no file may grow beyond the outbox's size."""
    [segment] = (worker.runtime / "outbox" / worker.name).glob("*.journal")
    resource.setrlimit(resource.RLIMIT_FSIZE, (segment.stat().st_size + 50, resource.RLIM_INFINITY))


async def full_disk(worker: Worker) -> None:
    async with worker.producer() as producer:
        session = session_of(worker, producer)
        session.on_registered("005930")
        with producer.telling(session.on_refused):
            for trade in trades(TAKEN):
                session.on_trades([trade])
            producer.flush()
            fill_disk(worker)
            for first in (TAKEN + 1, TAKEN + 1 + REFUSED // 2):
                session.on_trades(trades(REFUSED // 2, first=first))
                producer.flush()
            await asyncio.sleep(0)  # the alert is tried, and refused
            await asyncio.sleep(0)
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            session.on_trades(trades(2, first=TAKEN + REFUSED + 1))
            await worker.ready()
            await asyncio.Event().wait()


if __name__ == "__main__":
    run("trial", full_disk)
