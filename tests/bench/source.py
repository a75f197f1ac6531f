"""One measured producer in a separate process: `python -m tests.bench.source ORDER`, the order as JSON.

It connects, delivers one event so that everything is warm, prints a line, waits for a line on its stdin, and then
publishes at full speed. Its last line on stdout is its report. When its stdin closes, it ends.
"""

import asyncio
import sys
import time
import uuid
from pathlib import Path
from typing import Final

import msgspec

from bus.endpoints import Address
from bus.outbox import Outbox
from bus.producer import BATCH_EVENTS_MAX, Producer, delivering
from tests.bench.trades import lots, trade

WARM_UP_EVENTS: Final = 1
_WARM_UP_S: Final = 30.0
_BACKLOG_EVENTS_MAX: Final = 100_000  # a few commits ahead of the writer; more would only measure waiting for the disk
_DRAIN_S: Final = 600.0


class Order(msgspec.Struct, frozen=True):
    """A producer's order."""

    name: str
    outbox: str
    ingest_address: Address
    events: int


class Report(msgspec.Struct, frozen=True):
    """The times of the first publication and of the last acknowledgement, on the machine's one monotonic clock; the
    processor time of that span, and the most memory that the process ever had.
    """

    began_ns: int
    ended_ns: int
    cpu_s: float
    rss_bytes_max: int


class WatchedOutbox(Outbox):
    """An outbox that wakes the waiters for acknowledgements."""

    def __init__(self, directory: Path, producer: str, stream: str) -> None:
        super().__init__(directory, producer, stream)
        self.acknowledged = asyncio.Event()

    def acknowledge(self, stream: str, high_water_mark: int) -> None:
        """Trim, and wake the waiters."""
        super().acknowledge(stream, high_water_mark)
        self.acknowledged.set()


async def deliver(order: Order) -> Report | None:
    """Carry out the order; None without a start signal."""
    outbox = WatchedOutbox(Path(order.outbox), order.name, uuid.uuid4().hex)
    async with delivering(outbox, order.ingest_address) as producer:
        producer.publish(trade(1))
        if not await producer.drain(_WARM_UP_S):
            return None
        _say("ready")
        if not await asyncio.to_thread(sys.stdin.readline):
            return None
        return await _measured(producer, outbox, order.events)


async def _measured(producer: Producer, outbox: WatchedOutbox, events: int) -> Report | None:
    began_ns, cpu_began_s = time.monotonic_ns(), time.process_time()
    for lot in lots(events, BATCH_EVENTS_MAX):
        for event in lot:
            producer.publish(event)
        await asyncio.sleep(0)
        while producer.unacknowledged > _BACKLOG_EVENTS_MAX:
            outbox.acknowledged.clear()
            await outbox.acknowledged.wait()
    if not await producer.drain(_DRAIN_S):
        return None
    return Report(began_ns, time.monotonic_ns(), time.process_time() - cpu_began_s, _rss_bytes_max())


def _rss_bytes_max() -> int:
    """The kernel's maximum (proc(5), VmHWM); getrusage would return the parent's if that were larger."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Deliver by the order in argv, and print the report; status 1 when not all of it became durable."""
    report = asyncio.run(deliver(msgspec.json.decode(sys.argv[1], type=Order)))
    if report is None:
        return 1
    _say(msgspec.json.encode(report).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
