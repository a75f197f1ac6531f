"""Damage to an outbox, and processes killed at bad moments: what is left is delivered, in the order of the streams."""

import os

import pytest

from bus.outbox import Outbox
from bus.segments import Missing, Packed, published_by_stream
from tests.builders import trades

A, B, C, D = "aa" * 16, "bb" * 16, "cc" * 16, "dd" * 16


def opened(folder, stream):
    return Outbox(folder, "test", stream)


def left_behind(folder, stream, *counts):
    """A stream of a process that ended before its batches of so many events were committed."""
    outbox = opened(folder, stream)
    for count in counts:
        outbox.append(trades(count))
    outbox.close(delivered=False)


@pytest.fixture
def small_segments(monkeypatch):
    """A segment holds one batch."""
    monkeypatch.setattr("bus.outbox.SEGMENT_BYTES_MAX", 100)


def ends(outbox, stream, last_sequence):
    """The last numbers of the stream's batches; negative ones of missing ranges."""
    found, sequence = [], 1
    while sequence <= last_sequence:
        part = outbox.batch_at(stream, sequence)
        found.append(part.last_sequence if isinstance(part, Packed) else -part.last_sequence)
        sequence = part.last_sequence + 1
    return found


def test_the_current_segment_is_delivered_though_its_head_is_damaged(tmp_path):
    outbox = opened(tmp_path, A)
    outbox.append(trades(3))
    outbox.append(trades(2))
    [segment] = tmp_path.glob("*.journal")
    with segment.open("r+b") as file:
        file.write(b"?")
    assert ends(outbox, A, 5) == [3, 5]
    [text] = outbox.damage
    assert segment.name in text


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("compressed", [False, True])
def test_the_rest_of_an_earlier_stream_brings_its_beginning_back_from_the_archive(tmp_path, compressed):
    """A database that went back before the process started again: nothing here knows what was acknowledged."""
    first = opened(tmp_path, A)
    for _ in range(4):
        first.append(trades(2))
    first.acknowledge(A, 6)
    while compressed and first.tidy_archive(0.0):
        pass
    first.close(delivered=False)
    assert len(list((tmp_path / "archive").iterdir())) == 3
    outbox = opened(tmp_path, B)
    assert ends(outbox, A, 8) == [2, 4, 6, 8]
    assert outbox.damage == []


@pytest.mark.usefixtures("small_segments")
def test_a_damaged_compressed_segment_is_missing_and_kept_for_a_person(tmp_path):
    outbox = opened(tmp_path, A)
    for _ in range(3):
        outbox.append(trades(2))
    outbox.acknowledge(A, 4)
    while outbox.tidy_archive(0.0):
        pass
    archived = min((tmp_path / "archive").iterdir())
    content = bytearray(archived.read_bytes())
    content[len(content) // 2] ^= 1
    archived.write_bytes(content)
    outbox.rewind(A)
    assert ends(outbox, A, 6) == [-2, 4, 6]
    kept = tmp_path / "damaged" / archived.name
    assert kept.read_bytes() == content
    assert str(kept) in outbox.damage[0]


@pytest.mark.usefixtures("small_segments")
def test_numbers_in_neither_outbox_nor_archive_are_missing(tmp_path):
    first = opened(tmp_path, A)
    for _ in range(4):
        first.append(trades(2))
    first.acknowledge(A, 4)
    first.close(delivered=False)
    min((tmp_path / "archive").iterdir()).unlink()
    outbox = opened(tmp_path, B)
    assert outbox.batch_at(A, 1) == Missing(2, "removed")
    assert ends(outbox, A, 8) == [-2, 4, 6, 8]


def test_a_stream_whose_segments_are_gone_keeps_its_turn(tmp_path):
    for stream in (C, A, B):
        left_behind(tmp_path, stream, 2)
    next(tmp_path.glob(f"{C}-*.journal")).unlink()
    assert [progress.stream for progress in opened(tmp_path, D).progress()] == [C, A, B, D]


def test_a_copy_that_a_kill_interrupted_is_deleted_at_the_next_opening(tmp_path):
    left_behind(tmp_path, A, 2)
    (tmp_path / "archive").mkdir()
    unfinished = [tmp_path / f".{A}-{1:020d}.journal", tmp_path / "archive" / f".{A}-{1:020d}-{2:020d}.journal.zst"]
    for path in unfinished:
        path.touch()
    outbox = opened(tmp_path, B)
    assert not any(path.exists() for path in unfinished)
    assert outbox.damage == []


def test_a_segment_that_vanishes_during_the_opening_is_missing(tmp_path):
    left_behind(tmp_path, A, 2)
    [segment] = tmp_path.glob("*.journal")
    segment.unlink()
    segment.symlink_to(tmp_path / "gone")  # listed, and not there when it is opened
    outbox = opened(tmp_path, B)
    assert outbox.batch_at(A, 1) == Missing(2, "removed")


def test_events_whose_process_died_before_it_noted_them_are_noted_by_the_next_one(tmp_path):
    outbox = opened(tmp_path, A)
    outbox.append(trades(3))
    note = (tmp_path / f"{A}.progress").read_bytes()
    outbox.append(trades(2))
    outbox.close(delivered=False)
    (tmp_path / f"{A}.progress").write_bytes(note)
    left_behind(tmp_path, B)
    for segment in tmp_path.glob("*.journal"):
        os.unlink(segment)  # noqa: PTH108 - not by the process
    assert published_by_stream(tmp_path)[A] == 5
    assert opened(tmp_path, C).batch_at(A, 1) == Missing(5, "removed")
