"""Small real servers on loopback, and the sources that a pipeline takes, for tests of the provider's shells."""

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager

from aiohttp import web

from observer.providers.interfaces import Credentials

DEADLINE_S = 10.0


@asynccontextmanager
async def serving(*routes):
    """A server with these routes; yields its address without scheme, `127.0.0.1:port`."""
    application = web.Application()
    application.add_routes(routes)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield "{}:{}".format(*runner.addresses[0][:2])
    finally:
        await runner.cleanup()


async def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds; fail when it does not within the deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.002)


class OpenPermits:
    """Permits without a limit that remember what was asked."""

    def __init__(self):
        self.lanes = []
        self.penalties = 0

    @asynccontextmanager
    async def acquire(self, lane):
        self.lanes.append(lane)
        yield

    def penalise(self):
        self.penalties += 1


class RenewingCredentials:
    """Credentials whose rejection brings the next token, and with it the next approval key unless that is held."""

    def __init__(self):
        self.number = 1
        self.approval = None
        self.renews = True
        self.looks = 0
        self.rejected = []

    async def current(self):
        self.looks += 1
        approval = self.approval or f"approval {self.number}"
        return Credentials("app key", "app secret", f"token {self.number}", approval)

    async def reject(self, used):
        self.rejected.append(used.access_token)
        self.number += self.renews
        return self.renews
