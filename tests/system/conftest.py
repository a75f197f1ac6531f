"""One plain day that all read-only assertions share, whichever process of pytest they run in."""

import fcntl
import json
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.system.running import JsonObject, ask, demo, short_folder

SPEED = 800  # the day in 35 s; faster, a busy machine starts so late that the new listing is there from the first


class Day(msgspec.Struct, frozen=True):
    """A demo that has ended: exit status, what it printed, and what it left in its folder."""

    exit_status: int
    summary: JsonObject
    errors: str
    folder: Path
    database_told: str
    left_behind: list[str]

    @property
    def database(self) -> Path:
        return self.folder / "data" / "observer.db"

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return ask(self.database, query)

    def value(self, query: str) -> Any:
        [[value]] = self.rows(query)
        return value


@pytest.fixture(scope="session")
def day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with (shared / "day.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the first one runs the day, the others wait for it
        report = shared / "day.json"
        if not report.exists():
            report.write_bytes(msgspec.json.encode(_run(shared / "day"), enc_hook=str))
    return msgspec.convert(json.loads(report.read_text()), Day, dec_hook=lambda kind, text: kind(text))


def _run(kept: Path) -> Day:
    with short_folder() as folder, demo(folder=folder / "d", speed=SPEED) as system:
        exit_status = system.ended()
        shutil.copytree(folder / "d", kept)
        told = f"sqlite:///{system.database}"
        return Day(exit_status, system.summary(), system.errors, kept, told, system.left_behind())
