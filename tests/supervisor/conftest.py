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
    monkeypatch.chdir(ROOT)  # where `python -m tests.supervisor.code` finds it
    monkeypatch.setattr(Way, "forked", request.param == "forked")


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
