"""Clients of the page and of the exporter, in a process of their own, so that they do not disturb what measures.

`python -m tests.bench.watchers PAGE_PORT METRICS_PORT CLIENTS` reads the page's events with so many clients and asks
for the figures each second, until stdin is closed. Then it prints a `Watched` as JSON.
"""

import asyncio
import sys
from typing import Final

import httpx
import msgspec

SCRAPE_S: Final = 1.0
_RETRY_S: Final = 0.2  # until the page is served


class Watched(msgspec.Struct, frozen=True):
    """States that all clients of the page received, and answers of the exporter."""

    states: int
    scrapes: int


class _Count:
    """What arrived so far."""

    def __init__(self) -> None:
        self.states = 0
        self.scrapes = 0


async def _read_page(client: httpx.AsyncClient, port: int, count: _Count) -> None:
    while True:
        try:
            async with client.stream("GET", f"http://127.0.0.1:{port}/api/live", timeout=None) as answer:
                async for line in answer.aiter_lines():
                    count.states += line.startswith("data:")
        except httpx.HTTPError:
            await asyncio.sleep(_RETRY_S)


async def _scrape(client: httpx.AsyncClient, port: int, count: _Count) -> None:
    while True:
        try:
            answer = await client.get(f"http://127.0.0.1:{port}/metrics")
            count.scrapes += answer.status_code == httpx.codes.OK
        except httpx.HTTPError:
            pass  # it is asked again in a second
        await asyncio.sleep(SCRAPE_S)


async def watch(page_port: int, metrics_port: int, clients: int) -> Watched:
    """Watch until stdin is closed."""
    count = _Count()
    limits = httpx.Limits(max_connections=clients + 1)
    async with httpx.AsyncClient(limits=limits, trust_env=False) as client:
        tasks = [asyncio.create_task(_read_page(client, page_port, count)) for _ in range(clients)]
        tasks.append(asyncio.create_task(_scrape(client, metrics_port, count)))
        await asyncio.to_thread(sys.stdin.read)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return Watched(count.states, count.scrapes)


if __name__ == "__main__":
    watched = asyncio.run(watch(*map(int, sys.argv[1:4])))
    sys.stdout.write(msgspec.json.encode(watched).decode())
