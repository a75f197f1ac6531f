"""Commits refusals and recoveries and writes their ledgers until killed; `tests.privileges.at_work` runs it.

Prints a line when it begins to write.
"""

import itertools
import sys
import threading
import uuid
from datetime import date
from pathlib import Path

from bus.delivery import Delivered
from bus.events import Event, GapDetected, GapRecovered, MinuteBarRecovered, SlotOverflowed
from observer.base.local_time import local_ns
from observer.store.exports import Ledgers
from observer.store.writer import StoreWriter
from tests.builders import trade

DAY = "2026-11-18"
START_NS = local_ns(date(2026, 11, 18), 10)
SECOND_NS = 10**9
REASON = "all_slots_hold_higher_scores"


def refusal(number: int) -> SlotOverflowed:
    at_ns = START_NS + number * SECOND_NS // 50
    return SlotOverflowed(f"{number % 7:06d}", at_ns, "volume_surge", 0.85, 9.2, 9.5, REASON, 3.2, 5e11, 41)


def recovery(number: int) -> list[Event]:
    """A gap in the day of one symbol, and what fills it: two trades, or a minute."""
    symbol, gap_id = f"{number % 5:06d}", f"gap-{number}"
    from_ns, after = START_NS + number * SECOND_NS // 20, number * 10.0  # several begin in one second
    gap = GapDetected(
        gap_id, "kis", symbol, DAY, from_ns + 1, from_ns, from_ns + 1, after, after + 2, 2, 2, "reconnect"
    )
    if number % 3 == 0:
        minute_ns = from_ns // (60 * SECOND_NS) * 60 * SECOND_NS
        bar = MinuteBarRecovered("kis", symbol, DAY, minute_ns, 1.0, 2.0, 0.5, 1.5, 2.0, gap_id)
        return [gap, bar, GapRecovered(gap_id, symbol, from_ns + 2, "minute_bars", 1, 2.0, False)]
    found = [trade(1, symbol=symbol, cumulative_volume=after + each, gap_id=gap_id) for each in (1, 2)]
    return [gap, *found, GapRecovered(gap_id, symbol, from_ns + 2, "time_and_sales", 2, 2.0, True)]


def commit_and_export(url: str, folder: Path) -> None:
    writer, ledgers, stream = StoreWriter(url), Ledgers(url, folder, "kis", "kr_stocks"), uuid.uuid4().hex
    writer.open()
    first = uuid.UUID(stream).int % 100_000  # another part of the day each time, earlier than the last one's or later
    committed = threading.Event()

    def export() -> None:
        while committed.wait():
            committed.clear()
            ledgers.catch_up()

    threading.Thread(target=export, daemon=True).start()
    mark = 0
    for number in itertools.count(first):
        events: list[Event] = [refusal(number), *recovery(number)]
        writer.commit([Delivered("track-b", stream, mark + 1, events)])
        mark += len(events)
        committed.set()
        if number == first:
            sys.stdout.write("begun\n")
            sys.stdout.flush()
