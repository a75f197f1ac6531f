"""The supervisor's own end by SIGKILL: its children go with it, or the next supervisor ends them."""

import asyncio
import functools
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from observer.supervisor.states import ProcessState
from tests.supervisor.scenes import LIVES, ROOT, Scene, Way, is_alive, quiet, supervised
from tests.waiting import until_async

pytestmark = pytest.mark.usefixtures("both_ways")

# What workers do: end the own group, children included, when the lifeline closes.
WATCHES_ITS_LIFELINE = """
import os, subprocess
print(subprocess.Popen(["sleep", "600"]).pid, flush=True)
os.read(int(os.environ["OBSERVER_LIFELINE_FD"]), 1)
os.killpg(0, 9)
"""

PROGRAM = """
import asyncio, sys
from pathlib import Path
from tests.supervisor.scenes import quiet, supervisor_of
from tests.waiting import until_async

async def run(folder, code):
    supervisor, _ = supervisor_of(folder, [quiet(folder, name, code) for name in ("a", "b")])
    async with supervisor:
        await supervisor.start_all()
        print(*(process.pid for process in supervisor.status().processes), flush=True)
        await asyncio.Event().wait()

asyncio.run(run(Path(sys.argv[1]), sys.argv[2]))
"""


def start_supervisor(folder: Path, code: str) -> "tuple[subprocess.Popen[bytes], list[int]]":
    """A supervisor in a process of its own, with two children that run this code; and their pids."""
    supervisor = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, folder, code, "forked" if Way.forked else "spawned"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert supervisor.stdout is not None
    with supervisor.stdout as out:
        pids = [int(pid) for pid in out.readline().split()]
    assert len(pids) == 2
    return supervisor, pids


def test_children_and_grandchildren_go_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    async def run() -> None:
        supervisor, pids = start_supervisor(tmp_path, WATCHES_ITS_LIFELINE)
        logs = [tmp_path / "a.log", tmp_path / "b.log"]
        await until_async(lambda: all(log.read_text().endswith("\n") for log in logs), "grandchildren")
        pids += [int(log.read_text()) for log in logs]
        pids += [child.pid for child in psutil.Process(supervisor.pid).children()]  # the zygote among them
        assert all(is_alive(pid) for pid in pids)
        supervisor.kill()
        supervisor.wait()
        await until_async(lambda: not any(is_alive(pid) for pid in pids), "the end of all")

    asyncio.run(run())


def test_children_without_a_lifeline_are_ended_by_the_next_supervisor(tmp_path: Path) -> None:
    async def run() -> None:
        supervisor, pids = start_supervisor(tmp_path, LIVES)
        supervisor.kill()
        supervisor.wait()
        assert all(is_alive(pid) for pid in pids)
        async with supervised(tmp_path, [quiet(tmp_path, "a")]) as scene:
            assert not any(is_alive(pid) for pid in pids)
            await scene.supervisor.start_all()
            assert scene.changes.states("a")[-1] is ProcessState.RUNNING

    asyncio.run(run())


def _is_up(scene: Scene, name: str) -> bool:
    return "up" in scene.log(name)


def test_a_lifeline_does_not_pass_its_writing_end_to_any_child(tmp_path: Path) -> None:
    """An inherited lifeline would keep a dead supervisor alive for the other child."""

    async def run() -> None:
        code = f"import signal; print('up', flush=True)\n{LIVES}"  # an import opens files
        async with supervised(tmp_path, [quiet(tmp_path, name, code) for name in "ab"]) as scene:
            await scene.supervisor.start_all()
            for name in "ab":
                await until_async(functools.partial(_is_up, scene, name))
                folder = Path(f"/proc/{scene.pid(name)}")
                pipes = [file.name for file in (folder / "fd").iterdir() if "pipe:" in str(file.readlink())]
                infos = [(folder / "fdinfo" / number).read_text() for number in pipes]
                flags = [int(info.split("flags:")[1].split()[0], 8) & os.O_ACCMODE for info in infos]
                assert flags == [os.O_RDONLY]

    asyncio.run(run())
