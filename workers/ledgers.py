"""Writes the ledgers' files after the commits, beside the thread that commits: it never waits for this."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Mapping
from typing import Final

from bus.events import AlertRaised
from bus.producer import Producer
from observer.brokers import PROVIDER
from observer.errors import StoreError
from observer.store.exports import EXPORTED_KINDS, Ledgers, ledgers_folder
from workers.runtime import Worker

logger = logging.getLogger(__name__)

LOOK_S: Final = 1.0  # machine seconds between looks at whether there is something to write
LOOK_ANYWAY_S: Final = 60.0  # a commit whose outcome was unknown has told nothing


class LedgerKeeping:
    """The files of this system; one flag is all that the writer's thread leaves here."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._ledgers = Ledgers(worker.settings.store.url, ledgers_folder(worker.settings.run.data), PROVIDER)
        self._news = threading.Event()
        self._news.set()  # an earlier process may have left something
        self._fails = False

    def count_from_thread(self, rows_by_kind: Mapping[str, int]) -> None:
        """So many rows were committed."""
        if not EXPORTED_KINDS.isdisjoint(rows_by_kind):
            self._news.set()

    @contextlib.asynccontextmanager
    async def until_the_end(self) -> AsyncIterator[None]:
        """What was committed in the block is in the files at its end, if they can be written."""
        try:
            yield
        finally:
            if self._news.is_set():
                await asyncio.to_thread(self._catch_up)
            self._ledgers.close()

    async def run(self, producer: Producer) -> None:
        """Write until cancelled; that it cannot be done is told once, and tried again."""
        clock, name = self._worker.clock, self._worker.name
        waited_s = 0.0
        while True:
            if self._news.is_set() or waited_s >= LOOK_ANYWAY_S:
                waited_s = 0.0
                failed = await asyncio.to_thread(self._catch_up)
                if failed is not None and not self._fails:
                    text = f"the ledgers of overflow and recovery cannot be written: {failed}"
                    producer.publish(AlertRaised(clock.now_ns(), "warning", name, text))
                self._fails = failed is not None
            await asyncio.sleep(LOOK_S)
            waited_s += LOOK_S

    def _catch_up(self) -> str | None:
        """Why it failed; None when it did not."""
        self._news.clear()
        try:
            self._ledgers.catch_up()
        except (OSError, StoreError) as error:
            logger.error("cannot write the ledgers: %s", error)
            self._news.set()
            return str(error)
        return None
