"""The zygote: the state that a forked worker inherits, and that a failed zygote costs only time."""

import asyncio
import contextlib
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from observer.supervisor.lifeline import Lifeline
from observer.supervisor.orphans import adopting
from observer.supervisor.pid_registry import PidRegistry
from observer.supervisor.process import RunningProcess
from observer.supervisor.surroundings import ZYGOTE
from observer.supervisor.zygote import Zygote, code_stamp
from observer.system.processes import PRELOADED
from tests.supervisor.scenes import (
    CODE,
    LIVES,
    ROOT,
    SPEAKER,
    Way,
    is_alive,
    kill,
    program,
    quiet,
    running,
    supervisor_of,
)
from tests.waiting import DEADLINE_S, until_async


@pytest.fixture(autouse=True)
def _forked(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(Way, "forked", True)


@contextlib.asynccontextmanager
async def zygote_of(folder, preload=(CODE, SPEAKER), answer_s=DEADLINE_S):
    with adopting(), contextlib.closing(Zygote(preload, PidRegistry(folder), answer_s=answer_s)) as zygote:
        yield zygote


async def live(zygote, child):
    """Run the child to its end, and return what it wrote."""
    lifeline = Lifeline()
    process = await RunningProcess.start(child, lifeline, lambda _pid: None, zygote=zygote)
    assert await process.finish() == 0
    lifeline.close()
    return child.log_path.read_text()


def zygote_in(scene):
    assert scene.supervisor.zygote is not None
    return scene.supervisor.zygote


async def test_a_zygote_that_has_loaded_all_workers_has_one_thread_and_no_socket_but_its_own(tmp_path):
    """A lock or a connection that another thread holds at the fork would be lost in the worker."""

    async with zygote_of(tmp_path, (*PRELOADED, CODE)) as zygote:
        first = zygote.pid
        await live(zygote, quiet(tmp_path, "a", "pass"))
        assert (zygote.pid, zygote.fallbacks) == (first, 0)
        folder = Path(f"/proc/{zygote.pid}")
        links = [file.readlink().name for file in (folder / "fd").iterdir()]
        assert len([link for link in links if link.startswith("socket:")]) == 1
        assert len(list((folder / "task").iterdir())) == 1


async def test_a_worker_has_the_modules_of_the_zygote_and_its_own_arguments_environment_and_rng(tmp_path):
    code = f"import os, random, sys; print({SPEAKER!r} in sys.modules, os.environ['OF_THE_CHILD'], random.random())"

    async with zygote_of(tmp_path) as zygote:
        said = [await live(zygote, quiet(tmp_path, name, code, environment={"OF_THE_CHILD": name})) for name in "ab"]
    (loaded_a, of_a, rng_a), (loaded_b, of_b, rng_b) = (line.split() for line in said)
    assert (loaded_a, of_a, loaded_b, of_b) == ("True", "a", "True", "b")
    assert rng_a != rng_b


async def test_a_worker_shows_its_own_command_line(tmp_path):
    async with running(tmp_path, [quiet(tmp_path, "a")]) as scene:
        shown = " ".join(psutil.Process(scene.pid("a")).cmdline())
        expected = f"{sys.executable} -P -m {CODE} {LIVES}"
        assert expected.startswith(shown)
        assert CODE in shown


async def test_a_worker_holds_no_descriptor_but_its_output_and_the_lifeline(tmp_path):
    async with running(tmp_path, [quiet(tmp_path, "a")]) as scene:
        folder, log = Path(f"/proc/{scene.pid('a')}/fd"), str(tmp_path / "a.log")
        expected = sorted(["/dev/null", log, log, "pipe"])
        await until_async(lambda: sorted(str(fd.readlink()).split(":")[0] for fd in folder.iterdir()) == expected)


async def test_a_zygote_runs_only_its_own_workers(tmp_path):
    async with zygote_of(tmp_path) as zygote:
        assert await live(zygote, program(tmp_path, "a", ("echo", "it"))) == "it\n"
        assert not zygote.runs((sys.executable, "-P", "-m", "workers.simulator"))


async def test_when_the_zygote_is_killed_the_workers_live_on_and_the_next_one_comes_from_a_fresh_zygote(
    tmp_path,
):
    async with running(tmp_path, [quiet(tmp_path, name) for name in "ab"]) as scene:
        pids, zygote = scene.pids(), zygote_in(scene)
        first = zygote.pid
        assert first is not None
        kill(first)
        await until_async(lambda: zygote.pid not in (None, first), "a fresh zygote")
        fresh = zygote.pid
        assert scene.pids() == pids
        kill(scene.pid("a"))
        await scene.changes.until("a", "RUNNING", 2)
        assert (zygote.pid, zygote.fallbacks, scene.pid("b")) == (fresh, 0, pids["b"])


async def test_a_zygote_that_does_not_answer_is_given_up_for_a_fresh_interpreter_and_leaves_no_second_worker(
    tmp_path, monkeypatch
):
    async with zygote_of(tmp_path, answer_s=DEADLINE_S) as zygote:
        await live(zygote, quiet(tmp_path, "a", "pass"))
        first = zygote.pid
        assert first is not None
        psutil.Process(first).suspend()
        with monkeypatch.context() as impatient:  # the next zygote has time: on a busy machine a fork takes long
            impatient.setattr(zygote, "_answer_s", 0.2)
            assert await live(zygote, quiet(tmp_path, "b", "print('once')")) == "once\n"
        assert zygote.fallbacks == 1
        assert not is_alive(first)
        await live(zygote, quiet(tmp_path, "c", "pass"))
        assert zygote.pid not in (None, first)
        assert zygote.fallbacks == 1
        assert (tmp_path / "b.log").read_text() == "once\n"


async def test_each_failure_of_the_zygote_is_counted_and_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(Way, "preload", lambda: (CODE, "no.such.module"))

    supervisor, changes = supervisor_of(tmp_path, [quiet(tmp_path, "a")])
    stopping = asyncio.Event()
    running = asyncio.create_task(supervisor.run_until(stopping))
    await changes.until("a", "RUNNING")
    assert supervisor.status().zygote_fallbacks == 1
    reasons = [change.reason for change in changes.all if change.name == ZYGOTE]
    assert any("starts without it" in reason for reason in reasons)
    stopping.set()
    await running


async def test_a_zygote_that_cannot_load_costs_nothing_but_a_fresh_interpreter(tmp_path):
    async with zygote_of(tmp_path, (CODE, "no.such.module")) as zygote:
        assert await live(zygote, quiet(tmp_path, "a", "print('well')")) == "well\n"
        assert (zygote.pid, zygote.fallbacks) == (None, 1)


async def test_after_an_upgrade_the_next_start_has_the_new_code_from_a_fresh_zygote(tmp_path, monkeypatch):
    package = tmp_path / "upgraded"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "version.py").write_text("VERSION = 1\n")
    (package / "worker.py").write_text("from upgraded.version import VERSION\nprint(VERSION)\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    child = program(tmp_path, "a", (sys.executable, "-P", "-m", "upgraded.worker"))

    async with zygote_of(tmp_path, ("upgraded.version", "upgraded.worker")) as zygote:
        assert await live(zygote, child) == "1\n"
        first = zygote.pid
        assert await live(zygote, child) == "1\n1\n"
        assert zygote.pid == first
        (package / "version.py").write_text("VERSION = 'two'\n")
        assert await live(zygote, child) == "1\n1\ntwo\n"
        assert zygote.pid != first
        assert zygote.fallbacks == 0


async def test_each_worker_runs_exactly_once_when_the_zygote_is_killed_during_forks(tmp_path):
    """Killed while requests wait: each worker runs exactly once, by a fork or as a fresh interpreter."""

    async with zygote_of(tmp_path) as zygote:
        await live(zygote, quiet(tmp_path, "first", "pass"))
        children = [quiet(tmp_path, str(number), "print('once')") for number in range(8)]
        lives = asyncio.gather(*(live(zygote, child) for child in children))
        await asyncio.sleep(0)
        assert zygote.pid is not None
        os.kill(zygote.pid, 9)
        assert await lives == ["once\n"] * len(children)


async def test_a_worker_has_an_environment_and_arguments_that_are_not_utf8(tmp_path):
    code = "import os, sys; print(os.environb[b'NAME'], os.fsencode(sys.argv[-1]))"
    argument = os.fsdecode(b"\xfe")
    argv = (sys.executable, "-P", "-m", CODE, code, argument)
    child = program(tmp_path, "a", argv, environment={"NAME": os.fsdecode(b"x\xff")})

    async with zygote_of(tmp_path) as zygote:
        assert await live(zygote, child) == "b'x\\xff' b'\\xfe'\n"
        assert zygote.fallbacks == 0


async def test_a_zygote_that_loads_for_too_long_goes_on_loading_while_fresh_interpreters_start(tmp_path, monkeypatch):
    monkeypatch.setattr("observer.supervisor.zygote._LOAD_S", 0.0)

    async with zygote_of(tmp_path) as zygote:
        loading = zygote.pid
        assert await live(zygote, quiet(tmp_path, "a", "print('well')")) == "well\n"
        assert (zygote.pid, zygote.fallbacks) == (loading, 1)
        await until_async(lambda: zygote.has_loaded, "it has loaded")
        assert await live(zygote, quiet(tmp_path, "b", "print('well')")) == "well\n"
        assert (zygote.pid, zygote.fallbacks) == (loading, 1)


def test_the_stamp_of_the_code_covers_every_package_of_ours_that_the_workers_load():
    code = (
        "import importlib, sys\n"
        "for entry in sys.argv[1:]: importlib.import_module(entry.partition(':')[0])\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code, *PRELOADED], capture_output=True, text=True, check=True, cwd=ROOT
    )
    ours = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()} & set(loaded.stdout.split())
    assert ours == {"bus", "observer", "workers"}
    assert ours <= {entry.partition(".")[0] for entry in PRELOADED}


def test_a_dangling_link_hides_no_source_from_the_stamp(tmp_path, monkeypatch):
    package = tmp_path / "linked"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / ".#open.py").symlink_to(package / "nowhere")
    (package / "worker.py").write_text("VERSION = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = code_stamp(["linked.worker"])
    (package / "worker.py").write_text("VERSION = 'two'\n")
    assert code_stamp(["linked.worker"]) != before
