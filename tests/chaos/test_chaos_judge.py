"""The judge finds each kind of fault: in a whole database, and in one where a single thing was changed."""

import uuid

import pytest
from sqlalchemy import create_engine

from bus.codec import decode_events, unpack
from bus.delivery import Delivered, Lost, Part
from bus.outbox import Outbox
from bus.segments import Packed
from observer.store.writer import StoreWriter
from tests.chaos import judge
from tests.chaos.actors import set_up, stamped
from tests.conformance.conftest import empty, postgresql_schema
from tests.store.migrated import make_database

ROW = ("aa", "a", "3", "3", "3", "1", "3")


@pytest.mark.parametrize(
    ("fault", "outboxes", "ledgers", "row"),
    [
        ("lost", {"aa": 4}, {}, ROW),
        ("lost", {"aa": 3, "bb": 1}, {}, ROW),
        ("lost_of_ledger", {"aa": 3}, {"aa": 4}, ROW),
        ("duplicated", {"aa": 3}, {}, ("aa", "a", "3", "4", "3", "1", "3")),
        ("holes", {"aa": 3}, {}, ("aa", "a", "3", "2", "2", "1", "3")),
        ("invented", {"aa": 2}, {}, ROW),
        ("wrong_marks", {"aa": 3}, {}, ("aa", "a", "2", "3", "3", "1", "3")),
    ],
)
def test_the_judge_reports_each_kind_of_fault(fault, outboxes, ledgers, row):
    assert not any(judge.faults({"aa": 3}, {"aa": 3}, [ROW], []).values())
    assert judge.faults(outboxes, ledgers, [row], [])[fault] > 0


# --- one change to a whole database --------------------------------------------------------------------------

EVENTS = 12
LOST = 4  # of these the segment is damaged before they are delivered


@pytest.fixture(scope="module")
def postgresql_url():
    """The URL of a schema with the current tables, whose rows are those of the last test."""
    with postgresql_schema() as url:
        make_database(url)
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def scene(request, tmp_path, monkeypatch):
    """A delivered outbox of three segments, one of them archived and compressed, one damaged before its delivery."""
    monkeypatch.setattr("bus.outbox.SEGMENT_BYTES_MAX", 100)
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/observer.db"
        make_database(url)
    else:
        url = request.getfixturevalue("postgresql_url")
        empty(url)
    scene = set_up(tmp_path, url, events_a_second=0)
    outbox = Outbox(scene.outbox("producer"), "producer", uuid.uuid4().hex)
    for first in range(1, EVENTS + 1, LOST):
        outbox.append([stamped("producer", outbox.stream, number) for number in range(first, first + LOST)])
    damage(sorted(scene.outbox("producer").glob("*.journal"))[1])
    deliver(outbox, url)
    outbox.acknowledge(outbox.stream, EVENTS)
    outbox.tidy_archive(0.0)
    outbox.close(delivered=False)
    scene.ledger("producer").write_text(f"{outbox.stream} {EVENTS}\n")
    return scene


def damage(segment):
    content = bytearray(segment.read_bytes())
    content[-1] ^= 1
    segment.write_bytes(content)


def deliver(outbox, url):
    """Store what the outbox gives, as the writer does."""
    parts: list[Part] = []
    sequence = 1
    while sequence <= EVENTS:
        found = outbox.batch_at(outbox.stream, sequence)
        if isinstance(found, Packed):
            events = decode_events(unpack(found.content))
            parts.append(Delivered("producer", outbox.stream, sequence, events, found.content))
        else:
            parts.append(Lost(outbox.stream, sequence, found.last_sequence, found.reason, "producer"))
        sequence = found.last_sequence + 1
    writer = StoreWriter(url)
    writer.open()
    writer.commit(parts)
    writer.close()


def found_faults(scene):
    """The kinds of faults that the judge finds."""
    ledgers = scene.folder / "ledger"
    found = judge.finding(scene.url, scene.folder / "outbox", ledgers, stamped=True, unordered=False)
    faults = found["faults"]
    assert isinstance(faults, dict)
    assert found["whole"] == (not any(faults.values()))
    return {name for name, count in faults.items() if count}


def change(scene, *statements):
    engine = create_engine(scene.url)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


STREAM = "(SELECT id FROM streams)"
DOUBLE = (
    "CREATE TEMP TABLE doubled AS SELECT * FROM trade_rows WHERE sequence = 1",
    f"UPDATE doubled SET sequence = {EVENTS + 1}",
    "INSERT INTO trade_rows SELECT * FROM doubled",
)


def stated(first, last):
    return f"INSERT INTO delivery_losses VALUES ({STREAM}, {first}, {last}, 'test', 0)"


def test_a_database_with_every_event_stored_or_stated_is_whole(scene):
    assert found_faults(scene) == set()
    [row] = judge.ask(scene.url, judge.LOSSES)
    assert [*map(int, row[1:])] == [LOST + 1, 2 * LOST]


@pytest.mark.parametrize("scene", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True)
@pytest.mark.parametrize(
    ("statements", "faults"),
    [
        pytest.param(
            ["DELETE FROM trade_rows WHERE sequence = 2"], {"lost", "lost_of_ledger", "holes"}, id="a row deleted"
        ),
        pytest.param(
            [f"DELETE FROM trade_rows WHERE sequence = {EVENTS}", f"UPDATE streams SET high_water_mark = {EVENTS - 1}"],
            {"lost", "lost_of_ledger"},
            id="the last row deleted and its mark set back",
        ),
        pytest.param(
            DOUBLE,
            {"invented", "wrong_marks", "misplaced", "changed", "copies", "out_of_order", "streams_out_of_order"},
            id="a row doubled",
        ),
        pytest.param(
            ["DELETE FROM trade_rows WHERE sequence = 1", stated(1, 1)],
            {"stated_and_deliverable"},
            id="a loss stated that the compressed archive still holds",
        ),
        pytest.param(
            [f"DELETE FROM trade_rows WHERE sequence = {EVENTS}", stated(EVENTS, EVENTS)],
            {"stated_and_deliverable"},
            id="a loss stated that the outbox still holds",
        ),
        pytest.param(
            [stated(2, 2)],
            {"stated_and_stored", "stated_and_deliverable", "holes"},
            id="a loss stated of a stored event",
        ),
        pytest.param(["DELETE FROM delivery_losses"], {"lost", "lost_of_ledger", "holes"}, id="a loss not stated"),
        pytest.param(["UPDATE trade_rows SET price = 2 WHERE sequence = 1"], {"changed"}, id="an event changed"),
        pytest.param(
            ["UPDATE trade_rows SET exchange_time_ns = 1, receive_time_ns = 1 WHERE sequence = 3"],
            {"out_of_order", "streams_out_of_order"},
            id="an event out of order",
        ),
    ],
)
def test_the_judge_finds_one_change_to_a_whole_database(scene, statements, faults):
    change(scene, *statements)
    assert found_faults(scene) == faults
