"""A PostgreSQL server that is put back to an earlier copy of its files, or failed over, under its writer."""

import pytest

from bus.delivery import Delivered
from observer.base.errors import DatabaseReplacedError, StoreError, StoreFailedError
from observer.base.instance import Instance
from observer.store.identity import ServerIdentity
from observer.store.owner import claim
from observer.store.systems import this_system
from observer.store.writer import StoreWriter
from tests.builders import trades
from tests.conformance.private_server import private_server
from tests.store.migrated import make_database
from tests.store.raw import query

STREAM = "5" * 32
KNOWN = ServerIdentity(system=1, timeline=1, database_oid=5, database_id="a")


def batch(first, count):
    return Delivered("track-b", STREAM, first, trades(count, first=first))


@pytest.mark.slow
def test_a_server_that_is_put_back_or_failed_over_is_noticed_and_adopted():
    with private_server() as server:
        make_database(server.url)
        system = this_system()
        claim(server.url, Instance(), ["kis"], 0, system)
        writer = StoreWriter(server.url, system)
        writer.open()
        writer.commit([batch(1, 2)])
        copied = server.copy()
        assert connected_again(writer) == 2, "a restart is no other server"
        writer.commit([batch(3, 3)])
        connected_again(writer)

        server.put_back(copied)
        with pytest.raises(StoreError):
            writer.commit([batch(6, 1)])  # the connection is lost
        for _ in range(2):
            with pytest.raises(
                DatabaseReplacedError, match=r"was put back to an earlier state: .* ends with 2, 5 was committed"
            ):
                writer.commit([batch(6, 1)])
        assert writer.high_water_marks([STREAM]) == {STREAM: 2}
        writer.commit([batch(3, 4)])

        server.put_back(server.copy(), as_standby=True)
        with pytest.raises(StoreError):
            writer.commit([batch(7, 1)])
        with pytest.raises(StoreFailedError, match="as a standby does: promote it"):
            writer.commit([batch(7, 1)])
        server.promote()
        with pytest.raises(DatabaseReplacedError, match="was failed over or put back: its timeline was 1, it is 2"):
            writer.commit([batch(7, 1)])
        assert writer.high_water_marks([STREAM]) == {STREAM: 6}
        writer.commit([batch(7, 1)])
        assert query(server.url, "SELECT count(*), max(sequence) FROM trades") == [(7, 7)]
        writer.close()


def connected_again(writer):
    """The mark, after a lost connection."""
    writer._engine.dispose()
    return writer.high_water_marks([STREAM])[STREAM]


@pytest.mark.parametrize(
    ("now", "change"),
    [
        (KNOWN, None),
        (ServerIdentity(1, 2, 5, "a"), "its timeline was 1, it is 2"),
        (ServerIdentity(2, 1, 5, "a"), "another server"),
        (ServerIdentity(1, 1, 6, "a"), "a database made anew"),
        (ServerIdentity(1, 1, 5, "b"), "its owner row is another one"),
    ],
)
def test_what_shows_another_database(now, change):
    found = now.change_since(KNOWN)
    assert found is None if change is None else change in str(found)
