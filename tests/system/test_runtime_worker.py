"""The life of a worker process: real ones, against a real control socket and a real ingest."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bus.commands import Heartbeat, Ready, Request
from bus.control import ControlServer
from bus.endpoints import Endpoints
from bus.segments import published_by_stream
from observer.supervisor.lifeline import LIFELINE_VARIABLE
from tests.folders import short_folder
from tests.system.program import NAME
from tests.waiting import DEADLINE_S, until_async

PROGRAM = Path(__file__).with_name("program.py")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder():
    with short_folder() as name:
        path = Path(name)
        (path / "data").mkdir()
        (path / "observer.toml").write_text(
            f'[run]\ndata = "{path}/data"\nruntime = "{path}/run"\n[store]\nurl = "sqlite:///{path}/data/observer.db"\n'
        )
        yield path


class Desk:
    """Messages that the supervisor receives."""

    def __init__(self):
        self.received: list[Request] = []

    async def __call__(self, identity, request):
        self.received.append(request)
        return

    async def until(self, kind, count=1):
        await until_async(lambda: sum(isinstance(request, kind) for request in self.received) >= count, str(kind))


@contextlib.asynccontextmanager
async def listening(folder):
    desk = Desk()
    server = ControlServer(Endpoints(folder / "run").control, desk)
    serving = asyncio.create_task(server.serve())
    try:
        yield desk
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        server.close()


@contextlib.asynccontextmanager
async def started(folder, mode, lifeline=None, configuration="observer.toml"):
    """The program in one of its modes; its log is `trial.log`."""
    argv = (str(PROGRAM), mode, "--config", str(folder / configuration))
    async with spawned(folder / "trial.log", argv, lifeline) as process:
        yield process


@contextlib.asynccontextmanager
async def spawned(log_path, argv, lifeline=None, path=ROOT):
    """A Python of its own in a session of its own, as the supervisor starts it; modules in `path` come first."""
    environment = {**os.environ, "PYTHONPATH": f"{path}:{ROOT}"}
    if lifeline is not None:
        environment[LIFELINE_VARIABLE] = str(lifeline)
    with log_path.open("w") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *argv,
            stdout=asyncio.subprocess.PIPE, stderr=log, env=environment, start_new_session=True,
            pass_fds=() if lifeline is None else (lifeline,),
        )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


async def status_of(process):
    async with asyncio.timeout(DEADLINE_S):
        return await process.wait()


def log(folder):
    return (folder / "trial.log").read_text()


async def test_a_worker_says_that_it_is_ready_and_that_it_lives(folder):
    async with listening(folder) as desk, started(folder, "waiting") as process:
        await desk.until(Heartbeat)
        assert Ready(NAME, process.pid) in desk.received
        assert all(request.pid == process.pid for request in desk.received if isinstance(request, Heartbeat))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_worker_that_is_asked_to_stop_ends_with_0(folder, number):
    async with listening(folder) as desk, started(folder, "waiting") as process:
        await desk.until(Ready)
        process.send_signal(number)
        assert await status_of(process) == 0


def test_a_body_that_fails_ends_with_1_and_its_stack_in_the_log(folder):
    async def scene():
        async with started(folder, "failing") as process:
            assert await status_of(process) == 1

    asyncio.run(scene())
    head, line = log(folder).splitlines()
    entry = json.loads(line)
    assert json.loads(head)["event"].startswith("log begins: version=")
    assert entry["level"] == "error"
    assert entry["process"] == NAME
    assert "Traceback" in entry["event"]
    assert "LookupError: nothing like that here" in entry["event"]


def test_a_wrong_configuration_ends_with_2_and_one_line_below_the_head(folder):
    async def scene():
        async with started(folder, "misconfigured") as process:
            assert await status_of(process) == 2

    asyncio.run(scene())
    assert log(folder).splitlines()[1:] == ["trial: the [trial] section is missing"]


def test_a_configuration_that_is_not_there_ends_with_2(folder):
    async def scene():
        async with started(folder, "waiting", configuration="absent.toml") as process:
            assert await status_of(process) == 2

    asyncio.run(scene())
    assert "absent.toml" in log(folder)


async def test_sigusr1_writes_the_stacks_and_the_worker_goes_on(folder):
    async with listening(folder) as desk, started(folder, "waiting") as process:
        await desk.until(Ready)
        process.send_signal(signal.SIGUSR1)
        await until_async(lambda: "most recent call first" in log(folder), "stacks")
        await desk.until(Heartbeat, len(desk.received))  # one more: the first that was heard was Ready
        assert process.returncode is None


async def test_the_end_of_the_lifeline_is_the_end_of_the_whole_group(folder):
    reader, writer = os.pipe()
    try:
        async with listening(folder) as desk, started(folder, "parent", lifeline=reader) as process:
            assert process.stdout is not None
            child = psutil.Process(int(await process.stdout.readline()))
            await desk.until(Ready)
            os.close(writer)
            assert await status_of(process) == -signal.SIGKILL
            await until_async(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "child")
    finally:
        os.close(reader)


def test_a_stopped_worker_ends_when_its_published_events_are_in_the_database(folder):
    core_writer = ("-m", "workers.core_writer", "--config", str(folder / "observer.toml"))

    async def scene():
        async with listening(folder) as desk, spawned(folder / "writer.log", core_writer) as writer:
            await desk.until(Ready)
            async with started(folder, "publishing") as process:
                await desk.until(Ready, 2)
                process.send_signal(signal.SIGTERM)
                assert await status_of(process) == 0
            writer.send_signal(signal.SIGTERM)
            assert await status_of(writer) == 0

    asyncio.run(scene())
    with contextlib.closing(sqlite3.connect(folder / "data" / "observer.db")) as database:
        assert database.execute("SELECT sequence, changed_ns FROM phases").fetchall() == [(1, 0), (2, 1), (3, 2)]


def test_a_stopped_worker_abandons_a_call_that_does_not_end_and_says_so(folder):
    async def scene():
        async with listening(folder) as desk, started(folder, "blocked") as process:
            await desk.until(Ready)
            process.send_signal(signal.SIGTERM)
            assert await status_of(process) == 0

    asyncio.run(scene())
    assert "a call has not ended within 1 s of the stop and is abandoned" in log(folder)


def test_published_events_stay_on_disk_without_a_writer(folder):
    async def scene():
        async with started(folder, "ending") as process:
            assert await status_of(process) == 0

    asyncio.run(scene())
    assert sum(published_by_stream(folder / "run" / "outbox" / NAME).values()) == 1
    assert "1 events stay in the outbox" in log(folder)


def test_a_wrong_configuration_has_its_status_also_when_the_disk_of_the_log_is_full(tmp_path):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, PROGRAM, "waiting", "--config", tmp_path / "none.toml"]
        ran = subprocess.run(command, cwd=ROOT, stderr=full, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert ran.returncode == 2
