"""When rows of old sealed days are removed: each day from the backup on, as the manifests say."""

import os
import threading
from datetime import timedelta

import pytest

from bus.events import AlertRaised, AlertResolved, Event
from observer.archive.copying import copy_lake
from observer.archive.day import path_of, sealed_day, version_path
from observer.archive.removal import Removal, RemovalJob
from observer.archive.sealing import seal_days
from observer.archive.target import FolderTarget
from observer.archive.whole import whole_files
from observer.base.errors import StoreError
from observer.base.local_time import local_ns
from observer.base.units import NS_PER_S
from observer.calendar.day_file import write_trading_days
from observer.calendar.service import TradingDayService
from observer.calendar.trading_day import TradingDay
from observer.demo.configuration import DAY as DATE
from observer.monitoring.alerts.process import Alerts
from observer.store.removal import SealedRows
from tests.archive.stored import DAY, MARKET, NEXT_DAY, day_of, make_stored
from tests.day_plans import RULES, day_plan
from tests.waiting import until_async
from tests.watched import WatchedClock, run_beside

LOOK_S = 600


class Counting:
    """A writer that has nothing to remove, or never has done, and keeps what it was asked for."""

    def __init__(self):
        self.asked: list[SealedRows] = []
        self.is_endless = False

    def remove(self, sealed, after):
        self.asked.append(sealed)
        return after + 1 if self.is_endless else None


class Scene:
    """The job in a system whose writer is idle, on a day with two sealed days before it."""

    def __init__(self, folder, keep_days):
        self.lake = folder / "lake"
        url = make_stored(folder, *day_of(symbols=1, each=2), *day_of(NEXT_DAY, symbols=1, each=2))
        days = [DAY, NEXT_DAY]
        list(seal_days(self.lake, url, MARKET, days, lambda: 1, threading.Event(), remove=days))
        self.clock = WatchedClock(local_ns(DATE, 9))
        self.alerts = Alerts(self.clock, "core-writer")
        self.writer = Counting()
        self.removal = Removal(self.writer)
        write_trading_days(folder, [TradingDay(DATE + timedelta(days=ahead), True, "test") for ahead in (0, 1)])
        today = TradingDayService(folder, RULES, self.clock)
        self.copy = FolderTarget(folder / "copy")
        copy_lake(self.lake, self.copy, threading.Event())
        self.job = RemovalJob(
            self.lake, MARKET, keep_days, self.removal, today, self.clock, self.alerts, copy=self.copy.folder
        )

    def step(self):
        while self.removal.step_from_thread():
            pass
        return bool(self.writer.asked)

    def run(self, scenario):
        run_beside(self.job.run, scenario)


def test_from_the_backup_on_the_rows_of_the_older_days_are_removed_and_those_of_the_newest_are_not(
    tmp_path,
):
    scene = Scene(tmp_path, keep_days=1)

    async def scenario():
        assert not scene.step(), "the market trades"
        await scene.clock.advance((day_plan(DATE).backup_ns - scene.clock.now_ns()) / NS_PER_S)
        await until_async(scene.step, "rows are removed")
        assert {rows.session_date for rows in scene.writer.asked} == {DAY}

    scene.run(scenario)


def test_the_newest_of_the_days_is_first(tmp_path):
    scene = Scene(tmp_path, keep_days=0)

    async def scenario():
        await scene.clock.advance((day_plan(DATE).backup_ns - scene.clock.now_ns()) / NS_PER_S)
        await until_async(scene.step, "rows are removed")
        assert [rows.session_date for rows in scene.writer.asked] == [NEXT_DAY, DAY]

    scene.run(scenario)


def test_nothing_is_removed_after_midnight(tmp_path):
    scene = Scene(tmp_path, keep_days=1)
    scene.writer.is_endless = True

    async def scenario():
        await scene.clock.advance((day_plan(DATE).backup_ns - scene.clock.now_ns()) / NS_PER_S)
        await until_async(scene.removal.step_from_thread, "rows are removed")
        await scene.clock.advance((day_plan(DATE).ends_ns - scene.clock.now_ns()) / NS_PER_S)
        await until_async(lambda: not scene.removal.step_from_thread(), "no rows are removed")

    scene.run(scenario)


@pytest.mark.parametrize("damage", ["gone", "shorter", "longer"])
def test_rows_whose_sealed_file_is_gone_or_of_another_size_stay_and_are_an_alert_until_it_is_back(tmp_path, damage):
    scene = Scene(tmp_path, keep_days=0)
    path = version_path(scene.lake, "trades", MARKET, DAY, 1)
    content = path.read_bytes()
    for each in (path, path_of(scene.lake, "trades", MARKET, DAY)):
        each.unlink()
    if damage != "gone":
        path.write_bytes(content[:-1] if damage == "shorter" else content + b"\0")

    def removed():
        scene.step()
        return {(rows.kind, rows.session_date) for rows in scene.writer.asked}

    async def scenario():
        await scene.clock.advance((day_plan(DATE).backup_ns - scene.clock.now_ns()) / NS_PER_S)
        await until_async(lambda: scene.alerts.are_open("lake_damaged"), "the alert is open")
        await until_async(lambda: ("trades", NEXT_DAY) in removed(), "the other day's rows are removed")
        assert ("trades", DAY) not in removed()
        [alert] = scene.alerts.open
        assert f"{path} is {'gone' if damage == 'gone' else 'damaged'}, which has the trades of {DAY}" in alert.text
        path.write_bytes(content)
        await scene.clock.advance(LOOK_S)
        await until_async(lambda: ("trades", DAY) in removed(), "the day's rows are removed")
        await until_async(lambda: not scene.alerts.are_open("lake_damaged"), "the alert is resolved")

    scene.run(scenario)


def test_rows_that_wait_stay_if_their_sealed_file_goes_before_their_turn(tmp_path):
    scene = Scene(tmp_path, keep_days=0)
    scene.writer.is_endless = True

    async def scenario():
        await scene.clock.advance((day_plan(DATE).backup_ns - scene.clock.now_ns()) / NS_PER_S)
        await until_async(scene.removal.step_from_thread, "rows are removed")
        version_path(scene.lake, "trades", MARKET, DAY, 1).unlink()
        await scene.clock.advance(LOOK_S)
        await until_async(lambda: scene.alerts.are_open("lake_damaged"), "the alert is open")
        scene.writer.is_endless = False
        scene.step()
        assert {rows.session_date for rows in scene.writer.asked} == {NEXT_DAY}

    scene.run(scenario)


def test_a_manifest_that_cannot_be_read_is_an_alert_until_it_can(tmp_path):
    scene = Scene(tmp_path, keep_days=1)
    manifest = scene.lake / "_days" / f"market={MARKET}" / f"{NEXT_DAY}.json"
    content = manifest.read_bytes()
    manifest.write_bytes(b"{")

    async def scenario():
        await scene.clock.advance((day_plan(DATE).backup_ns - scene.clock.now_ns()) / NS_PER_S)
        await until_async(lambda: scene.alerts.are_open("lake_damaged"), "the alert is open")
        [alert] = scene.alerts.open
        assert str(manifest) in alert.text
        looks_ns = [day_plan(DATE).backup_ns, day_plan(DATE).backup_ns + LOOK_S * NS_PER_S]
        await until_async(lambda: scene.clock.waits == looks_ns, "the job waits for its next look")
        manifest.write_bytes(content)
        await scene.clock.advance(LOOK_S)
        await until_async(lambda: not scene.alerts.are_open("lake_damaged"), "the alert is resolved")

    scene.run(scenario)


def test_the_file_of_rows_that_are_removed_may_go_without_an_alert_of_their_removal(tmp_path):
    scene = Scene(tmp_path, keep_days=0)
    found = scene.job._rows()
    scene.job._look(found)
    scene.step()
    assert {rows.session_date for rows in scene.writer.asked} == {DAY, NEXT_DAY}
    version_path(scene.lake, "trades", MARKET, DAY, 1).unlink()
    assert scene.job._rows() == found


class Failing:
    """A writer whose database is away."""

    def remove(self, sealed, after):
        raise StoreError("the database is away")


ROWS = [SealedRows("trades", DAY, "5" * 32, 1, 9, 9)]


@pytest.mark.parametrize(
    ("found", "failure"),
    [
        ("the manifest is damaged", "the manifest is damaged"),
        ((ROWS, []), "the database is away"),
        (([], ["a", "b", "c"]), "a; b; c"),
        ((ROWS, ["a", "b", "c", "d", "e"]), "the database is away; a; b; c; and 2 more"),
    ],
)
def test_an_alert_says_why_the_removal_failed_and_names_three_files(tmp_path, found, failure):
    clock, events = WatchedClock(local_ns(DATE, 9)), list[Event]()
    alerts = Alerts(clock, "core-writer", lambda *raised: events.extend(raised))
    removal = Removal(Failing())
    today = TradingDayService(tmp_path, RULES, clock)
    job = RemovalJob(tmp_path, MARKET, 0, removal, today, clock, alerts, copy=tmp_path)
    if found[0] is ROWS:
        removal.add(ROWS)
        removal.step_from_thread()
    job._look(found)
    job._look(([], []))
    raised, resolved = events
    assert isinstance(raised, AlertRaised)
    assert isinstance(resolved, AlertResolved)
    assert (raised.identity, raised.severity) == ("removal", "warning")
    assert raised.text == f"rows of old sealed days are not removed from the database: {failure}"
    assert resolved.identity == "removal"
    assert resolved.text == "rows of old sealed days are removed from the database"


def test_rows_that_the_target_does_not_have_stay_where_they_must_be_published(tmp_path):
    scene = Scene(tmp_path, keep_days=0)
    lake, removal, clock, alerts = scene.lake, scene.removal, scene.clock, scene.alerts
    today = TradingDayService(tmp_path, RULES, clock)
    rows = [
        RemovalJob(lake, MARKET, 0, removal, today, clock, alerts, copy=copy)._rows()
        for copy in (scene.copy.folder, None)
    ]
    assert [len(found) for found, _lost in rows] == [2, 0]


def test_rows_whose_copy_is_the_lake_s_own_file_stay_until_a_backup_has_made_one(tmp_path):
    scene = Scene(tmp_path, keep_days=0)
    own, copied = (version_path(each, "trades", MARKET, DAY, 1) for each in (scene.lake, scene.copy.folder))
    copied.unlink()
    os.link(own, copied)
    assert {each.session_date for each in scene.job._rows()[0]} == {NEXT_DAY}
    copy_lake(scene.lake, scene.copy, threading.Event())
    assert {each.session_date for each in scene.job._rows()[0]} == {DAY, NEXT_DAY}


@pytest.mark.parametrize("place", ["the lake", "the copy"])
def test_rows_stay_while_the_file_of_the_lake_or_its_only_copy_is_known_to_be_damaged(tmp_path, place):
    scene = Scene(tmp_path, keep_days=0)
    folder = scene.lake if place == "the lake" else scene.copy.folder
    path = version_path(folder, "trades", MARKET, DAY, 1)
    whole = path.read_bytes()
    path.write_bytes(bytes([*whole[:-1], whole[-1] ^ 1]))
    day = sealed_day(scene.lake, MARKET, DAY)
    version = day.newest("trades")
    assert whole_files(folder).verify(day.name_of("trades", version), version)
    rows, lost = scene.job._rows()
    assert {each.session_date for each in rows} == {NEXT_DAY}
    named = [f"`observer lake seal {DAY}`" in each and str(path) in each for each in lost]
    assert named == ([True] if place == "the lake" else [])
    path.write_bytes(whole)
    rows, lost = scene.job._rows()
    assert ({each.session_date for each in rows}, lost) == ({DAY, NEXT_DAY}, [])


def test_damage_that_another_part_reported_stays_an_alert_while_a_file_of_any_day_is_known_to_be_damaged(tmp_path):
    scene = Scene(tmp_path, keep_days=1)  # no rows of the damaged day are to be removed
    path = version_path(scene.lake, "trades", MARKET, NEXT_DAY, 1)
    whole = path.read_bytes()
    path.write_bytes(bytes([*whole[:-1], whole[-1] ^ 1]))
    version = sealed_day(scene.lake, MARKET, NEXT_DAY).newest("trades")
    assert whole_files(scene.lake).verify(path.relative_to(scene.lake).as_posix(), version)
    scene.alerts.report("lake_damaged", "critical", "of another part")

    async def looked():
        next_ns = scene.clock.now_ns() + LOOK_S * NS_PER_S
        await until_async(lambda: next_ns in scene.clock.waits, "the next look is waited for")

    async def scenario():
        await scene.clock.advance((day_plan(DATE).backup_ns - scene.clock.now_ns()) / NS_PER_S)
        for _ in range(2):
            await looked()
            assert scene.alerts.identities == ["lake_damaged"]
            await scene.clock.advance(LOOK_S)
        await looked()
        path.write_bytes(whole)
        await scene.clock.advance(LOOK_S)
        await until_async(lambda: not scene.alerts.identities, "the alert is resolved")

    scene.run(scenario)
