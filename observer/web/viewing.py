"""The page without a running system: the stored days alone, and no orders."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from functools import partial

from observer.base.errors import NoDataError
from observer.base.settings import is_reachable
from observer.system.config import Settings
from observer.web.broadcast import Broadcast
from observer.web.live import TICK_S, Live, now_ms
from observer.web.model import State
from observer.web.server import made_app, serving
from observer.web.stored_days import FRESH_S, StoredDays, known_at, read_days, read_stored_day


async def view(
    settings: Settings, listener: socket.socket, stopping: asyncio.Event, served: Callable[[], None]
) -> None:
    """Serve the page until `stopping`: of the running system, where one runs, else of the last stored day. `served` is
    called when it can be asked for.
    """
    broadcast, stored = Broadcast(), StoredDays(partial(read_stored_day, settings))
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(serving(made_app(broadcast, None, stored, settings), listener))
        states = _last_day(settings)
        if is_reachable(settings.run):
            states = (await stack.enter_async_context(Live(settings))).states()
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        sending = tasks.create_task(broadcast.run(states))
        served()
        await stopping.wait()
        sending.cancel()


async def _last_day(settings: Settings) -> AsyncIterator[State]:
    """The state of the last stored day, each second; read anew now and then, since it may have grown."""
    while True:
        read = await asyncio.to_thread(lambda: read_stored_day(settings, last_day(settings)))
        for _ in range(int(FRESH_S / TICK_S)):
            yield known_at(read, now_ms())
            await asyncio.sleep(TICK_S)


def last_day(settings: Settings) -> str:
    """The last stored day.

    Raises:
        NoDataError: none is stored.
        StoreError: the database does not answer.
    """
    days = read_days(settings)
    if not days:
        raise NoDataError("no day is stored yet: `observer run` or `observer demo` stores one")
    return days[0]
