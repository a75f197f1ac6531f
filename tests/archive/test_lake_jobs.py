"""When days are sealed: each after its backup, the missed ones at once, and a failure again after an hour."""

import os
import shutil
import threading
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from bus.delivery import Delivered
from bus.events import BackupCompleted, TradesConflated
from observer.archive.copying import copied_days, copy_lake, publish_days
from observer.archive.day import CATALOGUE, manifest_content, manifest_path, sealed_days, version_path
from observer.archive.day_files import DayFiles
from observer.archive.lock import locked
from observer.archive.object_store import open_target
from observer.archive.sealing import seal_days
from observer.archive.settings import LakeSettings
from observer.archive.target import FolderTarget
from observer.archive.upkeep import CHECKED_AGAIN, LakeJobs, LakeUpkeep, days_to_seal, days_with_more
from observer.archive.whole import whole_files
from observer.base.local_time import local_ns
from observer.base.units import NS_PER_S
from observer.calendar.day_file import write_trading_days
from observer.calendar.service import TradingDayService
from observer.calendar.trading_day import TradingDay
from observer.demo.configuration import DAY as DATE
from observer.monitoring.alerts.process import Alerts
from observer.store.kinds import REMOVABLE
from observer.store.sealing import SealingReader
from observer.store.writer import StoreWriter
from tests.archive.object_stores import Gate, store_at
from tests.archive.stored import MARKET, append, day_of, make_stored, of_every_kind, remove_sealed
from tests.builders import trade
from tests.day_plans import RULES, day_plan
from tests.store.migrated import make_database
from tests.waiting import until_async
from tests.watched import WatchedClock, run_beside

BACKUP_NS = day_plan(DATE).backup_ns
DAY, DAY_BEFORE = DATE.isoformat(), (DATE - timedelta(days=1)).isoformat()


class Scene:
    """The jobs of a lake on a day, and what they sealed."""

    def __init__(
        self,
        folder,
        *days,
        keep_days=None,
        url="",
        target=None,
        hour=9,
    ):
        self.lake, self.copy = folder / "lake", FolderTarget(folder / "copy")
        self.url = url or make_stored(folder, *(event for day in days for event in day_of(day, symbols=1, each=2)))
        self.clock = WatchedClock(local_ns(DATE, hour))
        self.alerts = Alerts(self.clock, "lake")
        write_trading_days(folder, [TradingDay(DATE + timedelta(days=ahead), True, "test") for ahead in (0, 1)])
        today = TradingDayService(folder, RULES, self.clock)
        upkeep = LakeUpkeep(
            lake=self.lake,
            url=self.url,
            market=MARKET,
            now_ns=self.clock.now_ns,
            day_files=DayFiles(folder / "observer", "kis"),
            keep_days=keep_days,
            copy=None if target else self.copy,
        )
        self.jobs = LakeJobs(upkeep, today, self.clock, self.alerts, target)

    @property
    def sealed(self):
        return [day.session_date for day in sealed_days(self.lake)]

    def back_up(self):
        assert copy_lake(self.lake, self.copy, threading.Event()).problems == []

    async def waits_for(self, moment_ns):
        await until_async(lambda: moment_ns in self.clock.waits, "the jobs wait")

    def run(self, scenario):
        run_beside(self.jobs.run, scenario)


def test_a_day_is_sealed_after_its_backup_and_a_missed_one_at_once(tmp_path):
    scene = Scene(tmp_path, DAY_BEFORE, DAY)

    async def scenario():
        await scene.waits_for(BACKUP_NS)
        assert scene.sealed == [DAY_BEFORE]
        await scene.clock.advance((BACKUP_NS - scene.clock.now_ns()) / NS_PER_S)
        await scene.waits_for(BACKUP_NS + 30 * NS_PER_S)  # the day's package is not there yet
        assert scene.sealed == [DAY_BEFORE]
        append(scene.url, BackupCompleted(BACKUP_NS + 1, "package", 1, ""))
        await scene.clock.advance(30)
        await until_async(lambda: scene.sealed == [DAY_BEFORE, DAY], "the day is sealed")

    scene.run(scenario)


def test_a_day_whose_backup_fails_is_sealed_an_hour_later(tmp_path):
    scene = Scene(tmp_path, DAY)

    async def scenario():
        await scene.waits_for(BACKUP_NS)
        await scene.clock.advance((BACKUP_NS - scene.clock.now_ns()) / NS_PER_S)
        await scene.waits_for(BACKUP_NS + 30 * NS_PER_S)
        await scene.clock.advance(3_600)
        await until_async(lambda: scene.sealed == [DAY], "the day is sealed")

    scene.run(scenario)


def test_a_day_with_a_damaged_file_is_an_alert_and_the_others_get_their_day_files(tmp_path):
    scene = Scene(tmp_path, DAY_BEFORE, DAY)
    prices = (1_000.0, 1_010.0, 990.0, 1_005.0)
    append(scene.url, TradesConflated("kis", "000010", DAY_BEFORE, 5, 6, 7, 2, 8.0, *prices, 8.0, None, venue="KRX"))
    list(seal_days(scene.lake, scene.url, MARKET, [DAY_BEFORE, DAY], lambda: 1, threading.Event()))
    version_path(scene.lake, "conflated_trades", MARKET, DAY_BEFORE, 1).write_bytes(b"")

    async def scenario():
        await until_async(lambda: scene.alerts.are_open("lake"), "the alert is open")
        assert (tmp_path / f"observer/scalp/kis/{MARKET}/{DAY.replace('-', '')}/trades.parquet").is_file()

    scene.run(scenario)


def test_a_failure_is_an_alert_until_the_next_attempt_succeeds(tmp_path):
    scene = Scene(tmp_path, DAY_BEFORE)
    other = ExitStack()

    async def scenario():
        await until_async(lambda: scene.alerts.are_open("lake"), "the alert is open")
        other.close()
        await scene.waits_for(scene.clock.now_ns() + 3_600 * NS_PER_S)
        await scene.clock.advance(3_600)
        await until_async(lambda: scene.sealed == [DAY_BEFORE], "the day is sealed")
        await until_async(lambda: not scene.alerts.are_open("lake"), "the alert is resolved")

    with other:  # before the jobs begin: else they could take the lock first
        other.enter_context(locked(scene.lake))
        scene.run(scenario)


def test_a_catalogue_that_cannot_be_written_is_an_alert_of_its_own_and_the_day_is_sealed(tmp_path):
    scene = Scene(tmp_path, DAY_BEFORE)
    scene.lake.mkdir()
    (scene.lake / CATALOGUE).write_bytes(b"no folder")

    async def scenario():
        await scene.waits_for(BACKUP_NS)  # not for the next hour
        assert scene.sealed == [DAY_BEFORE]
        [alert] = scene.alerts.open
        assert alert.text.startswith(f"the days up to {DAY_BEFORE} are sealed, but the catalogue ")
        assert "not sealed" not in alert.text

    scene.run(scenario)


def test_a_day_that_stays_wrong_does_not_keep_the_present_one_from_being_sealed(tmp_path):
    scene = Scene(tmp_path, DAY, hour=16)
    append(scene.url, *day_of(DAY_BEFORE, market="other", symbols=1, each=2))

    async def scenario():
        await until_async(lambda: scene.alerts.are_open("lake"), "the alert is open")
        for hour in range(17, 24):  # until the backup each hour has an attempt
            await scene.waits_for(min(BACKUP_NS, local_ns(DATE, hour)))
            if BACKUP_NS in scene.clock.waits:
                break
            await scene.clock.advance(3_600)
        append(scene.url, BackupCompleted(BACKUP_NS + 1, "package", 1, ""))
        await scene.clock.advance((BACKUP_NS - scene.clock.now_ns()) / NS_PER_S)
        await until_async(lambda: scene.sealed == [DAY], "the day is sealed")

    scene.run(scenario)


def test_day_files_that_a_restore_does_not_bring_are_written_again_of_all_sealed_days(tmp_path):
    days = [(DATE - timedelta(days=back)).isoformat() for back in range(CHECKED_AGAIN + 2, 0, -1)]
    scene = Scene(tmp_path, *days)

    def day_files():
        return sorted(path.parent.name for path in (tmp_path / "observer/scalp").glob(f"kis/{MARKET}/*/trades.parquet"))

    expected = [day.replace("-", "") for day in days]
    scene.run(lambda: until_async(lambda: day_files() == expected, "the day files are written"))
    shutil.rmtree(tmp_path / "observer")
    restored = Scene(tmp_path, url=scene.url)
    restored.run(lambda: until_async(lambda: day_files() == expected, "the day files are written again"))


def test_days_before_the_newest_ones_need_not_be_kept_and_their_late_rows_are_sealed(tmp_path):
    days = [(DATE - timedelta(days=back)).isoformat() for back in range(CHECKED_AGAIN + 2, 0, -1)]
    scene = Scene(tmp_path, *days, keep_days=CHECKED_AGAIN)

    def removed():
        return [day.session_date for day in sealed_days(scene.lake) if day.removed]

    async def scenario():
        await until_async(lambda: scene.sealed == days, "the days are sealed")
        assert removed() == [], "a day is compared when it is sealed already"
        scene.back_up()
        await scene.clock.advance((BACKUP_NS - scene.clock.now_ns()) / NS_PER_S)
        append(scene.url, trade(99, symbol="000020", session_date=days[1]), BackupCompleted(BACKUP_NS + 1, "p", 1, ""))
        await scene.clock.advance(30)
        await until_async(lambda: sealed_days(scene.lake)[1].rows == 5, "the late row is sealed")
        assert removed() == days[:1], "the day need not be kept, and one that changed has one copy"
        remove_sealed(scene.url, scene.lake)
        append(scene.url, trade(100, symbol="000020", session_date=days[0]))

    scene.run(scenario)
    scene.back_up()
    later = Scene(tmp_path, keep_days=CHECKED_AGAIN, url=scene.url)
    later.run(lambda: until_async(lambda: removed() == days[:2], "the other day's rows may go, too"))
    assert sealed_days(scene.lake)[0].rows == 5, "the late row is sealed"
    assert sealed_days(scene.lake)[0].kinds["trades"][-1].version == 2


@pytest.mark.parametrize("copy", ["none", "links", "damaged", "whole"])
def test_a_day_without_a_second_whole_copy_keeps_its_rows_in_the_database(tmp_path, copy):
    days = [(DATE - timedelta(days=back)).isoformat() for back in (2, 1)]
    scene = Scene(tmp_path, *days, keep_days=1)
    list(seal_days(scene.lake, scene.url, MARKET, days, lambda: 1, threading.Event()))
    if copy != "none":
        scene.back_up()
    own, copied = (version_path(each, "trades", MARKET, days[0], 1) for each in (scene.lake, scene.copy.folder))
    if copy == "links":
        copied.unlink()
        os.link(own, copied)
    if copy == "damaged":
        copied.write_bytes(copied.read_bytes()[::-1])

    async def scenario():
        await until_async(lambda: scene.clock.waits, "the days are looked at")
        assert [bool(day.removed) for day in sealed_days(scene.lake)] == [copy == "whole", False]
        texts = [alert.text for alert in scene.alerts.open]
        remedy = f"{copied} is not version 1: remove it, and `observer backup now` copies it again"
        assert [remedy in text for text in texts] == ([True] if copy == "damaged" else [])

    scene.run(scenario)


@pytest.mark.slow
def test_a_late_row_of_each_kind_that_is_removed_is_sealed_by_itself(tmp_path):
    """Of days before the newest ones, which are looked at each day: one for each kind."""
    kinds = sorted(REMOVABLE)
    days = [(DATE - timedelta(days=back)).isoformat() for back in range(CHECKED_AGAIN + len(kinds), 0, -1)]
    scene = Scene(tmp_path, *days)
    old = days[: len(kinds)]
    for day, kind in zip(old, kinds, strict=True):
        append(scene.url, *of_every_kind(day, "000010", 1, [kind]))
    list(seal_days(scene.lake, scene.url, MARKET, days, lambda: 1, threading.Event(), remove=old))
    remove_sealed(scene.url, scene.lake)
    for day, kind in zip(old, kinds, strict=True):
        append(scene.url, *of_every_kind(day, "000010", 2, [kind]))

    def rows():
        return [day.kinds[kind][-1].rows for day, kind in zip(sealed_days(scene.lake), kinds, strict=False)]

    expected = [count + 1 for count in rows()]
    again = Scene(tmp_path, url=scene.url)
    again.run(lambda: until_async(lambda: rows() == expected, "the late row of each kind is sealed"))


def test_bars_that_are_fetched_for_days_long_sealed_are_sealed_within_a_day(tmp_path):
    days = [(DATE - timedelta(days=back)).isoformat() for back in range(CHECKED_AGAIN + 3, 0, -1)]
    scene = Scene(tmp_path, *days)
    list(seal_days(scene.lake, scene.url, MARKET, days, lambda: 1, threading.Event()))
    for day in days[:2]:
        append(scene.url, *of_every_kind(day, "000010", 1, ["fetched_minute_bars", "bar_fetches"]))

    def with_bars():
        return [day.session_date for day in sealed_days(scene.lake) if day.newest("fetched_minute_bars")]

    scene.run(lambda: until_async(lambda: with_bars() == days[:2], "the bars are sealed"))


@pytest.mark.slow  # that they join: tests/archive/test_lake_removal.py
def test_bars_of_an_old_day_are_sealed_that_an_earlier_database_has_more_fetches_of(tmp_path):
    days = [(DATE - timedelta(days=back)).isoformat() for back in range(CHECKED_AGAIN + 3, 0, -1)]
    (tmp_path / "old").mkdir()
    kinds = ["fetched_minute_bars", "bar_fetches"]
    fetched = [event for number in (1, 2) for event in of_every_kind(days[0], "000010", number, kinds)]
    old = make_stored(tmp_path / "old", *(event for day in days for event in day_of(day, 1, 1)), *fetched)
    new = f"sqlite:///{tmp_path / 'new.sqlite3'}"
    make_database(new)
    list(seal_days(tmp_path / "lake", old, MARKET, days, lambda: 1, threading.Event()))
    writer = StoreWriter(new)
    writer.open()
    writer.commit([Delivered("fetch", "6" * 32, 1, of_every_kind(days[0], "000010", 3, kinds))])
    writer.close()
    scene = Scene(tmp_path, url=new)

    def rows():
        return [sealed_days(scene.lake)[0].kinds[kind][-1].rows for kind in kinds]

    scene.run(lambda: until_async(lambda: rows() == [3, 3], "the bars are sealed"))
    with SealingReader(new) as reader:
        assert not days_with_more(sealed_days(scene.lake)[:1], reader), "they are not sealed again and again"


@pytest.mark.slow  # of the target alone: tests/archive/test_lake_target.py
def test_a_lost_target_is_an_alert_with_ever_longer_waits_until_it_is_back_and_rows_stay_until_then(tmp_path, server):
    days = [(DATE - timedelta(days=back)).isoformat() for back in range(4, 0, -1)]
    gate = Gate(server.port)
    store = store_at(server.make_bucket("lost-target"), gate.endpoint)
    scene = Scene(tmp_path, *days, keep_days=2, target=lambda: store)

    def removed():
        return [day.session_date for day in sealed_days(scene.lake) if day.removed]

    async def scenario():
        gate.stop()
        for waited_s in (60, 120, 240):
            await scene.waits_for(scene.clock.now_ns() + waited_s * NS_PER_S)
            assert scene.alerts.are_open("target")
            assert scene.sealed == days, "sealing goes on"
            assert removed() == []
            if waited_s == 240:
                gate.start()
            await scene.clock.advance(waited_s)
        await until_async(lambda: not scene.alerts.are_open("target"), "the alert is resolved")
        assert removed() == days[:2]
        assert [day.removed for day in copied_days(store)][:3] == [("trades",), ("trades",), ()]

    scene.run(scenario)
    gate.stop()


def test_a_day_that_cannot_be_published_keeps_the_rows_of_no_other_day_in_the_database(tmp_path, server):
    days = [(DATE - timedelta(days=back)).isoformat() for back in range(4, 0, -1)]
    store = store_at(server.make_bucket("one-day-wrong"), server.endpoint)
    store.write(manifest_path(Path(), MARKET, days[0]).as_posix(), b"{")
    scene = Scene(tmp_path, *days, keep_days=2, target=lambda: store)

    async def scenario():
        await until_async(lambda: scene.alerts.are_open("target"), "the alert is open")
        assert [day.session_date for day in sealed_days(scene.lake) if day.published] == days[1:]
        assert [day.session_date for day in sealed_days(scene.lake) if day.removed] == days[1:2]
        store.write(manifest_path(Path(), MARKET, days[0]).as_posix(), manifest_content(sealed_days(scene.lake)[0]))
        assert [day.removed for day in copied_days(store)][:3] == [(), ("trades",), ()]

    scene.run(scenario)


def test_without_keys_days_are_sealed_and_the_alert_names_the_remedy(tmp_path):
    settings = LakeSettings(target="s3://bucket/x")
    scene = Scene(tmp_path, DAY_BEFORE, target=lambda: open_target(settings, {}))

    async def scenario():
        await until_async(lambda: scene.alerts.are_open("target"), "the alert is open")
        assert scene.sealed == [DAY_BEFORE]
        [alert] = scene.alerts.open
        assert "set OBSERVER_LAKE_ACCESS_KEY and OBSERVER_LAKE_SECRET_KEY" in alert.text

    scene.run(scenario)


def test_late_rows_stay_in_the_database_until_the_target_has_them(tmp_path, server):
    store = store_at(server.make_bucket("late-rows"), server.endpoint)
    scene = Scene(tmp_path, DAY_BEFORE)
    stop = threading.Event()

    def seal(*remove):
        days = [DAY_BEFORE]
        list(seal_days(scene.lake, scene.url, MARKET, days, lambda: 1, stop, remove=remove, target=store))

    def removable():
        [day] = sealed_days(scene.lake)
        return sum(rows.rows for rows in day.removable_rows(published_only=True))

    seal()
    list(publish_days(scene.lake, store, MARKET, stop))
    seal(DAY_BEFORE)
    assert removable() == 2
    append(scene.url, trade(99, symbol="000020", session_date=DAY_BEFORE))
    seal()
    assert sealed_days(scene.lake)[0].kinds["trades"][-1].rows == 3
    assert removable() == 2, "the target has the first version only"
    list(publish_days(scene.lake, store, MARKET, stop))
    assert removable() == 3


def test_days_that_are_not_sealed_and_the_newest_sealed_ones_are_looked_at():
    days = [f"2026-10-{day:02}" for day in range(1, 21)]
    sealed = set(days) - {"2026-10-03", "2026-10-20"}
    assert days_to_seal(days, sealed) == ["2026-10-03", *days[19 - CHECKED_AGAIN : 19], "2026-10-20"]


async def test_what_the_nightly_verification_finds_damaged_is_an_alert_until_it_is_whole(tmp_path):
    scene = Scene(tmp_path, DAY_BEFORE)
    list(seal_days(scene.lake, scene.url, MARKET, [DAY_BEFORE], lambda: 1, threading.Event()))
    path = version_path(scene.lake, "trades", MARKET, DAY_BEFORE, 1)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    while not scene.alerts.open:  # its turn comes
        await scene.jobs._scrub()
    await scene.jobs._scrub()
    [alert] = scene.alerts.open
    assert (alert.identity, alert.severity) == ("lake_damaged", "critical")
    assert f"{path} is damaged" in alert.text
    assert f"`observer lake seal {DAY_BEFORE}`" in alert.text
    path.write_bytes(whole)
    await scene.jobs._scrub()
    assert scene.alerts.open == []


async def test_the_nightly_verification_resolves_no_alert_while_a_file_is_known_to_be_damaged(tmp_path):
    scene = Scene(tmp_path, DAY_BEFORE)
    list(seal_days(scene.lake, scene.url, MARKET, [DAY_BEFORE], lambda: 1, threading.Event()))
    [day] = sealed_days(scene.lake)
    path = version_path(scene.lake, "trades", MARKET, DAY_BEFORE, 1)
    path.write_bytes(path.read_bytes()[:-1])
    name, version = path.relative_to(scene.lake).as_posix(), day.newest("trades")
    assert whole_files(scene.lake).wrong(name, version)  # a reader meets it
    scene.alerts.report("lake_damaged", "critical", "of another part")
    for _ in range(30):
        await scene.jobs._scrub()
        assert scene.alerts.are_open("lake_damaged")
