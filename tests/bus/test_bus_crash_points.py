"""Real processes that kill themselves at each step of delivery, one step at a time, on both databases.

The producer's outbox holds unsent events of an earlier life. The victim dies at its crash point and restarts; at the
end a separate program compares the appended events with the stored ones.
"""

import contextlib

import pytest

from tests.chaos.actors import produce, set_up, write
from tests.chaos.crashes import IN_COMMIT, OF_PRODUCER, OF_WRITER
from tests.chaos.stage import Actor, judge
from tests.conformance.conftest import empty, postgresql_schema
from tests.folders import short_folder
from tests.store.migrated import make_database

EVENTS_A_SECOND = 10_000
CRASH_S = 60.0

# What the writer has told the server when it dies differs at one point; the others are in the long tier there, and
# `test_chaos_machine_postgresql.py` has the deaths before, within and after a commit.
ON_BOTH = [
    pytest.param(kind, point, marks=[pytest.mark.slow] if kind == "postgresql" and point != IN_COMMIT else [])
    for kind in ("sqlite", "postgresql")
    for point in OF_WRITER
]


@pytest.fixture(scope="module")
def postgresql_url():
    """The URL of a schema with the current tables, whose rows are those of the last test."""
    with postgresql_schema() as url:
        make_database(url)
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def scene(request):
    with short_folder() as folder:
        if request.param == "sqlite":
            url = f"sqlite:///{folder}/observer.db"
            make_database(url)
        else:
            url = request.getfixturevalue("postgresql_url")
            empty(url)
        yield set_up(folder, url, EVENTS_A_SECOND)


@contextlib.contextmanager
def producer_and_writer(scene):
    """Both processes at work; the producer's outbox also holds the unsent events of its first life."""
    producer = Actor("producer", produce, scene, "producer")
    producer.wait_for(lambda: scene.ledger("producer").exists() and scene.ledger("producer").stat().st_size > 0)
    producer.kill()
    writer = Actor("writer", write, scene)
    try:
        yield producer, writer
    finally:
        producer.kill()
        writer.kill()


def assert_whole(scene, producer, writer):
    producer.finish()
    writer.finish()
    reported = judge(scene)
    assert reported["whole"], reported


@pytest.mark.system
@pytest.mark.parametrize("scene", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True)
@pytest.mark.parametrize("point", OF_PRODUCER)  # far from the database: the long tier has both
def test_a_producer_dies(scene, point):
    with producer_and_writer(scene) as (producer, writer):
        producer.start(point)
        producer.wait_crashed(CRASH_S)
        producer.start()
        assert_whole(scene, producer, writer)


@pytest.mark.system
@pytest.mark.parametrize(("scene", "point"), ON_BOTH, indirect=["scene"])
def test_the_writer_dies(scene, point):
    with producer_and_writer(scene) as (producer, writer):
        writer.kill()
        writer.start(point)
        producer.start()
        writer.wait_crashed(CRASH_S)
        writer.start()
        assert_whole(scene, producer, writer)
