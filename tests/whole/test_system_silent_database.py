"""`observer ctl shutdown` while the database does not answer ends within a bound, and loses nothing."""

import contextlib
import os
import signal
import sqlite3
import time

import psutil
import pytest

from tests.conformance.private_server import private_server
from tests.folders import short_folder
from tests.waiting import DEADLINE_S
from tests.whole.running import PROCESSES
from tests.whole.test_system_alerts import ask, started

pytestmark = [pytest.mark.slow, pytest.mark.system, pytest.mark.timeout(600)]

# The host waits 10 s for the writer unless it knows of the silence; then three groups of processes end one after the
# other, each within its grace of 10 s. The service managers wait for 60 s.
SHUTDOWN_S_MAX = 45.0


@contextlib.contextmanager
def locked(system):
    """Another program has begun to write SQLite's file, and does not go on."""
    with contextlib.closing(sqlite3.connect(system.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@contextlib.contextmanager
def frozen(server):
    """The server stands still; its connections are open."""
    postmaster = psutil.Process(int((server.data / "postmaster.pid").read_text().split()[0]))
    processes = [postmaster, *postmaster.children(recursive=True)]
    try:
        for each in processes:
            os.kill(each.pid, signal.SIGSTOP)
        yield
    finally:
        for each in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each.pid, signal.SIGCONT)


def shutdown_s(system):
    """Machine seconds from the order to the end of the last process."""
    began_s = time.monotonic()
    assert ask(system, "ctl", "shutdown").returncode == 0
    system.ended(2 * DEADLINE_S)
    took_s = time.monotonic() - began_s
    assert system.left_behind() == []
    return took_s


def until_all_run(system):
    system.until(lambda: set(system.pids()) >= set(PROCESSES), "all processes run", 2 * DEADLINE_S)


def test_a_shutdown_while_another_program_holds_sqlites_lock_is_bounded():
    with short_folder() as folder:
        system = started(folder, f"sqlite:///{folder}/d/data/observer.db")
        try:
            until_all_run(system)
            with locked(system):
                took = shutdown_s(system)
                assert took < SHUTDOWN_S_MAX, took
        finally:
            system.clear_away()


def test_a_shutdown_while_the_server_stands_still_is_bounded():
    with private_server() as server, short_folder() as folder:
        system = started(folder, server.url)
        system.url = server.url
        try:
            until_all_run(system)
            with frozen(server):
                line = "CRITICAL core-writer: database_unavailable: the database has not answered"
                system.until(lambda: line in system.errors, "the alert")
                took = shutdown_s(system)
                assert took < SHUTDOWN_S_MAX, took
                assert "stopping without the database, which does not answer" in system.errors
        finally:
            system.clear_away()
