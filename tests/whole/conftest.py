"""One plain day for all read-only assertions, shared by all pytest processes."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests import waiting
from tests.folders import short_folder
from tests.ports import own_port
from tests.whole.running import JsonObject, ask, demo
from tests.whole.scraping import Scraped

# The day in a minute and a half, beside all other tests: on a machine with eight others' work, too, it stores all.
SPEED = 360


class Day(msgspec.Struct, frozen=True):
    """A demo that has ended: exit status, what it printed, and what it left in its folder."""

    exit_status: int
    summary: JsonObject
    errors: str
    folder: Path
    database_reported: str
    left_behind: list[str]
    scraped: Scraped

    @property
    def database(self) -> Path:
        return self.folder / "data" / "observer.db"

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return ask(self.database, query)

    def value(self, query: str) -> Any:
        [[value]] = self.rows(query)
        return value


@pytest.fixture(scope="session", autouse=True)
def day_under_way(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Future[Day] | None]:
    """The day; starts with the first test of this folder if any test needs it. Other tests run meanwhile."""
    if not any(isinstance(item, pytest.Function) and "day" in item.fixturenames for item in request.session.items):
        yield None
        return
    base = tmp_path_factory.getbasetemp()
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(_shared, base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


@pytest.fixture(scope="session")
def day(day_under_way: Future[Day]) -> Day:
    return day_under_way.result()


def _shared(folder: Path) -> Day:
    with (folder / "day.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the first one runs the day, the others wait for it
        report = folder / "day.json"
        if not report.exists():
            report.write_bytes(msgspec.json.encode(_run(folder / "day"), enc_hook=str))
    return msgspec.convert(json.loads(report.read_text()), Day, dec_hook=lambda kind, text: kind(text))


def _sockets(folder: str, names: list[str]) -> list[str]:
    """Sockets of a failed demo: they cannot be copied, and the demo's output is more useful."""
    return [name for name in names if (Path(folder) / name).is_socket()]


def _run(kept: Path) -> Day:
    scraped = Scraped(own_port())
    options = ("--metrics-port", scraped.port)
    with short_folder() as folder, demo(*options, folder=folder / "d", speed=SPEED) as system:
        exit_status = system.ended(4 * waiting.DEADLINE_S, scraped.look)
        shutil.copytree(folder / "d", kept, ignore=_sockets, dirs_exist_ok=True)
        reported = f"sqlite:///{system.database}"
        return Day(exit_status, system.summary(), system.errors, kept, reported, system.left_behind(), scraped)
