"""Small real servers on loopback, and the sources that a pipeline takes, for tests of the provider's shells."""

import time
from contextlib import asynccontextmanager
from random import Random

from aiohttp import web

from observer.base.clock import ScaledClock
from observer.base.errors import RateExceededError
from observer.brokers.broker import Credentials
from observer.brokers.http import RestPipeline, open_client
from observer.brokers.kis.envelope import KisRestDialect
from observer.brokers.settings import RestSettings
from observer.monitoring.metrics.counters import COUNTERS


@asynccontextmanager
async def serving(*routes, tls=None):
    """A server with these routes, encrypted with a TLS context; yields its address without scheme, `127.0.0.1:port`."""
    application = web.Application()
    application.add_routes(routes)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    try:
        yield "{}:{}".format(*runner.addresses[0][:2])
    finally:
        await runner.cleanup()


class OpenRateLimiter:
    """Rate-limit tokens without a limit that remember what was asked."""

    def __init__(self):
        self.priorities = []
        self.penalties = 0

    @asynccontextmanager
    async def acquire(self, priority):
        self.priorities.append(priority)
        try:
            yield
        except RateExceededError:
            self.penalties += 1
            raise


class RenewingCredentials:
    """Credentials whose rejection brings the next token, and with it the next approval key unless that is held."""

    def __init__(self):
        self.number = 1
        self.approval = None
        self.renews = True
        self.checks = 0
        self.rejected = []

    async def current(self):
        self.checks += 1
        approval = self.approval or f"approval {self.number}"
        return Credentials("app key", "app secret", f"token {self.number}", approval)

    async def reject(self, used, part="access_token"):
        self.rejected.append(used.access_token)
        self.number += self.renews
        return self.renews


@asynccontextmanager
async def pipeline_at(url, settings=RestSettings(), **parts):
    """A pipeline to a host, on a clock that flies, and its rate limiter. `parts` are others than the usual ones."""
    usual = {
        "dialect": KisRestDialect(),
        "rate_limiter": OpenRateLimiter(),
        "credentials": RenewingCredentials(),
        "clock": ScaledClock(10**18, time.monotonic_ns(), 10_000.0),
    } | parts
    async with open_client(url, settings) as client:
        yield RestPipeline(client=client, rng=Random(1), settings=settings, **usual), usual["rate_limiter"]


@asynccontextmanager
async def pipeline_to(*routes, **parts):
    """As `pipeline_at`, a server with these routes."""
    async with serving(*routes) as address, pipeline_at(f"http://{address}", **parts) as pipeline:
        yield pipeline


def counted(account: str) -> dict[tuple[str, ...], float]:
    """The account's calls by name and outcome, as the exporter gets them."""
    found = [each for each in COUNTERS.samples() if each.metric == "observer_calls_total"]
    return {each.labels[1:]: each.value for each in found if each.labels[0] == account}
