"""A worker for tests, run as `python program.py MODE --config FILE`: what its body does is its mode.

Modes: waiting (until stopped) - publishing (three phases, then waits) - ending (publishes and returns) - failing -
misconfigured - parent (starts a child, then waits) -
blocked (a thread waits for good, as for a database that stands still).
"""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from unittest.mock import patch

from bus.events import PhaseChanged
from observer.base.errors import ConfigError
from observer.system import worker as runtime
from observer.system.worker import Worker, run

NAME = "trial"


async def waiting(worker: Worker) -> None:
    await worker.ready()
    await asyncio.Event().wait()


async def publishing(worker: Worker) -> None:
    async with worker.producer() as producer:
        for number in range(3):
            producer.publish(PhaseChanged("2026-11-18", number, "IDLE", "WARMUP"))
        await worker.ready()
        await asyncio.Event().wait()


async def ending(worker: Worker) -> None:
    with patch.object(runtime, "DRAIN_S", 0.2):  # no ingest takes the events
        async with worker.producer() as producer:
            producer.publish(PhaseChanged("2026-11-18", 1, "IDLE", "WARMUP"))


async def failing(worker: Worker) -> None:
    raise LookupError("nothing like that here")


async def misconfigured(worker: Worker) -> None:
    raise ConfigError("the [trial] section is missing")


async def parent(worker: Worker) -> None:
    with subprocess.Popen([sys.executable, "-S", "-c", "import signal; signal.pause()"]) as child:
        sys.stdout.write(f"{child.pid}\n")
        sys.stdout.flush()
        await waiting(worker)


async def blocked(worker: Worker) -> None:
    asked = asyncio.create_task(asyncio.to_thread(threading.Event().wait))
    await waiting(worker)
    await asked


BODIES: dict[str, Callable[[Worker], Awaitable[None]]] = {
    body.__name__: body for body in (waiting, publishing, ending, failing, misconfigured, parent, blocked)
}

if __name__ == "__main__":
    mode = sys.argv.pop(1)
    with patch.object(runtime, "HEARTBEAT_S", 0.1):
        run(NAME, BODIES[mode])
