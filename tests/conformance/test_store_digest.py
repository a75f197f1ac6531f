"""A digest says whether two databases hold the same, whatever the order and whichever database."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.delivery import Delivered
from bus.events import EVENT_TYPES, Poison
from observer.base.errors import StoreError
from observer.store.digest import digest, digest_of_rows
from observer.store.writer import StoreWriter
from tests.builders import trade, trades
from tests.bus.journals.keep import example
from tests.store.migrated import make_database

A, B, C = "aa" * 16, "bb" * 16, "cc" * 16


def digest_after(url, *batches):
    writer = StoreWriter(url)
    for batch in batches:
        writer.commit([batch])
    writer.close()
    return digest(url)


def delivered(stream, first, events):
    return Delivered("track-b", stream, first, events)


@pytest.fixture
def other_url(tmp_path):
    url = f"sqlite:///{tmp_path / 'other.sqlite3'}"
    make_database(url)
    return url


def every_kind():
    return [example(event_type) for event_type in EVENT_TYPES]


def test_the_same_events_under_other_numbers_in_another_order_have_the_same_digests(database_url, other_url):
    """On PostgreSQL this is SQLite's digest and PostgreSQL's."""
    events = [*every_kind(), *trades(5), Poison(b"\xff", "unreadable")]
    one = digest_after(database_url, delivered(A, 1, events[:10]), delivered(B, 1, events[10:]))
    other = digest_after(other_url, delivered(C, 1, events[10:]), delivered(C, 1 + len(events[10:]), events[:10]))
    assert one == other


def test_each_table_has_its_rows_counted(database_url):
    found = digest_after(database_url, delivered(A, 1, trades(5)), delivered(B, 1, [Poison(b"\xff", "")]))
    rows = {name: table.rows for name, table in found.tables.items() if table.rows}
    assert rows == {"trades": 5, "quarantine": 1}


@pytest.mark.parametrize(
    "other",
    [
        [trade(1), trade(1)],
        [trade(1), trade(2, price=70_000.0000001)],
        [trade(1), trade(2, bid=None)],
        [trade(1)],
        [trade(1), trade(2), trade(2)],
    ],
)
def test_other_content_has_another_digest(database_url, other_url, other):
    one = digest_after(database_url, delivered(A, 1, [trade(1), trade(2)]))
    two = digest_after(other_url, delivered(A, 1, other))
    assert one.tables["trades"] != two.tables["trades"]
    assert one.digest != two.digest
    assert {name for name in one.tables if one.tables[name] != two.tables[name]} == {"trades"}


def test_a_pair_of_the_same_rows_is_not_nothing(database_url, other_url):
    one = digest_after(database_url, delivered(A, 1, [trade(1), trade(1), trade(2)]))
    two = digest_after(other_url, delivered(A, 1, [trade(2), trade(2), trade(1)]))
    assert one.tables["trades"].rows == two.tables["trades"].rows
    assert one.tables["trades"].digest != two.tables["trades"].digest


def test_the_digest_of_the_quarantine_covers_the_content_and_not_the_reason(database_url, other_url):
    one = digest_after(database_url, delivered(A, 1, [Poison(b"\xff", "so"), Poison(b"\xfe", "")]))
    two = digest_after(other_url, delivered(A, 1, [Poison(b"\xfe", "thus"), Poison(b"\xff", "")]))
    assert one == two


def test_a_database_that_is_not_there_has_none(tmp_path):
    with pytest.raises(StoreError):
        digest(f"sqlite:///{tmp_path / 'nothing'}")


@given(rows=st.lists(st.tuples(st.text(), st.integers(-(2**63), 2**63 - 1), st.none() | st.floats())), data=st.data())
def test_the_order_of_rows_does_not_count(rows, data):
    assert digest_of_rows(rows) == digest_of_rows(data.draw(st.permutations(rows)))


def test_zero_has_no_sign():
    assert digest_of_rows([(0.0,)]) == digest_of_rows([(-0.0,)])
    assert digest_of_rows([(0.0,)]) != digest_of_rows([(5e-324,)])
