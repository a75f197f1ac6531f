"""The codec: events survive a round trip; an undecodable event loses only its own sequence number."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.codec import BatchError, decode_event, decode_events, encode_event, pack, unpack
from bus.events import EVENT_TYPES, SCHEMA_VERSION, Poison, kind_of
from tests.builders import trades
from tests.strategies import events

STREAM = "ab" * 16


@given(events())
def test_every_kind_of_event_comes_out_as_it_went_in(event):
    assert decode_event(encode_event(event)) == event


def test_every_kind_has_a_name_of_its_own():
    assert len({kind_of(event_type) for event_type in EVENT_TYPES}) == len(EVENT_TYPES)


def test_a_batch_carries_its_stream_its_numbers_and_its_version():
    batch = unpack(pack(STREAM, 7, trades(3)))
    assert (batch.stream, batch.first_sequence, batch.last_sequence) == (STREAM, 7, 9)
    assert batch.schema_version == SCHEMA_VERSION
    assert decode_events(batch) == trades(3)


def test_an_unreadable_event_becomes_poison_and_its_neighbours_are_kept():
    whole = trades(3)
    bodies = [encode_event(event) for event in whole]
    bodies[1] = msgspec.msgpack.encode(["trade", "no number where one belongs"])
    batch = msgspec.structs.replace(unpack(pack(STREAM, 1, whole)), body=b"\x93" + b"".join(bodies))
    first, second, third = decode_events(batch)
    assert (first, third) == (whole[0], whole[2])
    assert isinstance(second, Poison)
    assert second.content == bodies[1]


def test_a_body_that_is_no_array_of_events_uses_up_all_its_numbers():
    batch = msgspec.structs.replace(unpack(pack(STREAM, 1, trades(4))), body=b"\xc1 nonsense")
    events = decode_events(batch)
    assert len(events) == 4
    assert all(isinstance(event, Poison) for event in events)
    assert events[0].content == batch.body


@given(st.binary(max_size=200))
def test_no_bytes_make_the_decoder_raise_anything_but_its_own_error(data):
    try:
        batch = unpack(data)
    except BatchError:
        return
    if batch.count < 10_000:
        assert len(decode_events(batch)) == batch.count


def test_an_event_of_a_newer_version_with_more_fields_is_read_without_them():
    event = trades(1)[0]
    newer = msgspec.msgpack.encode([*msgspec.msgpack.decode(encode_event(event)), "a field of tomorrow"])
    assert decode_event(newer) == event


def test_an_event_of_an_older_version_gets_defaults_for_its_missing_fields():
    event = trades(1)[0]
    older = msgspec.msgpack.encode(msgspec.msgpack.decode(encode_event(event))[:-1])
    assert decode_event(older) == event
    assert event.gap_id is None


def test_a_batch_without_events_is_refused():
    with pytest.raises(BatchError):
        unpack(pack(STREAM, 1, []))
