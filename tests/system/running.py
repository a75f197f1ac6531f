"""Observer as its user has it: the command, a folder, and looks at the database and the process table from outside."""

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

OBSERVER = str(Path(sys.executable).parent / "observer")
PROCESSES = ("core-writer", "accounts", "master-file", "gap-recovery", "funds", "track-a", "track-b")
LOOK_S = 0.05
END_S = 20.0  # an orderly stop on a busy machine

JsonObject = dict[str, Any]
Completed = subprocess.CompletedProcess[str]


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """A folder with a name short enough for sockets in it."""
    folder = Path(tempfile.mkdtemp(prefix="obs"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def observer(*arguments: object, cwd: Path, environment: Mapping[str, str] | None = None) -> Completed:
    """A command that ends by itself."""
    return subprocess.run(
        [OBSERVER, *map(str, arguments)],
        cwd=cwd,
        env=_environment(environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class System:
    """A system that runs in `folder`: its first process is a command of ours, the others are what that started."""

    def __init__(self, folder: Path, *arguments: object, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self._stdout, self._stderr = folder.with_suffix(".out"), folder.with_suffix(".err")
        with self._stdout.open("w") as stdout, self._stderr.open("w") as stderr:
            self.process = psutil.Popen(
                [OBSERVER, *map(str, arguments)],
                cwd=folder.parent,
                env=_environment(environment),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        self._sessions: set[int] = {self.process.pid}

    @property
    def database(self) -> Path:
        return self.folder / "data" / "observer.db"

    @property
    def errors(self) -> str:
        return self._stderr.read_text()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the database answers while it is being written; nothing while it is being made."""
        try:
            return ask(self.database, query)
        except sqlite3.OperationalError:
            return []

    def pids(self) -> dict[str, int]:
        """The processes that run now, as the database tells it."""
        latest: dict[str, tuple[str, int]] = {}
        for name, state, pid in self.rows(
            "SELECT process, current, pid FROM process_changes ORDER BY stream, sequence"
        ):
            latest[name] = (state, pid)
        return {name: pid for name, (state, pid) in latest.items() if state == "RUNNING"}

    def until(self, condition: Callable[[], object], what: str, deadline_s: float = 45.0) -> None:
        """Look until it is so; fails when the command ends before that."""
        end_s = time.monotonic() + deadline_s
        while not condition():
            self.remember()
            assert self.process.poll() is None, f"ended before {what}: {self.errors}"
            assert time.monotonic() < end_s, f"not within {deadline_s} s: {what}"
            time.sleep(LOOK_S)
        self.remember()

    def remember(self) -> None:
        """Note who was started: each of our processes leads a session of its own."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self._sessions.update(child.pid for child in self.process.children(recursive=True))

    def interrupt(self) -> int:
        """Ctrl-C; returns the exit status."""
        self.remember()
        self.process.send_signal(signal.SIGINT)
        return self.ended(END_S)

    def ended(self, deadline_s: float = 90.0) -> int:
        """Wait for the end of the command, noting whom it starts; returns the exit status."""
        end_s = time.monotonic() + deadline_s
        while self.process.poll() is None and time.monotonic() < end_s:
            self.remember()
            time.sleep(LOOK_S)
        return int(self.process.wait(0))

    def summary(self) -> JsonObject:
        """The one JSON object on stdout."""
        told: JsonObject = json.loads(self._stdout.read_text())
        return told

    def left_behind(self) -> list[str]:
        """Living processes of the sessions that were seen, and whatever else was started with this folder's name."""
        return [" ".join(command) for pid, command in _living() if self._is_ours(pid, command)]

    def _is_ours(self, pid: int, command: Sequence[str]) -> bool:
        try:
            return os.getsid(pid) in self._sessions or any(str(self.folder) in word for word in command)
        except ProcessLookupError:
            return False

    def clear_away(self) -> None:
        """End whatever a failed test left."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(psutil.TimeoutExpired):
                self.process.wait(END_S)
        for pid, command in list(_living()):
            if self._is_ours(pid, command):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def demo(*options: object, folder: Path, speed: float = 1200) -> Iterator[System]:
    """A demo of a small market that runs in the folder; whatever happens, nothing of it is left."""
    arguments = ("demo", "--json", "--symbols", 60, "--speed", speed, "--folder", folder, *options)
    system = System(folder, *arguments)
    try:
        yield system
    finally:
        system.clear_away()


def ask(database: Path, query: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


def is_sound(database: Path) -> bool:
    """Whether SQLite finds nothing wrong with the file."""
    return ask(database, "PRAGMA integrity_check") == [("ok",)]


def eventually(condition: Callable[[], object], what: str, deadline_s: float = 10.0) -> None:
    end_s = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end_s, f"not within {deadline_s} s: {what}"
        time.sleep(LOOK_S)


def _living() -> Iterator[tuple[int, list[str]]]:
    for process in psutil.process_iter(["pid", "cmdline", "status"]):
        if process.info["status"] != psutil.STATUS_ZOMBIE:
            yield process.info["pid"], process.info["cmdline"] or []


def _environment(changes: Mapping[str, str] | None) -> dict[str, str]:
    """Ours without what would decide for Observer: its keys and its clock."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KIS_", "OBSERVER_"))}
    return {**kept, **(changes or {})}
