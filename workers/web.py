"""Serves the page and the HTTP API on loopback; runs only where [web] is configured."""

import asyncio
import logging
from functools import partial

from observer.system.worker import Worker, run
from observer.web.access import ensured_token
from observer.web.broadcast import Broadcast
from observer.web.live import Live
from observer.web.orders import Orders
from observer.web.server import ADDRESS, listening, made_app, serving
from observer.web.stored_days import StoredDays, read_stored_day

logger = logging.getLogger(__name__)


async def web(worker: Worker) -> None:
    """Serve until stopped. The database and the system may be away: the page says so.

    Raises:
        ConfigError: the port is in use, or the token's file cannot be used.
    """
    settings = worker.settings
    assert settings.web is not None, "this process exists only with [web]"
    token_file = settings.web.token_file_in(settings.run.runtime)
    listener = listening(settings.web.port)
    orders = Orders(worker.control, settings.store.url, ensured_token(token_file))
    broadcast, stored = Broadcast(), StoredDays(partial(read_stored_day, settings))
    async with (
        serving(made_app(broadcast, orders, stored, settings), listener),
        Live(settings) as live,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(broadcast.run(live.states()))
        await worker.ready()
        logger.info("the page is at http://%s:%d/; orders need the token in %s", ADDRESS, settings.web.port, token_file)


if __name__ == "__main__":
    run("web", web)
