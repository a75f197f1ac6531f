"""Recording lasts exactly as long as a raw capture request; with real files, locks and a real full disk."""

import resource
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.journal import JournalError, JournalReader
from observer.base import text
from observer.base.clock import ManualClock
from observer.base.errors import ConfigError
from observer.base.text import conceal
from observer.brokers.raw import (
    POLL_S,
    RawCaptureRequest,
    RawLabel,
    RawRecord,
    RawRecorder,
    decode,
    encode,
    open_raw_request,
    raw_request_path,
    read_label,
    read_raw_request,
)
from tests.waiting import DEADLINE_S

HOLDER = """
import sys
from pathlib import Path
from observer.brokers.raw import RawCaptureRequest, open_raw_request
with open_raw_request(Path(sys.argv[1]), RawCaptureRequest("c1", sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


class Scene:
    """A recorder whose machine time the test moves, and the folder it records to."""

    def __init__(self, root):
        self.now_s = 0.0
        self.folder = root / "raw"
        self.folder.mkdir()
        self.request_file = raw_request_path(root)
        self.clock = ManualClock(1_000)
        self.recorder = RawRecorder(
            request=self.request_file,
            provider="kis",
            process="track-b",
            clock=self.clock,
            monotonic_s=lambda: self.now_s,
        )

    def wanted(self, capture_id="c1"):
        return open_raw_request(self.request_file, RawCaptureRequest(capture_id, str(self.folder)))

    def later(self):
        self.now_s += POLL_S

    def journals(self):
        return sorted(self.folder.iterdir())

    def records(self):
        return [record for path in self.journals() for record in read(path)]


def read(path):
    reader = JournalReader(path)
    try:
        return [decode(record.payload) for record in reader]
    finally:
        reader.close()


@pytest.fixture
def scene(tmp_path):
    made = Scene(tmp_path)
    yield made
    made.recorder.close()


def test_a_frame_is_kept_as_it_came_with_direction_connection_and_time(scene):
    with scene.wanted():
        scene.recorder.of("main").frame("received", 3, 17, b"\xff0|H0STCNT0|")
    assert scene.records() == [RawRecord("received", "stream", "main", 3, 17, b"\xff0|H0STCNT0|")]


def test_request_and_answer_share_a_number_and_an_answer_repeats_the_request_parameters(scene):
    account = scene.recorder.of("main")
    with scene.wanted():
        for _ in range(2):
            number = account.request("quotes", {"tr_id": "T", "authorization": "x"}, {"a": "b"}, b"")
        account.answer(number, "quotes", 500, {"tr_cont": "D"}, {"a": "b"}, b"no")
    assert scene.records()[1:] == [
        RawRecord("sent", "rest", "main", 2, 1_000, b"", "quotes", 0, {"tr_id": "T"}, {"a": "b"}),
        RawRecord("received", "rest", "main", 2, 1_000, b"no", "quotes", 500, {"tr_cont": "D"}, {"a": "b"}),
    ]


def test_the_recorder_keeps_nothing_without_a_raw_capture_request(scene):
    scene.recorder.of("main").frame("received", 1, 1, b"x")
    with scene.wanted():
        pass
    scene.later()
    scene.recorder.of("main").frame("received", 1, 1, b"x")
    assert scene.journals() == []


def test_the_recording_begins_and_ends_with_the_next_check_of_the_request_file(scene):
    account = scene.recorder.of("main")
    account.frame("received", 1, 1, b"before")
    with scene.wanted():
        account.frame("received", 1, 2, b"not looked yet")
        scene.later()
        account.frame("received", 1, 3, b"kept")
    account.frame("received", 1, 4, b"not looked yet, kept")
    scene.later()
    account.frame("received", 1, 5, b"after")
    assert [record.time_ns for record in scene.records()] == [3, 4]


def test_every_capture_has_a_journal_of_its_own_that_names_it(scene):
    for capture_id in ("c1", "c2"):
        with scene.wanted(capture_id):
            scene.recorder.of("main").frame("sent", 1, 1, b"x")
            scene.later()
            scene.recorder.of("main").frame("sent", 1, 1, b"x")
            scene.later()
    labels = set()
    for path in scene.journals():
        reader = JournalReader(path)
        labels.add(read_label(reader.label))
        reader.close()
    assert labels == {RawLabel("c1", "kis", "track-b"), RawLabel("c2", "kis", "track-b")}


def test_the_raw_capture_of_a_killed_command_ends(scene):
    command = [sys.executable, "-c", HOLDER, str(scene.request_file), str(scene.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        assert read_raw_request(scene.request_file) == RawCaptureRequest("c1", str(scene.folder))
        holder.send_signal(signal.SIGKILL)
        holder.wait(DEADLINE_S)
    assert read_raw_request(scene.request_file) is None


def test_two_captures_at_a_time_are_refused_and_the_first_goes_on(scene):
    with scene.wanted("c1"):
        with pytest.raises(ConfigError, match="runs already"), scene.wanted("c2"):
            pass
        assert read_raw_request(scene.request_file).capture_id == "c1"


def test_a_full_disk_ends_the_recording_with_one_log_line_and_never_fails_the_caller(scene, caplog):
    account = scene.recorder.of("main")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with scene.wanted():
        account.frame("received", 1, 1, b"fits")
        resource.setrlimit(resource.RLIMIT_FSIZE, (scene.journals()[0].stat().st_size + 10, before[1]))
        try:
            for _ in range(3):
                account.frame("received", 1, 2, b"too much" * 100)
                scene.later()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, previous)
        account.frame("received", 1, 3, b"too late")
    assert [record.time_ns for record in scene.records()] == [1]
    assert [line for line in caplog.messages if "stopped after 1 records" in line] == caplog.messages


def test_a_missing_folder_is_reported_once_and_never_fails_the_caller(scene, caplog):
    scene.folder.rmdir()
    with scene.wanted():
        for _ in range(3):
            scene.recorder.of("main").frame("received", 1, 1, b"x")
            scene.later()
    assert len(caplog.messages) == 1


@given(secret=st.text(st.characters(exclude_characters="*", exclude_categories=["Cs"]), min_size=8), others=st.binary())
def test_whatever_the_secret_it_is_not_in_the_journal(secret, others, tmp_path_factory):
    scene = Scene(tmp_path_factory.mktemp("s"))
    known = dict(text._forms)
    conceal(secret)
    try:
        secret_bytes = secret.encode()
        account = scene.recorder.of("main")
        with scene.wanted():
            account.frame("sent", 1, 1, b'{"approval_key":"' + secret_bytes + b'"}')
            account.frame("received", 1, 1, others + secret_bytes + others)
            account.request("quotes", {"tr_id": secret, "authorization": secret}, {"x": secret}, secret_bytes)
            account.answer(1, "quotes", 200, {"tr_cont": secret}, {"token": secret}, secret_bytes)
        assert len(scene.records()) == 4
        for path in scene.journals():
            assert secret_bytes not in path.read_bytes()
    finally:
        text._forms.clear()
        text._forms.update(known)
        scene.recorder.close()


@given(st.binary(min_size=1))
def test_a_payload_is_a_record_or_no_record_of_a_raw_capture(payload):
    try:
        record = decode(payload)
    except JournalError:
        return
    assert decode(encode(record)) == record


def test_the_label_of_another_journal_is_refused():
    with pytest.raises(JournalError, match="not a raw capture"):
        read_label("capture abc *")
