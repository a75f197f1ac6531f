"""The writer, on both databases: one row per event, and high-water marks that match the stored rows."""

import itertools

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bus.codec import decode_event, encode_event
from bus.delivery import Delivered, Lost
from bus.events import ListingChanged, ListingValued, Poison, kind_of
from observer.base.errors import DatabaseReplacedError, StoreError
from observer.store.kinds import TABLE_NAMES
from observer.store.reader import StoreReader
from observer.store.rows import event_of, position_of
from observer.store.writer import StoreWriter
from tests.builders import trade, trades
from tests.properties import examples
from tests.store.listings import listing_changed
from tests.store.raw import execute, query
from tests.strategies import events

STREAM = "5" * 32
OTHER_STREAM = "6" * 32
UNIQUE_STREAMS = (f"{number:032x}" for number in itertools.count(1))


def delivered(items, first=1, stream=STREAM):
    return Delivered("track-b", stream, first, items)


@pytest.fixture
def writer(database_url):
    writer = StoreWriter(database_url, now_ns=lambda: 77)
    writer.open()
    yield writer
    writer.close()


def sequences(url, table):
    return [row[0] for row in query(url, f"SELECT sequence FROM {table} ORDER BY stream, sequence")]


def test_a_stream_that_never_delivered_stands_at_zero(writer):
    assert writer.high_water_marks([STREAM, OTHER_STREAM]) == {STREAM: 0, OTHER_STREAM: 0}


def test_each_event_is_one_row_with_its_stream_and_sequence(writer, database_url):
    committed = writer.commit([delivered(trades(3))])
    assert committed.rows_by_kind == {"trade": 3}
    assert query(database_url, "SELECT stream, sequence, cumulative_volume FROM trades ORDER BY sequence") == [
        (1, 1, 1.0),
        (1, 2, 2.0),
        (1, 3, 3.0),
    ]


def test_the_mark_is_the_number_of_the_last_event(writer):
    writer.commit([delivered(trades(3)), delivered(trades(2), stream=OTHER_STREAM), delivered(trades(4), first=4)])
    assert writer.high_water_marks([STREAM, OTHER_STREAM]) == {STREAM: 7, OTHER_STREAM: 2}


def test_another_writer_finds_the_marks_and_goes_on(writer, database_url):
    writer.commit([delivered(trades(3))])
    writer.close()
    second = StoreWriter(database_url)
    second.open()
    second.commit([delivered(trades(1), first=4)])
    assert second.high_water_marks([STREAM]) == {STREAM: 4}
    second.close()


@pytest.mark.parametrize("first", [1, 3, 5])
def test_a_batch_that_does_not_follow_the_mark_changes_nothing(writer, database_url, first):
    writer.commit([delivered(trades(3))])
    with pytest.raises(StoreError, match="stands at 3"):
        writer.commit([delivered(trades(1), stream=OTHER_STREAM), delivered(trades(1), first=first)])
    assert sequences(database_url, "trades") == [1, 2, 3]
    assert writer.high_water_marks([STREAM, OTHER_STREAM]) == {STREAM: 3, OTHER_STREAM: 0}


def test_lost_numbers_are_one_row_and_the_stream_goes_on(writer, database_url):
    lost = Lost(STREAM, 3, 10, "damaged", "producer")
    assert writer.lost_events() == 0
    committed = writer.commit([delivered(trades(2)), lost, delivered(trades(1, first=11), first=11)])
    assert (committed.stored, committed.lost, writer.lost_events()) == (3, 8, 8)
    assert writer.high_water_marks([STREAM]) == {STREAM: 11}
    assert sequences(database_url, "trades") == [1, 2, 11]
    statement = "SELECT first_sequence, last_sequence, reason, noted_ns FROM delivery_losses"
    assert query(database_url, statement) == [(3, 10, "damaged", 77)]


def test_an_epoch_stays_until_the_database_goes_back(writer, database_url):
    first = writer.epoch()
    assert writer.epoch() == first
    second = writer.begin_epoch("it was put back")
    assert second != first
    assert writer.epoch() == second
    reasons = query(database_url, "SELECT reason FROM database_epochs ORDER BY id")
    assert reasons == [("created",), ("it was put back",)]


def test_nothing_to_commit_is_no_error(writer):
    assert writer.commit([]).stored == 0


@settings(examples(0.3), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(items=st.lists(events(), min_size=1, max_size=40))
def test_every_field_of_every_event_is_stored_as_it_came(writer, database_url, items):
    stream = next(UNIQUE_STREAMS)
    writer.commit([delivered(items, stream=stream)])
    found = {}
    for event_type in {type(item) for item in items}:
        belongs = f"stream = (SELECT id FROM streams WHERE uid = '{stream}')"
        for row in query(database_url, f"SELECT * FROM {TABLE_NAMES[event_type]} WHERE {belongs}"):
            _stream, sequence = position_of(row)
            found[sequence] = event_of(event_type, row)
    assert [found[number] for number in range(1, len(items) + 1)] == items


@pytest.mark.parametrize(("first", "parts"), [(1, 0), (3, 0), (5, 0), (4, 1), (6, 1), (9, 1)])
def test_the_error_of_a_batch_that_does_not_follow_names_the_stream_its_producer_and_both_numbers(writer, first, parts):
    writer.commit([delivered(trades(3))])
    before = [delivered(trades(1, 4), first=4)] * parts
    with pytest.raises(StoreError) as caught:
        writer.commit([*before, Lost(STREAM, first, first + 1, "gone", "track-b")])
    text = f"stream {STREAM} of track-b stands at {3 + parts}, so a batch that starts with {first} does not follow"
    assert str(caught.value).endswith(text)


def test_streams_are_numbered_as_they_came_each_with_its_producer_and_mark(writer, database_url):
    streams = [f"{9 - number:032x}" for number in range(4)]
    parts = [Delivered(f"p{number}", stream, 1, trades(number + 1)) for number, stream in enumerate(streams)]
    writer.commit(parts[:1])
    writer.commit([parts[2], parts[1], Lost(streams[3], 1, 9, "gone", "p3"), delivered(trades(1, 2), 2, streams[0])])
    found = query(database_url, "SELECT id, uid, producer, high_water_mark, duplicates FROM streams ORDER BY id")
    expected = [(streams[0], "p0", 2), (streams[2], "p2", 3), (streams[1], "p1", 2), (streams[3], "p3", 9)]
    assert found == [(number, *each, 0) for number, each in enumerate(expected, 1)]
    lost = query(database_url, "SELECT stream, first_sequence, last_sequence FROM delivery_losses")
    assert lost == [(4, 1, 9)]
    assert writer.lost_events() == 9


def test_a_commit_says_how_many_rows_of_each_kind_it_stored(writer):
    items = [trade(1), listing_changed(), trade(2, price=None), Poison(b"?", "none"), trade(3)]
    committed = writer.commit([delivered(items), Lost(STREAM, 6, 7, "gone", "track-b")])
    assert committed.rows_by_kind == {"trade": 2, kind_of(ListingChanged): 1}
    assert (committed.stored, committed.quarantined, committed.lost) == (3, 2, 2)


@pytest.mark.parametrize(
    "last", [delivered(trades(3), stream=OTHER_STREAM), Lost(OTHER_STREAM, 1, 3, "gone", "track-b")]
)
def test_a_database_without_the_last_commit_was_put_back_and_takes_nothing_until_its_marks_are_read(
    writer, database_url, last
):
    writer.commit([delivered(trades(2)), last])
    writer.commit([])
    execute(database_url, f"UPDATE streams SET high_water_mark = 2 WHERE uid = '{OTHER_STREAM}'")
    for _ in range(2):
        with pytest.raises(DatabaseReplacedError):
            writer.commit([delivered(trades(1, 3), first=3)])
    assert writer.high_water_marks([STREAM, OTHER_STREAM]) == {STREAM: 2, OTHER_STREAM: 2}
    writer.commit([delivered(trades(1, 3), first=3)])
    assert writer.high_water_marks([STREAM]) == {STREAM: 3}


def test_an_epoch_is_noted_with_its_moment_and_its_number(writer, database_url):
    epochs = [writer.epoch()]
    for number in range(6):
        epochs.append(writer.begin_epoch(f"fall {number}"))
        assert writer.epoch() == epochs[-1]
    assert len({*epochs}) == 7
    assert query(database_url, "SELECT id, epoch, began_ns FROM database_epochs ORDER BY id") == [
        (number, epoch, 77) for number, epoch in enumerate(epochs, 1)
    ]


# --- quarantine ----------------------------------------------------------------------------------------------


def test_poison_goes_to_quarantine_and_keeps_its_number(writer, database_url):
    committed = writer.commit([delivered([trade(1), Poison(b"\xc1", "not an event"), trade(3)])])
    assert (committed.stored, committed.quarantined) == (2, 1)
    assert sequences(database_url, "trades") == [1, 3]
    rows = query(database_url, "SELECT stream, sequence, reason, content FROM quarantine")
    assert rows == [(1, 2, "not an event", b"\xc1")]
    assert writer.high_water_marks([STREAM]) == {STREAM: 3}


def test_a_writer_that_is_started_again_goes_on_with_the_bound_of_the_days_quarantine(database_url, monkeypatch):
    monkeypatch.setattr("observer.store.writer.QUARANTINE_BYTES_MAX", 10)
    for number in (1, 2, 3):
        again = StoreWriter(database_url, now_ns=lambda: 77)
        again.open()
        again.commit([delivered([Poison(b"123456", "not an event")], number)])
        again.close()
    assert query(database_url, "SELECT length(content) FROM quarantine ORDER BY sequence") == [(6,), (0,), (0,)]


def test_the_next_day_has_room_in_the_quarantine_whatever_the_table_holds(database_url, monkeypatch):
    monkeypatch.setattr("observer.store.writer.QUARANTINE_BYTES_MAX", 12)
    now_ns = 77
    writer = StoreWriter(database_url, now_ns=lambda: now_ns)
    writer.open()
    for first in (1, 4):
        writer.commit([delivered([Poison(b"123456", "not an event")] * 3, first)])
        now_ns += 86_400_000_000_000
    writer.close()
    assert query(database_url, "SELECT length(content) FROM quarantine ORDER BY sequence") == [(6,), (6,), (0,)] * 2


REFUSED = {
    "an integer beyond 64 bits": trade(1, exchange_time_ns=2**63),
    "a lone surrogate": trade(1, symbol="\ud800"),
    "no value where there must be one": trade(1, price=None),
}


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("position", [0, 37, 99])
def test_a_refused_row_goes_to_quarantine_and_the_rest_is_stored(writer, database_url, refused, position):
    items = trades(100)
    items[position] = refused
    committed = writer.commit([delivered(items), delivered(trades(5), stream=OTHER_STREAM)])
    assert (committed.stored, committed.quarantined) == (104, 1)
    assert sequences(database_url, "quarantine") == [position + 1]
    assert len(sequences(database_url, "trades")) == 104
    assert writer.high_water_marks([STREAM, OTHER_STREAM]) == {STREAM: 100, OTHER_STREAM: 5}


def test_a_refused_event_can_be_read_from_the_quarantine(writer, database_url):
    refused = trade(1, price=None)
    committed = writer.commit([delivered([refused, Poison(b"\xc1", "not an event")])])
    assert committed.quarantined == 2
    rows = query(database_url, "SELECT reason, content FROM quarantine ORDER BY sequence")
    [(reason, content), poison] = rows
    assert content == encode_event(refused)
    assert "price" in str(reason)
    assert poison == ("not an event", b"\xc1")


@settings(examples(0.2), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(bad=st.sets(st.integers(1, 60)))
def test_any_refused_rows_are_found_and_no_others(writer, database_url, bad):
    stream = next(UNIQUE_STREAMS)
    items = [trade(number, exchange_time_ns=2**63 if number in bad else number) for number in range(1, 61)]
    committed = writer.commit([delivered(items, stream=stream)])
    assert (committed.stored, committed.quarantined) == (60 - len(bad), len(bad))
    belongs = f"stream = (SELECT id FROM streams WHERE uid = '{stream}')"
    rows = query(database_url, f"SELECT sequence FROM quarantine WHERE {belongs}")
    assert {sequence for (sequence,) in rows} == bad


def test_text_with_a_nul_is_never_lost(writer, database_url):
    writer.commit([delivered([trade(1, symbol="a\0b")])])  # SQLite stores it, PostgreSQL cannot
    with StoreReader(database_url) as reader:
        assert reader.total_rows() == 1
    for (content,) in query(database_url, "SELECT content FROM quarantine"):
        assert isinstance(content, bytes)
        assert decode_event(content) == trade(1, symbol="a\0b")


# --- the database is away ------------------------------------------------------------------------------------


def test_a_new_connection_is_made_after_a_failure(writer, database_url):
    writer.commit([delivered(trades(1))])
    execute(database_url, "ALTER TABLE trade_rows RENAME TO elsewhere")
    with pytest.raises(StoreError):
        writer.commit([delivered(trades(1), first=2)])
    execute(database_url, "ALTER TABLE elsewhere RENAME TO trade_rows")
    assert writer.high_water_marks([STREAM]) == {STREAM: 1}
    writer.commit([delivered(trades(1), first=2)])
    assert sequences(database_url, "trades") == [1, 2]


def test_redelivered_events_are_counted_with_their_stream(writer, database_url):
    writer.commit([delivered(trades(1)), delivered(trades(1), stream=OTHER_STREAM)])
    writer.note_duplicates(STREAM, 3)
    writer.note_duplicates(STREAM, 4)
    streams = query(database_url, "SELECT id, uid, producer, duplicates FROM streams ORDER BY id")
    assert streams == [(1, STREAM, "track-b", 7), (2, OTHER_STREAM, "track-b", 0)]


# --- the projection of listings ------------------------------------------------------------------------------


def listing_rows(url):
    columns = "symbol, name, first_seen_ns, first_seen_as, changed_ns, active"
    return query(url, f"SELECT {columns} FROM listings ORDER BY exchange, symbol")


def changes_of(*steps):
    return [listing_changed(change=change, changed_ns=moment, name=name) for change, moment, name in steps]


@pytest.mark.parametrize("first", ["initial", "new"])
def test_a_listing_keeps_when_it_was_first_seen_and_as_what(writer, database_url, first):
    writer.commit([delivered(changes_of((first, 10, "A")))])
    writer.commit([delivered(changes_of(("changed", 20, "B"), ("changed", 30, "C")), first=2)])
    assert listing_rows(database_url) == [("005930", "C", 10, first, 30, True)]


def test_a_removed_listing_stays_and_is_not_active(writer, database_url):
    writer.commit([delivered(changes_of(("new", 10, "A"), ("removed", 20, "A")))])
    assert listing_rows(database_url) == [("005930", "A", 10, "new", 20, False)]


def test_a_relisted_listing_is_active_again(writer, database_url):
    writer.commit([delivered(changes_of(("new", 10, "A"), ("removed", 20, "A"), ("relisted", 30, "A")))])
    assert listing_rows(database_url) == [("005930", "A", 10, "new", 30, True)]


def test_a_value_changes_the_state_of_its_listing_alone_and_an_older_one_nothing(writer, database_url):
    def valued(exchange, moment_ns, price):
        return ListingValued("kis", exchange, "005930", moment_ns, price, None)

    listed = [listing_changed(), listing_changed(exchange="KOSDAQ")]
    writer.commit([delivered([*listed, valued("KOSPI", 30, 2.0), valued("KOSPI", 20, 1.0), valued("KONEX", 30, 3.0)])])
    columns = "exchange, base_price, market_cap, changed_ns, valued_ns"
    rows = query(database_url, f"SELECT {columns} FROM listings ORDER BY exchange")
    assert rows == [("KOSDAQ", 70_000.0, 4.2e14, 1, 1), ("KOSPI", 2.0, None, 1, 30)]


def test_a_late_change_does_not_undo_a_newer_one(writer, database_url):
    writer.commit([delivered(changes_of(("new", 10, "A"), ("changed", 30, "C")))])
    writer.commit([delivered(changes_of(("changed", 20, "B")), stream=OTHER_STREAM)])
    assert listing_rows(database_url) == [("005930", "C", 10, "new", 30, True)]
    assert len(sequences(database_url, "listing_changes")) == 3


def test_the_same_symbol_on_two_exchanges_is_two_listings(writer, database_url):
    writer.commit([delivered([listing_changed(exchange="KOSPI"), listing_changed(exchange="KOSDAQ")])])
    assert len(listing_rows(database_url)) == 2


def test_a_refused_change_leaves_the_listing_as_it_is(writer, database_url):
    refused = msgspec.structs.replace(listing_changed(changed_ns=20), name="\ud800")
    committed = writer.commit([delivered([listing_changed(changed_ns=10, name="A"), refused])])
    assert committed.rows_by_kind == {kind_of(ListingChanged): 1}
    assert listing_rows(database_url) == [("005930", "A", 10, "new", 10, True)]


def test_a_database_restored_without_its_sequences_takes_new_streams_and_epochs(database_url):
    def commit(stream):
        writer = StoreWriter(database_url)
        writer.open()
        writer.begin_epoch("restored")
        writer.commit([Delivered("track-b", stream, 1, trades(1))])
        writer.close()

    commit("5" * 32)
    if database_url.startswith("postgresql"):
        for table in ("streams", "database_epochs"):
            execute(database_url, f"ALTER SEQUENCE {table}_id_seq RESTART")
    commit("6" * 32)
    assert query(database_url, "SELECT count(*), count(DISTINCT stream) FROM trades") == [(2, 2)]
