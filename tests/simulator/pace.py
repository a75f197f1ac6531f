"""How many trades a second the simulator streams to one client: `python -m tests.simulator.pace [--seconds 5]`.

The client is bare: it counts records and throws them away, in a process of its own. Both figures of CPU are in cores.
Market time runs while the day is made, so the rate that is offered is that of some hour of the day: raise --speed until
more is offered than is sent.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import sys
import time
from datetime import date

import httpx
import websockets

from observer.clock import ScaledClock, kst_ns
from observer.simulator.settings import SimulatorSettings
from observer.simulator.simulator import Simulator
from tests.simulator.simulator_client import request_text

DAY = "2026-11-18"
PLACES = 41


def drain(
    stream_url: str, approval: str, symbols: list[str], seconds: float, result: "multiprocessing.Queue[str]"
) -> None:
    async def run() -> None:
        async with websockets.connect(stream_url, ping_interval=None, max_size=None, compression=None) as socket:
            for symbol in symbols:
                await socket.send(request_text(approval, symbol))
            acknowledged = 0
            while acknowledged < len(symbols):
                acknowledged += "OPSP0000" in str(await socket.recv())
            records, started, cpu = 0, time.perf_counter(), time.process_time()
            while time.perf_counter() - started < seconds:
                text = str(await socket.recv())
                records += int(text.split("|", 3)[2]) if text[0] == "0" else 0
            took = time.perf_counter() - started
            report = {"trades_per_s": records / took, "client_cores": (time.process_time() - cpu) / took}
            result.put(json.dumps(report))

    asyncio.run(run())


async def measure(seconds: float, speed: float, times: float) -> None:
    settings = SimulatorSettings(
        seed=7, session_date=DAY, symbols=200, app_keys={"key": "secret"}, trades_times=times, pingpong_interval_s=600
    )
    clock = ScaledClock(kst_ns(date.fromisoformat(DAY), 9, 1), time.monotonic_ns(), speed)
    simulator = Simulator(settings, clock)
    await simulator.start()
    market = simulator.market
    busiest = sorted((i.symbol for i in market.instruments), key=lambda s: -len(market.tape(s)))[:PLACES]
    density = sum(len(market.tape(symbol)) for symbol in busiest)
    try:
        async with httpx.AsyncClient() as http:
            body = {"grant_type": "client_credentials", "appkey": "key", "secretkey": "secret"}
            approval = (await http.post(simulator.rest_url + "/oauth2/Approval", json=body)).json()["approval_key"]
        context = multiprocessing.get_context("spawn")
        result = context.Queue()
        client = context.Process(target=drain, args=(simulator.stream_url, approval, busiest, seconds, result))
        client.start()
        cpu = os.times()
        started = time.perf_counter()
        report = json.loads(await asyncio.to_thread(result.get, True, seconds + 60))
        took, end = time.perf_counter() - started, os.times()
        client.join()
    finally:
        await simulator.stop()
    report["simulator_cores"] = (end.user + end.system - cpu.user - cpu.system) / took
    report["trades_in_the_day"] = density
    sys.stdout.write(json.dumps({name: round(value, 2) for name, value in report.items()}) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--speed", type=float, default=240.0, help="market seconds in a machine second")
    parser.add_argument("--times", type=float, default=15.0, help="how many times as often symbols trade")
    given = parser.parse_args()
    asyncio.run(measure(given.seconds, given.speed, given.times))
