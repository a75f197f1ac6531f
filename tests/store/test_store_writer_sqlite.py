"""The writer on SQLite alone: a full disk, other threads, and numbers that are none."""

import gc
import sqlite3
import threading
import types

import pytest
from sqlalchemy import event

from bus.delivery import Delivered
from observer.base.errors import DatabaseInUseError, StoreError
from observer.store.writer import StoreWriter
from tests.builders import trade, trades
from tests.store.migrated import make_database
from tests.store.raw import execute, query
from tests.store.stored import stored

STREAM = "5" * 32


@pytest.fixture
def url(tmp_path):
    url = f"sqlite:///{tmp_path}/observer.sqlite3"
    make_database(url)
    return url


def test_a_commit_leaves_nothing_to_the_collector_of_reference_cycles(url):
    writer = StoreWriter(url)
    writer.open()
    for first in range(1, 21):
        writer.commit([Delivered("track-b", STREAM, first, trades(1, first))])
    gc.collect()
    gc.freeze()  # what earlier tests left alive is not looked through three times
    gc.disable()
    try:
        left = []
        for begin in (21, 41, 61):  # what other threads of this process leave comes once, what commits leave each time
            for first in range(begin, begin + 20):
                writer.commit([Delivered("track-b", STREAM, first, trades(1, first))])
            left.append(gc.collect())
        assert min(left) < 20
    finally:
        gc.enable()
        writer.close()


def test_a_full_disk_is_an_error_that_changes_nothing_and_passes(url):
    [(pages,)] = query(url, "PRAGMA page_count")
    writer = StoreWriter(url)

    def limit(connection, _entry):
        connection.execute(f"PRAGMA max_page_count={pages}")

    event.listen(writer._engine, "connect", limit)
    writer.open()
    writer.commit([Delivered("track-b", STREAM, 1, trades(2))])
    with pytest.raises(StoreError, match="full"):
        writer.commit([Delivered("track-b", STREAM, 3, trades(5_000, 3))])
    assert writer.high_water_marks([STREAM]) == {STREAM: 2}
    event.remove(writer._engine, "connect", limit)
    writer._engine.dispose()
    writer.commit([Delivered("track-b", STREAM, 3, trades(5_000, 3))])
    assert writer.high_water_marks([STREAM]) == {STREAM: 5_002}
    writer.close()


def test_a_writer_may_be_opened_in_one_thread_and_used_in_another(url):
    writer = StoreWriter(url)
    writer.open()
    batches = [Delivered("track-b", STREAM, 1, trades(2))]
    thread = threading.Thread(target=lambda: writer.commit(batches))
    thread.start()
    thread.join()
    assert writer.high_water_marks([STREAM]) == {STREAM: 2}
    writer.close()


def test_a_price_that_is_not_a_number_is_quarantined(url):
    writer = StoreWriter(url)
    writer.open()
    committed = writer.commit([Delivered("track-b", STREAM, 1, [trade(1), trade(2, price=float("nan"))])])
    assert (committed.stored, committed.quarantined) == (1, 1)
    writer.close()


def test_of_many_trades_only_the_refused_one_is_quarantined_and_the_others_are_stored_once(url):
    events = trades(60)
    events[40] = trade(41, price=float("nan"))
    writer = StoreWriter(url)
    writer.open()
    committed = writer.commit([Delivered("track-b", STREAM, 1, events)])
    writer.close()
    assert (committed.stored, committed.quarantined) == (59, 1)
    stored = query(url, "SELECT sequence, price, receive_time_ns FROM trades ORDER BY sequence")
    kept = [(number, each.price, each.receive_time_ns) for number, each in enumerate(events, 1) if number != 41]
    assert [tuple(row) for row in stored] == kept


def test_the_driver_takes_every_type_of_value_without_a_search(url):
    stored(url, trade(1, gap_id=None, side_inferred=True))
    registered = {value_type for value_type, _protocol in sqlite3.adapters}
    assert {bool, types.NoneType} <= registered
    assert query(url, "SELECT typeof(gap_id), typeof(side_inferred), side_inferred FROM trades") == [
        ("null", "integer", 1)
    ]


def test_closing_leaves_one_file_without_a_log(url, tmp_path):
    stored(url, *trades(2))
    assert [path.name for path in tmp_path.iterdir()] == ["observer.sqlite3"]


def test_a_writer_that_cannot_open_its_database_keeps_no_other_one_from_it(tmp_path):
    url = f"sqlite:///{tmp_path}/observer.sqlite3"
    execute(url, "CREATE TABLE of_another_program (number INTEGER)")
    for _ in range(2):
        with pytest.raises(StoreError) as caught:
            StoreWriter(url).open()
        assert not isinstance(caught.value, DatabaseInUseError)
    make_database(url)
    writer = StoreWriter(url)
    writer.open()
    with pytest.raises(DatabaseInUseError):
        StoreWriter(url).open()
    writer.close()
