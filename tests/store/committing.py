"""Commits until it is killed; `tests.privileges.at_work` runs it.

After each commit it prints the stored high-water marks, so that a test knows which rows must exist.
"""

import itertools
import sys

from bus.delivery import Delivered
from observer.store.writer import StoreWriter
from tests.builders import trades

STREAMS = ("5" * 32, "6" * 32)
BATCH_EVENTS = 50


def commit_for_ever(url: str) -> None:
    writer = StoreWriter(url)
    writer.open()
    marks = writer.high_water_marks(STREAMS)
    for _round in itertools.count():
        batches = [Delivered("track-b", uid, mark + 1, trades(BATCH_EVENTS, mark + 1)) for uid, mark in marks.items()]
        writer.commit(batches)
        marks = {uid: mark + BATCH_EVENTS for uid, mark in marks.items()}
        sys.stdout.write(f"{min(marks.values())}\n")
        sys.stdout.flush()
