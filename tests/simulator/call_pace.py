"""Measures how many calls a second the simulator answers: `python -m tests.simulator.call_pace --trades 15000000`.

The simulator is a process of its own; the market time is 15:00. A client with eight connections asks for time-and-sales
before random seconds, of symbols as often as they trade, and then for multi quotes of 30 random symbols. What counts is
the server's CPU time for a call: `calls_per_core_s` is what one core answers, however slow the client is. `speed` is
the compression of a day at which 18 calls a market second take that one core.
"""

import argparse
import asyncio
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Mapping
from datetime import date
from multiprocessing.connection import Connection
from random import Random

import aiohttp
import psutil

from observer.base.clock import ScaledClock
from observer.base.local_time import local_ns
from observer.simulator.kis.simulator import Simulator
from observer.simulator.market.market import hhmmss
from observer.simulator.settings import SimulatorSettings

DAY = date(2026, 11, 18)
CONNECTIONS, QUOTES, LIMIT_PER_S = 8, 30, 18
OPEN_S, SHOWN_S = 9 * 3_600, 6 * 3_600  # any second from the opening to now
KEY, SECRET = "key", "secret"
Query = tuple[str, str, dict[str, str]]


def serve(pipe: Connection, symbols: int, trades: int) -> None:
    """The simulator's process: serves until the other side says that it is over."""

    async def served() -> None:
        settings = SimulatorSettings(
            seed=7,
            session_date=DAY.isoformat(),
            symbols=symbols,
            app_keys={KEY: SECRET},
            rest_limit_per_s=1_000_000,
            real_day_trades=trades,
        )
        clock = ScaledClock(local_ns(DAY, 15), time.monotonic_ns(), 1.0)
        begun_s = time.monotonic()
        simulator = Simulator(settings, clock)
        await simulator.start()
        market = simulator.market
        counts = {each.symbol: len(market.tape(each.symbol)) for each in market.instruments if each.trades}
        pipe.send((simulator.rest_url, counts, time.monotonic() - begun_s))
        await asyncio.to_thread(pipe.recv)
        await simulator.stop()

    asyncio.run(served())


def sales(rng: Random, counts: Mapping[str, int]) -> Query:
    """A page of a symbol, before a random second."""
    (symbol,) = rng.choices(list(counts), list(counts.values()))
    second = hhmmss(OPEN_S + rng.randrange(SHOWN_S))
    query = {"FID_COND_MRKT_DIV_CODE": "J", "FID_INPUT_ISCD": symbol, "FID_INPUT_HOUR_1": second}
    return "inquire-time-itemconclusion", "FHPST01060000", query


def quotes(rng: Random, counts: Mapping[str, int]) -> Query:
    """A multi quote of random symbols."""
    chosen = rng.sample(list(counts), min(QUOTES, len(counts)))
    query = {f"FID_INPUT_ISCD_{number}": symbol for number, symbol in enumerate(chosen, start=1)}
    query |= {f"FID_COND_MRKT_DIV_CODE_{number}": "J" for number in range(1, len(chosen) + 1)}
    return "intstock-multprice", "FHKST11300006", query


async def measured(url: str, counts: Mapping[str, int], calls: int, server: psutil.Process) -> dict[str, object]:
    """Ask so many of each kind, and measure."""
    reported: dict[str, object] = {}
    async with aiohttp.ClientSession() as http:
        body = {"grant_type": "client_credentials", "appkey": KEY, "appsecret": SECRET}
        async with http.post(f"{url}/oauth2/tokenP", json=body) as answer:
            token = (await answer.json())["access_token"]
        headers = {"authorization": f"Bearer {token}", "appkey": KEY, "appsecret": SECRET}

        async def ask(rng: Random, make: Callable[[Random, Mapping[str, int]], Query]) -> None:
            for _ in range(calls // CONNECTIONS):
                name, tr_id, query = make(rng, counts)
                path = f"{url}/uapi/domestic-stock/v1/quotations/{name}"
                async with http.get(path, params=query, headers={**headers, "tr_id": tr_id}) as answer:
                    assert (await answer.json())["rt_cd"] == "0"

        for name, make in (("time_and_sales", sales), ("multi_quotes", quotes)):
            cpu_s, begun_s = sum(server.cpu_times()[:2]), time.monotonic()
            await asyncio.gather(*(ask(Random(number), make) for number in range(CONNECTIONS)))
            used_s, passed_s = sum(server.cpu_times()[:2]) - cpu_s, time.monotonic() - begun_s
            per_core = calls / used_s
            reported[name] = {
                "calls_per_s": round(calls / passed_s),
                "cpu_us_of_a_call": round(used_s / calls * 1e6),
                "calls_per_core_s": round(per_core),
                "speed": round(per_core / LIMIT_PER_S),
            }
    return {**reported, "rss_mb": round(server.memory_info().rss / 1e6)}


def main() -> int:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--symbols", type=int, default=3_700)
    parser.add_argument("--trades", type=int, default=15_000_000, help="of the day; 0: the ordinary small market")
    parser.add_argument("--calls", type=int, default=4_000, help="of each kind")
    arguments = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=serve, args=(theirs, arguments.symbols, arguments.trades))
    process.start()
    url, counts, ready_s = ours.recv()
    try:
        reported = asyncio.run(measured(url, counts, arguments.calls, psutil.Process(process.pid)))
    finally:
        ours.send("over")
        process.join()
    sys.stdout.write(json.dumps({"ready_s": round(ready_s, 1), "trades": sum(counts.values()), **reported}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
