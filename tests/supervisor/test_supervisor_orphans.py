"""Grandchildren that leave their session by a double fork: found, ended with their life, and reaped."""

import os
import subprocess
import sys

import psutil
import pytest

from tests.supervisor.scenes import LIVES, is_alive, kill, quiet, running
from tests.waiting import until_async

pytestmark = pytest.mark.usefixtures("forked_first")

DAEMON = """
import os, signal
def detach(work):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0: work()
        os._exit(0)
    os.wait()
def say_pid():  # one write: lines of processes that print at the same time would mix
    os.write(1, f"{os.getpid()}{os.linesep}".encode())
def live():
    say_pid()
    while True: signal.pause()
def live_with_another():
    detach(live)
    live()
"""


def daemons(text):
    return [int(line) for line in text.split()]


async def test_a_daemon_ends_with_the_life_that_it_came_from(tmp_path):
    child = quiet(tmp_path, "a", f"{DAEMON}detach(live_with_another)\n{LIVES}")
    async with running(tmp_path, [child, quiet(tmp_path, "b")]) as scene:
        await until_async(lambda: len(daemons(scene.log("a"))) == 2, "two daemons")
        first = daemons(scene.log("a"))
        assert {os.getsid(pid) for pid in first}.isdisjoint({scene.pid("a"), os.getsid(0)})
        await scene.supervisor.restart("a")
        assert not [pid for pid in first if is_alive(pid)]
        await until_async(lambda: len(daemons(scene.log("a"))) == 4, "the next two")
        kill(scene.pid("a"))
        await scene.changes.until("a", "RUNNING", 3)
        assert not [pid for pid in daemons(scene.log("a"))[:4] if is_alive(pid)]
        assert scene.changes.states("b") == ["STARTING", "RUNNING"]
    assert not [pid for pid in daemons((tmp_path / "a.log").read_text()) if psutil.pid_exists(pid)]


async def test_orphans_that_end_by_themselves_are_reaped(tmp_path, monkeypatch):
    monkeypatch.setattr("observer.supervisor.monitor_loop.POLL_S", 0.1)

    code = f"{DAEMON}\nfor _ in range(20): detach(say_pid)\n{LIVES}"
    async with running(tmp_path, [quiet(tmp_path, "a", code)]) as scene:
        await until_async(lambda: len(daemons(scene.log("a"))) == 20, "all of them")
        await until_async(lambda: not [pid for pid in daemons(scene.log("a")) if psutil.pid_exists(pid)], "reaped")


async def test_processes_that_others_started_in_our_session_keep_their_exit_status(tmp_path):
    async with running(tmp_path, [quiet(tmp_path, "a")]) as scene:
        with subprocess.Popen([sys.executable, "-S", "-c", "raise SystemExit(7)"]) as other:
            await until_async(lambda: psutil.Process(other.pid).status() == psutil.STATUS_ZOMBIE, "its end")
            scene.supervisor._monitor_loop._reap()
            assert other.wait() == 7
