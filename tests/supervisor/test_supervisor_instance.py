"""One supervisor per runtime directory, and the end of processes that an earlier one left."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from observer.supervisor.containment import Leftover, end_leftovers
from observer.supervisor.instance import AlreadyRunningError, InstanceLock
from observer.supervisor.pid_registry import PidRegistry, Registered, Registry
from observer.supervisor.proc import ProcessId, boot_id, seen
from tests.supervisor.scenes import ROOT, is_alive, quiet, supervisor_of
from tests.waiting import until_async

HOLDER = """
import sys
from pathlib import Path
from observer.supervisor.instance import InstanceLock
lock = InstanceLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_lock_is_refused_and_names_the_holder(tmp_path):
    lock = InstanceLock(tmp_path)
    with pytest.raises(AlreadyRunningError, match=f"pid {os.getpid()}") as refused:
        InstanceLock(tmp_path)
    assert refused.value.pid == os.getpid()
    lock.release()


def test_a_released_lock_can_be_taken(tmp_path):
    InstanceLock(tmp_path).release()
    InstanceLock(tmp_path).release()


def test_a_holder_that_is_killed_holds_no_longer(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(AlreadyRunningError, match=str(holder.pid)):
            InstanceLock(tmp_path)
        holder.kill()
    InstanceLock(tmp_path).release()


FOLDER = "test-1"  # no process carries the mark of this folder


def started(pid):
    """The start of a living process, in ticks."""
    process = seen(pid)
    assert process is not None
    return process.identity.start_ticks


def spawn_stranger(*argv):
    return subprocess.Popen(argv, start_new_session=True)


def names_of_children(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [Path(f"/proc/{child}/comm").read_text().strip() for child in children]


async def test_a_process_group_left_by_an_earlier_run_is_ended(tmp_path):
    left = spawn_stranger("sh", "-c", "sleep 600 & wait")
    PidRegistry(tmp_path).record(left.pid, "a")
    await until_async(lambda: names_of_children(left.pid) == ["sleep"], "the shell has its child")
    found = await end_leftovers(PidRegistry(tmp_path), FOLDER)
    assert sorted(each.name for each in found) == ["a", "sleep"]
    assert Leftover("a", left.pid, "ended by SIGTERM") in found
    left.wait()
    assert await end_leftovers(PidRegistry(tmp_path), FOLDER) == []


async def test_a_process_that_only_reuses_the_pid_of_a_recorded_one_is_not_ended(tmp_path):
    stranger = spawn_stranger("sleep", "600")
    earlier = Registry(boot_id(), "", (Registered(ProcessId(stranger.pid, started(stranger.pid) - 1), "a"),))
    (tmp_path / "children.json").write_bytes(msgspec.json.encode(earlier))
    assert await end_leftovers(PidRegistry(tmp_path), FOLDER) == []
    assert is_alive(stranger.pid)
    stranger.kill()
    stranger.wait()


async def test_a_registry_of_another_boot_names_no_process(tmp_path):
    stranger = spawn_stranger("sleep", "600")
    same = Registered(ProcessId(stranger.pid, started(stranger.pid)), "a")
    (tmp_path / "children.json").write_bytes(msgspec.json.encode(Registry("another", "", (same,))))
    assert await end_leftovers(PidRegistry(tmp_path), FOLDER) == []
    assert is_alive(stranger.pid)
    stranger.kill()
    stranger.wait()


async def test_a_process_that_was_forgotten_is_not_ended_by_the_next_run(tmp_path):
    child = spawn_stranger("sleep", "600")
    pid_registry = PidRegistry(tmp_path)
    pid_registry.record(child.pid)
    pid_registry.forget(child.pid)
    assert await end_leftovers(PidRegistry(tmp_path), FOLDER) == []
    assert is_alive(child.pid)
    child.kill()
    child.wait()


def test_an_unreadable_pid_file_is_logged_and_replaced(tmp_path, caplog):
    (tmp_path / "children.json").write_bytes(b"{torn")
    assert asyncio.run(end_leftovers(PidRegistry(tmp_path), FOLDER)) == []
    assert "cannot read" in caplog.text
    PidRegistry(tmp_path).record_cgroup(None)
    assert PidRegistry(tmp_path).earlier() == Registry(boot_id())


def test_an_unwritable_pid_file_is_logged_and_does_not_stop_the_run(tmp_path, caplog):
    (tmp_path / f".children.json.{os.getpid()}.part").mkdir()  # in the way of the new list
    PidRegistry(tmp_path).record(os.getpid())
    assert "cannot write" in caplog.text


def test_descendants_that_could_not_be_written_are_written_once_it_is_possible(tmp_path, caplog):
    own = seen(os.getpid())
    assert own is not None
    pid_registry = PidRegistry(tmp_path)
    (tmp_path / f".children.json.{os.getpid()}.part").mkdir()  # in the way of the new list
    for _ in range(2):
        pid_registry.record_descendants([own])
        assert pid_registry.error is not None
    assert caplog.text.count("cannot write") == 1
    (tmp_path / f".children.json.{os.getpid()}.part").rmdir()
    pid_registry.record_descendants([own])
    assert pid_registry.error is None
    assert PidRegistry(tmp_path).earlier().processes == (Registered(own.identity),)


def test_a_supervisor_has_a_status_before_its_start(tmp_path):
    supervisor, _ = supervisor_of(tmp_path, [quiet(tmp_path, "a")])
    status = supervisor.status()
    assert (status.processes, status.is_contained, status.zygote_fallbacks) == ([], False, 0)
