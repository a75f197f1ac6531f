"""Events and rows: the order, the slot, and the projections."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple

from bus.delivery import Delivered
from bus.events import Poison, SlotAssigned, SlotReleased, Trade
from observer.reference.listings.model import Listing
from observer.store.rows import (
    CONTENT_BYTES_MAX,
    event_of,
    group_rows,
    listing_row,
    position_of,
    refused_row,
    slots_in_use,
    within_bound,
)
from observer.store.tables import EVENT_TABLES, LISTINGS, QUARANTINE
from tests.builders import trade
from tests.store.listings import listing_changed
from tests.strategies import events

STREAM = "5" * 32


def delivered(items, first=1):
    return Delivered("track-b", STREAM, first, items)


@given(items=st.lists(events() | st.builds(Poison), max_size=30), first=st.integers(1, 2**40))
def test_every_event_has_one_row_with_its_own_number(items, first):
    group = group_rows([delivered(items, first)], {STREAM: 7})
    rows = [*group.poison, *(row for rows in group.rows.values() for row in rows)]
    assert sorted(position_of(row) for row in rows) == [(7, first + offset) for offset in range(len(items))]


@given(items=st.lists(events(), max_size=30))
def test_a_row_is_as_long_as_its_table_and_gives_the_event_back(items):
    group = group_rows([delivered(items)], {STREAM: 7})
    for event_type, rows in group.rows.items():
        assert all(len(row) == len(EVENT_TABLES[event_type].columns) for row in rows)
        assert [event_of(event_type, row) for row in rows] == [item for item in items if type(item) is event_type]


def test_a_refused_rows_reason_is_text_that_every_database_takes():
    row = (7, 3, *astuple(trade(1, symbol="\ud800")))
    *position, reason, content = refused_row(Trade, row, "cannot store '\0' or '\ud800', " + "at all " * 1000)
    assert position == [7, 3]
    assert isinstance(reason, str)
    assert reason.startswith("cannot store '\\x00' or '\\ud800'")
    assert len(reason) < 600
    assert isinstance(content, bytes)
    assert b"\\ud800" in content
    assert len(QUARANTINE.columns) == 4


def test_of_a_long_event_in_quarantine_the_beginning_is_kept_and_its_length():
    [row] = group_rows([delivered([Poison(b"x" * 20_000_000, "r" * 20_000_000)])], {STREAM: 7}).poison
    *position, reason, content = row
    assert position == [7, 1]
    assert isinstance(reason, str)
    assert reason.endswith("r (the first 4,096 of 20,000,000 bytes)")
    assert len(reason) < 600
    assert content == b"x" * CONTENT_BYTES_MAX


@given(st.lists(st.binary(max_size=60)), st.integers(0, 500), st.integers(0, 500))
def test_each_event_in_quarantine_has_a_row_and_their_contents_keep_the_days_bound(contents, used_bytes, bytes_max):
    rows = [(7, number, "refused", content) for number, content in enumerate(contents, start=1)]
    kept, used = within_bound(rows, used_bytes, bytes_max)
    assert [row[:2] for row in kept] == [row[:2] for row in rows]
    assert used <= max(used_bytes, bytes_max)
    assert used - used_bytes == sum(len(row[3]) for row in kept if isinstance(row[3], bytes))
    for row, (*_, reason, content) in zip(rows, kept, strict=True):
        assert content in (row[3], b"")
        assert str(reason).startswith("refused")
        if content != row[3]:
            assert f"{len(row[3])} bytes are not kept" in str(reason)


def test_the_row_of_a_listing_has_its_state_and_its_lifetime():
    row = listing_row(listing_changed(change="removed", changed_ns=5))
    assert len(row) == len(LISTINGS.columns)
    assert row[-5:] == (5, "removed", 5, 5, False)
    assert Listing(*row[:-5]).name == "삼성전자"


# --- slots in use --------------------------------------------------------------------------------------------


def row_of(sequence, event):
    return (1, sequence, *astuple(event))


@pytest.mark.parametrize("reason", ["kept", "moved", "moved_home"])
def test_a_kept_or_moved_symbol_keeps_its_first_assignment_time(reason):
    first = SlotAssigned("a", "x", 10, "volume_surge", 12.0, "free_slot", None)
    again = SlotAssigned("b", "x", 20, "market_cap", 2.0, reason, None)
    [held] = slots_in_use([row_of(1, first), row_of(3, again)], [row_of(2, SlotReleased("a", "x", 20, 12.0, reason))])
    assert (held.slot, held.assigned_ns, held.trigger) == ("b", 10, "market_cap")


# slot, symbol, whether it is an assignment (or else a release), nanoseconds since the step before
STEP = st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.booleans(), st.integers(0, 1))


@given(steps=st.lists(STEP, max_size=20), shuffled=st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(steps, shuffled):
    """A slot's last step decides: an assignment stands, a release of the symbol that has it frees it."""
    assignments, releases, in_use = [], [], {}
    moment_ns = 0
    for sequence, (slot, symbol, is_assignment, elapsed_ns) in enumerate(steps, 1):
        moment_ns += elapsed_ns
        if is_assignment:
            in_use[slot] = SlotAssigned(slot, symbol, moment_ns, "manual", 1.0, "", None)
            assignments.append((1, sequence, *astuple(in_use[slot])))
        else:
            releases.append((1, sequence, *astuple(SlotReleased(slot, symbol, moment_ns, 1.0, ""))))
            if slot in in_use and in_use[slot].symbol == symbol:
                del in_use[slot]
    shuffled.shuffle(assignments)
    assert slots_in_use(assignments, releases[::-1]) == [in_use[slot] for slot in sorted(in_use)]
