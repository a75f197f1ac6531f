"""Rows that a sealed day has leave both databases batch by batch, and nothing else leaves with them."""

from datetime import date

import pytest

from bus.delivery import Delivered
from bus.events import NavObserved, Snapshot, SweepCompleted
from observer.base.local_time import local_ns
from observer.store.removal import SealedRows, count_left, has_rows, lacks_snapshots
from observer.store.summary import RowsAndMarks, SummaryReader
from observer.store.writer import StoreWriter
from tests.builders import trade
from tests.store.raw import query

DAY, NEXT_DAY = "2026-11-18", "2026-11-19"
STREAM, OTHER = "5" * 32, "6" * 32


@pytest.fixture
def writer(database_url):
    writer = StoreWriter(database_url)
    writer.open()
    yield writer
    writer.close()


def store(writer, *events, stream=STREAM):
    mark = writer.high_water_marks([stream])[stream]
    writer.commit([Delivered("track-b", stream, mark + 1, list(events))])


def trades_of(session_date, count):
    return [trade(number, session_date=session_date) for number in range(1, count + 1)]


def numbers_in(url, table="trades"):
    found = query(url, f"SELECT sequence FROM {table} ORDER BY stream, sequence")
    return [int(str(number)) for (number,) in found]


def removed(writer, sealed, rows_max):
    """The numbers that the batches reached."""
    reached: list[int] = []
    while (after := writer.remove(sealed, reached[-1] if reached else 0, rows_max)) is not None:
        reached.append(after)
    return reached


def test_the_days_rows_up_to_the_last_number_leave_in_batches(writer, database_url):
    store(writer, *trades_of(NEXT_DAY, 2), *trades_of(DAY, 3), *trades_of(NEXT_DAY, 2), *trades_of(DAY, 3))
    store(writer, *trades_of(DAY, 2), stream=OTHER)
    sealed = SealedRows("trades", DAY, STREAM, 3, 9, 5)
    assert removed(writer, sealed, 2) == [4, 6, 8, 9]
    assert numbers_in(database_url) == [1, 2, 6, 7, 10, 1, 2]
    assert removed(writer, sealed, 2) == [7], "a removal again examines what is between, and removes nothing"
    assert numbers_in(database_url) == [1, 2, 6, 7, 10, 1, 2]


def test_rows_of_a_stream_that_the_database_does_not_have_are_none(writer, database_url):
    store(writer, *trades_of(DAY, 2))
    assert removed(writer, SealedRows("trades", DAY, OTHER, 1, 2, 2), 2) == []
    assert numbers_in(database_url) == [1, 2]


def test_a_kind_without_a_date_is_removed_by_the_local_day_of_its_time(writer, database_url):
    begin_ns, end_ns = local_ns(date(2026, 11, 18)), local_ns(date(2026, 11, 19))
    moments = (begin_ns - 1, begin_ns, end_ns - 1, end_ns)
    store(writer, *(NavObserved("kis", "069500", at_ns, 1.0, 0.0, 1.0, 1.0, 1.0) for at_ns in moments))
    removed(writer, SealedRows("navs", DAY, STREAM, 1, 4, 2), 10)
    assert numbers_in(database_url, "navs") == [1, 4]


def test_the_rows_that_are_gone_count_as_removed_and_those_that_are_left_do_not(writer, database_url):
    store(writer, *trades_of(DAY, 6))
    sealed = SealedRows("trades", DAY, STREAM, 1, 6, 6)
    writer.remove(sealed, 0, 4)
    with SummaryReader(database_url) as reader:
        assert reader.rows_and_marks(lambda: [sealed]) == RowsAndMarks(2, 4, 6)
        assert reader.rows_and_marks() == RowsAndMarks(2, 0, 6)
        with reader._asking() as connection:
            assert count_left(connection, sealed) == 2
            assert count_left(connection, SealedRows("trades", NEXT_DAY, STREAM, 1, 6, 6)) == 0
            assert count_left(connection, SealedRows("trades", DAY, OTHER, 1, 6, 6)) == 0
            left = [SealedRows("trades", DAY, STREAM, number, number, 1) for number in (5, 6)]
            assert has_rows(connection, left)
            assert not has_rows(connection, [*left, sealed])


def sweep(session_date, received):
    return SweepCompleted("kis", session_date, 1, 2, 3, 9, received, 1)


def seen(session_date):
    return Snapshot("kis", "005930", session_date, 1, 3, 1.0, *[None] * 8, 10.0, 10.0)


@pytest.mark.parametrize(
    ("events", "lacks"),
    [
        ([sweep(DAY, 0), sweep(NEXT_DAY, 9)], False),
        ([sweep(DAY, 1)], True),
        ([sweep(DAY, 9), seen(NEXT_DAY)], True),
        ([sweep(DAY, 9), seen(DAY)], False),
        ([seen(DAY), seen(NEXT_DAY)], False),
    ],
)
def test_a_day_lacks_snapshots_when_its_sweeps_brought_some_and_none_is_there(writer, database_url, events, lacks):
    store(writer, *events)
    with SummaryReader(database_url) as reader, reader._asking() as connection:
        assert lacks_snapshots(connection, DAY) == lacks
