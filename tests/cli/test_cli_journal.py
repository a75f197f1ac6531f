"""`observer journal`: what it prints, and its exit statuses."""

import json
import sys

import pytest

from bus.codec import pack
from bus.events import SCHEMA_VERSION
from bus.journal import JournalWriter
from observer.cli.app import main
from tests.builders import trades

A = "aa" * 16


@pytest.fixture
def segment(tmp_path):
    """A segment of an outbox: two batches, five events."""
    return written(tmp_path / "segment", f"outbox track-b {A}", pack(A, 1, trades(3)), pack(A, 4, trades(2, first=4)))


def written(path, label, *batches):
    writer = JournalWriter(path, label)
    for batch in batches:
        writer.append(batch)
    writer.close()
    return path


def observer(monkeypatch, *arguments):
    """The exit status of a command."""
    monkeypatch.setattr(sys, "argv", ["observer", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_show_prints_label_batches_and_events(segment, monkeypatch, capsys):
    assert observer(monkeypatch, "journal", "show", segment) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"outbox track-b {A}"
    assert lines[1] == f"{A} 1-3 v{SCHEMA_VERSION}"
    assert lines[2].startswith("  1 trade provider=kis symbol=005930 ")
    assert len(lines) == 1 + 2 + 5


def test_show_stops_at_its_limit(segment, monkeypatch, capsys):
    observer(monkeypatch, "journal", "show", segment, "--limit", 2)
    assert len(capsys.readouterr().out.splitlines()) == 1 + 1 + 2


def test_show_prints_an_object_a_line(segment, monkeypatch, capsys):
    observer(monkeypatch, "journal", "show", segment, "--limit", 4, "--json")
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["sequence"] for each in shown] == [1, 2, 3, 4]
    assert {(each["stream"], each["kind"]) for each in shown} == {(A, "trade")}
    assert shown[3]["event"]["cumulative_volume"] == 4.0


def test_a_whole_journal_is_verified_with_status_0(segment, monkeypatch, capsys):
    assert observer(monkeypatch, "journal", "verify", segment, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["records"], report["events"], report["torn_bytes"], report["damaged_at"]) == (2, 5, 0, None)


def test_a_torn_tail_is_reported_with_status_1_and_cut_on_request(segment, monkeypatch, capsys):
    whole = segment.read_bytes()
    segment.write_bytes(whole + whole[-30:])
    assert observer(monkeypatch, "journal", "verify", segment) == 1
    assert "the last 30 bytes are no whole record" in capsys.readouterr().out
    assert segment.stat().st_size == len(whole) + 30
    assert observer(monkeypatch, "journal", "verify", segment, "--cut") == 0
    assert "30 bytes cut" in capsys.readouterr().err
    assert segment.read_bytes() == whole
    assert observer(monkeypatch, "journal", "verify", segment) == 0


def test_damage_is_reported_with_status_2_and_never_cut(segment, monkeypatch, capsys):
    content = bytearray(segment.read_bytes())
    content[120] ^= 1
    segment.write_bytes(bytes(content))
    assert observer(monkeypatch, "journal", "verify", segment, "--cut") == 2
    assert "damaged: at byte 63" in capsys.readouterr().out
    assert segment.read_bytes() == bytes(content)


@pytest.mark.parametrize("command", ["show", "verify"])
def test_a_file_that_is_not_a_journal_is_refused_with_status_2(command, tmp_path, monkeypatch, capsys):
    (tmp_path / "diary").write_text("dear journal")
    assert observer(monkeypatch, "journal", command, tmp_path / "diary") == 2
    assert "is not a journal" in capsys.readouterr().err
    assert observer(monkeypatch, "journal", command, tmp_path / "nothing") == 2


def test_a_capture_with_gaps_is_reported_with_status_3(tmp_path, monkeypatch, capsys):
    path = written(tmp_path / "c", f"capture {A} *", pack(A, 1, trades(1)), pack(A, 4, trades(1)))
    assert observer(monkeypatch, "journal", "verify", path) == 3
    assert "2 events are missing in it" in capsys.readouterr().out
