"""A supervisor in a process of its own, which a test kills: `python -m tests.supervisor.supervising JSON`."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from observer.supervisor import containment
from tests.supervisor.scenes import ROOT, Way, quiet, supervisor_of


class Scenario(msgspec.Struct):
    """The folder, the children's code by name, and whether they are forked and held by a control group."""

    folder: str
    codes: dict[str, str]
    forked: bool
    grouped: bool


def start_supervisor(
    folder: Path, codes: Mapping[str, str], *, grouped: bool = False
) -> "tuple[subprocess.Popen[bytes], list[int]]":
    """Start it and its children, in the way that the test has; it, and the pids of its children."""
    scenario = Scenario(str(folder), dict(codes), Way.forked, grouped)
    supervisor = subprocess.Popen(
        [sys.executable, "-m", __name__, msgspec.json.encode(scenario).decode()], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert supervisor.stdout is not None
    with supervisor.stdout as out:
        pids = [int(pid) for pid in out.readline().split()]
    assert len(pids) == len(codes)
    return supervisor, pids


async def supervise(scenario: Scenario) -> None:
    Way.forked = scenario.forked
    if not scenario.grouped:
        containment.cgroup_for = lambda _folder: None
    folder = Path(scenario.folder)
    supervisor, _ = supervisor_of(folder, [quiet(folder, name, code) for name, code in scenario.codes.items()])
    async with supervisor:
        await supervisor.start_all()
        status = supervisor.status()
        assert status.is_contained is scenario.grouped
        assert status.zygote_fallbacks == 0
        os.write(1, " ".join(str(process.pid) for process in status.processes).encode() + b"\n")
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(supervise(msgspec.json.decode(sys.argv[1], type=Scenario)))
