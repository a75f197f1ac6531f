"""Observer as its user has it: the command, a folder, and looks at the database and the process table from outside."""

import contextlib
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from observer.base.environment import forget_withheld
from observer.cli.app import main
from tests import waiting
from tests.store.raw import query as query_server
from tests.waiting import DEADLINE_S

OBSERVER = str(Path(sys.executable).parent / "observer")
PROCESSES = ("core-writer", "accounts", "master-file", "gap-recovery", "etf", "track-a", "track-b")
POLL_S = 0.25  # each poll reads the process table or the database: at a tenth of that a core is busy with it
SYMBOLS = 50  # the fewest that a demo takes: a few more than the slots of an account

JsonObject = dict[str, Any]
Completed = subprocess.CompletedProcess[str]


def observer(*arguments: object, cwd: Path, environment: Mapping[str, str] | None = None) -> Completed:
    """A command that ends by itself."""
    return subprocess.run(
        [OBSERVER, *map(str, arguments)],
        cwd=cwd,
        env=_environment(environment),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def observer_here(*arguments: object, cwd: Path) -> Completed:
    """As `observer`, without a new interpreter: for a command that neither starts processes nor listens to signals."""
    words = ["observer", *map(str, arguments)]
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    forget_withheld()
    with (
        contextlib.ExitStack() as stack,
        pytest.MonkeyPatch.context() as process,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        stack.callback(os.umask, os.umask(0o077))  # as the command does
        process.chdir(cwd)
        process.setattr(sys, "argv", words)
        for name in os.environ.keys() - _environment(None).keys():
            process.delenv(name)
        with pytest.raises(SystemExit) as ended:
            main()
    out.seek(0)
    err.seek(0)
    return Completed(words, int(ended.value.code or 0), out.read(), err.read())


class System:
    """A system that runs in `folder`: its first process is a command of ours, the others are what that started.
    `database` is the URL of a server; empty: SQLite's file in the folder. `program` may be that of another checkout.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: object,
        environment: Mapping[str, str] | None = None,
        database: str = "",
        program: str = OBSERVER,
    ) -> None:
        self.folder = folder
        self.url = database or f"sqlite:///{self.database}"
        self._stdout, self._stderr = folder.with_suffix(".out"), folder.with_suffix(".err")
        with self._stdout.open("w") as stdout, self._stderr.open("w") as stderr:
            self.process = psutil.Popen(
                [program, *map(str, arguments)],
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
        """The query's rows while a system writes the database; empty before the database exists."""
        try:
            return self.ask(query)
        except (sqlite3.OperationalError, psycopg.OperationalError, psycopg.errors.UndefinedTable):
            return []

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """The query's rows."""
        return ask(self.database, query) if self.url.startswith("sqlite") else query_server(self.url, query)

    def pids(self) -> dict[str, int]:
        """Pids of the running processes by name, from the database."""
        latest: dict[str, tuple[str, int]] = {}
        for name, state, pid in self.rows(
            "SELECT process, current, pid FROM process_changes ORDER BY stream, sequence"
        ):
            latest[name] = (state, pid)
        return {name: pid for name, (state, pid) in latest.items() if state == "RUNNING"}

    def until(self, condition: Callable[[], object], what: str, within_s: float = waiting.DEADLINE_S) -> None:
        """Poll until the condition holds; fails if the command ends first."""

        def found() -> bool:
            is_so = bool(condition())
            assert is_so or self.process.poll() is None, f"ended before {what}: {self.errors}"
            return is_so

        waiting.until(found, what, within_s, POLL_S)
        self.remember()

    def remember(self) -> None:
        """Note the started processes: each of ours leads its own session."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self._sessions.update(child.pid for child in self.process.children(recursive=True))

    def interrupt(self) -> int:
        """Ctrl-C; returns the exit status."""
        self.remember()
        self.process.send_signal(signal.SIGINT)
        return self.ended()

    def ended(self, within_s: float = 2 * waiting.DEADLINE_S, look: Callable[[], None] = lambda: None) -> int:
        """Wait for the end of the command, noting the processes it starts; returns the exit status. Each poll also
        calls `look`.
        """

        def is_over() -> bool:
            self.remember()
            look()
            return self.process.poll() is not None

        waiting.until(is_over, "the end of the command", within_s, 2 * POLL_S)
        return int(self.process.wait())

    def summary(self) -> JsonObject:
        """The one JSON object on stdout."""
        reported: JsonObject = json.loads(self._stdout.read_text())
        return reported

    def left_behind(self) -> list[str]:
        """Living processes of the noted sessions, and all others whose command line names this folder."""
        return [" ".join(command) for pid, command in _living() if self._is_ours(pid, command)]

    def _is_ours(self, pid: int, command: Sequence[str]) -> bool:
        try:
            return os.getsid(pid) in self._sessions or any(str(self.folder) in word for word in command)
        except ProcessLookupError:
            return False

    def clear_away(self) -> None:
        """Kill the processes that a failed test left."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(psutil.TimeoutExpired):
                self.process.wait(waiting.DEADLINE_S)
        for pid, command in list(_living()):
            if self._is_ours(pid, command):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def demo(*options: object, folder: Path, speed: float = 1200) -> Iterator[System]:
    """A demo of a small market in the folder; at the end no process of it is left."""
    arguments = ("demo", "--json", "--symbols", SYMBOLS, "--speed", speed, "--folder", folder, *options)
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


def _living() -> Iterator[tuple[int, list[str]]]:
    for process in psutil.process_iter(["pid", "cmdline", "status"]):
        if process.info["status"] != psutil.STATUS_ZOMBIE:
            yield process.info["pid"], process.info["cmdline"] or []


def _environment(changes: Mapping[str, str] | None) -> dict[str, str]:
    """Our environment without Observer's keys and clock."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KIS_", "OBSERVER_"))}
    return {**kept, **(changes or {})}
