"""The core writer removes the rows of old sealed days while no event waits, and stores late events for them."""

import asyncio
import threading
import uuid
from datetime import date, timedelta
from pathlib import Path

import msgspec

from bus.delivery import Delivered
from bus.endpoints import Endpoints
from bus.outbox import Outbox
from bus.producer import Producer
from observer.archive.copying import copy_lake, copy_of_lake
from observer.archive.day import SealedDay, write_manifest
from observer.archive.sealing import seal_days
from observer.archive.settings import LakeSettings
from observer.base.clock import ManualClock
from observer.base.local_time import local_ns
from observer.base.units import NS_PER_S
from observer.calendar.day_file import write_trading_days
from observer.calendar.trading_day import TradingDay
from observer.demo.configuration import DAY, DemoConfiguration, write_demo_configuration
from observer.store.owner import claim
from observer.store.systems import this_system
from observer.store.writer import StoreWriter
from observer.system.config import load_settings
from observer.system.worker import Worker
from tests.archive.stored import day_of
from tests.builders import trade
from tests.day_plans import day_plan
from tests.folders import short_folder
from tests.store.raw import query
from tests.waiting import until_async
from workers.core_writer import core_writer

KEEP_DAYS = 30
OLD = (DAY - timedelta(days=60)).isoformat()
STREAM = "5" * 32
BACKUP_NS = day_plan(DAY).backup_ns


def worker_in(folder):
    (folder / "data").mkdir()
    settings = load_settings(write_demo_configuration(folder, DemoConfiguration(symbols=10, seed=7)))
    store = msgspec.structs.replace(settings.store, keep_days=KEEP_DAYS)
    settings = msgspec.structs.replace(settings, store=store, lake=LakeSettings())
    Path(settings.run.runtime).mkdir(mode=0o700)
    write_trading_days(Path(settings.run.runtime), [TradingDay(DAY, True, "test")])
    return Worker("core-writer", settings, ManualClock(local_ns(DAY, 9)))


def store_and_seal(worker):
    """A day of 60 trades, sealed and in the copy of the lake, and as many days after it as the database keeps."""
    settings = worker.settings
    claim(settings.store.url, settings.instance, settings.providers, 1, this_system(worker.runtime, None))
    writer = StoreWriter(settings.store.url)
    writer.open()
    writer.commit([Delivered("track-b", STREAM, 1, day_of(OLD, market=settings.instance.market))])
    writer.close()
    lake, market = LakeSettings().folder_in(settings.run.data), settings.instance.market
    list(seal_days(lake, settings.store.url, market, [OLD], lambda: 1, threading.Event(), remove=[OLD]))
    for later in range(1, KEEP_DAYS + 1):
        write_manifest(lake, SealedDay(market, (date.fromisoformat(OLD) + timedelta(days=later)).isoformat(), 1, {}))
    copy_lake(lake, copy_of_lake(settings.backup.folder_of(settings.run), settings.instance), threading.Event())


def trades_in(url):
    [(count,)] = query(url, "SELECT count(*) FROM trades")
    assert isinstance(count, int)
    return count


def test_the_writer_removes_an_old_days_rows_from_the_backup_on_and_stores_a_late_one():
    async def scenario(folder):
        worker = worker_in(folder)
        store_and_seal(worker)
        url = worker.settings.store.url
        worker.alerts.use_loop()
        producer = Producer(Outbox(folder / "outbox", "track-b", uuid.uuid4().hex), Endpoints(worker.runtime).ingest)
        tasks = [asyncio.create_task(core_writer(worker)), asyncio.create_task(producer.run())]
        try:
            producer.publish(trade(1, symbol="000010", session_date=DAY.isoformat()))
            await until_async(lambda: producer.unacknowledged == 0 or tasks[0].done(), "the event of today is stored")
            assert trades_in(url) == 61
            assert isinstance(worker.clock, ManualClock)
            await worker.clock.advance((BACKUP_NS - worker.clock.now_ns()) / NS_PER_S)
            await until_async(lambda: trades_in(url) == 1 or tasks[0].done(), "the old day's rows are removed")
            producer.publish(trade(99, symbol="000010", session_date=OLD))
            await until_async(lambda: producer.unacknowledged == 0 or tasks[0].done(), "the late event is stored")
            assert trades_in(url) == 2
            assert not tasks[0].done(), tasks[0]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            producer.close()
            worker.control.close()

    with short_folder() as name:
        asyncio.run(scenario(Path(name)))
