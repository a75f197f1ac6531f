"""Prints what an account makes of hosts that refuse, stall, or allow less than configured: the table of docs/limits.md.

`python -m tests.brokers.refusing_hosts [--host WORD]` simulates, event by event and exactly, two processes that share
an account's file: the real `SharedRateLimiter` and `RestPipeline`, eight bulk callers that always have a call to make,
an urgent one each half second. The host is a transport of the HTTP client on the same clock. It imports nothing of the
tests, so that it also measures another version: run its path with that version's Python. Exit status 1: a call was sent
or accepted over a limit.
"""

import argparse
import asyncio
import contextlib
import heapq
import itertools
import sys
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from math import floor
from pathlib import Path
from random import Random

import httpx
import msgspec

from observer.base.errors import ProviderError
from observer.brokers.accounts.shared_rate_limiter import SharedRateLimiter
from observer.brokers.broker import Credentials
from observer.brokers.http import Request, RestPipeline
from observer.brokers.kis.envelope import KisRestDialect
from observer.brokers.settings import RateLimitSettings, RestSettings

SECOND_NS = 10**9
NOON_NS = 1_800_000_000 * SECOND_NS
RATE = 18
WARM_S = 10.0  # before noon, when the host changes
WATCHED_S = 60.0  # after the host is well again
TIMEOUT_S = 10.0
FULL = 0.9  # of what the host allows, over two seconds

Limit = Callable[[float], float]


class SteppedClock:
    """A clock that stands still while anything can run, and then goes on to the next moment that a sleeper waits
    for.
    """

    def __init__(self, now_ns):
        self._now_ns = now_ns
        self._sleepers = []
        self._numbers = itertools.count()

    def now_ns(self):
        return self._now_ns

    async def sleep_until(self, moment_ns):
        if moment_ns > self._now_ns:
            woken = asyncio.get_running_loop().create_future()
            heapq.heappush(self._sleepers, (moment_ns, next(self._numbers), woken))
            await woken

    async def sleep(self, market_seconds):
        await self.sleep_until(self._now_ns + round(market_seconds * SECOND_NS))

    async def run(self, until_ns):
        """Go on, sleeper by sleeper, until the moment."""
        loop = asyncio.get_running_loop()
        while True:
            while loop._ready:  # whatever can run now runs at this moment
                await asyncio.sleep(0)
            if not self._sleepers or self._sleepers[0][0] > until_ns:
                return
            self._now_ns, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)


@dataclass
class Host:
    """A host by what it does at each second after noon; `ends_s` is when it is well again (or allows another limit).

    `limit` is the most calls that it admits in a second: any ("sliding"), one of the clock ("calendar"), or any one
    with the refused calls counted too ("sent"). `refuses` says whether it refuses a call whatever was sent,
    `stalls_until` until when it answers nothing. Answers take `answer_s`, or a random time from `answer_s` to
    `answer_max_s`; refusals take `refusal_s` where that is given.
    """

    name: str
    ends_s: float = 0.0
    limit: Limit = lambda _: RATE
    refuses: Callable[[float, Random], bool] = lambda _second, _rng: False
    stalls_until: float = 0.0
    answer_s: float = 0.01
    answer_max_s: float = 0.0
    refusal_s: float = 0.0
    counts: str = "sliding"


@dataclass
class Seen(httpx.AsyncBaseTransport):
    """The host as transport of a client, and what it saw: seconds after noon."""

    host: Host
    clock: SteppedClock
    rng: Random
    sent: list = field(default_factory=list)
    accepted: list = field(default_factory=list)
    refused: list = field(default_factory=list)
    over: int = 0

    async def handle_async_request(self, request):
        asked_s = self._second
        answer_s = self.host.answer_s
        if self.host.answer_max_s:
            answer_s = self.rng.uniform(answer_s, self.host.answer_max_s)
        await self.clock.sleep(answer_s / 2)
        if 0 <= self._second < self.host.stalls_until:
            wait_s = min(self.host.stalls_until - self._second, asked_s + TIMEOUT_S - self._second)
            await self.clock.sleep(wait_s)
            if self._second < self.host.stalls_until:
                raise httpx.ReadTimeout("no answer", request=request)
        second, limit = self._second, self.host.limit(self._second)
        counted = (self.sent if self.host.counts == "sent" else self.accepted)[-RATE:]
        begin = floor(second) if self.host.counts == "calendar" else second - 1
        in_window = sum(begin < moment for moment in counted)
        self.sent.append(second)
        is_refused = in_window >= limit or self.host.refuses(second, self.rng)
        (self.refused if is_refused else self.accepted).append(second)
        await self.clock.sleep(self.host.refusal_s if is_refused and self.host.refusal_s else answer_s / 2)
        if is_refused:
            return httpx.Response(500, stream=httpx.ByteStream(b'{"rt_cd":"1","msg_cd":"EGW00201"}'))
        return httpx.Response(200, stream=httpx.ByteStream(b'{"rt_cd":"0"}'))

    @property
    def _second(self):
        return (self.clock.now_ns() - NOON_NS) / SECOND_NS


class Body(msgspec.Struct):
    rt_cd: str


class FixedCredentials:
    async def current(self):
        return Credentials("key", "secret", "token", "approval")

    async def reject(self, _used):
        return False


async def watched(host, folder, until_s, seed=7, on_step=None):
    """What the host saw from `WARM_S` before noon to `until_s` after it."""
    clock = SteppedClock(NOON_NS - round(WARM_S * SECOND_NS))
    seen = Seen(host, clock, Random(seed))
    settings = RateLimitSettings(calls_per_second=float(RATE))
    tasks = []
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(httpx.AsyncClient(transport=seen, base_url="http://host"))
        for number in range(2):
            limiter = SharedRateLimiter(Path(folder) / "rate_limit", clock, settings)
            stack.callback(limiter.close)
            pipeline = RestPipeline(
                client=client,
                dialect=KisRestDialect(),
                rate_limiter=limiter,
                credentials=FixedCredentials(),
                clock=clock,
                rng=Random(seed + number),
                settings=RestSettings(),
            )
            tasks += [asyncio.create_task(always(pipeline, "bulk")) for _ in range(4)]
            tasks.append(asyncio.create_task(always(pipeline, "urgent", clock)))
        await clock.run(NOON_NS + round(until_s * SECOND_NS))
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended
    return seen


async def always(pipeline, priority, clock=None):
    """Call after call, with a second between them when there is a clock."""
    request = Request("ask", "GET", "/ask", "T")
    while True:
        with contextlib.suppress(ProviderError):  # the caller's patience is over: the next call
            await pipeline.call_page(request, priority, Body)
        if clock is not None:
            await clock.sleep(1.0)


def down(from_s, to_s):
    return lambda second, _rng: from_s <= second < to_s


def limited(before, after, changes_s=0.0):
    return lambda second: before if second < changes_s else after


def hosts():
    found = [Host("well")]
    found.append(Host("refuses 1 in 200 at random", refuses=lambda _second, rng: rng.random() < 1 / 200))
    for for_s in (2, 30, 300):
        found.append(Host(f"refuses all for {for_s} s", for_s, refuses=down(0, for_s)))
    found.append(
        Host("refuses 1 in 3 at random for 30 s", 30.0, refuses=lambda s, rng: s < 30 and rng.random() < 1 / 3)
    )
    found.append(Host("stalls 4 s", 4.0, stalls_until=4.0))
    for answer_s in (0.01, 0.15):
        answers = "" if answer_s < 0.1 else ", answers in 150 ms"
        for most in (10, 3):
            found.append(Host(f"18, {most} from noon on{answers}", limit=limited(18, most), answer_s=answer_s))
        for most in (10, 3):
            name = f"{most} from noon on, 18 after 5 min{answers}"
            both = lambda second, most=most: most if 0 <= second < 300 else 18  # noqa: E731
            found.append(Host(name, 300.0, limit=both, answer_s=answer_s))
    return found + lasting_hosts()


def lasting_hosts():
    """Hosts with a lower limit from the start, by how they count and answer."""
    ways = (
        (10, {"refusal_s": 0.7}),
        (3, {"answer_s": 1.2}),
        (3, {"answer_s": 1.2, "refusal_s": 0.01}),
        (5, {"answer_max_s": 0.8}),
        (10, {"counts": "calendar"}),
        (3, {"counts": "calendar", "answer_s": 0.05, "answer_max_s": 0.4}),
        (10, {"counts": "sent"}),
        (10, {"counts": "sent", "answer_s": 0.15}),
    )
    return [Host(way_name(most, **way), limit=limited(most, most), **way) for most, way in ways]


def way_name(most, counts="sliding", answer_s=0.01, answer_max_s=0.0, refusal_s=0.0):
    upto = f" to {1000 * answer_max_s:.0f}" if answer_max_s else ""
    refusals = f", refusals in {1000 * refusal_s:.0f}" if refusal_s else ""
    return f"{most} always ({counts}), answers in {1000 * answer_s:.0f}{upto} ms{refusals}"


def most_in_a_second(moments):
    first, most = 0, 0
    for last, moment in enumerate(moments):
        while moment - moments[first] >= 1:
            first += 1
        most = max(most, last - first + 1)
    return most


def accepted_over(seen):
    """Calls that the host accepted beyond its limit, by a count that is not the host's."""
    is_calendar = seen.host.counts == "calendar"
    return sum(
        sum((floor(moment) if is_calendar else moment - 1) < other <= moment for other in seen.accepted)
        > max(seen.host.limit(moment), limit_before(seen, moment))
        for moment in seen.accepted
    )


def limit_before(seen, moment):
    """The highest limit in the second before: calls admitted under it are still in the window."""
    return max(seen.host.limit(moment - 1), seen.host.limit(moment))


def full_after_s(seen):
    """Seconds from the end of the fault to the first two seconds at full speed; None: not within the time watched."""
    host = seen.host
    wanted = 2 * FULL * host.limit(host.ends_s) / (1 + host.answer_s)
    for begin in (host.ends_s + number / 10 for number in range(round(10 * WATCHED_S - 20))):
        if sum(begin <= moment < begin + 2 for moment in seen.accepted) >= wanted:
            return begin - host.ends_s
    return None


def settled_after_s(seen):
    """Seconds from noon to the last refusal that came within two seconds of another one: what follows are trials of a
    limit that is known.
    """
    pairs = itertools.pairwise([moment for moment in seen.refused if moment >= 0])
    close = [later for earlier, later in pairs if later - earlier < 2]
    return close[-1] if close else 0.0


def row(seen):
    """The table's row."""
    ends_s = seen.host.ends_s
    answered = sum(ends_s <= moment < ends_s + WATCHED_S for moment in seen.accepted)
    full_s = full_after_s(seen)
    full = f"> {WATCHED_S:.0f}" if full_s is None else f"{full_s:.1f}"
    refused = sum(moment >= 0 for moment in seen.refused)
    return (
        f"| {seen.host.name} | {answered} | {full} | {refused} | {settled_after_s(seen):.1f}"
        f" | {most_in_a_second(seen.sent)} | {accepted_over(seen)} |"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--host", default="", help="only hosts whose name contains this")
    words = parser.parse_args()
    write = sys.stdout.write
    write("| host | answered in 60 s | full speed after s | refused | settled after s | most sent in 1 s | over |\n")
    write("| --- | --- | --- | --- | --- | --- | --- |\n")
    is_kept = True
    for host in hosts():
        if words.host not in host.name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            seen = asyncio.run(watched(host, folder, host.ends_s + WATCHED_S + 2))
        is_kept = is_kept and accepted_over(seen) == 0 and most_in_a_second(seen.sent) <= RATE
        write(row(seen) + "\n")
        sys.stdout.flush()
    return 0 if is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
