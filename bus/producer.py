"""A worker's end of the ingest socket: publish is an append to the outbox; delivery goes on beside it.

Publishing never waits for the writer: events are gathered until the event loop's next turn, appended to the outbox as
one batch, and sent as far as the writer's credit reaches. While the writer is away the outbox grows on disk.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Final

from bus.endpoints import Address
from bus.events import Event
from bus.histogram import Histogram
from bus.journal import RecordTooLargeError
from bus.outbox import Outbox
from bus.sender import BatchSender

logger = logging.getLogger(__name__)

BATCH_EVENTS_MAX: Final = 500  # a batch is one record, one message, and the least that a lost message costs
DISK_PROBE_S: Final = 0.5  # machine seconds between attempts while the disk is full
TIDY_S: Final = 5.0  # machine seconds between looks at the archive

RefusalListener = Callable[[Sequence[Event], OSError], None]


class Producer:
    """Publishes events: owns the outbox and the sender that empties it. Used from one event loop."""

    def __init__(self, outbox: Outbox, ingest_address: Address) -> None:
        self._outbox = outbox
        self._sender = BatchSender(outbox, ingest_address)
        self._gathered: list[Event] = []
        self._listeners: list[RefusalListener] = []
        self.refused = 0
        """Events that the disk did not take."""
        self.unstorable = 0
        """Events that no batch can hold, or that have no encoding."""

    @property
    def published(self) -> int:
        """The number of events that this process has appended to its outbox."""
        return self._outbox.last_sequence

    @property
    def unacknowledged(self) -> int:
        """The number of events in the outbox, also of earlier processes, that are not known to be committed."""
        return self._sender.unacknowledged + len(self._gathered)

    @property
    def latency(self) -> Histogram:
        """Machine seconds from the append of a batch to its acknowledgement."""
        return self._sender.latency

    @contextlib.contextmanager
    def reporting(self, listener: RefusalListener) -> Iterator[None]:
        """While the block runs, call `listener` with the events that the disk did not take, in their order, in the call
        in which it refused them: before anything else is published.
        """
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    def publish(self, *events: Event) -> None:
        """Publish the events soon, together with other events of this turn of the event loop. The events of one call
        are in one batch.
        """
        if not self._gathered:
            asyncio.get_running_loop().call_soon(self.flush)
        self._gathered += events
        if len(self._gathered) >= BATCH_EVENTS_MAX:
            self.flush()

    def publish_together(self, events: Sequence[Event]) -> None:
        """Publish the events now, as one batch: one transaction stores all of them, or a kill loses all of them.

        Raises:
            RecordTooLargeError: the events exceed one batch; none is published.
        """
        self.flush()
        self._append(events, may_part=False)

    def offer_together(self, events: Sequence[Event]) -> bool:
        """As `publish_together`, for what can be made again: False where the disk does not take it. Nothing of it is
        published then, and nothing counts as refused.
        """
        self.flush()
        try:
            self._put(events)
        except OSError as error:
            logger.warning("outbox does not take %d events, which are made again: %s", len(events), error)
            return False
        return True

    async def publish_when_taken(self, event: Event) -> None:
        """Publish the event now, or as soon as the disk takes it. A full disk delays it and refuses nothing."""
        self.flush()
        while True:
            try:
                return self._put([event])
            except OSError:
                await asyncio.sleep(DISK_PROBE_S)

    def flush(self) -> None:
        """Append the gathered events to the outbox."""
        if self._gathered:
            events, self._gathered = self._gathered, []
            self._append(events, may_part=True)

    def _append(self, events: Sequence[Event], *, may_part: bool) -> None:
        """Append the events, in parts if necessary. After the disk refused a part, later parts are not tried: apart
        from single events that cannot be stored at all, only the end of a batch is lost.
        """
        parts = [events]
        while parts:
            part = parts.pop()
            try:
                self._put(part)
            except OSError as error:  # the disk is full: report it, keep running, count the lost events
                self._refuse_for_disk([event for rest in (part, *reversed(parts)) for event in rest], error)
                return
            except (OverflowError, UnicodeEncodeError, RecordTooLargeError) as error:
                if isinstance(error, RecordTooLargeError) and not may_part:
                    raise
                parts += reversed(_halves(part))  # one that cannot be stored takes no other with it
                if len(part) == 1:
                    self.unstorable += 1
                    self._log_refused(1, error)

    def _put(self, events: Sequence[Event]) -> None:
        self._sender.appended(self._outbox.stream, self._outbox.append(events))

    def _refuse_for_disk(self, events: Sequence[Event], error: OSError) -> None:
        self.refused += len(events)
        self._log_refused(len(events), error)
        for listener in self._listeners:
            listener(events, error)

    def _log_refused(self, count: int, error: Exception) -> None:
        so_far = self.refused + self.unstorable
        logger.critical("outbox refused %d events (%d so far): %s", count, so_far, error)

    async def run(self) -> None:
        """Deliver until cancelled, and keep the archive small meanwhile."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._sender.run())
            tasks.create_task(self._tidy_archive())

    async def _tidy_archive(self) -> None:
        while True:
            await asyncio.sleep(TIDY_S)
            now_s = time.time()  # noqa: TID251 - the files' clock
            try:
                while await asyncio.to_thread(self._outbox.tidy_archive, now_s):
                    pass
            except OSError as error:
                self._outbox.report(f"cannot tidy the archive of {self._outbox.producer}: {error.strerror}")

    def take_damage(self) -> Sequence[str]:
        """What was found damaged or missing in the outbox since the last call, for an alert."""
        found, self._outbox.damage[:] = list(self._outbox.damage), []
        return found

    @property
    def keeps_damaged(self) -> bool:
        """Whether damaged segments of the outbox are kept for a person, who has not deleted them yet."""
        return self._outbox.keeps_damaged

    async def drain(self, deadline_s: float) -> bool:
        """Wait until everything published until now is committed; False when that took more than so many machine
        seconds.
        """
        self.flush()
        return await self._sender.drain(deadline_s)

    def close(self) -> None:
        """Close the outbox; uncommitted events stay in it for the next process."""
        self.flush()
        self._outbox.close(delivered=not self._sender.unacknowledged)


def _halves(events: Sequence[Event]) -> list[Sequence[Event]]:
    middle = len(events) // 2
    return [events[:middle], events[middle:]] if middle else []


@contextlib.asynccontextmanager
async def delivering(outbox: Outbox, ingest_address: Address) -> AsyncIterator[Producer]:
    """A producer that delivers while the block runs, and is closed at its end: what is not acknowledged by then stays
    in the outbox.
    """
    producer = Producer(outbox, ingest_address)
    delivery = asyncio.create_task(producer.run())
    try:
        yield producer
    finally:
        delivery.cancel()
        await asyncio.gather(delivery, return_exceptions=True)
        producer.close()
