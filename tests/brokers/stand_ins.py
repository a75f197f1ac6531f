"""Small real servers on loopback, and the sources that a pipeline takes, for tests of the provider's shells."""

from contextlib import asynccontextmanager

from aiohttp import web

from observer.base.errors import RateExceededError
from observer.brokers.broker import Credentials
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


def counted(account: str) -> dict[tuple[str, ...], float]:
    """The account's calls by name and outcome, as the exporter gets them."""
    found = [each for each in COUNTERS.samples() if each.metric == "observer_calls_total"]
    return {each.labels[1:]: each.value for each in found if each.labels[0] == account}
