"""The supervisor's own end by SIGKILL: its children go with it, or the next supervisor ends them."""

import functools
import os
from pathlib import Path

import psutil
import pytest

from tests.supervisor.scenes import LIVES, is_alive, quiet, running, supervised
from tests.supervisor.supervising import start_supervisor
from tests.waiting import until_async

pytestmark = pytest.mark.usefixtures("both_ways")

# What workers do: end the own group, children included, when the lifeline closes.
WATCHES_ITS_LIFELINE = """
import os, subprocess
print(subprocess.Popen(["sleep", "600"]).pid, flush=True)
os.read(int(os.environ["OBSERVER_LIFELINE_FD"]), 1)
os.killpg(0, 9)
"""


async def test_children_and_grandchildren_go_with_a_supervisor_that_is_killed(tmp_path):
    supervisor, pids = start_supervisor(tmp_path, dict.fromkeys("ab", WATCHES_ITS_LIFELINE))
    logs = [tmp_path / "a.log", tmp_path / "b.log"]
    await until_async(lambda: all(log.read_text().endswith("\n") for log in logs), "grandchildren")
    pids += [int(log.read_text()) for log in logs]
    pids += [child.pid for child in psutil.Process(supervisor.pid).children()]  # the zygote among them
    assert all(is_alive(pid) for pid in pids)
    supervisor.kill()
    supervisor.wait()
    await until_async(lambda: not any(is_alive(pid) for pid in pids), "the end of all")


async def test_children_without_a_lifeline_are_ended_by_the_next_supervisor(tmp_path):
    supervisor, pids = start_supervisor(tmp_path, dict.fromkeys("ab", LIVES))
    supervisor.kill()
    supervisor.wait()
    assert all(is_alive(pid) for pid in pids)
    async with supervised(tmp_path, [quiet(tmp_path, "a")]) as scene:
        assert not any(is_alive(pid) for pid in pids)
        await scene.supervisor.start_all()
        assert scene.changes.states("a")[-1] == "RUNNING"


def _is_up(scene, name):
    return "up" in scene.log(name)


async def test_a_lifeline_does_not_pass_its_writing_end_to_any_child(tmp_path):
    """An inherited lifeline would keep a dead supervisor alive for the other child."""

    code = f"import signal; print('up', flush=True)\n{LIVES}"  # an import opens files
    async with running(tmp_path, [quiet(tmp_path, name, code) for name in "ab"]) as scene:
        for name in "ab":
            await until_async(functools.partial(_is_up, scene, name))
            folder = Path(f"/proc/{scene.pid(name)}")
            pipes = [file.name for file in (folder / "fd").iterdir() if "pipe:" in str(file.readlink())]
            infos = [(folder / "fdinfo" / number).read_text() for number in pipes]
            flags = [int(info.split("flags:")[1].split()[0], 8) & os.O_ACCMODE for info in infos]
            assert flags == [os.O_RDONLY]
