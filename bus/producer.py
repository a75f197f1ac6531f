"""A worker's end of the ingest socket: publish is an append to the outbox; delivery goes on beside it.

Publishing never waits for the writer: events are gathered until the event loop's next turn, appended to the outbox as
one batch, and sent as far as the writer's credit reaches. While the writer is away the outbox grows on disk.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from bus.courier import Courier
from bus.endpoints import Address
from bus.events import Event
from bus.outbox import Outbox

logger = logging.getLogger(__name__)

BATCH_EVENTS_MAX: Final = 500  # a batch is one record, one message, and the least that a lost message costs


class Producer:
    """Publishes events; owns its outbox and the courier that empties it. Used from one event loop."""

    def __init__(self, outbox: Outbox, ingest_address: Address) -> None:
        self._outbox = outbox
        self._courier = Courier(outbox, ingest_address)
        self._gathered: list[Event] = []
        self.refused = 0

    @property
    def published(self) -> int:
        """Events that this process has appended to its outbox."""
        return self._outbox.last_sequence

    @property
    def unacknowledged(self) -> int:
        """Events in the outbox, of this process and earlier ones, that are not known to be committed."""
        return self._courier.unacknowledged + len(self._gathered)

    def publish(self, event: Event) -> None:
        """Publish soon: with whatever else is published in this turn of the event loop."""
        if not self._gathered:
            asyncio.get_running_loop().call_soon(self.flush)
        self._gathered.append(event)
        if len(self._gathered) >= BATCH_EVENTS_MAX:
            self.flush()

    def publish_together(self, events: Sequence[Event]) -> None:
        """Publish now, as one batch: whatever is killed, all of it is stored in one transaction, or nothing."""
        self.flush()
        self._append(events)

    def flush(self) -> None:
        """Append what was gathered to the outbox."""
        if self._gathered:
            events, self._gathered = self._gathered, []
            self._append(events)

    def _append(self, events: Sequence[Event]) -> None:
        try:
            last_sequence = self._outbox.append(events)
        except OSError as error:  # the disk is full: say so, keep running, count what could not be kept
            self._refuse(len(events), error)
            return
        except (OverflowError, UnicodeEncodeError) as error:  # one that cannot be encoded takes no other with it
            half = len(events) // 2
            if half == 0:
                self._refuse(1, error)
                return
            self._append(events[:half])
            self._append(events[half:])
            return
        self._courier.appended(self._outbox.stream, last_sequence)

    def _refuse(self, count: int, error: Exception) -> None:
        self.refused += count
        logger.critical("outbox refused %d events (%d so far): %s", count, self.refused, error)

    async def run(self) -> None:
        """Deliver until cancelled."""
        await self._courier.run()

    async def drain(self, deadline_s: float) -> bool:
        """Wait until everything published until now is committed; False when that took more than so many machine
        seconds.
        """
        self.flush()
        return await self._courier.drain(deadline_s)

    def close(self) -> None:
        """Close the outbox; what is not committed stays in it for the next process."""
        self.flush()
        self._outbox.close(delivered=not self._courier.unacknowledged)
