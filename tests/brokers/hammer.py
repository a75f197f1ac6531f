"""Hammers one account from several processes.

Each process calls over real HTTP in all three priorities at once, with the client, pipeline and rate-limit tokens of
the workers: urgent and normal calls at random moments, bulk calls as fast as allowed. The simulated broker, a process
of its own, counts the arrivals.
"""

import asyncio
import contextlib
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path

from observer.base.clock import clock_from_environment
from observer.brokers.accounts.clients import Brokers
from observer.system.config import load_settings
from tests.bench.broker import running_broker

RATE = 20
URGENT_PER_S = 4.0  # of all processes together
NORMAL_PER_S = 6.0
BULK_AT_ONCE = 6  # in each process
BULK_SHARE = 0.9
TICK_S = 0.01
WARM_S = 1.1  # then no second that is counted holds a call of the warming up


class Hammer:
    """The calls of one process."""

    def __init__(self, client, rng, end_s):
        self._client = client
        self._rng = rng
        self._end_s = end_s
        self.answered = Counter()
        self.late_s = 0.0

    async def run(self, urgent_per_s, normal_per_s):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            tasks.create_task(self._now_and_then("urgent", urgent_per_s))
            tasks.create_task(self._now_and_then("normal", normal_per_s))
            for _ in range(BULK_AT_ONCE):
                tasks.create_task(self._as_fast_as_possible())

    async def _now_and_then(self, priority, per_s):
        async with asyncio.TaskGroup() as calls:
            next_s = time.monotonic() + self._rng.expovariate(per_s)
            while next_s < self._end_s:
                await asyncio.sleep(next_s - time.monotonic())
                calls.create_task(self._call(priority))
                next_s += self._rng.expovariate(per_s)

    async def _as_fast_as_possible(self):
        while time.monotonic() < self._end_s:
            await self._call("bulk")

    async def _call(self, priority):
        await self._client.quotes(["005930"], priority)
        if time.monotonic() < self._end_s:
            self.answered[priority] += 1

    async def _watch(self):
        """This process's longest wake-up delay, a measure of the machine's load."""
        while (asleep_s := time.monotonic()) < self._end_s:
            await asyncio.sleep(TICK_S)
            self.late_s = max(self.late_s, time.monotonic() - asleep_s - TICK_S)


async def hammer(configuration, seed, processes):
    """One process: says that it is ready, waits for the word with the seconds to go, reports."""
    settings = load_settings(configuration)
    brokers = Brokers(settings.clients, clock_from_environment(), random.Random(seed))
    async with brokers.accounts[0].rest() as client:
        await client.quotes(["005930"], "normal")  # what a first call loads and opens is there
        say("ready")
        seconds = float(await asyncio.to_thread(sys.stdin.readline))
        calls = Hammer(client, random.Random(seed), time.monotonic() + seconds)
        await calls.run(URGENT_PER_S / processes, NORMAL_PER_S / processes)
    say(json.dumps({"answered": calls.answered, "late_s": calls.late_s}))


def say(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def hammer_account(folder, seconds, processes):
    """Hammer for the given time; return the broker's counts and the calls by priority."""
    async with (
        running_broker(folder / "broker", symbols=30, accounts=1, rate=RATE) as broker,
        contextlib.AsyncExitStack() as stack,
    ):
        hammers = [await stack.enter_async_context(process(broker, seed, processes)) for seed in range(processes)]
        for each in hammers:
            assert await each.stdout.readline() == b"ready\n"
        await asyncio.sleep(WARM_S)
        for each in hammers:
            each.stdin.write(f"{seconds}\n".encode())
        reports = [json.loads(await each.stdout.readline()) for each in hammers]
    return figures(reports, broker.counters(), seconds)


@contextlib.asynccontextmanager
async def process(broker, seed, processes):
    words = (str(broker.configuration), str(seed), str(processes))
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.brokers.hammer",
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env=broker.environment(),
        limit=2**24,
    )
    try:
        yield started
        assert await started.wait() == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            started.kill()
        await started.wait()


def figures(reports, counters, seconds):
    answered = sum((Counter(report["answered"]) for report in reports), Counter())
    left = RATE * seconds - answered["urgent"] - answered["normal"]
    return {
        "allowed_per_s": RATE,
        "busiest_second_at_the_broker": max(counters.busiest_seconds),
        "rate_errors": counters.rate_errors,
        "answered": dict(answered),
        "bulk_of_what_was_left": answered["bulk"] / left,
        "latest_wake_ms": 1000 * max(report["late_s"] for report in reports),
    }


if __name__ == "__main__":
    place, seed, processes = sys.argv[1:]
    asyncio.run(hammer(Path(place), int(seed), int(processes)))
