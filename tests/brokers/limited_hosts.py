"""Sweeps with the default limits at hosts that admit fewer calls a second, as many, or more.

`python -m tests.brokers.limited_hosts [RATE ...]` prints, for each host, the seconds of each sweep beside the floor at
the lower of both rates, and the refusals that the simulated broker counted. In real time, over real sockets.
"""

import asyncio
import sys
import tempfile
import time
from collections import deque
from math import ceil
from pathlib import Path

import httpx

from observer.brokers.broker import chunks
from tests.bench.broker import running_broker

SYMBOLS = 2_500
SWEEPS = 3
RATES = (3, 15, 18, 20)
OURS = 18.0
CALLS_AT_ONCE = 8


async def sweeps_at(folder, admitted):
    """The seconds of each sweep, the refusals after each, and the calls of one."""
    spans_s, refusals = [], []
    async with running_broker(folder, SYMBOLS, 1, None, market={"rest_limit_per_s": admitted}) as broker:
        symbols = broker.listed()
        async with broker.brokers().rest() as rest:
            [client] = rest.usable("quotes").values()
            await client.quotes(symbols[:1])
            for _ in range(SWEEPS):
                await asyncio.sleep(1.5)  # the second before is over
                portions = deque(chunks(symbols, client.quotes_per_call))

                async def take_turns(portions=portions):
                    while portions:
                        await client.quotes(portions.popleft())

                began_s = time.perf_counter()
                await asyncio.gather(*(take_turns() for _ in range(CALLS_AT_ONCE)))
                spans_s.append(time.perf_counter() - began_s)
                counted = httpx.get(f"{broker.settings.broker.rest_url}/simulator/counters", trust_env=False)
                refusals.append(counted.json()["rate_errors"])
            return spans_s, refusals, ceil(len(symbols) / client.quotes_per_call)


def main(rates):
    print("admitted/s  floor s  sweeps s              of the floor          refusals after each")  # noqa: T201
    for admitted in rates:
        with tempfile.TemporaryDirectory() as folder:
            spans_s, refusals, calls = asyncio.run(sweeps_at(Path(folder), admitted))
        floor_s = (calls - 1) / min(OURS, admitted)
        spans = " ".join(f"{span_s:6.2f}" for span_s in spans_s)
        shares = " ".join(f"{span_s / floor_s:6.3f}" for span_s in spans_s)
        print(f"{admitted:10} {floor_s:8.2f}  {spans:20}  {shares:20}  {refusals}")  # noqa: T201


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]] or RATES)
