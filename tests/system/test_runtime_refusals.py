"""Refusals raise alerts: a poisoned event, and events refused by a full disk. Real processes, a real database."""

import asyncio
import contextlib
import signal
import sqlite3
from pathlib import Path

import pytest
import zmq

from bus.codec import pack
from bus.endpoints import Endpoints
from bus.events import AlertRaised, AlertRepeated, Event
from bus.outbox import Outbox
from bus.producer import Producer
from observer.base.clock import ManualClock
from observer.monitoring.alerts.process import Alerts, kept_alerts
from observer.store.reporting_writer import QuarantineAlerts
from observer.system import refusals
from observer.system.refusals import REFUSED_EVENTS, REFUSED_MESSAGES, DiskAlerts, Refusals, refused_events
from tests.builders import trades
from tests.folders import short_folder
from tests.store.migrated import make_database
from tests.system.full_disk import REFUSED, TAKEN
from tests.system.test_runtime_worker import listening, spawned, status_of
from tests.waiting import DEADLINE_S, until_async

STREAM = "ab" * 16


@pytest.fixture
def folder():
    with short_folder() as name:
        path = Path(name)
        (path / "data").mkdir()
        (path / "observer.toml").write_text(
            f'[run]\ndata = "{path}/data"\nruntime = "{path}/run"\n[store]\nurl = "sqlite:///{path}/data/observer.db"\n'
        )
        make_database(f"sqlite:///{path}/data/observer.db")
        yield path


def rows(folder, query):
    """The query's rows; empty before the database exists."""
    with contextlib.closing(sqlite3.connect(folder / "data" / "observer.db")) as database:
        try:
            return database.execute(query).fetchall()
        except sqlite3.OperationalError:
            return []


@contextlib.asynccontextmanager
async def core_writer(folder):
    argv = ("-m", "workers.core_writer", "--config", str(folder / "observer.toml"))
    async with listening(folder), spawned(folder / "writer.log", argv) as process:
        yield
        process.send_signal(signal.SIGTERM)
        assert await status_of(process) == 0


def there(folder, query):
    return lambda: rows(folder, query)


def poisoned_outbox(folder):
    """An outbox whose first batch of two cannot be decoded."""
    outbox = Outbox(folder / "outbox", "trial", STREAM)
    outbox._writer.append(pack(STREAM, 1, trades(2)).replace(b"005930", b"00593\xff"))
    outbox._last_sequence = outbox._segments[STREAM][-1].last_sequence = 2
    return outbox


def test_a_poisoned_batch_goes_to_quarantine_and_is_reported_and_stops_nothing(folder):
    async def scene():
        async with core_writer(folder):
            producer = Producer(poisoned_outbox(folder), Endpoints(folder / "run").ingest)
            delivery = asyncio.create_task(producer.run())
            producer.publish_together(trades(3, first=3))
            assert await producer.drain(DEADLINE_S), "acknowledged"
            await until_async(there(folder, "SELECT * FROM alerts"), "an alert")
            delivery.cancel()
            await asyncio.gather(delivery, return_exceptions=True)
            producer.close()

    asyncio.run(scene())
    quarantine = rows(folder, "SELECT sequence, content, reason FROM quarantine ORDER BY sequence")
    assert [sequence for sequence, _, _ in quarantine] == [1, 2]
    assert all(b"00593\xff" in content and reason for _, content, reason in quarantine)
    assert rows(folder, "SELECT cumulative_volume FROM trades ORDER BY sequence") == [(3.0,), (4.0,), (5.0,)]
    [(severity, source, text)] = rows(folder, "SELECT severity, source, text FROM alerts")
    assert (severity, source) == ("critical", "core-writer")
    assert text.startswith("2 events are in quarantine")


def test_a_message_that_the_ingest_socket_refuses_is_an_alert(folder):
    async def scene():
        async with core_writer(folder):
            with zmq.Context.instance().socket(zmq.DEALER) as client:
                client.setsockopt(zmq.LINGER, 0)
                client.connect(str(Endpoints(folder / "run").ingest))
                client.send_multipart([b"no kind of message", b""])
                await until_async(there(folder, "SELECT * FROM alerts"), "an alert")

    asyncio.run(scene())
    [(identity, severity, source)] = rows(folder, "SELECT identity, severity, source FROM alerts")
    assert (identity, severity, source) == (REFUSED_MESSAGES, "warning", "core-writer")


def test_quarantine_is_reported_at_once_and_then_not_for_a_minute_but_for_the_rest_at_the_stop():
    published: list[Event] = []

    async def scene():
        clock = ManualClock(0)
        alerts = Alerts(clock, "core-writer", lambda *events: published.extend(events))
        alerts.use_loop()
        quarantine = QuarantineAlerts(alerts)
        for count in (2, 3, 4):
            await asyncio.to_thread(quarantine.count_from_thread, count)
        await asyncio.sleep(0)
        assert len(published) == 1
        alerts.finish()

    asyncio.run(scene())
    raised, repeated = published
    assert isinstance(raised, AlertRaised)
    assert isinstance(repeated, AlertRepeated)
    assert [each.text.split()[0] for each in (raised, repeated)] == ["2", "9"]
    assert raised.until_ns is not None, "nothing resolves it"


def test_refusals_are_reported_when_their_count_has_grown():
    published: list[Event] = []
    counts = iter((7, 7, 9, 9, 8, 10))
    alerts = Alerts(ManualClock(0), "supervisor", lambda *events: published.extend(events))
    counted = Refusals(alerts, REFUSED_MESSAGES, "warning", "a text", lambda: next(counts))
    counted.check()  # 7 were refused before it was made
    assert published == []
    for _ in range(4):
        counted.check()
    alerts.finish()
    assert [type(each) for each in published] == [AlertRaised, AlertRepeated]


async def test_an_event_that_no_outbox_can_hold_is_an_alert(tmp_path):
    alerts = Alerts(ManualClock(0), "trial", lambda *_: None)
    producer = Producer(Outbox(tmp_path / "outbox", "trial", STREAM), f"ipc://{tmp_path}/ingest")
    lost = refused_events(alerts, lambda: producer.unstorable)
    producer.publish(*trades(2), AlertRaised(0, "warning", "trial", "\ud800", None, "queue", None))
    producer.flush()
    lost.check()
    assert (producer.published, producer.refused, producer.unstorable) == (2, 0, 1)
    assert [(each.identity, each.severity) for each in alerts.open] == [(REFUSED_EVENTS, "critical")]
    producer.close()


async def test_a_full_disk_of_an_earlier_process_is_over_when_the_next_one_meets_none(tmp_path):
    earlier = Alerts(ManualClock(0), "trial", lambda *_events: None, runtime=tmp_path)
    earlier.report("disk_full", "critical", "the disk takes no events")
    await until_async(lambda: kept_alerts(tmp_path), "its file")
    alerts = Alerts(ManualClock(0), "trial", runtime=tmp_path)
    producer = Producer(Outbox(tmp_path / "outbox", "trial", STREAM), f"ipc://{tmp_path}/ingest")
    running = asyncio.create_task(DiskAlerts(alerts).run(producer))
    await until_async(lambda: not alerts.open, "its end")
    running.cancel()
    producer.close()


async def test_an_alert_that_the_disk_refuses_in_the_quiet_second_does_not_leave_the_alert_open(tmp_path, monkeypatch):
    monkeypatch.setattr(refusals, "DISK_QUIET_S", 0.02)

    alerts = Alerts(ManualClock(0), "trial")
    outbox = Outbox(tmp_path / "outbox", "trial", STREAM)
    producer = Producer(outbox, f"ipc://{tmp_path}/ingest")
    disk = DiskAlerts(alerts)
    running = asyncio.create_task(disk.run(producer))
    full = OSError("full")
    disk.count(trades(1), full)
    await until_async(lambda: not disk._refused.is_set(), "the quiet second")
    disk.count([AlertRaised(0, "warning", "trial", "a text", None, "queue", None)], full)
    await until_async(lambda: not alerts.open, "its end")
    assert producer.published == 1, "the refused alert"
    running.cancel()
    producer.close()


@pytest.mark.slow
def test_trades_refused_by_a_full_disk_become_a_gap_and_both_are_reported(folder):
    program = (str(Path(__file__).with_name("full_disk.py")), "--config", str(folder / "observer.toml"))

    async def scene():
        async with core_writer(folder), spawned(folder / "trial.log", program) as trial:
            await until_async(there(folder, "SELECT * FROM alert_resolutions"), "the end of it")
            trial.send_signal(signal.SIGTERM)
            assert await status_of(trial) == 0

    asyncio.run(scene())
    stored = [int(volume) for (volume,) in rows(folder, "SELECT cumulative_volume FROM trades ORDER BY sequence")]
    assert stored == [*range(1, TAKEN + 1), TAKEN + REFUSED + 1, TAKEN + REFUSED + 2]
    assert rows(folder, "SELECT after_volume, before_volume, missing_volume FROM gaps") == [
        (TAKEN, TAKEN + REFUSED, REFUSED)
    ]
    [began] = rows(folder, "SELECT identity, text FROM alerts ORDER BY sequence")
    [ended] = rows(folder, "SELECT identity, count, text FROM alert_resolutions")
    assert began[0] == "disk_full"
    assert began[1].startswith("the disk takes no events")
    assert ended == ("disk_full", 2, "the disk takes events again: 11 were refused")  # the trades, and a gap among them
