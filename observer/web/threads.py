"""Threads for work that blocks: some of them for each kind of question, so that no kind delays another one."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any, Final, TypeVar

from observer.web.failures import RETRY_S, BusyError

WAITING_MAX: Final = 16

Found = TypeVar("Found")


class Threads:
    """Some threads for work that blocks, so that the event loop stays free; the rest waits, and not too much of it.

    Args:
        name: of the threads.
        threads: their number.
        waiting_max: the work that may wait for them.
    """

    def __init__(self, name: str, threads: int, waiting_max: int = WAITING_MAX) -> None:
        self._pool = ThreadPoolExecutor(threads, name)
        self._unfinished_max = threads + waiting_max
        self._unfinished = 0
        self._lock = Lock()

    async def run(self, work: Callable[[], Found], *, is_new: bool = True) -> Found:
        """The result of the work. Work that is a part of what began already (not `is_new`) is never refused.

        Raises:
            BusyError: too much waits.
        """
        with self._lock:
            if is_new and self._unfinished >= self._unfinished_max:
                raise BusyError(f"{self._unfinished} questions are not answered yet: ask again in {RETRY_S} s")
            self._unfinished += 1
        future = self._pool.submit(work)
        future.add_done_callback(self._finish)
        return await asyncio.wrap_future(future)

    def _finish(self, _: "Future[Any]") -> None:
        with self._lock:
            self._unfinished -= 1
