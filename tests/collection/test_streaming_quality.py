"""The judge of days: sessions without quality reports, and reports that a gap's outcome or the day's volume makes
stale.
"""

import asyncio
import contextlib
import uuid
from datetime import date
from pathlib import Path

import msgspec
import pytest

from bus.endpoints import Endpoints
from bus.events import (
    DailyBar,
    GapDetected,
    GapRecovered,
    GapUnrecoverable,
    SlotAssigned,
    SlotReleased,
)
from bus.outbox import Outbox
from bus.producer import Producer
from observer.base.clock import ManualClock
from observer.base.local_time import local_ns
from observer.calendar.day_file import write_trading_days
from observer.calendar.trading_day import TradingDay
from observer.collection import quality as quality_module
from observer.demo.configuration import DemoConfiguration, write_demo_configuration
from observer.store.reader import StoreReader
from observer.system.config import load_settings
from observer.system.worker import Worker
from tests.builders import trade
from tests.folders import short_folder
from tests.store.migrated import make_database
from tests.waiting import until_async
from workers.core_writer import core_writer
from workers.gap_recovery import quality_judge

YESTERDAY, TODAY = date(2026, 11, 17), date(2026, 11, 18)
SYMBOL, SESSION = "005930", YESTERDAY.isoformat()
TEN_NS, NOW_NS = local_ns(YESTERDAY, 10), local_ns(TODAY, 7)


@contextlib.asynccontextmanager
async def writing(*, with_feed=True, yesterday=(), gap_rate=lambda _: None):
    """The writer and the judge as tasks, early in the morning, and a producer that publishes to the writer. Without the
    feed, the judge hears of nothing that is committed. `gap_rate` gets the judge's alerts before it begins.
    """
    with short_folder() as name, pytest.MonkeyPatch.context() as patches:
        patches.setattr(quality_module, "LOOKBACK_S", 0.05)
        folder = Path(name)
        (folder / "data").mkdir()
        settings = load_settings(write_demo_configuration(folder, DemoConfiguration(symbols=10, seed=7)))
        make_database(settings.store.url)
        runtime = Path(settings.run.runtime)
        runtime.mkdir(mode=0o700)
        write_trading_days(runtime, [TradingDay(TODAY, True, "test")])
        worker = Worker("core-writer", settings, ManualClock(NOW_NS))
        worker.alerts.use_loop()
        producer = Producer(Outbox(folder / "outbox-track-b", "track-b", uuid.uuid4().hex), Endpoints(runtime).ingest)
        delivery = asyncio.create_task(producer.run())
        working = asyncio.create_task(core_writer(worker))
        judge = Worker("gap-recovery", settings, ManualClock(NOW_NS))
        if not with_feed:
            judge.endpoints = Endpoints(runtime)
            judge.endpoints.feed = f"ipc://{judge.endpoints.runtime_directory}/unused"  # no process publishes there
        gap_rate(judge.alerts)
        judging = asyncio.create_task(judge_days(judge))
        try:
            producer.publish(*(yesterday or reported_yesterday()))
            await until_async(lambda: producer.unacknowledged == 0 or working.done(), "the writer takes it")
            with StoreReader(settings.store.url) as reader:
                yield producer, reader
            assert not working.done(), working.exception()
            assert not judging.done(), judging.exception()
        finally:
            judging.cancel()
            await asyncio.gather(judging, return_exceptions=True)
            working.cancel()
            delivery.cancel()
            await asyncio.gather(working, delivery, return_exceptions=True)
            producer.close()
            worker.control.close()
            judge.control.close()


async def judge_days(worker):
    """The part of gap-recovery that judges days."""
    worker.alerts.use_loop()
    async with worker.producer() as producer:
        await quality_judge(worker).run(producer)


def reported_yesterday():
    """One symbol in the stream: its first and its fourth trade; two are missing."""
    first, last = (
        msgspec.structs.replace(trade(number), session_date=SESSION, receive_time_ns=TEN_NS + number)
        for number in (1, 4)
    )
    gap = GapDetected("g", "kis", SYMBOL, SESSION, TEN_NS + 4, TEN_NS + 1, TEN_NS + 4, 1, 3, 2, 2, "reconnect")
    assigned = SlotAssigned("a:01", SYMBOL, TEN_NS, "volume_surge", 1.0, "free_slot", None)
    return [assigned, first, gap, last, SlotReleased("a:01", SYMBOL, TEN_NS + 9, 1.0, "closed")]


async def test_a_session_without_a_quality_report_gets_one_and_another_when_its_gap_is_closed():
    async with writing() as (producer, reader):

        def last():
            return next(iter(reader.quality(SESSION)), None)

        await until_async(lambda: last() is not None, "yesterday is judged")
        before = last()
        assert (before.slots_quality, before.missing_volume, before.gaps_open) == ("degraded", 2, 1)
        filled = [
            msgspec.structs.replace(trade(number), session_date=SESSION, gap_id="g", receive_time_ns=NOW_NS)
            for number in (2, 3)
        ]
        producer.publish_together([*filled, GapRecovered("g", SYMBOL, NOW_NS, "time_and_sales", 2, 2.0, True)])
        await until_async(lambda: last() != before, "it is judged again")
        after = last()
        assert (after.slots_quality, after.missing_volume, after.gaps_open) == ("recovered", 0, 0)


async def test_a_day_whose_events_the_feed_lost_is_judged_and_judged_again():
    async with writing(with_feed=False) as (producer, reader):
        await until_async(lambda: reader.quality(SESSION), "yesterday is judged")
        [before] = reader.quality(SESSION)
        producer.publish(GapUnrecoverable("g", SYMBOL, NOW_NS, "no source has it"))
        await until_async(lambda: reader.quality(SESSION) != [before], "it is judged again")


async def test_a_high_gap_rate_raises_one_alert_with_the_first_quality_report():
    async with writing() as (producer, reader):
        await until_async(lambda: reader.quality(SESSION), "yesterday is judged")
        counts = reader.row_counts()
        assert (counts["quality"], counts["alerts"]) == (1, 1)
        producer.publish(GapUnrecoverable("g", SYMBOL, NOW_NS, "no source has it"))
        await until_async(lambda: reader.row_counts()["quality"] == 2, "it is judged again")
        assert reader.row_counts()["alerts"] == 1


async def test_a_day_with_a_low_gap_rate_ends_the_alert_of_an_earlier_day():
    assigned, first, _gap, _last, released = reported_yesterday()
    second = msgspec.structs.replace(trade(2), session_date=SESSION, receive_time_ns=TEN_NS + 2)
    judges = []

    def begin(alerts):
        alerts.report("gap_rate", "warning", "of the day before")
        judges.append(alerts)

    async with writing(yesterday=[assigned, first, second, released], gap_rate=begin) as (_, reader):
        await until_async(lambda: reader.quality(SESSION), "yesterday is judged")
        await until_async(lambda: judges[0].identities == [], "its gap rate is low")


async def test_a_report_without_the_volume_of_the_day_is_followed_by_one_when_the_daily_bar_is_stored():
    async with writing() as (producer, reader):
        await until_async(lambda: reader.quality(SESSION), "yesterday is judged")
        [before] = reader.quality(SESSION)
        assert (before.day_quality, before.volume_share) == ("unknown", None)
        producer.publish(DailyBar("kis", SYMBOL, SESSION, 1.0, 1.0, 1.0, 1.0, 8.0, 0.0))
        await until_async(lambda: reader.quality(SESSION) != [before], "it is judged again")
        [after] = reader.quality(SESSION)
        assert (after.day_quality, after.day_volume, after.volume_share) == ("part", 8, 0.25)


async def test_a_late_slot_event_causes_a_new_quality_report():
    async with writing() as (producer, reader):
        await until_async(lambda: reader.quality(SESSION), "yesterday is judged")
        other = "000660"
        producer.publish(SlotAssigned("a:02", other, TEN_NS, "volume_surge", 1.0, "free_slot", None))
        await until_async(lambda: len(reader.quality(SESSION)) == 2, "the other one is judged")
        [before] = reader.quality(SESSION, other)
        assert (before.slots_quality, before.detail) == (
            "unknown",
            "nothing was streamed; the end is unobserved or unknown",
        )
        producer.publish(SlotReleased("a:02", other, TEN_NS + 9, 1.0, "unfinished"))
        await until_async(lambda: reader.quality(SESSION, other) != [before], "it is judged again")
        assert reader.quality(SESSION, other)[0].seconds == 9 / 10**9
