"""Measures the simulator's sustained trade rate to one client: `python -m tests.simulator.pace --seconds 60`.

The client has 41 subscriptions on one connection. The window of the market's day begins at 11:00; the clock's speed is
set so that the market offers `--rate` trades a second on average. The client is a bare process of its own: it counts
the window's records and measures each record's delay by the shared clock (to within a market second). The rate is
sustained if every offered trade arrived, none more than a second late. CPU figures are in cores. Exit status 1: not
sustained.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import sys
import time
from bisect import bisect_left
from collections import Counter
from datetime import date

import httpx
import msgspec
import websockets

from observer.base.clock import Clock, ManualClock, ScaledClock
from observer.base.local_time import local_datetime, local_ns
from observer.base.units import NS_PER_S
from observer.simulator.kis.simulator import Simulator
from observer.simulator.market.market import Market
from observer.simulator.settings import SimulatorSettings
from tests.simulator.simulator_client import request_text

DAY = date(2026, 11, 18)
FROM_NS, LATEST_NS = local_ns(DAY, 11), local_ns(DAY, 15)
INDICES = 41
WIDTH = 47
LATE_S = 1.0
READY_WITHIN_S = 5.0
GIVE_UP_S = 60.0
SETTINGS = SimulatorSettings(
    seed=7,
    session_date=DAY.isoformat(),
    symbols=60,
    app_keys={"key": "secret"},
    trades_times=22.0,
    pingpong_interval_s=600,
)


class Window(msgspec.Struct, frozen=True):
    """The client's measuring window: the symbols' trades from FROM_NS until a whole second; and the shared clock."""

    symbols: tuple[str, ...]
    until_ns: int
    offered: int
    speed: float
    anchor_ns: int
    stream_url: str = ""
    approval: str = ""

    def clock(self) -> ScaledClock:
        """The clock stands at the window's begin until the anchor, a reading of CLOCK_MONOTONIC."""
        return ScaledClock(FROM_NS, self.anchor_ns, self.speed)


def window_of(market: Market, seconds: float, rate: int) -> Window:
    """The window in which the busiest symbols trade `rate` times a second for so many machine seconds."""
    symbols = sorted((i.symbol for i in market.instruments), key=lambda s: -len(market.tape(s)))[:INDICES]

    def offered(until_ns: int) -> int:
        """Trades after FROM_NS, when everything is registered, and before another moment."""
        counts = ((market.tape(s).count_until(until_ns - 1), market.tape(s).count_until(FROM_NS)) for s in symbols)
        return sum(until - before for until, before in counts)

    ends = range(FROM_NS + NS_PER_S, LATEST_NS, NS_PER_S)
    index = bisect_left(ends, seconds * rate, key=offered)
    if index == len(ends):
        raise SystemExit(f"this market has only {offered(LATEST_NS)} trades to offer: ask for fewer")
    anchor_ns = time.monotonic_ns() + round(READY_WITHIN_S * NS_PER_S)
    speed = (ends[index] - FROM_NS) / NS_PER_S / seconds
    return Window(tuple(symbols), ends[index], offered(ends[index]), speed, anchor_ns)


async def counted(window: Window) -> dict[str, float]:
    """Receive records until the first one after the window, or until no more arrive."""
    clock, by_second, lateness_s = window.clock(), Counter[int](), list[float]()
    until = local_datetime(window.until_ns).strftime("%H%M%S")
    async with websockets.connect(window.stream_url, ping_interval=None, max_size=None, compression=None) as socket:
        for symbol in window.symbols:
            await socket.send(request_text(window.approval, symbol))
        hours, cpu_s = [""], time.process_time()
        while hours[-1] < until:
            async with asyncio.timeout(GIVE_UP_S):
                text = str(await socket.recv())
            if text[0] != "0":
                continue
            passed_s = (clock.now_ns() - FROM_NS) / NS_PER_S
            hours = text.split("^")[1::WIDTH]
            lateness_s.append(max(0.0, passed_s - since_window_s(hours[0])) / window.speed)
            by_second[int(passed_s / window.speed)] += sum(hour < until for hour in hours)
    lateness_s.sort()
    return {
        "delivered": by_second.total(),
        "slowest_second": min(by_second[second] for second in range(1, max(by_second) - 1)),
        "fastest_second": max(by_second.values()),
        "late_ms_median": 1_000 * lateness_s[len(lateness_s) // 2],
        "late_ms_p99": 1_000 * lateness_s[len(lateness_s) * 99 // 100],
        "late_ms_most": 1_000 * lateness_s[-1],
        "client_cores": (time.process_time() - cpu_s) / (window.until_ns - FROM_NS) * NS_PER_S * window.speed,
    }


def since_window_s(hour: str) -> float:
    """The end of a record's second, in market seconds after the window's begin."""
    return int(hour[:2]) * 3_600 + int(hour[2:4]) * 60 + int(hour[4:]) + 1 - 11 * 3_600


def drain(window: Window, result: "multiprocessing.Queue[str]") -> None:
    """The client's process."""
    result.put(json.dumps(asyncio.run(counted(window))))


class PaceClock:
    """The market stands at the window's begin until the window, and with it the speed, is known."""

    def __init__(self) -> None:
        self.begun: Clock = ManualClock(FROM_NS)

    def now_ns(self) -> int:
        return self.begun.now_ns()

    async def sleep_until(self, moment_ns: int) -> None:
        await self.begun.sleep_until(moment_ns)

    async def sleep(self, market_seconds: float) -> None:
        await self.begun.sleep(market_seconds)


async def measure(seconds: float, rate: int) -> bool:
    """Measure once and write the figures; return whether the rate was sustained."""
    clock = PaceClock()
    simulator = Simulator(SETTINGS, clock)
    await simulator.start()
    try:
        async with httpx.AsyncClient() as http:
            body = {"grant_type": "client_credentials", "appkey": "key", "secretkey": "secret"}
            approval = (await http.post(simulator.rest_url + "/oauth2/Approval", json=body)).json()["approval_key"]
        window = window_of(simulator.market, seconds, rate)
        window = msgspec.structs.replace(window, stream_url=simulator.stream_url, approval=approval)
        clock.begun = window.clock()
        figures = await client_figures(window)
    finally:
        await simulator.stop()
    sustained = figures["delivered"] == window.offered and figures["late_ms_most"] < 1_000 * LATE_S
    shown = {"offered": window.offered, **{name: round(value, 2) for name, value in figures.items()}}
    sys.stdout.write(json.dumps({"sustained": sustained, "seconds": seconds, **shown}) + "\n")
    return sustained


async def client_figures(window: Window) -> dict[str, float]:
    """Run the client, and measure the simulator's CPU time meanwhile."""
    context = multiprocessing.get_context("spawn")
    result: multiprocessing.Queue[str] = context.Queue()
    client = context.Process(target=drain, args=(window, result))
    client.start()
    window_s = (window.until_ns - FROM_NS) / NS_PER_S / window.speed
    await asyncio.sleep((window.anchor_ns - time.monotonic_ns()) / NS_PER_S)
    begin, started = os.times(), time.perf_counter()
    figures: dict[str, float] = json.loads(await asyncio.to_thread(result.get, True, GIVE_UP_S + window_s))
    end, took = os.times(), time.perf_counter() - started
    client.join()
    return {**figures, "simulator_cores": (end.user + end.system - begin.user - begin.system) / took}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=int, default=20_000, help="trades a second")
    given = parser.parse_args()
    sys.exit(not asyncio.run(measure(given.seconds, given.rate)))
