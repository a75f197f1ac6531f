"""`observer capture --raw` and `observer replay --raw`, as commands; the test records as a worker would."""

import json
import signal
import time
from pathlib import Path

import pytest
import tomli_w
from click.exceptions import Exit

from observer.base.clock import ScaledClock
from observer.base.errors import ObserverError
from observer.brokers.raw import (
    RawCaptureRequest,
    RawRecorder,
    open_raw_request,
    raw_request_path,
    read_raw_request,
)
from observer.cli.capture import capture
from observer.cli.replay import replay
from tests.brokers.kis_builders import frame, record
from tests.cli.typed import command as command_of
from tests.folders import short_folder
from tests.privileges import Child, in_a_fork
from tests.waiting import until

pytestmark = pytest.mark.system

QUOTE = b'{"rt_cd":"0","output":[{"inter_shrn_iscd":"005930","inter2_prpr":"70000"}]}'


@pytest.fixture
def folder():
    with short_folder() as short:
        (short / "c.toml").write_text(tomli_w.dumps({"run": {"data": str(short), "runtime": str(short / "run")}}))
        yield short


class Recording:
    """`observer capture --raw` as a process."""

    def __init__(self, folder, config):
        self.folder = folder
        words = ("capture", "--raw", folder, "--config", config, "--json")
        self.process = Child(command_of(*words), config.parent)
        until(lambda: "recording to" in self.process.errors, "the begin")

    def stop(self):
        """Ctrl-C; the summary."""
        self.process.send(signal.SIGINT)
        out, status, errors = self.process.output.read(), self.process.wait(), self.process.errors
        self.process.close()
        assert (status, errors.count("\n")) == (0, 1), errors
        return json.loads(out)


def worker(runtime, name):
    clock = ScaledClock(10**18, time.monotonic_ns(), 1.0)
    return RawRecorder(
        request=raw_request_path(runtime), provider="kis", process=name, clock=clock, monotonic_s=time.monotonic
    )


def test_the_recorded_traffic_of_two_processes_is_counted_and_decoded_again(folder):
    recording = Recording(folder / "raw", folder / "c.toml")
    stream, sweep = worker(folder / "run", "track-b"), worker(folder / "run", "track-a")
    stream.of("main").frame("sent", 1, 1, b"{}")
    stream.of("main").frame("received", 1, 2, frame(record(), record()).encode())
    stream.of("main").frame("received", 1, 3, b"rubbish")
    number = sweep.of("main").request("quotes", {}, {}, b"")
    sweep.of("main").answer(number, "quotes", 200, {}, {}, QUOTE)
    summary = recording.stop()
    assert (summary["files"], summary["frames"], summary["bodies"]) == (2, 3, 2)
    assert summary["size_bytes"] == sum(path.stat().st_size for path in recording.folder.iterdir())
    assert read_raw_request(raw_request_path(folder / "run")) is None
    words = ("replay", "--raw", recording.folder, "--out", folder / "facts", "--json")
    done = in_a_fork(command_of(*words), folder)
    assert done.status == 0, done.stderr
    reported = json.loads(done.stdout)
    assert reported["kinds"] == {"InputQuarantined": 1, "Quote": 1, "Trade": 2}
    assert (reported["records"], reported["refused"], reported["malformed"], reported["torn_bytes"]) == (5, 0, 0, 0)
    facts = [json.loads(line) for line in (folder / "facts").read_text().splitlines()]
    assert [fact["kind"] for fact in facts] == ["Trade", "Trade", "InputQuarantined", "Quote"]
    assert facts[0]["value"]["receive_time_ns"] == facts[0]["time_ns"] == 2


def test_a_torn_tail_is_reported(folder, capsys):
    (folder / "raw").mkdir()
    with open_raw_request(raw_request_path(folder), RawCaptureRequest("c1", str(folder / "raw"))):
        recorder = worker(folder, "track-b")
        for moment in range(3):
            recorder.of("main").frame("received", 1, moment, frame(record()).encode())
    [path] = (folder / "raw").iterdir()
    path.write_bytes(path.read_bytes()[:-1])  # a worker was killed in the middle of it
    with pytest.raises(Exit) as ended:
        replay(raw=folder / "raw", as_json=True)
    reported = json.loads(capsys.readouterr().out)
    assert (ended.value.exit_code, reported["kinds"]) == (1, {"Trade": 2})
    assert reported["torn_bytes"] > 0


def test_a_killed_capture_is_over_and_the_next_one_can_begin(folder):
    first = Recording(folder / "first", folder / "c.toml")
    recorder = worker(folder / "run", "track-b")
    assert recorder.is_wanted
    first.process.close()
    until(lambda: not recorder.is_wanted, "the recorder stopped")
    assert Recording(folder / "second", folder / "c.toml").stop()["files"] == 0


OUT, FULL, EMPTY = Path("x"), Path("full"), Path("empty")


@pytest.mark.parametrize(
    ("command", "options", "reason"),
    [
        (capture, {}, "give either --out"),
        (capture, {"out": OUT, "raw": EMPTY}, "give either --out"),
        (capture, {"raw": EMPTY, "kinds": "trade"}, "give either --out"),
        (capture, {"raw": FULL, "config": Path("c.toml")}, "is not empty"),
        (replay, {}, "give a capture"),
        (replay, {"file": OUT, "db": "sqlite:///x.db", "out": OUT}, "--out belongs to"),
        (replay, {"raw": FULL, "db": "sqlite:///x.db"}, "is decoded, not stored"),
        (replay, {"raw": EMPTY}, "no raw capture"),
        (replay, {"raw": FULL}, "is not a journal"),
    ],
)
def test_wrong_options_and_folders_do_nothing(folder, monkeypatch, command, options, reason):
    monkeypatch.chdir(folder)
    FULL.mkdir()
    EMPTY.mkdir()
    (FULL / "a.journal").write_text("precious")
    before = sorted(folder.rglob("*"))
    with pytest.raises(ObserverError, match=reason):
        command(**options)
    assert sorted(folder.rglob("*")) == before
    assert (FULL / "a.journal").read_text() == "precious"
