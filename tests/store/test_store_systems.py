"""Which system owns a database: decided by the process on one machine, by the heartbeat between machines."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from observer.base.units import NS_PER_S
from observer.store.systems import DEAD_AFTER_S, Ownership, System, described, owns, started_ticks, this_system

PLACE, NOW_NS = "file 7", 1_790_000_000 * NS_PER_S
ASKING = System("a", "boot", 10, 100, "/run/a")
OWNER = System("a", "boot", 20, 200, "/run/b")


def is_owned(system, started=None, age_s=0.0, place=PLACE):
    ownership = Ownership(system, place, 0, NOW_NS - round(age_s * NS_PER_S))
    return owns(ownership, ASKING, PLACE, NOW_NS, lambda _pid: started)


@pytest.mark.parametrize("age_s", [0.0, DEAD_AFTER_S * 10])
def test_on_one_machine_the_process_decides(age_s):
    assert is_owned(OWNER, started=200, age_s=age_s)
    assert not is_owned(OWNER, started=None, age_s=age_s)
    assert not is_owned(OWNER, started=201, age_s=age_s), "another process has the pid"


@pytest.mark.parametrize(
    ("age_s", "is_alive"), [(0, True), (DEAD_AFTER_S, True), (DEAD_AFTER_S + 1, False), (-DEAD_AFTER_S - 1, False)]
)
def test_between_machines_the_heartbeat_decides(age_s, is_alive):
    assert is_owned(msgspec.structs.replace(OWNER, host="b", machine="other"), age_s=age_s) is is_alive


@pytest.mark.parametrize("own", [{"pid": 10, "pid_started": 100}, {"runtime": "/run/a"}], ids=["process", "folder"])
def test_a_system_does_not_refuse_itself(own):
    assert not is_owned(msgspec.structs.replace(OWNER, **own), started=200)


def test_an_equal_folder_on_another_host_is_another_system():
    assert is_owned(msgspec.structs.replace(OWNER, host="b", machine="other", runtime="/run/a"))


def test_a_copy_of_a_database_has_no_owner():
    assert not is_owned(OWNER, started=200, place="file 8")


def test_a_process_that_ended_has_no_start():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert started_ticks(process.pid) is None, "it waits for its parent"
    assert started_ticks(process.pid) is None
    assert started_ticks(os.getpid()) == this_system().pid_started


def test_the_folder_of_a_system_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert this_system(Path("run")).runtime == str(tmp_path / "run")


def test_the_owner_is_described_for_a_person():
    ownership = Ownership(OWNER, PLACE, 1_790_000_000 * NS_PER_S, NOW_NS - 4 * NS_PER_S)
    text = "pid 20 on a, runtime folder /run/b, since 2026-09-21 14:13:20 UTC, its heartbeat is 4 s old"
    assert described(ownership, NOW_NS) == text
