"""Support for the chaos tests: processes that start within milliseconds and can be killed, and their judge."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.chaos.actors import Scene
from tests.chaos.crashes import run_until
from tests.waiting import until

FINISH_S = 60.0
JUDGE = Path(__file__).with_name("judge.py")

_spawning = multiprocessing.get_context("forkserver")  # forks from a process that has only imported modules
_spawning.set_forkserver_preload(
    ["tests.chaos.crashes", "tests.chaos.push_pull", "sqlalchemy.dialects.sqlite", "psycopg", "pytest"]
)


class StageError(Exception):
    """A process ended by itself, or did not end when asked."""


class Actor:
    """One actor's part; each restart gives it a new process."""

    def __init__(self, name: str, part: Callable[..., None], *arguments: object) -> None:
        self.name = name
        self._part = part
        self._arguments = arguments
        self.lives = 0
        self.start()

    def start(self, crash_point: str | None = None) -> None:
        """Start a new process; with a crash point it kills itself there (tests/chaos/crashes.py)."""
        self.lives += 1
        self._ready, theirs = _spawning.Pipe(duplex=False)
        work = (*self._arguments, theirs)
        self._process: BaseProcess = (
            _spawning.Process(target=self._part, args=work)
            if crash_point is None
            else _spawning.Process(target=run_until, args=(crash_point, self._part, *work))
        )
        self._process.start()
        theirs.close()

    def wait_ready(self) -> None:
        self._ready.poll(FINISH_S)
        self.require_alive()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds or the process ended."""

        def is_so() -> bool:
            self.require_alive()
            return condition()

        until(is_so, self.name, FINISH_S)

    def wait_crashed(self, deadline_s: float) -> None:
        """Wait until the process has killed itself."""
        self._process.join(deadline_s)
        if self._process.exitcode != -signal.SIGKILL:
            raise StageError(f"{self.name} did not come to its crash point; its status is {self._process.exitcode}")

    def require_alive(self) -> None:
        if self._process.exitcode is not None:
            raise StageError(f"{self.name} ended by itself with status {self._process.exitcode}")

    def send(self, signal_number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, signal_number)

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    def finish(self) -> None:
        """Ask the process to end, and wait until it does."""
        self.wait_ready()
        self._process.terminate()
        self._process.join(FINISH_S)
        if self._process.exitcode != 0:
            raise StageError(f"{self.name} was to finish; its status is {self._process.exitcode}")


def judge(scene: Scene, *, unordered: bool = False) -> dict[str, object]:
    ledgers = ["--ledgers", scene.folder / "ledger", "--stamped", *(["--unordered"] if unordered else [])]
    command = [sys.executable, JUDGE, scene.url, scene.folder / "outbox", *ledgers]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if not done.stdout:
        raise StageError(f"the judge: {done.stderr}")
    reported: dict[str, object] = json.loads(done.stdout)
    return reported
