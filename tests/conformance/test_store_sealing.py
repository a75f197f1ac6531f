"""What a sealing asks the database about days that left it, on both databases."""

import pytest

from bus.delivery import Delivered
from bus.events import Event
from observer.store.kinds import REMOVABLE
from observer.store.removal import SealedRows
from observer.store.sealing import SealingReader
from observer.store.writer import StoreWriter
from tests.archive.stored import of_every_kind
from tests.builders import trade

DAY = "2026-11-18"
STREAM, OTHER = "5" * 32, "6" * 32
LINES = ("000010", "000020", "000030")


@pytest.fixture
def writer(database_url):
    writer = StoreWriter(database_url)
    writer.open()
    yield writer
    writer.close()


def test_the_oldest_days_are_those_of_each_line_of_each_kind_whose_rows_leave_the_database(writer, database_url):
    """Each kind has a month, in which its lines begin one after another and all have a row of the last day."""
    events: list[Event] = []
    oldest: set[str] = set()
    for month, kind in enumerate(sorted(REMOVABLE), start=1):
        first_days = [f"2026-{month:02}-{number:02}" for number in range(1, len(LINES) + 1)]
        last_day = f"2026-{month:02}-20"
        for number, (symbol, first_day) in enumerate(zip(LINES, first_days, strict=True)):
            for day in (last_day, first_day):
                events += of_every_kind(day, symbol, number, [kind])
        oldest.update(first_days)
        if kind == "tape_pages":  # its index has no lines: each day is one of them
            oldest.add(last_day)
    events += of_every_kind("2026-12-24", LINES[0], 1, ["sweeps"])  # they stay in the database
    with SealingReader(database_url) as reader:
        assert reader.oldest_days() == set()
    writer.commit([Delivered("track-b", STREAM, 1, events)])
    with SealingReader(database_url) as reader:
        assert reader.oldest_days() == oldest


def test_sealed_rows_are_there_or_not_by_their_positions(writer, database_url):
    writer.commit([Delivered("track-b", STREAM, 1, [trade(number, session_date=DAY) for number in range(1, 7)])])
    writer.remove(SealedRows("trades", DAY, STREAM, 1, 4, 4), 0)
    left, gone = SealedRows("trades", DAY, STREAM, 5, 6, 2), SealedRows("trades", DAY, STREAM, 1, 6, 6)
    with SealingReader(database_url) as reader:
        assert [reader.count_left(each) for each in (left, gone)] == [2, 2]
        assert [reader.has_rows(each) for each in ([], [left], [left, gone])] == [True, True, False]
        assert reader.count_left(SealedRows("trades", DAY, OTHER, 5, 6, 2)) == 0
