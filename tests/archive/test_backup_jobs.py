"""Packages of the day and by hand: how many stay, the second target, the command, and what a failure leaves."""

import asyncio
import hashlib
import os
import sqlite3
import sys
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.commands import Refused, RunJob, UnderWay
from bus.events import AlertRaised, AlertRepeated, AlertResolved, BackupCompleted, UniverseBuilt
from observer.archive.backup import back_up, back_up_apart
from observer.archive.backup_jobs import MISSED, RESULT, BackupJobs, is_missing, last_due_ns
from observer.archive.day_files import DayFiles
from observer.archive.manifest import Manifest
from observer.archive.package import Package, newest_packages, outdated, packages, packages_of, read_package
from observer.archive.sealing import seal_days
from observer.archive.settings import BackupSettings
from observer.base.errors import DatabaseDamagedError, StoreError
from observer.base.instance import Instance
from observer.base.local_time import local_ns
from observer.base.units import NS_PER_DAY, NS_PER_S
from observer.calendar.day_file import write_trading_days
from observer.calendar.service import TradingDayService
from observer.calendar.trading_day import TradingDay
from observer.demo.configuration import DAY
from observer.monitoring.alerts.process import Alerts
from observer.store.owner import claim
from observer.system.process_orders import WorkerOrders
from tests.archive.scene import GO_ON, NOW_NS, commit, package_of, plan_in
from tests.archive.stored import append
from tests.day_plans import RULES
from tests.store.damaged import damage_rows
from tests.store.migrated import make_database
from tests.waiting import until_async
from tests.watched import WatchedClock


@pytest.fixture
def url(tmp_path):
    make_database(found := f"sqlite:///{tmp_path}/data/observer.db")
    commit(found, 100)
    return found


MIDNIGHT_NS = local_ns(DAY) + NS_PER_DAY


def of_another_instance(plan):
    other = msgspec.structs.replace(plan.contents.instance, name="second")
    return msgspec.structs.replace(plan, contents=msgspec.structs.replace(plan.contents, instance=other))


def kept(count, kind, *, is_verified=True, first=1):
    stated = {"instance": Instance(), "database": "", "schema": None, "schema_revision": "", "marks": {}, "files": []}
    return [
        Package(Path(f"{kind} {number}"), Manifest(kind=kind, taken_ns=number, **stated), 1 if is_verified else None)
        for number in range(first, first + count)
    ]


def test_packages_by_hand_take_the_turn_of_no_daily_one():
    found = [*kept(3, "daily"), *kept(9, "manual", first=10)]
    assert outdated(found, {"daily": 7, "manual": 7}) == ["manual 10", "manual 11"]


def test_a_package_that_was_not_verified_takes_no_turn_and_goes_when_it_is_older():
    damaged = [*kept(1, "daily", is_verified=False, first=0), *kept(1, "daily", is_verified=False, first=5)]
    found = [*kept(2, "daily"), *damaged, *kept(1, "daily", first=6)]
    assert outdated(found, {"daily": 2, "manual": 7}) == ["daily 0", "daily 1"]
    assert outdated(found, {"daily": 4, "manual": 7}) == []


def test_the_oldest_packages_of_a_kind_are_deleted(url, tmp_path):
    plan = plan_in(tmp_path, url, BackupSettings(daily_kept=2, manual_kept=1))
    kinds = ("daily", "daily", "manual", "daily", "manual")
    for number, kind in enumerate(kinds):
        back_up(plan, kind, NOW_NS + number * NS_PER_S, GO_ON)
    assert [package.name for package in packages(plan.folder)] == [
        "20261118T210001-daily-main",
        "20261118T210003-daily-main",
        "20261118T210004-manual-main",
    ]
    assert {path.name for path in plan.folder.glob(".*")} == {".lock"}


def test_a_package_of_another_instance_in_the_folder_is_left_alone(url, tmp_path):
    plan = plan_in(tmp_path, url, BackupSettings(manual_kept=1))
    back_up(of_another_instance(plan), "manual", NOW_NS, GO_ON)
    for number in (1, 2):
        back_up(plan, "manual", NOW_NS + number * NS_PER_S, GO_ON)
    assert len(packages(plan.folder)) == 2


def test_packages_of_two_instances_of_one_second_are_both_kept_in_a_folder_and_a_second_target(url, tmp_path):
    (target := tmp_path / "nas").mkdir()
    plan = plan_in(tmp_path, url, BackupSettings(copy_to=str(target)))
    other = of_another_instance(plan)
    for each in (plan, other):
        assert back_up(each, "daily", NOW_NS, GO_ON).failures == []
    names = ["20261118T210000-daily-main", "20261118T210000-daily-second"]
    for folder in (plan.folder, target):
        assert [package.name for package in packages(folder)] == names
    assert newest_packages(plan.folder, other.contents.instance) == {"daily": names[1]}


def test_a_package_whose_name_has_no_instance_is_found_by_its_manifest_and_takes_its_turn(url, tmp_path):
    plan = plan_in(tmp_path, url, BackupSettings(manual_kept=1))
    other = of_another_instance(plan).contents.instance
    earlier = package_of(plan).path
    earlier = earlier.rename(earlier.with_name("20261118T210000-manual"))
    assert newest_packages(plan.folder, plan.contents.instance) == {"manual": earlier.name}
    assert newest_packages(plan.folder, other) == {}
    assert [package.name for package in packages_of(plan.folder, other)] == []
    back_up(plan, "manual", NOW_NS + NS_PER_S, GO_ON)
    assert [package.name for package in packages(plan.folder)] == ["20261118T210001-manual-main"]


def test_the_second_target_gets_a_whole_package_and_keeps_as_many(url, tmp_path):
    (target := tmp_path / "nas").mkdir()
    plan = plan_in(tmp_path, url, BackupSettings(manual_kept=1, copy_to=str(target)))
    for number in (0, 1):
        made = back_up(plan, "manual", NOW_NS + number * NS_PER_S, GO_ON)
    assert made.failures == []
    [copy] = packages(target)
    assert copy.manifest == made.package.manifest
    assert copy.verified_ns == made.package.verified_ns
    for path in made.package.path.rglob("*.*"):
        assert (copy.path / path.relative_to(made.package.path)).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("program", "failure"),
    [
        ("import sys; sys.exit('no route to the other machine')", "status 1 and said: no route to the other machine"),
        ("import time; time.sleep(600)", "took more than command_limit_s = 0.3: it was killed"),
    ],
)
def test_a_command_that_fails_is_stated_and_the_package_stays(url, tmp_path, program, failure):
    settings = BackupSettings(command=(sys.executable, "-c", program, "{package}"), command_limit_s=0.3)
    if "exit" in program:
        settings = msgspec.structs.replace(settings, command_limit_s=600.0)
    plan = plan_in(tmp_path, url, settings)
    made = back_up(plan, "manual", NOW_NS, GO_ON)
    [text] = made.failures
    assert failure in text
    assert read_package(made.package.path).verified_ns == NOW_NS


def test_the_command_gets_the_package_s_path(url, tmp_path):
    program = "import pathlib, sys; pathlib.Path(sys.argv[2]).write_text(sys.argv[1])"
    settings = BackupSettings(command=(sys.executable, "-c", program, "{package}", str(tmp_path / "seen")))
    made = back_up(plan_in(tmp_path, url, settings), "manual", NOW_NS, GO_ON)
    assert made.failures == []
    assert (tmp_path / "seen").read_text() == str(made.package.path)


def test_a_command_that_does_not_name_the_package_is_refused():
    with pytest.raises(msgspec.ValidationError, match=r'none of its words has "\{package\}"'):
        msgspec.convert({"command": ["rclone", "sync"]}, BackupSettings)


def test_a_failed_backup_leaves_the_earlier_packages(url, tmp_path):
    plan = plan_in(tmp_path, url, BackupSettings(manual_kept=1))
    back_up(plan, "manual", NOW_NS, GO_ON)
    database = tmp_path / "data" / "observer.db"
    content = bytearray(database.read_bytes())
    content[8192:12288] = b"\xff" * 4096
    database.write_bytes(content)
    with pytest.raises(DatabaseDamagedError, match="the database is damaged"):
        back_up(plan, "manual", NOW_NS + NS_PER_S, GO_ON)
    database.unlink()
    with pytest.raises(StoreError, match="there is no database"):
        back_up(plan, "manual", NOW_NS + NS_PER_S, GO_ON)
    assert [package.name for package in packages(plan.folder)] == ["20261118T210000-manual-main"]
    assert len(list(plan.folder.iterdir())) == 2


def test_a_backup_folds_the_log_into_the_database(url, tmp_path):
    database = tmp_path / "data" / "observer.db"
    with closing(sqlite3.connect(database)) as reader:  # its connection keeps the log at the writer's end
        reader.execute("SELECT count(*) FROM trades").fetchone()
        commit(url, 100, after=100)
        log = database.with_name("observer.db-wal")
        assert log.stat().st_size
        back_up(plan_in(tmp_path, url), "manual", NOW_NS, GO_ON)
        assert log.stat().st_size == 0


TRADES_OF_THE_DAY = f"observer/scalp/kis/kr_stocks/{DAY:%Y%m%d}/trades.csv"


def with_day_files(plan, folder):
    """The same plan of a system without [lake]."""
    return msgspec.structs.replace(plan, day_files=DayFiles(folder / "observer", "kis"))


@pytest.fixture
def collected(url, tmp_path):
    """A plan with day files, of a database with trades of the day."""
    append(url, UniverseBuilt("kis", "kr_stocks", DAY.isoformat(), "2026-11-17", 1, 3, 3, 0.0))
    return with_day_files(plan_in(tmp_path, url), tmp_path)


@pytest.mark.parametrize(("since_backup_s", "is_written"), [(-60, False), (60, True)])
async def test_a_package_by_hand_writes_the_day_files_of_a_day_whose_backup_was_due(
    collected, tmp_path, since_backup_s, is_written
):
    scene = Scene(collected, tmp_path, NOW_NS + since_backup_s * NS_PER_S)
    assert isinstance(await scene.jobs.make_now(scene), str)
    assert (tmp_path / TRADES_OF_THE_DAY).exists() == is_written


def test_a_day_that_the_lake_has_gets_no_tables(collected, tmp_path):
    lake = tmp_path / "lake"
    list(seal_days(lake, collected.contents.url, "kr_stocks", [DAY.isoformat()], lambda: 1, GO_ON))
    contents = msgspec.structs.replace(collected.contents, lake=lake)
    made = back_up(msgspec.structs.replace(collected, contents=contents), "manual", NOW_NS, GO_ON, DAY.isoformat())
    assert made.failures == []
    assert not (tmp_path / "observer").exists()


def test_day_files_that_cannot_be_written_are_a_failure_beside_a_whole_package(collected, tmp_path):
    (tmp_path / "observer").write_text("no folder")
    made = back_up(collected, "manual", NOW_NS, GO_ON, DAY.isoformat())
    [failure] = made.failures
    assert failure.startswith(f"the day files of {DAY} are not written")
    assert packages(collected.folder) == [made.package]


async def back_up_here(plan, kind, now_ns, last_day):
    """As `back_up_apart`, in a thread: a process takes a second to load (tests/archive/test_backup_process.py)."""
    return await asyncio.to_thread(back_up, plan, kind, now_ns, GO_ON, last_day)


class Scene:
    """The backup jobs of a plan, their clock, and what they published."""

    def __init__(self, plan, folder, now_ns=NOW_NS, how=back_up_here):
        self.plan, self.clock, self.events = plan, WatchedClock(now_ns), []
        write_trading_days(folder, [TradingDay(DAY + timedelta(days=ahead), True, "trial") for ahead in (0, 1)])
        self.alerts = Alerts(self.clock, "core-writer", self.publish)
        self.jobs = BackupJobs(
            plan=plan,
            turn=asyncio.Lock(),
            today=TradingDayService(folder, RULES, self.clock),
            clock=self.clock,
            alerts=self.alerts,
            back_up=how,
        )

    def publish(self, *events):
        self.events += events

    @property
    def names(self):
        return [package.name for package in packages(self.plan.folder)]

    @property
    def kinds(self):
        return [type(event) for event in self.events if not isinstance(event, AlertRepeated)]

    @asynccontextmanager
    async def beside(self, job):
        running = asyncio.create_task(job)
        yield running
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    async def waits_for(self, moment_ns):
        await until_async(lambda: moment_ns in self.clock.waits, "that moment is waited for")

    async def run_until(self, moment_ns):
        """Make the packages that are due until that moment is waited for."""
        async with self.beside(self.jobs.run(self)):
            await self.waits_for(moment_ns)

    async def watched(self, seconds):
        """Let so much time pass for the watch."""
        await self.clock.advance(seconds)
        await self.waits_for(self.clock.now_ns() + 600 * NS_PER_S)


async def test_a_damaged_database_is_named_at_the_time_of_its_package_which_is_not_blamed(url, tmp_path):
    scene = Scene(plan_in(tmp_path, url), tmp_path)
    path = tmp_path / "data" / "observer.db"
    whole = path.read_bytes()
    damage_rows(path, "trade_rows")
    async with scene.beside(scene.jobs.run(scene)), scene.beside(scene.jobs.watch()):
        await scene.waits_for(NOW_NS + 3_600 * NS_PER_S)
        assert [alert.identity for alert in scene.alerts.open] == ["database_damaged"]
        assert "`observer backup restore --yes`" in scene.alerts.open[0].text
        path.with_name("whole").write_bytes(whole)
        path.with_name("whole").replace(path)  # as a restore does it: the check may read the other file still
        await scene.clock.advance(3_600)
        await scene.waits_for(MIDNIGHT_NS)
    assert (scene.alerts.open, scene.names) == ([], ["20261118T220000-daily-main"])


async def test_the_day_s_package_is_made_once_also_by_a_process_that_starts_later(url, tmp_path):
    plan = plan_in(tmp_path, url)
    for from_backup_s in (-60, 60):
        scene = Scene(plan, tmp_path, NOW_NS + from_backup_s * NS_PER_S)
        async with scene.beside(scene.jobs.run(scene)):
            await scene.waits_for(NOW_NS)
            await scene.clock.advance(max(0, -from_backup_s))
            await scene.waits_for(MIDNIGHT_NS)
        assert scene.names == ["20261118T210000-daily-main"]


@given(
    backup_hour=st.integers(0, 23),
    now_minute=st.integers(0, 24 * 60 - 1),
    since_minute=st.none() | st.integers(-3 * 24 * 60, 24 * 60),
    daily_minutes=st.lists(st.integers(-3 * 24 * 60, 24 * 60), max_size=3),
)
def test_a_package_is_made_up_for_when_the_last_one_that_was_due_is_missing(
    backup_hour, now_minute, since_minute, daily_minutes
):
    midnight_ns, minute_ns = local_ns(DAY), 60 * NS_PER_S
    now_ns = midnight_ns + now_minute * minute_ns
    due_ns = last_due_ns(midnight_ns + backup_hour * 60 * minute_ns, now_ns)
    assert due_ns <= now_ns < due_ns + NS_PER_DAY
    since_ns = None if since_minute is None else midnight_ns + since_minute * minute_ns
    daily_ns = [midnight_ns + minute * minute_ns for minute in daily_minutes]
    had_data = since_ns is not None and since_ns <= due_ns
    assert is_missing(due_ns, since_ns, daily_ns) == (had_data and all(each < due_ns for each in daily_ns))


@pytest.mark.parametrize(
    ("created_ns", "packages_before", "made"),
    [
        (NOW_NS - NS_PER_DAY, [], ["20261119T070000-daily-main"]),
        (NOW_NS - NS_PER_DAY, [NOW_NS - NS_PER_DAY], ["20261119T070000-daily-main"]),
        (NOW_NS - NS_PER_DAY, [NOW_NS], []),
        (NOW_NS + NS_PER_S, [], []),
    ],
    ids=["none at all", "the last one failed", "the last one is there", "a new database"],
)
async def test_a_system_that_starts_after_midnight_makes_up_at_once_for_the_package_of_the_night(
    tmp_path, created_ns, packages_before, made
):
    url = f"sqlite:///{tmp_path}/data/observer.db"
    (tmp_path / "data").mkdir()
    claim(url, Instance(), ["kis"], created_ns)
    plan = plan_in(tmp_path, url)
    for moment_ns in packages_before:
        back_up(plan, "daily", moment_ns, GO_ON)
    scene = Scene(plan, tmp_path, NOW_NS + 10 * 3_600 * NS_PER_S)
    before = scene.names
    await scene.run_until(NOW_NS + NS_PER_DAY)
    assert [name for name in scene.names if name not in before] == made


async def test_an_order_for_a_package_has_its_result_when_the_command_on_it_has_ended(url, tmp_path):
    os.mkfifo(gate := tmp_path / "gate")
    program = f"open({str(gate)!r}).read(); raise SystemExit('no route to the other machine')"
    plan = plan_in(tmp_path, url, BackupSettings(command=(sys.executable, "-c", program, "{package}")))
    scene = Scene(plan, tmp_path)
    orders = WorkerOrders("core-writer", scene.alerts)
    orders.jobs = {"backup": lambda: scene.jobs.make_now(scene)}
    orders.directed_jobs = {"backup": scene.jobs.result}
    assert (await orders.obey(RunJob("backup", [RESULT]))).message.startswith("no package was made")
    assert isinstance(await orders.obey(RunJob("backup")), UnderWay)
    await until_async(lambda: scene.names, "the package is there")
    assert (await orders.obey(RunJob("backup", [RESULT]))).code == "busy"
    await asyncio.to_thread(gate.write_text, "go on")
    await until_async(lambda: not orders.turn.locked(), "the command has ended")
    assert "no route to the other machine" in (await orders.obey(RunJob("backup", [RESULT]))).message


async def test_a_daily_package_of_another_instance_does_not_count_as_the_day_s(url, tmp_path):
    plan = plan_in(tmp_path, url)
    back_up(of_another_instance(plan), "daily", NOW_NS, GO_ON)
    scene = Scene(plan, tmp_path, NOW_NS + NS_PER_S)
    await scene.run_until(MIDNIGHT_NS)
    assert scene.names == ["20261118T210000-daily-second", "20261118T210001-daily-main"]


async def test_a_failed_daily_package_is_tried_again_each_hour_and_its_alert_is_open_until_one_succeeds(url, tmp_path):
    database, away = tmp_path / "data" / "observer.db", tmp_path / "away.db"
    database.rename(away)
    scene = Scene(plan_in(tmp_path, url), tmp_path)
    async with scene.beside(scene.jobs.run(scene)):
        for hours in (1, 2, 3, 4):  # past midnight, too
            await scene.waits_for(NOW_NS + hours * 3_600 * NS_PER_S)
            assert set(scene.kinds) <= {AlertRaised}
            if hours == 4:
                away.rename(database)
            await scene.clock.advance(3_600)
        await until_async(lambda: scene.clock.waits[-1] == NOW_NS + NS_PER_DAY, "the next day is waited for")
    assert scene.kinds == [AlertRaised, BackupCompleted, AlertResolved]
    assert scene.names == ["20261119T010000-daily-main"]


async def test_a_daily_package_that_is_not_made_within_two_hours_is_an_alert_until_one_is(tmp_path):
    (tmp_path / "data").mkdir()
    claim(url := f"sqlite:///{tmp_path}/data/observer.db", Instance(), ["kis"], NOW_NS - 2 * NS_PER_DAY)
    scene = Scene(plan_in(tmp_path, url), tmp_path, NOW_NS - 3_600 * NS_PER_S)
    back_up(scene.plan, "daily", NOW_NS - NS_PER_DAY, GO_ON)  # the day before's
    async with scene.beside(scene.jobs.watch()):
        await until_async(lambda: scene.clock.waits, "the start is waited for")
        for minutes, seen in ((120, []), (50, []), (20, [AlertRaised])):  # NOW_NS is the time of the day's package
            await scene.watched(minutes * 60)
            assert scene.kinds == seen
        back_up(scene.plan, "daily", scene.clock.now_ns(), GO_ON)
        await scene.clock.advance(600)
        await until_async(lambda: AlertResolved in scene.kinds, "the package is there")


async def test_a_second_target_that_is_not_mounted_is_an_alert_until_it_is(url, tmp_path):
    target = tmp_path / "mounted later"
    scene = Scene(plan_in(tmp_path, url, BackupSettings(copy_to=str(target))), tmp_path, NOW_NS - 3_600 * NS_PER_S)
    async with scene.beside(scene.jobs.watch()):
        await until_async(lambda: scene.events, "it has looked")
        [alert] = scene.events
        assert (alert.identity, alert.severity) == ("backup_target", "critical")
        assert f"{target}: no such folder: mount" in alert.text
        target.mkdir()
        await scene.waits_for(scene.clock.now_ns() + 600 * NS_PER_S)
        await scene.clock.advance(600)
        await until_async(lambda: AlertResolved in scene.kinds, "the folder is there")


@pytest.mark.parametrize("fault", ["none", "no database", "no list of the packages"])
async def test_the_watch_of_a_new_process_judges_by_the_packages_at_once_and_survives_an_unreadable_folder(
    url, tmp_path, fault
):
    plan = plan_in(tmp_path, url)
    back_up(plan, "daily", NOW_NS, GO_ON)
    if fault == "no database":
        (tmp_path / "data" / "observer.db").write_bytes(b"no database" * 1_000)
    elif fault == "no list of the packages":
        plan = without_a_list(plan, tmp_path)
    scene = Scene(plan, tmp_path, NOW_NS + 3 * 3_600 * NS_PER_S)
    scene.alerts.report(MISSED, "critical", "kept by the process before")
    async with scene.beside(scene.jobs.watch()) as watching:
        for _ in range(20):
            await scene.waits_for(scene.clock.now_ns() + 600 * NS_PER_S)
            await scene.clock.advance(600)
        assert not watching.done()
    assert scene.kinds == [AlertRaised, *([AlertResolved] if fault != "no list of the packages" else [])]


async def test_no_package_is_missed_while_nothing_says_that_there_was_a_database(url, tmp_path):
    plan = plan_in(tmp_path, url)
    (tmp_path / "data" / "observer.db").write_bytes(b"no database" * 1_000)
    scene = Scene(plan, tmp_path, NOW_NS + 3 * 3_600 * NS_PER_S)
    async with scene.beside(scene.jobs.watch()) as watching:
        for _ in range(20):
            await scene.waits_for(scene.clock.now_ns() + 600 * NS_PER_S)
            await scene.clock.advance(600)
        assert not watching.done()
    assert scene.kinds == []


def without_a_list(plan, folder):
    """The plan with a folder whose name is longer than one may be."""
    return msgspec.structs.replace(plan, folder=folder / ("x" * 300))


async def test_packages_that_cannot_be_listed_end_no_job_and_are_an_alert(url, tmp_path):
    scene = Scene(without_a_list(plan_in(tmp_path, url), tmp_path), tmp_path)
    await scene.run_until(NOW_NS + 3_600 * NS_PER_S)
    [alert] = scene.events
    assert "the packages cannot be listed" in alert.text


async def test_a_daily_package_whose_copy_failed_is_not_made_again(url, tmp_path):
    scene = Scene(plan_in(tmp_path, url, BackupSettings(copy_to="/nowhere")), tmp_path)
    await scene.run_until(MIDNIGHT_NS)
    assert len(scene.names) == 1


async def test_a_package_by_hand_is_published_with_the_digest_of_its_manifest(url, tmp_path):
    scene = Scene(plan_in(tmp_path, url), tmp_path, how=back_up_apart)
    reply = await scene.jobs.make_now(scene)
    [completed] = scene.events
    assert reply.startswith(completed.path)
    content = (Path(completed.path) / "manifest.json").read_bytes()
    assert completed.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("settings", "packages_made"), [(BackupSettings(copy_to="/nowhere"), 1), (BackupSettings(), 0)]
)
async def test_a_failure_is_an_alert_and_a_refusal(url, tmp_path, settings, packages_made):
    scene = Scene(plan_in(tmp_path, url, settings), tmp_path)
    if not packages_made:
        (tmp_path / "data" / "observer.db").unlink()
    assert isinstance(await scene.jobs.make_now(scene), Refused)
    [alert] = [event for event in scene.events if isinstance(event, AlertRaised)]
    assert alert.severity == "critical"
    assert len(scene.names) == packages_made


async def test_a_job_that_is_cancelled_ends_its_work(url, tmp_path):
    started = tmp_path / "started"
    program = f"open({str(started)!r}, 'w'); import time; time.sleep(600)"
    plan = plan_in(tmp_path, url, BackupSettings(command=(sys.executable, "-c", program, "{package}")))
    scene = Scene(plan, tmp_path, how=back_up_apart)
    async with scene.beside(scene.jobs.make_now(scene)):
        await until_async(started.exists, "the command runs")
