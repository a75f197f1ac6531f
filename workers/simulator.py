"""The simulated broker as a process of its own (demo and tests only)."""

import asyncio
from pathlib import Path

import msgspec

from observer.base.errors import ConfigError
from observer.simulator.kis.simulator import Simulator
from observer.system.worker import Worker, run

REPORT_NAME = "simulator.json"


async def simulator(worker: Worker) -> None:
    """Serve until stopped; then write a report of the data offered and the requests received."""
    settings = worker.settings.simulator
    if settings is None:
        raise ConfigError("the configuration has no [simulator] section")
    broker = Simulator(settings, worker.clock)
    await broker.start()
    try:
        await worker.ready()
        await asyncio.Event().wait()
    finally:
        await broker.stop()
        report = {"offered_digest": broker.market.offered_digest(), "counters": broker.counters()}
        (Path(worker.settings.run.data) / REPORT_NAME).write_bytes(msgspec.json.encode(report))


if __name__ == "__main__":
    run("simulator", simulator)
