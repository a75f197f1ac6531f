"""Acknowledged segments are kept until backups hold them, and are delivered again when the database goes back."""

import errno
import os
from random import Random

import pytest
import zstandard

import bus.outbox
from bus.archive import Archive, ArchiveLimits, _decompressed
from bus.codec import decode_events, unpack
from bus.events import Trade
from bus.outbox import Outbox
from bus.segments import Missing, Packed, published_by_stream
from tests.builders import trades
from tests.chaos.judge import batches

A, B, C = "aa" * 16, "bb" * 16, "cc" * 16
EVENTS = 40


@pytest.fixture(autouse=True)
def small_segments(monkeypatch):
    monkeypatch.setattr(bus.outbox, "SEGMENT_BYTES_MAX", 400)


def filled(folder, stream=A):
    """An outbox with 40 events in batches of two, in a dozen segments."""
    outbox = Outbox(folder, "test", stream)
    for first in range(1, EVENTS, 2):
        outbox.append(trades(2, first=first))
    return outbox


def finished(folder, stream=A):
    """The outbox of the next process, after the stream was committed and finished."""
    filled(folder, stream).close(delivered=True)
    return Outbox(folder, "test", B)


def delivered(outbox, stream, sequence, last=EVENTS):
    """The events from this number on and the missing numbers, as a sender takes them."""
    events: list[Trade] = []
    missing: list[int] = []
    while sequence <= last:
        match outbox.batch_at(stream, sequence):
            case Packed(content, last_of_batch):
                batch = unpack(content)
                events += decode_events(batch)[sequence - batch.first_sequence :]
            case Missing(last_of_batch, _):
                missing += range(sequence, last_of_batch + 1)
        sequence = last_of_batch + 1
    return events, missing


@pytest.mark.parametrize("last", [2**64, 10**20 - 1, 2**53])
def test_a_file_whose_name_has_numbers_that_no_stream_has_is_left_alone(tmp_path, last):
    outbox = finished(tmp_path)
    known = outbox.archived()
    odd = tmp_path / "archive" / f"{C}-{1:020d}-{last:020d}.journal"
    odd.write_bytes(b"mine")
    assert outbox.archived() == known
    assert odd.read_bytes() == b"mine"
    outbox.close(delivered=True)


def archived_files(folder):
    return sorted((folder / "archive").iterdir())


def compress(outbox):
    while outbox.tidy_archive(0.0):
        pass


def test_a_finished_stream_is_delivered_again_from_any_mark(tmp_path):
    outbox = finished(tmp_path)
    assert outbox.archived() == {A: EVENTS}
    assert outbox.rewind(A) == EVENTS
    assert delivered(outbox, A, 8) == (trades(EVENTS - 7, first=8), [])
    assert [progress.stream for progress in outbox.progress()] == [A, B]


def test_a_rewound_stream_is_archived_again_when_it_is_committed(tmp_path):
    outbox = finished(tmp_path)
    before = archived_files(tmp_path)
    outbox.rewind(A)
    outbox.acknowledge(A, EVENTS)
    outbox.finish(A)
    assert archived_files(tmp_path) == before
    assert outbox.archived() == {A: EVENTS}


def test_the_current_stream_goes_back_into_its_archived_part(tmp_path):
    outbox = filled(tmp_path)
    outbox.acknowledge(A, 30)
    outbox.rewind(A)
    assert delivered(outbox, A, 5) == (trades(EVENTS - 4, first=5), [])
    outbox.append(trades(1, first=EVENTS + 1))
    assert delivered(outbox, A, EVENTS, EVENTS + 1) == (trades(2, first=EVENTS), [])


def test_compressed_segments_hold_the_same_events(tmp_path):
    outbox = finished(tmp_path)
    compress(outbox)
    assert all(path.suffix == ".zst" for path in archived_files(tmp_path))
    outbox.rewind(A)
    assert delivered(outbox, A, 1) == (trades(EVENTS), [])


def test_a_kill_while_a_segment_is_compressed_changes_nothing(tmp_path):
    """Both forms are there."""
    outbox = finished(tmp_path)
    first = archived_files(tmp_path)[0]
    content = first.read_bytes()
    compress(outbox)
    first.write_bytes(content)
    outbox.rewind(A)
    assert delivered(outbox, A, 1) == (trades(EVENTS), [])


@pytest.mark.parametrize("offset", range(0, 2_000, 37))
def test_a_flipped_bit_in_a_compressed_segment_costs_at_most_its_part(tmp_path, offset):
    outbox = finished(tmp_path)
    compress(outbox)
    files = archived_files(tmp_path)
    path = files[offset % len(files)]
    held = {number for first, last in batches(path) for number in range(first, last + 1)}
    content = bytearray(path.read_bytes())
    content[offset % len(content)] ^= 4
    path.write_bytes(content)
    outbox.rewind(A)
    events, missing = delivered(outbox, A, 1)
    assert set(missing) <= held
    assert events == [event for event in trades(EVENTS) if event.cumulative_trades not in missing]


LARGE, BATCH = 20_000, 20  # events of a segment of some 2 MB
PART_EVENTS_MAX = 200  # in 16 KiB


def large_archive(folder, monkeypatch):
    """An outbox with one compressed segment of many parts, and the segment's file."""
    monkeypatch.setattr(bus.outbox, "SEGMENT_BYTES_MAX", 8 * 1024 * 1024)
    outbox = Outbox(folder, "test", A)
    for first in range(1, LARGE, BATCH):
        outbox.append(trades(BATCH, first=first))
    outbox.close(delivered=True)
    outbox = Outbox(folder, "test", B)
    compress(outbox)
    [path] = archived_files(folder)
    return outbox, path


@pytest.mark.parametrize("seed", range(5))
def test_a_flipped_bit_in_an_archive_costs_the_events_of_16_kilobytes_and_names_them(tmp_path, monkeypatch, seed):
    outbox, path = large_archive(tmp_path, monkeypatch)
    content = bytearray(path.read_bytes())
    place = Random(seed).randrange(len(content) * 8)
    content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)
    outbox.rewind(A)
    events, missing = delivered(outbox, A, 1, LARGE)
    assert 0 < len(missing) <= PART_EVENTS_MAX
    assert missing == list(range(missing[0], missing[-1] + 1))
    assert [event.cumulative_trades for event in events] == sorted({*range(1, LARGE + 1)} - {*missing})
    assert outbox.damage


def test_an_archive_of_larger_parts_that_an_earlier_version_wrote_is_read(tmp_path, monkeypatch):
    outbox, path = large_archive(tmp_path, monkeypatch)
    content, _ = _decompressed(path.read_bytes())
    parts = (content[begin : begin + 256 * 1024] for begin in range(0, len(content), 256 * 1024))
    path.write_bytes(b"".join(map(zstandard.ZstdCompressor(level=3, write_checksum=True).compress, parts)))
    outbox.rewind(A)
    assert delivered(outbox, A, 1, LARGE) == (trades(LARGE), [])


def test_what_two_backups_hold_leaves_the_archive(tmp_path):
    outbox = finished(tmp_path)
    outbox.keep_behind({A: 20})
    outbox.rewind(A)
    events, missing = delivered(outbox, A, 1)
    assert set(range(21, EVENTS + 1)) <= {event.cumulative_trades for event in events}
    assert missing
    assert max(missing) <= 20


def test_an_archive_keeps_its_limits_and_reports_what_falls_out(tmp_path):
    filled(tmp_path).close(delivered=True)
    size_bytes = sum(path.stat().st_size for path in archived_files(tmp_path))
    outbox = Outbox(tmp_path, "test", B, ArchiveLimits(bytes_max=size_bytes // 2))
    compress(outbox)
    outbox.rewind(A)
    assert delivered(outbox, A, 1)[1] == list(range(1, len(delivered(outbox, A, 1)[1]) + 1)), "the oldest first"
    assert "without a verified backup" in outbox.damage[0]


def test_an_archive_deletes_what_is_older_than_its_limit(tmp_path):
    filled(tmp_path).close(delivered=True)
    for path in archived_files(tmp_path):
        os.utime(path, (1_000.0, 1_000.0))
    archive = Archive(tmp_path / "archive", ArchiveLimits(age_s_max=60.0))
    assert archive.shrink(now_s=1_060.0) == 0
    assert archive.shrink(now_s=1_061.0) > 0
    assert archived_files(tmp_path) == []


def test_a_stream_whose_archive_is_gone_states_its_numbers_as_missing(tmp_path):
    outbox = finished(tmp_path)
    for path in archived_files(tmp_path):
        path.unlink()
    assert outbox.rewind(A) == EVENTS
    assert delivered(outbox, A, 11) == ([], list(range(11, EVENTS + 1)))


def test_an_archive_whose_note_of_finished_streams_is_gone_is_still_named_and_delivered(tmp_path):
    filled(tmp_path).close(delivered=True)
    (tmp_path / "finished").unlink()
    outbox = Outbox(tmp_path, "test", B)
    assert outbox.archived() == {A: EVENTS}
    assert published_by_stream(tmp_path)[A] == EVENTS
    outbox.rewind(A)
    assert delivered(outbox, A, 1) == (trades(EVENTS), [])


def test_every_stream_in_the_archive_is_named_however_many_finished_later(tmp_path, monkeypatch):
    monkeypatch.setattr(bus.outbox, "FINISHED_STREAMS_MAX", 1)
    filled(tmp_path, A).close(delivered=True)
    filled(tmp_path, B).close(delivered=True)
    assert Outbox(tmp_path, "test", C).archived() == {A: EVENTS, B: EVENTS}


def test_a_disk_without_room_for_an_archived_segment_loses_nothing(tmp_path, monkeypatch):
    outbox = finished(tmp_path)
    compress(outbox)
    outbox.rewind(A)
    sequence = 20

    def full(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with monkeypatch.context() as patches:
        patches.setattr("bus.archive.write_whole", full)
        with pytest.raises(OSError, match="No space"):
            outbox.batch_at(A, sequence)
    assert delivered(outbox, A, sequence)[1] == []
    assert delivered(outbox, A, 1) == (trades(EVENTS), [])
    assert any("cannot bring back" in text for text in outbox.damage)


def test_a_rewound_stream_belongs_to_the_next_process_as_one_that_was_never_delivered(tmp_path):
    """A kill in the middle of the repeated delivery does not look like another database."""
    outbox = finished(tmp_path)
    outbox.rewind(A)
    outbox.close(delivered=False)
    again = Outbox(tmp_path, "test", C)
    assert A not in again.archived()
    assert delivered(again, A, 1) == (trades(EVENTS), [])


def test_a_flipped_bit_that_makes_a_frame_longer_than_the_file_costs_only_its_part():
    parts = [bytes([number]) * 1_000 for number in range(3)]
    frames = [zstandard.ZstdCompressor(write_checksum=True).compress(part) for part in parts]
    cut = frames[0][:-6]
    assert _decompressed(cut + frames[1] + frames[2])[0].endswith(parts[1] + parts[2])


def test_a_disk_that_lets_nothing_be_deleted_is_reported_once_and_ends_no_delivery(tmp_path, monkeypatch):
    outbox = finished(tmp_path)

    def refuse(_archive, _backed_up):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Archive, "trim", refuse)
    outbox.keep_behind({A: 20})
    outbox.keep_behind({A: 20})
    [text] = outbox.damage
    assert "Read-only file system" in text
