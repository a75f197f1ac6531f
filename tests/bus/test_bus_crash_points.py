"""Real processes that kill themselves at each step of delivery, one step at a time, on both databases.

Each time a producer has an earlier life's rest in its outbox; the victim dies at its point, is started anew, and in the
end a separate program compares what was appended with what is stored.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.actors import Scene, produce, set_up, write
from tests.chaos.crashes import OF_PRODUCER, OF_WRITER
from tests.chaos.stage import Actor, judge
from tests.conformance.conftest import postgresql_schema

EVENTS_A_SECOND = 10_000
CRASH_S = 20.0


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """Short enough for the name of a socket in it."""
    folder = Path(tempfile.mkdtemp(prefix="crash"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(short_folder())
        is_sqlite = request.param == "sqlite"
        url = f"sqlite:///{folder}/observer.db" if is_sqlite else stack.enter_context(postgresql_schema())
        yield set_up(folder, url, EVENTS_A_SECOND)


@contextlib.contextmanager
def producer_and_writer(scene: Scene) -> Iterator[tuple[Actor, Actor]]:
    """Both at work, the producer in its second life: what its first one left is in the outbox too."""
    producer = Actor("producer", produce, scene, "producer")
    producer.wait_for(scene.ledger("producer").exists)
    producer.kill()
    writer = Actor("writer", write, scene)
    try:
        yield producer, writer
    finally:
        producer.kill()
        writer.kill()


def assert_whole(scene: Scene, producer: Actor, writer: Actor) -> None:
    producer.finish()
    writer.finish()
    told = judge(scene)
    assert told["whole"], told


@pytest.mark.system
@pytest.mark.parametrize("point", OF_PRODUCER)
def test_a_producer_dies(scene: Scene, point: str) -> None:
    with producer_and_writer(scene) as (producer, writer):
        producer.start(point)
        producer.wait_crashed(CRASH_S)
        producer.start()
        assert_whole(scene, producer, writer)


@pytest.mark.system
@pytest.mark.parametrize("point", OF_WRITER)
def test_the_writer_dies(scene: Scene, point: str) -> None:
    with producer_and_writer(scene) as (producer, writer):
        writer.kill()
        writer.start(point)
        producer.start()
        writer.wait_crashed(CRASH_S)
        writer.start()
        assert_whole(scene, producer, writer)
