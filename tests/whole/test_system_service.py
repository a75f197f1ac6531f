"""`observer run` as production keeps it: under supervisord with our file as it stands, and by systemd's protocol."""

import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import psutil
import pytest
from supervisor.options import ServerOptions

from observer.base.clock import CLOCK_VARIABLE
from observer.demo.day import DemoOptions, prepare
from tests.folders import short_folder
from tests.waiting import DEADLINE_S, until
from tests.whole.running import PROCESSES, System

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent
OPTIONS = DemoOptions(speed=400, symbols=60, database="", seed=7, data=None, keep=True, folder=Path())
STOP_S = 60.0  # stopwaitsecs of supervisord.conf
WATCHDOG_S = 10.0  # it beats oftener than that, on a busy machine too
ALL = len(PROCESSES) + 1  # and the simulated broker


# --- supervisord -------------------------------------------------------------------------------------------


class Clone:
    """A clone of the repository prepared for supervisord: its file, the environment, a configuration."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        shutil.copy(ROOT / "supervisord.conf", folder)
        (folder / ".venv").symlink_to(PROGRAMS.parent)
        day = prepare(msgspec.structs.replace(OPTIONS, folder=folder / "d"))
        (folder / "config").mkdir()
        shutil.copy(day.configuration, folder / "config" / "observer.toml")
        day.clock.start()
        self.environment = {**os.environ, CLOCK_VARIABLE: day.clock.to_variable()}

    def control(self, *words):
        command = [str(PROGRAMS / "supervisorctl"), *words]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=DEADLINE_S, check=False)

    def pid(self):
        """Observer's pid; 0 while it does not run."""
        return int(self.control("pid", "observer").stdout)

    def starts(self):
        """How many processes of Observer have become ready, over all its lives."""
        log = self.folder / "observer.log"
        return log.read_text().count("STARTING -> RUNNING") if log.exists() else 0

    def running(self):
        """Observer's processes, by its own command line."""
        command = [str(PROGRAMS / "observer"), "status", "--json"]
        reported = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, timeout=DEADLINE_S, check=False
        )
        assert reported.returncode in (0, 1), "1: a critical alert is open"
        return [process["pid"] for process in json.loads(reported.stdout)["processes"]]


@contextlib.contextmanager
def supervisord():
    """supervisord in a clone; at the end it and all that it started is gone."""
    with short_folder() as folder:
        clone = Clone(folder / "clone")
        command = [str(PROGRAMS / "supervisord"), "--nodaemon"]
        with (folder / "said").open("w") as said:
            daemon = psutil.Popen(command, cwd=clone.folder, env=clone.environment, stdout=said, stderr=said)
        try:
            yield clone
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(STOP_S)


@pytest.mark.slow
def test_supervisorctl_shows_restarts_and_stops_observer_in_order():
    with supervisord() as clone:
        until(lambda: clone.starts() == ALL, "all processes")
        status_says_running(clone)
        a_restart_is_a_new_life_of_all_processes(clone)
        a_stop_ends_all_in_order_and_in_time(clone)


def status_says_running(clone):
    until(lambda: "RUNNING" in clone.control("status", "observer").stdout, "startsecs")
    assert clone.control("status", "observer").returncode == 0


def a_restart_is_a_new_life_of_all_processes(clone):
    pid, pids = clone.pid(), clone.running()
    restarted = clone.control("restart", "observer")
    assert restarted.returncode == 0, restarted.stdout
    assert restarted.stdout == "observer: stopped\nobserver: started\n"
    assert clone.pid() != pid
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    until(lambda: clone.starts() == 2 * ALL, "all processes again")


def a_stop_ends_all_in_order_and_in_time(clone):
    pids = clone.running()
    assert clone.control("stop", "observer").stdout == "observer: stopped\n"
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    assert (clone.folder / "supervisord.log").read_text().count("stopped: observer (exit status 0)") == 2, (
        "supervisord killed no process"
    )
    stops = [line for line in (clone.folder / "observer.log").read_text().splitlines() if "-> STOPPED" in line]
    assert "core-writer" in stops[-2], "only the simulated broker ends after the writer"


# --- systemd -----------------------------------------------------------------------------------------------


class ServiceManager:
    """systemd's end of its protocol: hears, in a thread, what the service says, in the order in which it comes."""

    def __init__(self, folder, watchdog_s):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        self.environment = {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": f"{watchdog_s * 1e6:.0f}"}
        self.said: list[str] = []
        self._beats_s: list[float] = []
        self._ear = threading.Thread(target=self._receive)
        self._ear.start()

    def _receive(self):
        while datagram := self._socket.recv(4096).decode():
            lines = datagram.split("\n")
            self.said += lines
            if "WATCHDOG=1" in lines:
                self._beats_s.append(time.monotonic())

    def statuses(self):
        return [line.removeprefix("STATUS=") for line in self.said if line.startswith("STATUS=")]

    def longest_silence_s(self):
        return max(after - before for before, after in itertools.pairwise(self._beats_s))

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._socket.getsockname())
        self._ear.join()
        self._socket.close()


@pytest.mark.slow
def test_systemd_receives_ready_watchdog_and_stopping_messages():
    all_of_them = f"{ALL} of {ALL} processes run"
    with short_folder() as folder, contextlib.closing(ServiceManager(folder, WATCHDOG_S)) as manager:
        day = prepare(msgspec.structs.replace(OPTIONS, folder=folder / "d"))
        day.clock.start()
        clock = {CLOCK_VARIABLE: day.clock.to_variable()}
        system = System(folder / "d", "run", "--config", day.configuration, environment=clock | manager.environment)
        try:
            system.until(lambda: "READY=1" in manager.said, "ready")
            assert manager.statuses()[-1].endswith(f": {all_of_them}")
            assert "STOPPING=1" not in manager.said
            system.until(  # which phase, the machine's load decides: the clock runs meanwhile
                lambda: any(each.endswith(f": {all_of_them}") and "IDLE" not in each for each in manager.statuses()),
                "the phase",
            )
            system.until(lambda: manager.said.count("WATCHDOG=1") > 2, "some beats")
            assert system.interrupt() == 0
        finally:
            system.clear_away()
        assert "STOPPING=1" in manager.said
        assert manager.said.count("READY=1") == 1, "no process of ours spoke in the system's name"
        assert manager.longest_silence_s() < WATCHDOG_S


def test_supervisord_gives_observer_the_umask_of_its_owner_alone():
    """As supervisord itself reads its file."""
    options = ServerOptions()
    options.realize(args=["-c", str(ROOT / "supervisord.conf")])
    assert options.umask == 0o077
    assert [program.umask for group in options.process_group_configs for program in group.process_configs] == [0o077]


with_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")


@with_systemd
def test_systemd_judges_the_units_exposure_as_low():
    """2.5 of 10, below which systemd speaks of little exposure; the threshold is in tenths."""
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=25", "--no-pager"]
    command.append(str(ROOT / "config" / "observer.service"))
    judged = subprocess.run(command, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, [*judged.stdout.splitlines()[-1:], judged.stderr]


@with_systemd
def test_systemd_accepts_the_unit(tmp_path):
    """With a program that is there in place of the one that the unit names."""
    unit = tmp_path / "observer.service"
    text = (ROOT / "config" / "observer.service").read_text()
    program = "/opt/observer/.venv/bin/observer"
    assert text.count(f"\nExecStart={program} run ") == 1
    unit.write_text(text.replace(program, str(PROGRAMS / "observer")))
    judged = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (judged.returncode, judged.stderr) == (0, "")
