"""`observer capture` and `observer replay`, with the real writer between them: the same content comes out."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import tomli_w

import workers.core_writer
from bus.delivery import Delivered
from bus.endpoints import Endpoints
from bus.events import EVENT_TYPES, Event
from bus.outbox import Outbox
from bus.producer import Producer
from observer.base.errors import DatabaseInUseError, ObserverError
from observer.cli import replay as replaying
from observer.cli.capture import capture
from observer.store.digest import digest
from observer.store.writer import StoreWriter
from observer.system.worker import run
from tests.builders import trades
from tests.bus.journals.keep import example
from tests.cli.typed import command
from tests.conformance.conftest import postgresql_schema
from tests.folders import short_folder
from tests.privileges import Child, at_work, in_a_fork
from tests.store.migrated import make_database
from tests.waiting import DEADLINE_S, until

pytestmark = pytest.mark.system

EVENTS: Sequence[Event] = [*(example(event_type) for event_type in EVENT_TYPES), *trades(1_000)]
STREAM = "ab" * 16


@pytest.fixture
def folder():
    with configured_folder() as configured:
        yield configured


@contextlib.contextmanager
def configured_folder():
    with short_folder() as short:
        document = {
            "run": {"data": str(short), "runtime": str(short / "run")},
            "store": {"url": url_of(short / "o.db")},
        }
        (short / "c.toml").write_text(tomli_w.dumps(document))
        make_database(url_of(short / "o.db"))
        yield short


def url_of(database):
    return f"sqlite:///{database}"


@contextlib.contextmanager
def core_writer(folder):
    def write():
        sys.argv = ["core_writer", "--config", str(folder / "c.toml")]
        run("core-writer", workers.core_writer.core_writer)

    with at_work(write, folder) as process:
        try:
            yield
        finally:
            process.send(signal.SIGTERM)
            process.wait()


class Recording:
    """`observer capture` as a process."""

    def __init__(self, folder, *options):
        self.file = folder / "captured"
        words = ("capture", "--config", folder / "c.toml", "--out", self.file, "--json", *options)
        self._process = Child(command(*words), folder)

    def wait_for_begin(self):
        until(lambda: "recording to" in self._process.errors, "the begin")

    def stop(self):
        """Ctrl-C; exit status, summary, errors."""
        self._process.send(signal.SIGINT)
        out, status, errors = self._process.output.read(), self._process.wait(), self._process.errors
        self._process.close()
        return status, json.loads(out), errors


def publish(folder, events, stream=STREAM):
    """As a worker does; returns when all is committed."""

    async def scenario():
        producer = Producer(Outbox(folder / f"outbox-{stream}", "a", stream), Endpoints(folder / "run").ingest)
        delivery = asyncio.create_task(producer.run())
        for event in events:
            producer.publish(event)
        assert await producer.drain(DEADLINE_S)
        delivery.cancel()
        await asyncio.gather(delivery, return_exceptions=True)
        producer.close()

    asyncio.run(scenario())


@pytest.fixture(scope="module")
def captured():
    """A capture of everything that is in the database beside it, `o.db`."""
    with configured_folder() as folder:
        recording = Recording(folder)
        with core_writer(folder):
            recording.wait_for_begin()
            publish(folder, EVENTS)
        status, summary, errors = recording.stop()
        assert (status, summary["missing"], summary["events"]) == (0, {}, len(EVENTS)), errors
        yield recording.file


def origin(captured):
    return url_of(captured.with_name("o.db"))


def replay(file, url, *options):
    done = in_a_fork(command("replay", file, "--db", url, "--json", *options), file.parent)
    return done.status, json.loads(done.stdout) if done.stdout else {}, done.stderr


@pytest.mark.slow
def test_a_replayed_capture_has_the_digest_of_its_origin_however_often_it_is_replayed(captured, folder):
    original = digest(origin(captured))
    assert original.tables["trades"].rows == 1_001
    copy = url_of(folder / "copy.db")  # made by the first
    for replayed in (len(EVENTS), 0):
        status, summary, errors = replay(captured, copy)
        assert (status, summary["replayed"], summary["committed"]) == (0, replayed, len(EVENTS)), errors
        assert digest(copy) == original
    with postgresql_schema() as url:
        make_database(url)
        status, summary, errors = replay(captured, url)
        assert status == 0, errors
        assert digest(url) == original


def test_a_capture_is_never_replayed_into_the_database_it_is_of(captured):
    before = digest(origin(captured))
    with pytest.raises(ObserverError, match="captured from"):
        replaying.replay(captured, origin(captured))
    assert digest(origin(captured)) == before


def test_an_interrupted_replay_ends_with_130_leaves_no_process_and_resumes_next_time(captured, folder):
    make_database(copy := url_of(folder / "copy.db"))
    with at_work(command("replay", captured, "--db", copy, "--speed", "0.0001"), folder) as process:
        [child] = until(lambda: children_of(process.pid), "the writer")
        process.send(signal.SIGINT)
        assert process.wait() == 130
    assert not Path(f"/proc/{child}").exists()
    status, _, errors = replay(captured, copy)
    assert status == 0, errors
    assert digest(copy) == digest(origin(captured))


def children_of(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_capture_that_misses_committed_events_reports_how_many_and_ends_with_status_1(folder):
    recording = Recording(folder)
    with core_writer(folder):
        recording.wait_for_begin()
        publish(folder, trades(10))
        behind_its_back = StoreWriter(url_of(folder / "o.db"))
        behind_its_back.commit([Delivered("b", "cd" * 16, 1, trades(7))])
        behind_its_back.close()
        status, summary, errors = recording.stop()
    assert status == 1
    assert summary["missing"] == {"cd" * 16: 7}
    assert "7 events of event stream cdcd" in errors
    assert summary["events"] == 10


def test_a_capture_that_cannot_read_the_database_does_not_claim_to_be_complete(folder):
    recording = Recording(folder)
    with core_writer(folder):
        recording.wait_for_begin()
        publish(folder, trades(10))
    (folder / "o.db").rename(folder / "gone.db")
    status, summary, errors = recording.stop()
    assert (status, summary["missing"]) == (1, None)
    assert "not known what is missing" in errors


@pytest.mark.slow
def test_a_capture_of_some_kinds_has_only_these(folder):
    recording = Recording(folder, "--kinds", "phase_changed,snapshot")
    with core_writer(folder):
        recording.wait_for_begin()
        publish(folder, EVENTS)
        status, summary, _ = recording.stop()
    assert (status, summary["events"]) == (0, 2)
    make_database(copy := url_of(folder / "copy.db"))
    assert replay(recording.file, copy)[0] == 0
    assert {name for name, table in digest(copy).tables.items() if table.rows} == {"phases", "snapshots"}


def test_a_database_that_does_not_answer_is_reported_at_once(captured):
    with pytest.raises(ObserverError, match="connection failed") as refused:
        replaying.replay(captured, "postgresql+psycopg://root:secret@127.0.0.1:1/none")
    assert "secret" not in str(refused.value)


def test_a_database_that_a_system_writes_is_reported_at_once(captured, folder):
    system = StoreWriter(url_of(folder / "o.db"))
    system.open()
    with pytest.raises(DatabaseInUseError, match="another process writes"):
        replaying.replay(captured, url_of(folder / "o.db"))
    system.close()


def test_wrong_options_do_nothing(folder):
    with pytest.raises(ObserverError, match="no such kind: rumour"):
        capture(out=folder / "x", kinds="trade,rumour", config=folder / "c.toml")
    assert not (folder / "x").exists()
    (folder / "x").write_text("precious")
    with pytest.raises(ObserverError, match="is there already"):
        capture(out=folder / "x", config=folder / "c.toml")
    assert (folder / "x").read_text() == "precious"
    refused = in_a_fork(command("replay", folder / "x", "--db", url_of(folder / "y.db")), folder)
    assert (refused.status, "Traceback" in refused.stderr) == (2, False)
    assert not (folder / "y.db").exists()
