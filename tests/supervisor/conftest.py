"""Both ways to start a child, and both kinds of file systems: each guarantee of the supervisor holds for both."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.supervisor.scenes import ROOT, Way

MEMORY = Path("/dev/shm")


@pytest.fixture(params=["spawned", "forked"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test once with children that are fresh interpreters, and once with children that a zygote forks."""
    set_way(request.param, monkeypatch)


@pytest.fixture(params=["forked", pytest.param("spawned", marks=pytest.mark.slow)])
def forked_first(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `both_ways`, of rules that do not depend on how a child starts: the default run has the way of our workers."""
    set_way(request.param, monkeypatch)


def set_way(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # where `python -m tests.supervisor.code` finds it
    monkeypatch.setattr(Way, "forked", way == "forked")


@pytest.fixture(params=["disk", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file system that takes bytes off a file's front, and one that only punches gaps."""
    if request.param == "disk":
        yield tmp_path
    elif MEMORY.is_dir():
        with TemporaryDirectory(dir=MEMORY) as name:
            yield Path(name)
    else:
        pytest.skip("no file system in memory")
