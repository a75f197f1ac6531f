"""Packages of the day and by hand: how many stay, the second target, the command, and what a failure leaves."""

import asyncio
import hashlib
import os
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.commands import Refused, RunJob, UnderWay
from bus.events import AlertRaised, AlertRepeated, AlertResolved, BackupCompleted, Event, UniverseBuilt
from observer.archive.backup.jobs import MISSED, RESULT, BackupJobs, is_missing, last_due_ns
from observer.archive.backup.manifest import Kept, Kind, outdated
from observer.archive.backup.package import newest_packages, packages, packages_of, read_package
from observer.archive.backup.process import back_up_apart
from observer.archive.backup.settings import BackupSettings
from observer.archive.backup.work import back_up
from observer.archive.lake.projection import DayFiles
from observer.archive.lake.sealing import seal_days
from observer.base.clock import ManualClock
from observer.base.errors import StoreError
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
from tests.store.migrated import make_database
from tests.waiting import until_async
from tests.watched import WatchedClock


@pytest.fixture
def url(tmp_path):
    make_database(found := f"sqlite:///{tmp_path}/data/observer.db")
    commit(found, 100)
    return found


def kept(count, kind, *, is_verified=True, first=1):
    return [Kept(f"{kind} {number}", kind, number, is_verified) for number in range(first, first + count)]


def test_packages_by_hand_take_the_turn_of_no_daily_one():
    found = [*kept(3, "daily"), *kept(9, "manual", first=10)]
    assert outdated(found, {"daily": 7, "manual": 7}) == ["manual 10", "manual 11"]


def test_a_package_that_was_not_verified_takes_no_turn_and_goes_when_it_is_older():
    damaged = [Kept("daily 0", "daily", 0, False), Kept("daily 5", "daily", 5, False)]
    found = [*kept(2, "daily"), *damaged, *kept(1, "daily", first=6)]
    assert outdated(found, {"daily": 2, "manual": 7}) == ["daily 0", "daily 1"]
    assert outdated(found, {"daily": 4, "manual": 7}) == []


def test_the_oldest_packages_of_a_kind_are_deleted(url, tmp_path):
    plan = plan_in(tmp_path, url, BackupSettings(daily_kept=2, manual_kept=1))
    kinds: Sequence[Kind] = ("daily", "daily", "manual", "daily", "manual")
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
    other = msgspec.structs.replace(plan.contents.instance, name="second")
    contents = msgspec.structs.replace(plan.contents, instance=other)
    back_up(msgspec.structs.replace(plan, contents=contents), "manual", NOW_NS, GO_ON)
    for number in (1, 2):
        back_up(plan, "manual", NOW_NS + number * NS_PER_S, GO_ON)
    assert len(packages(plan.folder)) == 2


def test_packages_of_two_instances_of_one_second_are_both_kept_in_a_folder_and_a_second_target(url, tmp_path):
    (target := tmp_path / "nas").mkdir()
    plan = plan_in(tmp_path, url, BackupSettings(copy_to=str(target)))
    other = msgspec.structs.replace(plan.contents.instance, name="second")
    of_other = msgspec.structs.replace(plan, contents=msgspec.structs.replace(plan.contents, instance=other))
    for each in (plan, of_other):
        assert back_up(each, "daily", NOW_NS, GO_ON).failures == []
    names = ["20261118T210000-daily-main", "20261118T210000-daily-second"]
    for folder in (plan.folder, target):
        assert [package.name for package in packages(folder)] == names
    assert newest_packages(plan.folder, other) == {"daily": names[1]}


def test_a_package_whose_name_has_no_instance_is_found_by_its_manifest_and_takes_its_turn(url, tmp_path):
    plan = plan_in(tmp_path, url, BackupSettings(manual_kept=1))
    other = msgspec.structs.replace(plan.contents.instance, name="second")
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
    with pytest.raises(Exception, match=r"damaged|malformed"):
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
def test_a_package_by_hand_writes_the_day_files_of_a_day_whose_backup_was_due(
    collected, tmp_path, since_backup_s, is_written
):
    publication = Publication()
    jobs = jobs_of(collected, tmp_path, ManualClock(NOW_NS + since_backup_s * NS_PER_S), publication)
    made = asyncio.run(jobs.make_now(publication))  # type: ignore[arg-type]
    assert isinstance(made, str)
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


class Publication:
    """Keeps what is published."""

    def __init__(self):
        self.events: list[Event] = []

    def publish(self, *events):
        self.events += events


async def back_up_here(plan, kind, now_ns, last_day):
    """As `back_up_apart`, in a thread: a process takes a second to load (tests/archive/test_backup_process.py)."""
    return await asyncio.to_thread(back_up, plan, kind, now_ns, GO_ON, last_day)


def jobs_of(
    plan,
    folder,
    clock,
    publication,
    how=back_up_here,
):
    write_trading_days(folder, [TradingDay(DAY + timedelta(days=ahead), True, "trial") for ahead in (0, 1)])
    today = TradingDayService(folder, RULES, clock)
    return BackupJobs(
        plan=plan,
        turn=asyncio.Lock(),
        today=today,
        clock=clock,
        alerts=Alerts(clock, "core-writer", publication.publish),
        back_up=how,
    )


def test_the_day_s_package_is_made_once_also_by_a_process_that_starts_later(url, tmp_path):
    plan = plan_in(tmp_path, url)

    async def until_the_day_is_done(starts_ns):
        clock, midnight_ns, publication = WatchedClock(starts_ns), local_ns(DAY) + 86_400 * NS_PER_S, Publication()
        jobs = jobs_of(plan, tmp_path, clock, publication)
        running = asyncio.create_task(jobs.run(publication))  # type: ignore[arg-type]
        await until_async(lambda: NOW_NS in clock.waits, "the time of the backup is waited for")
        await clock.advance(max(0, NOW_NS - starts_ns) / NS_PER_S)
        await until_async(lambda: midnight_ns in clock.waits, "the day is done")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(until_the_day_is_done(NOW_NS - 60 * NS_PER_S))
    assert [package.name for package in packages(plan.folder)] == ["20261118T210000-daily-main"]
    asyncio.run(until_the_day_is_done(NOW_NS + 60 * NS_PER_S))
    assert len(packages(plan.folder)) == 1


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
def test_a_system_that_starts_after_midnight_makes_up_at_once_for_the_package_of_the_night(
    tmp_path, created_ns, packages_before, made
):
    url = f"sqlite:///{tmp_path}/data/observer.db"
    (tmp_path / "data").mkdir()
    claim(url, Instance(), ["kis"], created_ns)
    plan = plan_in(tmp_path, url)
    for moment_ns in packages_before:
        back_up(plan, "daily", moment_ns, GO_ON)
    before = {package.name for package in packages(plan.folder)}

    async def scenario():
        clock, publication = WatchedClock(NOW_NS + 10 * 3_600 * NS_PER_S), Publication()
        jobs = jobs_of(plan, tmp_path, clock, publication)
        running = asyncio.create_task(jobs.run(publication))  # type: ignore[arg-type]
        await until_async(lambda: NOW_NS + NS_PER_DAY in clock.waits, "the next package is waited for")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scenario())
    assert [package.name for package in packages(plan.folder) if package.name not in before] == made


async def test_an_order_for_a_package_has_its_result_when_the_command_on_it_has_ended(url, tmp_path):
    os.mkfifo(gate := tmp_path / "gate")
    program = f"open({str(gate)!r}).read(); raise SystemExit('no route to the other machine')"
    plan = plan_in(tmp_path, url, BackupSettings(command=(sys.executable, "-c", program, "{package}")))
    publication = Publication()
    jobs = jobs_of(plan, tmp_path, ManualClock(NOW_NS), publication)

    orders = WorkerOrders("core-writer", Alerts(ManualClock(NOW_NS), "core-writer", publication.publish))
    orders.jobs = {"backup": lambda: jobs.make_now(publication)}  # type: ignore[arg-type]
    orders.directed_jobs = {"backup": jobs.result}
    none = await orders.obey(RunJob("backup", [RESULT]))
    assert isinstance(none, Refused)
    assert none.message.startswith("no package was made")
    assert isinstance(await orders.obey(RunJob("backup")), UnderWay)
    await until_async(lambda: bool(packages(plan.folder)), "the package is there")
    waiting = await orders.obey(RunJob("backup", [RESULT]))
    assert isinstance(waiting, Refused)
    assert waiting.code == "busy"
    await asyncio.to_thread(gate.write_text, "go on")
    await until_async(lambda: not orders.turn.locked(), "the command has ended")
    ended = await orders.obey(RunJob("backup", [RESULT]))
    assert isinstance(ended, Refused)
    assert "no route to the other machine" in ended.message


def test_a_daily_package_of_another_instance_does_not_count_as_the_day_s(url, tmp_path):
    plan = plan_in(tmp_path, url)
    other = msgspec.structs.replace(plan.contents.instance, name="second")
    contents = msgspec.structs.replace(plan.contents, instance=other)
    back_up(msgspec.structs.replace(plan, contents=contents), "daily", NOW_NS, GO_ON)

    async def scenario():
        clock, publication = WatchedClock(NOW_NS + NS_PER_S), Publication()
        jobs = jobs_of(plan, tmp_path, clock, publication)
        running = asyncio.create_task(jobs.run(publication))  # type: ignore[arg-type]
        await until_async(lambda: local_ns(DAY) + NS_PER_DAY in clock.waits, "the day is done")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scenario())
    assert [package.name for package in packages(plan.folder)] == [
        "20261118T210000-daily-second",
        "20261118T210001-daily-main",
    ]


def test_a_failed_daily_package_is_tried_again_each_hour_and_its_alert_is_open_until_one_succeeds(url, tmp_path):
    plan = plan_in(tmp_path, url)
    database, away = tmp_path / "data" / "observer.db", tmp_path / "away.db"
    database.rename(away)

    async def scenario():
        clock, publication = WatchedClock(NOW_NS), Publication()
        jobs = jobs_of(plan, tmp_path, clock, publication)
        running = asyncio.create_task(jobs.run(publication))  # type: ignore[arg-type]
        for hours in (1, 2, 3, 4):  # past midnight, too
            again_ns = NOW_NS + hours * 3_600 * NS_PER_S
            await until_async(lambda: again_ns in clock.waits, "the next attempt is waited for")  # noqa: B023
            assert {type(event) for event in publication.events} <= {AlertRaised, AlertRepeated}
            if hours == 4:
                away.rename(database)
            await clock.advance(3_600)
        await until_async(lambda: clock.waits[-1] == NOW_NS + NS_PER_DAY, "the next day is waited for")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        kinds = [type(event) for event in publication.events if not isinstance(event, AlertRepeated)]
        assert kinds == [AlertRaised, BackupCompleted, AlertResolved]

    asyncio.run(scenario())
    assert [package.name for package in packages(plan.folder)] == ["20261119T010000-daily-main"]


async def test_a_daily_package_that_is_not_made_within_two_hours_is_an_alert_until_one_is(tmp_path):
    (tmp_path / "data").mkdir()
    claim(url := f"sqlite:///{tmp_path}/data/observer.db", Instance(), ["kis"], NOW_NS - 2 * NS_PER_DAY)
    plan = plan_in(tmp_path, url)

    clock, publication = WatchedClock(NOW_NS - 3_600 * NS_PER_S), Publication()
    jobs = jobs_of(plan, tmp_path, clock, publication)
    back_up(plan, "daily", NOW_NS - NS_PER_DAY, GO_ON)  # the day before's
    watching = asyncio.create_task(jobs.watch())
    await until_async(lambda: clock.waits, "the start is waited for")
    for minutes, seen in ((120, []), (50, []), (20, [AlertRaised])):  # NOW_NS is the time of the day's package
        await clock.advance(minutes * 60)
        next_ns = clock.now_ns() + 600 * NS_PER_S
        await until_async(lambda: next_ns in clock.waits, "it has looked")  # noqa: B023
        assert [type(event) for event in publication.events] == seen
    back_up(plan, "daily", clock.now_ns(), GO_ON)
    await clock.advance(600)
    await until_async(lambda: AlertResolved in map(type, publication.events), "the package is there")
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_a_second_target_that_is_not_mounted_is_an_alert_until_it_is(url, tmp_path):
    target = tmp_path / "mounted later"
    plan = plan_in(tmp_path, url, BackupSettings(copy_to=str(target)))

    clock, publication = WatchedClock(NOW_NS - 3_600 * NS_PER_S), Publication()
    watching = asyncio.create_task(jobs_of(plan, tmp_path, clock, publication).watch())
    await until_async(lambda: publication.events, "it has looked")
    [alert] = publication.events
    assert isinstance(alert, AlertRaised)
    assert (alert.identity, alert.severity) == ("backup_target", "critical")
    assert f"{target}: no such folder: mount" in alert.text
    target.mkdir()
    await until_async(lambda: clock.now_ns() + 600 * NS_PER_S in clock.waits, "it waits")
    await clock.advance(600)
    await until_async(lambda: AlertResolved in map(type, publication.events), "the folder is there")
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


@pytest.mark.parametrize("fault", ["none", "no database", "no list of the packages"])
async def test_the_watch_of_a_new_process_judges_by_the_packages_at_once_and_survives_an_unreadable_folder(
    url, tmp_path, fault
):
    plan = plan_in(tmp_path, url)
    back_up(plan, "daily", NOW_NS, GO_ON)
    if fault == "no database":
        (tmp_path / "data" / "observer.db").write_bytes(b"no database" * 1_000)
    elif fault == "no list of the packages":
        plan = msgspec.structs.replace(plan, folder=tmp_path / ("x" * 300))  # longer than a name may be

    clock, publication = WatchedClock(NOW_NS + 3 * 3_600 * NS_PER_S), Publication()
    jobs = jobs_of(plan, tmp_path, clock, publication)
    jobs._alerts.report(MISSED, "critical", "kept by the process before")
    watching = asyncio.create_task(jobs.watch())
    for _ in range(20):
        await until_async(lambda: clock.now_ns() + 600 * NS_PER_S in clock.waits, "it has looked")
        await clock.advance(600)
    assert not watching.done()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    kinds = [type(event) for event in publication.events]
    assert kinds == [AlertRaised, *([AlertResolved] if fault != "no list of the packages" else [])]


async def test_packages_that_cannot_be_listed_end_no_job_and_are_an_alert(url, tmp_path):
    plan = msgspec.structs.replace(plan_in(tmp_path, url), folder=tmp_path / ("x" * 300))

    clock, publication = WatchedClock(NOW_NS), Publication()
    running = asyncio.create_task(jobs_of(plan, tmp_path, clock, publication).run(publication))  # type: ignore[arg-type]
    await until_async(lambda: NOW_NS + 3_600 * NS_PER_S in clock.waits, "the next attempt is waited for")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    [alert] = publication.events
    assert isinstance(alert, AlertRaised)
    assert "the packages cannot be listed" in alert.text


def test_a_daily_package_whose_copy_failed_is_not_made_again(url, tmp_path):
    plan = plan_in(tmp_path, url, BackupSettings(copy_to="/nowhere"))

    async def scenario():
        clock, publication = WatchedClock(NOW_NS), Publication()
        jobs = jobs_of(plan, tmp_path, clock, publication)
        running = asyncio.create_task(jobs.run(publication))  # type: ignore[arg-type]
        await until_async(lambda: local_ns(DAY) + NS_PER_DAY in clock.waits, "the day is done")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scenario())
    assert len(packages(plan.folder)) == 1


def test_a_package_by_hand_is_published_with_the_digest_of_its_manifest(url, tmp_path):
    publication = Publication()
    jobs = jobs_of(plan_in(tmp_path, url), tmp_path, ManualClock(NOW_NS), publication, back_up_apart)
    reply = asyncio.run(jobs.make_now(publication))  # type: ignore[arg-type]
    [completed] = publication.events
    assert isinstance(completed, BackupCompleted)
    assert isinstance(reply, str)
    assert reply.startswith(completed.path)
    content = (Path(completed.path) / "manifest.json").read_bytes()
    assert completed.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("settings", "packages_made"), [(BackupSettings(copy_to="/nowhere"), 1), (BackupSettings(), 0)]
)
def test_a_failure_is_an_alert_and_a_refusal(url, tmp_path, settings, packages_made):
    publication = Publication()
    plan = plan_in(tmp_path, url, settings)
    if not packages_made:
        (tmp_path / "data" / "observer.db").unlink()
    jobs = jobs_of(plan, tmp_path, ManualClock(NOW_NS), publication)
    reply = asyncio.run(jobs.make_now(publication))  # type: ignore[arg-type]
    assert isinstance(reply, Refused)
    [alert] = [event for event in publication.events if isinstance(event, AlertRaised)]
    assert alert.severity == "critical"
    assert len(packages(plan.folder)) == packages_made


async def test_a_job_that_is_cancelled_ends_its_work(url, tmp_path):
    program = "import time; time.sleep(600)"
    started = tmp_path / "started"
    words = (sys.executable, "-c", f"open({str(started)!r}, 'w'); {program}", "{package}")
    publication = Publication()
    plan = plan_in(tmp_path, url, BackupSettings(command=words))
    jobs = jobs_of(plan, tmp_path, ManualClock(NOW_NS), publication, back_up_apart)

    making = asyncio.create_task(jobs.make_now(publication))  # type: ignore[arg-type]
    await until_async(started.exists, "the command runs")
    making.cancel()
    await asyncio.gather(making, return_exceptions=True)
