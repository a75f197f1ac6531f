"""`observer status` and `observer ctl`: without a supervisor, and against a control socket with given replies."""

import asyncio
import contextlib
import json
import re
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from bus.commands import Done, ProcessStatus, Refused, Request, Restart, RunJob, Status, StatusReply
from bus.control import ControlServer
from bus.delivery import Delivered
from bus.endpoints import Endpoints
from bus.events import GapMeasure, GapTimesMeasured
from observer.base.local_time import local_datetime
from observer.cli.app import main
from observer.store.writer import StoreWriter
from observer.system.processes import JOB_OWNERS
from tests.folders import short_folder
from tests.store.migrated import make_database
from tests.waiting import DEADLINE_S

NINE_NS = 1_794_960_000_000_000_000
STATUS = StatusReply([ProcessStatus("track-b", "RUNNING", pid=17, uptime_s=61.2)], "FULL_OPERATION", NINE_NS, 5, 99.0)


@pytest.fixture
def folder(monkeypatch):
    with short_folder() as name:
        path = Path(name)
        (path / "demo").mkdir()
        (path / "demo" / "observer.toml").write_text(f'[run]\nruntime = "{path}/run"\n')
        monkeypatch.chdir(path)
        yield path


@contextmanager
def answering(folder, answer):
    """A control socket in a thread; yields the requests it received."""
    asked: list[Request] = []
    bound = threading.Event()
    loop = asyncio.new_event_loop()
    stopping = asyncio.Event()

    async def handle(identity, request):
        asked.append(request)
        return answer(request)

    async def serve():
        server = ControlServer(Endpoints(folder / "run").control, handle)
        serving = asyncio.create_task(server.serve())
        bound.set()
        await stopping.wait()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        server.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert bound.wait(DEADLINE_S)
        yield asked
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join()
        loop.close()


def exit_status(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["observer", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize("words", [("status",), ("status", "--json"), ("ctl", "restart", "track-b")])
def test_a_command_without_a_running_system_names_the_command_that_starts_one(folder, monkeypatch, capsys, words):
    assert exit_status(monkeypatch, *words) == 2
    reported = capsys.readouterr()
    assert reported.out == ""
    assert "no system runs here" in reported.err
    assert "observer run" in reported.err
    assert f"{folder}/run" in reported.err


def test_status_is_a_table_or_one_object(folder, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "160")
    with answering(folder, lambda _: STATUS) as asked:
        assert exit_status(monkeypatch, "status") == 0
        table = capsys.readouterr().out
        assert exit_status(monkeypatch, "status", "--json") == 0
        reported = json.loads(capsys.readouterr().out)
    assert asked == [Status(), Status()]
    assert "track-b" in table
    assert "09:00:00 KST" in table
    assert reported["processes"][0] | {"name": "track-b", "pid": 17, "uptime_s": 61.2} == reported["processes"][0]


def test_the_status_has_the_day_s_times_of_detection_and_closing_or_says_why_not(folder, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "160")
    url, day = f"sqlite:///{folder}/observer.db", local_datetime(STATUS.market_time_ns).date().isoformat()
    with (folder / "demo" / "observer.toml").open("a") as file:
        file.write(f'[store]\nurl = "{url}"\n')
    with answering(folder, lambda _: STATUS):
        assert exit_status(monkeypatch, "status") == 0
        assert "how soon gaps were detected and closed is not known: " in capsys.readouterr().out
        make_database(url)
        measures: list[GapMeasure] = ["detection", "recovery", "closing"]
        times = [GapTimesMeasured(day, 1, measure, 40, 39, 0.1, 0.25, 4.0, 9.0) for measure in measures]
        with contextlib.closing(StoreWriter(url)) as writer:
            writer.open()
            writer.commit([Delivered("gap-recovery", "5" * 32, 1, times)])
        assert exit_status(monkeypatch, "status") == 0
        lines = capsys.readouterr().out.splitlines()
        assert exit_status(monkeypatch, "status", "--json") == 0
        reported = json.loads(capsys.readouterr().out)
    assert [line for line in lines if line.startswith("gaps, ")] == [
        "gaps, detection: p95 0.25 s; 39 of 40 in time",
        "gaps, closing: p95 0.25 s; 39 of 40 in time",
    ]
    assert [each["p95_s"] for each in reported["gap_times"]] == [0.25, 0.25]


def test_the_status_names_what_the_supervisor_did_by_itself(folder, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "160")
    with answering(folder, lambda _: msgspec.structs.replace(STATUS, orphans_ended=2, zygote_fallbacks=1)):
        exit_status(monkeypatch, "status")
    assert "up 99 s · 2 orphans ended · 1 starts without the zygote" in capsys.readouterr().out


@pytest.mark.parametrize("typed", ["track-b", "track_b"])
def test_a_process_may_be_typed_with_hyphen_or_underscore(folder, monkeypatch, capsys, typed):
    with answering(folder, lambda _: Done("track-b", "restarted")) as asked:
        assert exit_status(monkeypatch, "ctl", "restart", typed) == 0
    assert asked == [Restart("track-b")]
    assert capsys.readouterr().out == "track-b: restarted\n"


def test_run_job_sends_the_arguments_of_a_job_and_its_help_names_every_job(folder, monkeypatch, capsys):
    with answering(folder, lambda _: Done("master-file", "NASD: 3 changes, approved")) as asked:
        assert exit_status(monkeypatch, "ctl", "run-job", "master-approve", "NASD-20261118T060000") == 0
    assert asked == [RunJob("master_approve", ["NASD-20261118T060000"])]
    assert exit_status(monkeypatch, "ctl", "run-job", "--help") == 0
    assert set(JOB_OWNERS) <= set(re.findall(r"[a-z]+(?:_[a-z]+)*", capsys.readouterr().out))


def test_a_refusal_ends_with_1_and_its_reason(folder, monkeypatch, capsys):
    with answering(folder, lambda _: Refused("unknown_process", "there is no track-z")):
        assert exit_status(monkeypatch, "ctl", "stop", "track-z") == 1
    lines = ["observer: using demo/observer.toml", "observer: there is no track-z (unknown_process)"]
    assert capsys.readouterr().err.splitlines() == lines


def test_a_refusal_as_json_is_an_object_on_stdout(folder, monkeypatch, capsys):
    with answering(folder, lambda _: Refused("unknown_process", "there is no track-z")):
        assert exit_status(monkeypatch, "ctl", "stop", "track-z", "--json") == 1
    reported = capsys.readouterr()
    assert json.loads(reported.out)["code"] == "unknown_process"
    assert reported.err == ""
