"""The writer's alerts of lost events and of a database that went back, against a real database."""

import asyncio
import contextlib
from pathlib import Path

from sqlalchemy import make_url

from bus.delivery import Delivered, Lost
from observer.base.clock import ManualClock
from observer.base.local_time import local_ns
from observer.demo.configuration import DAY, DemoConfiguration, write_demo_configuration
from observer.store import owner
from observer.store.engine import sqlite_path
from observer.store.owner import claim
from observer.store.reporting_writer import ReportingWriter
from observer.store.systems import this_system
from observer.system.config import load_settings
from observer.system.doctor.stored import Stored, examine
from observer.system.worker import Worker
from tests.builders import trades
from tests.folders import short_folder
from tests.store.raw import execute

STREAM, OTHER = "ab" * 16, "cd" * 16


@contextlib.asynccontextmanager
async def worker_with_database():
    with short_folder() as name:
        folder = Path(name)
        (folder / "data").mkdir()
        settings = load_settings(write_demo_configuration(folder, DemoConfiguration(symbols=10, seed=7)))
        Path(settings.run.runtime).mkdir(mode=0o700)
        worker = Worker("core-writer", settings, ManualClock(local_ns(DAY, 10)))
        claim(settings.store.url, settings.instance, settings.providers, 1, this_system(worker.runtime, None))
        worker.alerts.use_loop()
        try:
            yield worker
        finally:
            worker.control.close()


def writer_of(worker, on_epoch=lambda: None):
    system = this_system(worker.runtime, None)
    writer = ReportingWriter(
        worker.settings.store.url, system, worker.clock.now_ns, worker.alerts, (), on_epoch=on_epoch
    )
    writer.open()
    return writer


async def open_texts(worker):
    """The open alerts, with what other threads have reported."""
    await asyncio.sleep(0)
    return {alert.identity: alert.text for alert in worker.alerts.open}


async def test_the_alert_states_as_many_lost_events_as_the_doctor_also_after_a_restart_until_a_restore_settles_them():
    async with worker_with_database() as worker:
        url = worker.settings.store.url
        first = writer_of(worker)
        first.commit([Delivered("a", STREAM, 1, trades(2)), Lost(STREAM, 3, 10, "damaged", "a")])
        first.close()
        second = writer_of(worker)
        assert (await open_texts(worker))["delivery_losses"].startswith("8 published events exist nowhere")
        second.commit([Lost(OTHER, 1, 5, "damaged", "b")])
        text = (await open_texts(worker))["delivery_losses"]
        assert text.startswith("13 published events exist nowhere")
        stored = Stored(url=url, outboxes=worker.runtime, backups=worker.runtime)
        [losses] = [each for each in examine(stored) if each.check == "losses"]
        assert losses.text.startswith("13 published events exist nowhere")
        assert "observer doctor" in text
        second.close()
        execute(url, "DELETE FROM delivery_losses")  # as in a package from before
        writer_of(worker).close()
        assert await open_texts(worker) == {}


async def test_the_alert_of_a_database_that_went_back_ends_when_what_it_lacked_was_delivered_again():
    async with worker_with_database() as worker:
        writer = writer_of(worker)
        writer.epoch()
        assert await open_texts(worker) == {}
        writer.begin_epoch("it was put back")
        writer.report_lacking(700)
        text = (await open_texts(worker))["database_went_back"]
        assert "it lacks 700 events" in text
        assert text.endswith("`observer doctor` states what is missing")
        writer.report_lacking(0)
        await asyncio.sleep(0)
        clock = worker.clock
        assert isinstance(clock, ManualClock)
        await clock.advance(30)
        worker.alerts.tick()
        assert await open_texts(worker) == {}
        writer.close()


async def test_each_epoch_of_the_database_is_reported():
    async with worker_with_database() as worker:
        epochs = []
        writer = writer_of(worker, lambda: epochs.append(None))
        writer.epoch()
        writer.epoch()
        assert len(epochs) == 1
        writer.begin_epoch("it was put back")
        assert len(epochs) == 2
        writer.close()


async def test_an_ownership_that_cannot_be_renewed_is_an_alert_until_it_is_renewed(monkeypatch):
    monkeypatch.setattr(owner, "HEARTBEAT_EVERY_S", 0.0)

    async with worker_with_database() as worker:
        writer = writer_of(worker)
        writer.renew_ownership()
        assert await open_texts(worker) == {}
        database = sqlite_path(make_url(worker.settings.store.url))
        aside = database.rename(database.with_name("aside"))
        writer.renew_ownership()
        assert (await open_texts(worker))["ownership_not_renewed"].startswith("the ownership of the database is not")
        aside.rename(database)
        writer.renew_ownership()
        assert await open_texts(worker) == {}
        writer.close()
