"""A backup in a process of its own: its result, its errors, and its end with the task that ordered it."""

import asyncio
import os
import sys
from contextlib import suppress

import psutil
import pytest

from observer.archive.backup import back_up_apart
from observer.archive.package import manifest_of, packages
from observer.archive.settings import BackupSettings
from observer.base.errors import DataFileError
from tests.archive.scene import NOW_NS, commit, plan_in
from tests.store.migrated import make_database
from tests.waiting import until_async


@pytest.fixture
def url(tmp_path):
    make_database(found := f"sqlite:///{tmp_path}/data/observer.db")
    commit(found, 100)
    return found


@pytest.fixture
def children():
    """The running descendants of this process that began in the test: another test's server may be among the rest."""
    earlier = psutil.Process().children(recursive=True)
    return lambda: [each for each in psutil.Process().children(recursive=True) if each not in earlier]


def test_the_package_and_what_failed_after_it_come_back(url, tmp_path):
    plan = plan_in(tmp_path, url, BackupSettings(copy_to=str(tmp_path / "unmounted")))
    made = asyncio.run(back_up_apart(plan, "daily", NOW_NS))
    assert (manifest_of(made.package).events, manifest_of(made.package).taken_ns) == (100, NOW_NS)
    assert made.package.verified_ns == NOW_NS
    [failure] = made.failures
    assert "there is no such folder; mount it" in failure


def test_why_there_is_no_package_comes_back(url, tmp_path):
    plan = plan_in(tmp_path, url)
    (tmp_path / "data/observer.db").unlink()
    with pytest.raises(DataFileError, match="there is no database"):
        asyncio.run(back_up_apart(plan, "daily", NOW_NS))
    assert packages(plan.folder) == []


def blocking(folder):
    """A command on the package that waits until it is killed."""
    os.mkfifo(folder / "gate")
    return BackupSettings(command=(sys.executable, "-c", f"open({str(folder / 'gate')!r}).read()", "{package}"))


def test_a_backup_whose_task_is_cancelled_ends_with_its_command(url, tmp_path, children):
    plan = plan_in(tmp_path, url, blocking(tmp_path))

    async def cancelled():
        task = asyncio.create_task(back_up_apart(plan, "daily", NOW_NS))
        await until_async(lambda: len(children()) == 2, "the command runs")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cancelled())
    assert children() == []
    assert len(packages(plan.folder)) == 1


def backups(processes):
    """The processes that run the backup; a command has the backup's name until it is loaded."""
    return [each for each in processes if "observer.archive.backup" in each.cmdline()]


async def running(children, but=()):
    """The backup and its command, once both run; `but` are those of an earlier backup."""

    def found():
        return [each for each in children() if each not in but]

    await until_async(lambda: len(found()) == 2 and len(backups(found())) == 1, "the command runs")
    return found()


async def kill(children, but=()):
    """Kill the backup while its command runs, and the command, as the supervisor ends it; return both."""
    both = await running(children, but)
    for process in [*backups(both), *both]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    return both


def test_a_backup_that_is_killed_goes_on_at_once_with_the_package_that_it_had_made(url, tmp_path, children):
    plan = plan_in(tmp_path, url, blocking(tmp_path))

    async def killed():
        task = asyncio.create_task(back_up_apart(plan, "daily", NOW_NS))
        first = await kill(children)
        await until_async(
            lambda: len([each for each in children() if each not in first]) == 2, "the command runs again"
        )
        await asyncio.to_thread((tmp_path / "gate").write_text, "go on")
        return await task

    made = asyncio.run(killed())
    assert made.failures == ()
    assert packages(plan.folder) == [made.package]


def test_a_backup_that_is_killed_twice_is_an_error_and_the_next_one_goes_on(url, tmp_path, children):
    plan = plan_in(tmp_path, url, blocking(tmp_path))

    async def killed():
        task = asyncio.create_task(back_up_apart(plan, "daily", NOW_NS))
        first = await kill(children)
        await kill(children, first)
        with pytest.raises(DataFileError, match="ended with status -9"):
            await task

    asyncio.run(killed())
    assert asyncio.run(back_up_apart(plan_in(tmp_path, url), "daily", NOW_NS)).failures == ()
    assert len(packages(plan.folder)) == 1
