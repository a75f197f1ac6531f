"""The statistics of the tables, on both databases: made once a day, after the last sweep, beside the writer."""

import asyncio
from datetime import date

import pytest

from bus.delivery import Delivered
from observer.base.clock import ManualClock
from observer.monitoring.alerts.process import Alerts
from observer.store.statistics import StatisticsJob, refresh_statistics
from observer.store.writer import StoreWriter
from tests import waiting
from tests.builders import trades
from tests.day_plans import day_plan
from tests.store.migrated import make_database
from tests.store.raw import execute, query
from tests.store.stored import stored
from tests.waiting import until_async

DAY = day_plan(date(2026, 11, 18))


def counted(url):
    """The rows of trades that the planner knows of."""
    if url.startswith("sqlite"):
        if not query(url, "SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_stat1'"):
            return 0
        found = query(url, "SELECT stat FROM sqlite_stat1 WHERE tbl = 'trade_rows'")
        return int(str(found[0][0]).split()[0]) if found else 0
    [(rows,)] = query(url, "SELECT reltuples FROM pg_class WHERE oid = 'trade_rows'::regclass")
    return int(float(str(rows)))


def test_the_planner_knows_the_rows_of_a_table_while_the_writer_writes(database_url):
    writer = StoreWriter(database_url)
    writer.open()
    writer.commit([Delivered("track-b", "5" * 32, 1, trades(500))])
    refresh_statistics(database_url)
    assert counted(database_url) == 500
    writer.commit([Delivered("track-b", "5" * 32, 501, trades(500, 501))])
    refresh_statistics(database_url)
    assert counted(database_url) == 1_000
    writer.close()


@pytest.mark.parametrize("whole_database_url", ["postgresql"], indirect=True)
def test_the_room_of_removed_rows_is_used_again_without_the_servers_autovacuum(whole_database_url):
    def size():
        [(found,)] = query(whole_database_url, "SELECT pg_relation_size('trade_rows')")
        return int(str(found))

    execute(whole_database_url, "ALTER TABLE trade_rows SET (autovacuum_enabled = false)")
    writer = StoreWriter(whole_database_url)
    writer.open()
    writer.commit([Delivered("track-b", "5" * 32, 1, trades(5_000))])
    of_one_day = size()
    for first in (5_001, 10_001):
        execute(whole_database_url, f"DELETE FROM trade_rows WHERE sequence < {first}")
        refresh_statistics(whole_database_url)
        writer.commit([Delivered("track-b", "5" * 32, first, trades(5_000, first))])
    writer.close()
    assert size() < 1.5 * of_one_day


class Today:
    """The trading-day service of one day that does not end."""

    def __init__(self):
        self.is_waiting_for_the_end = False

    async def plan(self):
        return DAY

    async def end_of(self, _plan):
        self.is_waiting_for_the_end = True
        await asyncio.Event().wait()


def test_the_statistics_are_made_after_the_last_sweep_of_the_day(database_url):
    async def scenario():
        clock, today = ManualClock(DAY.track_a_stop_ns), Today()
        task = asyncio.create_task(StatisticsJob(database_url, today, clock, Alerts(clock, "core-writer")).run())
        await clock.advance(10 * 60)
        await until_async(lambda: today.is_waiting_for_the_end or task.done(), "the statistics are made")
        assert counted(database_url) == 3
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stored(database_url, *trades(3))
    waiting.run(scenario())


def test_statistics_that_cannot_be_made_are_an_alert_until_they_are_made(tmp_path):
    async def scenario():
        clock, url = ManualClock(DAY.track_a_stop_ns + 10 * 60 * 10**9), f"sqlite:///{tmp_path / 'observer.db'}"
        alerts = Alerts(clock, "core-writer")
        for expected in (["statistics"], []):
            today = Today()
            task = asyncio.create_task(StatisticsJob(url, today, clock, alerts).run())
            await until_async(lambda: today.is_waiting_for_the_end, "the day's statistics are tried")  # noqa: B023
            assert [each.identity for each in alerts.open] == expected
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            make_database(url)

    waiting.run(scenario())
