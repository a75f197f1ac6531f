"""An outbox keeps what was appended until it is committed, over any number of processes."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bus.codec import decode_events, unpack
from bus.events import Trade
from bus.outbox import SEGMENT_BYTES_MAX, Outbox, OutboxInUseError
from bus.segments import Missing, Packed, published_by_stream
from tests.builders import trade, trades

A, B, C = "aa" * 16, "bb" * 16, "cc" * 16


def opened(folder, stream=A):
    return Outbox(folder, "test", stream)


def kept(outbox, stream, sequence=1):
    """Everything from this number on, read as the sender does."""
    events: list[Trade] = []
    last = {progress.stream: progress.appended for progress in outbox.progress()}[stream]
    while sequence <= last:
        found = outbox.batch_at(stream, sequence)
        if isinstance(found, Packed):
            batch = unpack(found.content)
            events += decode_events(batch)[sequence - batch.first_sequence :]
        sequence = found.last_sequence + 1
    return events


def test_appended_events_can_be_read_repeatedly_from_any_number(tmp_path):
    outbox = opened(tmp_path)
    outbox.append(trades(3))
    outbox.append(trades(2, first=4))
    assert outbox.last_sequence == 5
    assert kept(outbox, A) == trades(5)
    assert kept(outbox, A, sequence=4) == trades(2, first=4)
    assert kept(outbox, A, sequence=2) == trades(4, first=2)


def test_a_new_opening_starts_a_stream_of_its_own_and_keeps_the_old_rest(tmp_path):
    first = opened(tmp_path, A)
    first.append(trades(3))
    first.close(delivered=False)
    second = opened(tmp_path, B)
    second.append(trades(1, first=9))
    assert [(p.stream, p.appended) for p in second.progress()] == [(A, 3), (B, 1)]
    assert kept(second, A) == trades(3)
    assert kept(second, B) == trades(1, first=9)


def test_a_stream_that_is_wholly_committed_is_deleted_and_still_counted(tmp_path):
    first = opened(tmp_path, A)
    first.append(trades(3))
    first.close(delivered=True)
    second = opened(tmp_path, B)
    second.append(trades(2))
    assert [p.stream for p in second.progress()] == [B]
    assert published_by_stream(tmp_path) == {A: 3, B: 2}


def test_a_second_process_cannot_open_the_outbox(tmp_path):
    outbox = opened(tmp_path)
    with pytest.raises(OutboxInUseError):
        opened(tmp_path, B)
    outbox.close(delivered=False)
    opened(tmp_path, C).close(delivered=True)


def test_acknowledged_segments_leave_the_outbox_for_its_archive(tmp_path):
    outbox = opened(tmp_path)
    large = [trade(1, symbol="x" * 1_000_000)]
    for _ in range(2 * SEGMENT_BYTES_MAX // 1_000_000 + 6):
        outbox.append(large)
    segments = len(list(tmp_path.glob("*.journal")))
    assert segments >= 3
    outbox.acknowledge(A, outbox.last_sequence)
    assert len(list(tmp_path.glob("*.journal"))) == 1
    assert published_by_stream(tmp_path)[A] == outbox.last_sequence


def test_reading_goes_on_over_segment_borders(tmp_path):
    outbox = opened(tmp_path)
    count = SEGMENT_BYTES_MAX // 1_000_000 + 3
    for sequence in range(1, count + 1):
        outbox.append([trade(sequence, provider="x" * 1_000_000)])
    assert [event.cumulative_trades for event in kept(outbox, A)] == list(range(1, count + 1))


def test_a_tail_whose_append_had_returned_is_damage_and_the_rest_is_delivered(tmp_path):
    outbox = opened(tmp_path)
    outbox.append(trades(3))
    outbox.append(trades(3, first=4))
    outbox.close(delivered=False)
    segment = next(tmp_path.glob("*.journal"))
    os.truncate(segment, segment.stat().st_size - 5)
    again = opened(tmp_path, B)
    assert kept(again, A) == trades(3)
    assert isinstance(again.batch_at(A, 4), Missing)
    assert again.damage


def test_a_segment_that_is_torn_in_its_header_counts_as_empty(tmp_path):
    outbox = opened(tmp_path)
    outbox.close(delivered=False)
    os.truncate(next(tmp_path.glob("*.journal")), 6)
    assert [p.stream for p in opened(tmp_path, B).progress()] == [B]


def test_an_outbox_whose_process_is_killed_holds_a_whole_number_of_batches(tmp_path):
    program = (
        "import sys; from pathlib import Path; from bus.outbox import Outbox; from tests.builders import trades\n"
        "outbox = Outbox(Path(sys.argv[1]), 'test', sys.argv[2]); print('ready', flush=True)\n"
        "while True: outbox.append(trades(10)); print(outbox.last_sequence, flush=True)"
    )
    for number in range(5):
        stream = f"{number:02x}" * 16
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path), stream], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        reported = [process.stdout.readline() for _ in range(20 + number)]
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate()
        said = int([*reported, *[line for line in rest.splitlines(keepends=True) if line.endswith("\n")]][-1])
        held = published_by_stream(tmp_path)[stream]
        assert held >= said
        assert held % 10 == 0


@contextlib.contextmanager
def disk_full_beyond(size_bytes):
    """No file may grow beyond that: RLIMIT_FSIZE stands in for the full disk; the write that crosses it is refused half
    way.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, previous)


def test_a_full_disk_is_an_error_and_leaves_the_outbox_as_it_was(tmp_path):
    outbox = opened(tmp_path)
    outbox.append(trades(3))
    size_bytes = next(tmp_path.glob("*.journal")).stat().st_size
    with disk_full_beyond(size_bytes + 100), pytest.raises(OSError, match="too large"):
        outbox.append(trades(50))
    outbox.append(trades(2, first=4))
    assert kept(outbox, A) == trades(5)


def test_a_disk_that_is_full_at_a_segment_change_refuses_until_there_is_room_again(tmp_path, monkeypatch):
    """Found by the state machine in tests/chaos: the new segment's empty file stood in the way for ever after."""
    monkeypatch.setattr("bus.outbox.SEGMENT_BYTES_MAX", 100)
    outbox = opened(tmp_path)
    outbox.append(trades(3))
    with disk_full_beyond(10):
        for _ in range(2):
            with pytest.raises(OSError, match="too large"):
                outbox.append(trades(1, first=4))
    outbox.append(trades(1, first=4))
    assert kept(outbox, A) == trades(4)


def test_a_finished_stream_whose_note_does_not_fit_on_the_disk_is_kept_until_the_next_opening(tmp_path):
    first = opened(tmp_path, A)
    first.append(trades(3))
    first.close(delivered=False)
    second = opened(tmp_path, B)
    with disk_full_beyond(10):
        second.finish(A)
    second.close(delivered=False)
    third = opened(tmp_path, C)
    assert published_by_stream(tmp_path)[A] == 3
    third.finish(A)
    assert published_by_stream(tmp_path)[A] == 3
    assert not list(tmp_path.glob(f"{A}-*"))


def test_half_a_note_is_cut_before_the_next_one(tmp_path):
    """A kill can tear it where it crosses the border of a page."""
    first = opened(tmp_path, A)
    first.append(trades(3))
    first.close(delivered=True)
    with (tmp_path / "finished").open("a") as finished:
        finished.write(B[:7])
    opened(tmp_path, C).close(delivered=True)
    opened(tmp_path, "dd" * 16).close(delivered=False)
    assert published_by_stream(tmp_path) == {A: 3, "dd" * 16: 0}


# --- damage ----------------------------------------------------------------------------------------------------


def damaged(folder, offset, count=20):
    """A closed outbox of so many batches of two events, with one flipped bit."""
    outbox = opened(folder)
    for first in range(1, 2 * count, 2):
        outbox.append(trades(2, first=first))
    outbox.close(delivered=False)
    segment = next(folder.glob("*.journal"))
    content = bytearray(segment.read_bytes())
    content[offset % len(content)] ^= 1
    segment.write_bytes(content)
    return segment


@pytest.mark.parametrize("offset", [0, 9, 13, 30, 60, 500, 777, 1_000, -1, -50])
def test_a_flipped_bit_costs_only_the_batch_that_it_hit(tmp_path, offset):
    segment = damaged(tmp_path, offset)
    outbox = opened(tmp_path, B)
    numbers = [event.cumulative_trades for event in kept(outbox, A)]
    assert len(numbers) >= 38
    lost = sorted(set(range(1, 41)) - set(numbers))
    assert lost in ([], [lost[0], lost[0] + 1] if lost else [])
    assert (tmp_path / "damaged" / segment.name).exists()
    assert any(segment.name in text and "damaged" in text for text in outbox.damage)


def test_numbers_behind_damage_are_stated_as_missing(tmp_path):
    segment = damaged(tmp_path, 0)
    content = segment.read_bytes()
    segment.write_bytes(content[:300] + bytes(200) + content[500:])
    outbox = opened(tmp_path, B)
    sequence, missing = 1, 0
    while sequence <= 40:
        found = outbox.batch_at(A, sequence)
        missing += found.last_sequence + 1 - sequence if isinstance(found, Missing) else 0
        sequence = found.last_sequence + 1
    assert 2 <= missing <= 8
    assert missing == 40 - len(kept(outbox, A))


def test_a_missing_segment_between_two_others_is_stated_as_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("bus.outbox.SEGMENT_BYTES_MAX", 100)
    outbox = opened(tmp_path)
    for first in range(1, 10, 3):
        outbox.append(trades(3, first=first))
    outbox.close(delivered=False)
    (tmp_path / f"{A}-{4:020d}.journal").unlink()
    outbox = opened(tmp_path, B)
    found = outbox.batch_at(A, 4)
    assert isinstance(found, Missing)
    assert found.last_sequence == 6
    assert kept(outbox, A) == [*trades(3), *trades(3, first=7)]


def test_a_last_segment_that_is_gone_is_stated_as_missing(tmp_path):
    outbox = opened(tmp_path)
    outbox.append(trades(3))
    outbox.close(delivered=False)
    next(tmp_path.glob("*.journal")).unlink()
    outbox = opened(tmp_path, B)
    assert [(progress.stream, progress.appended) for progress in outbox.progress()] == [(A, 3), (B, 0)]
    assert isinstance(outbox.batch_at(A, 1), Missing)


@pytest.mark.parametrize(
    "garbage", [b"garbage\n", b"\xff\xfe 1 2\n", f"{B} 7 00000000\n".encode(), f"{B} x\n".encode()]
)
def test_garbage_among_the_finished_streams_is_reported_and_ignored(tmp_path, garbage):
    first = opened(tmp_path, A)
    first.append(trades(3))
    first.close(delivered=True)
    with (tmp_path / "finished").open("ab") as finished:
        finished.write(garbage)
    second = opened(tmp_path, C)
    assert second.archived() == {A: 3}
    assert any("finished" in text for text in second.damage)


def test_files_that_are_no_segments_are_left_alone_and_reported(tmp_path):
    (tmp_path / "notes.journal").write_text("mine")
    outbox = opened(tmp_path)
    assert (tmp_path / "notes.journal").read_text() == "mine"
    assert "notes.journal" in outbox.damage[0]


def test_streams_are_delivered_in_the_order_of_their_openings_whatever_the_files_times(tmp_path):
    """The machine's clock was set back."""
    for number, stream in enumerate((A, B)):
        outbox = opened(tmp_path, stream)
        outbox.append(trades(1))
        outbox.close(delivered=False)
        path = tmp_path / f"{stream}-{1:020d}.journal"
        os.utime(path, (1_000 - number, 1_000 - number))
    assert [progress.stream for progress in opened(tmp_path, C).progress()] == [A, B, C]


@pytest.mark.parametrize("lose", [Path.unlink, lambda path: path.rename(path.with_name("elsewhere"))])
def test_a_current_segment_that_is_removed_or_renamed_is_written_again(tmp_path, lose):
    outbox = opened(tmp_path)
    outbox.append(trades(3))
    path = next(tmp_path.glob("*.journal"))
    lose(path)
    assert kept(outbox, A) == trades(3)
    outbox.append(trades(1, first=4))
    outbox.close(delivered=False)
    assert path.exists()
    assert kept(opened(tmp_path, B), A) == trades(4)


def test_a_current_segment_that_is_removed_while_it_is_read_loses_nothing(tmp_path):
    outbox = opened(tmp_path)
    outbox.append(trades(3))
    assert kept(outbox, A) == trades(3)
    next(tmp_path.glob("*.journal")).unlink()
    for number in range(4, 10):
        outbox.append(trades(1, first=number))
        assert kept(outbox, A, sequence=number) == trades(1, first=number)
    assert kept(outbox, A) == trades(9)


@pytest.mark.parametrize("name", ["finished", f"{B}.progress", f"{B}-{1:020d}.journal", "epoch"])
def test_a_folder_in_the_place_of_a_file_keeps_no_process_from_starting(tmp_path, name):
    (tmp_path / name).mkdir()
    outbox = opened(tmp_path)
    outbox.append(trades(3))
    assert kept(outbox, A) == trades(3)


def test_the_epoch_of_the_database_outlives_the_process(tmp_path):
    outbox = opened(tmp_path)
    assert outbox.epoch == ""
    outbox.remember_epoch("one")
    outbox.close(delivered=True)
    assert opened(tmp_path, B).epoch == "one"
