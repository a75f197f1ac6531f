"""The job of volumes by time of day: each session's are stored once, those that are missing too."""

import asyncio
import contextlib
from datetime import timedelta
from random import Random

import pytest
from msgspec.structs import replace

from bus.delivery import Delivered
from bus.events import SharesAdjusted, VolumeMeans, VolumePoints, VolumeProfiled
from observer.base.clock import ManualClock
from observer.collection.profiles import ProfileJob
from observer.selection.triggers import ProfileSettings
from observer.store.reader import StoreReader
from observer.store.writer import StoreWriter
from tests import waiting
from tests.collection.test_streaming_earlier import DAYS, TODAY, evenly, swept_day
from tests.day_plans import day_plan
from tests.store.migrated import make_database
from tests.waiting import until_async

STOPPED_NS = day_plan(TODAY).track_a_stop_ns
EARLIER = [day.isoformat() for day in DAYS]


class Today:
    """The trading-day service of one day that does not end."""

    def __init__(self):
        self.is_waiting_for_the_end = False

    async def days(self):
        yield day_plan(TODAY)
        self.is_waiting_for_the_end = True
        await asyncio.Event().wait()


class Storing:
    """A producer whose batches are stored at once."""

    def __init__(self, url):
        self._writer = StoreWriter(url)
        self._writer.open()
        self._next = 1
        self.sessions = []

    def store(self, events):
        self._writer.commit([Delivered("test", "8" * 32, self._next, events)])
        self._next += len(events)

    def publish_together(self, events):
        self.store(events)
        self.sessions += sorted({event.session_date for event in events if isinstance(event, VolumeProfiled)})

    def close(self):
        self._writer.close()


@pytest.fixture
def url(tmp_path):
    url = f"sqlite:///{tmp_path}/observer.db"
    make_database(url)
    return url


@pytest.fixture
def producer(url):
    """A producer, with the stored snapshots of all days."""
    producer = Storing(url)
    producer.store([event for day in (*DAYS, TODAY) for event in swept_day(day, Random(7), evenly)])
    yield producer
    producer.close()


@contextlib.asynccontextmanager
async def working(url, producer, clock):
    @contextlib.asynccontextmanager
    async def reading():
        with StoreReader(url) as reader:
            yield reader

    async def settled(_producer):
        """Each batch is stored when it is published."""

    today = Today()
    job = ProfileJob(
        ProfileSettings(), open_reader=reading, settled=settled, turn=asyncio.Lock(), today=today, clock=clock
    )
    task = asyncio.create_task(job.run(producer))
    try:
        yield today
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_earlier_sessions_are_stored_at_the_start_and_the_day_after_its_last_sweep(url, producer):
    clock = ManualClock(STOPPED_NS)
    async with working(url, producer, clock) as today:
        await until_async(lambda: len(producer.sessions) == len(DAYS), "the earlier sessions are stored")
        assert producer.sessions == EARLIER
        await clock.advance(5 * 60)
        await until_async(lambda: today.is_waiting_for_the_end, "the day is stored")
    assert producer.sessions == [*EARLIER, TODAY.isoformat()]


def test_a_session_is_stored_once_whatever_is_restarted(url, producer):
    async def scenario():
        for _ in range(2):
            async with working(url, producer, ManualClock(STOPPED_NS + 10**12)) as today:
                await until_async(lambda: today.is_waiting_for_the_end, "all sessions are stored")

    waiting.run(scenario())
    assert producer.sessions == [*EARLIER, TODAY.isoformat()]


def test_the_next_day_compares_with_the_same_volumes_whether_they_are_stored_or_computed(url, producer):
    next_day = (TODAY + timedelta(days=1)).isoformat()
    with StoreReader(url) as reader:
        computed = reader.earlier_days(next_day, 20, next_day)
        for session_date in reader.sessions_without_profile(next_day, 20):
            producer.store(reader.volume_profiles(session_date, 20, 1))
        assert reader.sessions_without_profile(next_day, 20) == []
        assert reader.earlier_days(next_day, 20, next_day) == computed
        assert len(computed[0]) > 30


def test_a_session_that_lacks_the_volumes_of_a_symbol_is_computed(url, producer):
    next_day = (TODAY + timedelta(days=1)).isoformat()
    with StoreReader(url) as reader:
        computed = reader.earlier_days(next_day, 1, next_day)
        [profile] = reader.volume_profiles(TODAY.isoformat(), 1, 1)
        other = VolumePoints((54,), (1.0,), (9e9,))
        producer.store([replace(profile, symbols=2, points=other, means=VolumeMeans((54,), (1.0,), (9e9,), (1,)))])
        assert reader.sessions_without_profile(next_day, 1) == [TODAY.isoformat()]
        assert reader.earlier_days(next_day, 1, next_day) == computed


def test_stored_volumes_before_a_split_count_in_the_shares_after_it(url, producer):
    next_day = (TODAY + timedelta(days=1)).isoformat()
    with StoreReader(url) as reader:
        for session_date in reader.sessions_without_profile(next_day, 20):
            producer.store(reader.volume_profiles(session_date, 20, 1))
        means, _ = reader.earlier_days(next_day, 20, next_day)
        producer.store([SharesAdjusted("kis", "A", TODAY.isoformat(), next_day, 2_000.0, 10_000.0)])
        adjusted, _ = reader.earlier_days(next_day, 20, next_day)
    days = len(DAYS) + 1
    for before, after in zip(means, adjusted, strict=True):
        assert after.volume / before.volume == pytest.approx((5 * len(DAYS) + 1) / days, rel=0.1)


def test_means_of_other_sessions_than_those_asked_for_are_not_used(url, producer):
    next_day = (TODAY + timedelta(days=1)).isoformat()
    with StoreReader(url) as reader:
        computed = reader.earlier_days(next_day, 3, next_day)
        for session_date in reader.sessions_without_profile(next_day, 20):
            producer.store(reader.volume_profiles(session_date, 20, 1))
        assert reader.earlier_days(next_day, 3, next_day) == computed
