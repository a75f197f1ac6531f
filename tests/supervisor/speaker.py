"""A child for tests that speaks the supervisor's protocol: name, control address, mode.

Modes: well (ready, heartbeats, ends on SIGTERM) - warming (heartbeats, ready on SIGUSR2, then well) - silent (ready,
one heartbeat, then its loop is blocked) - unready (never says ready) - leaving (ready, says that it is stopping, ends
with status 0 on SIGUSR2) - staying (says that it is stopping and does not end) - worker (well, and obeys orders as our
workers do) - slow (well, and takes an order but never answers).
"""

import asyncio
import contextlib
import faulthandler
import os
import signal
import sys

from bus.commands import Heartbeat, Order, OrderReply, Ready, Sample, Stopping
from bus.control import ControlClient

HEARTBEAT_S = 0.05


async def never(_order: Order) -> OrderReply:
    await asyncio.Event().wait()
    raise AssertionError


def block_the_loop() -> None:
    while True:
        signal.pause()


async def speak(name: str, address: str, mode: str) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    leaving = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, leaving.set)
    client = ControlClient(address)
    if mode == "worker":
        from observer.base.clock import RealClock
        from observer.monitoring.alerts.process import Alerts
        from observer.system.process_orders import WorkerOrders

        client.obey(WorkerOrders(name, Alerts(RealClock(), name)).obey)
    if mode == "slow":
        client.obey(never)
    if mode == "unready":
        await stopping.wait()
        return
    if mode != "warming":
        await client.send(Ready(name, os.getpid()))
    if mode in ("leaving", "staying"):
        await client.send(Stopping(name, os.getpid()))
        await (leaving if mode == "leaving" else asyncio.Event()).wait()
        return
    beats = 0
    while not stopping.is_set():
        beats += 1
        await client.send(Heartbeat(name, os.getpid(), 0.001, beats, [], [Sample("observer_beats", (), beats)]))
        if mode == "warming" and leaving.is_set():
            await client.send(Ready(name, os.getpid()))
            leaving.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HEARTBEAT_S):
                await stopping.wait()
        if mode == "silent":
            block_the_loop()


if __name__ == "__main__":
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    asyncio.run(speak(*sys.argv[1:4]))
