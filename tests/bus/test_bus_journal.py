"""A journal keeps all whole records after any torn write."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bus.journal import (
    RECORD_BYTES_MAX,
    JournalError,
    JournalReader,
    JournalWriter,
    RecordTooLargeError,
    cut_torn_tail,
)
from tests.reach import reaches

PAYLOADS = st.lists(st.binary(min_size=1, max_size=50), max_size=8)
SAME_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def written(path, payloads, label="test"):
    """Write a journal anew; the file's length after its head and after each record."""
    path.unlink(missing_ok=True)
    writer = JournalWriter(path, label)
    lengths = [writer.size_bytes]
    for payload in payloads:
        writer.append(payload)
        lengths.append(writer.size_bytes)
    writer.close()
    return lengths


def read(path):
    reader = JournalReader(path)
    try:
        return [record.payload for record in reader]
    finally:
        reader.close()


@SAME_FOLDER
@given(payloads=PAYLOADS)
def test_a_reader_returns_the_appended_records_in_order(tmp_path, payloads):
    path = tmp_path / "a.journal"
    written(path, payloads)
    assert read(path) == payloads


@reaches(torn_record_behind_whole_ones=16, cut_between_records=8)
@SAME_FOLDER
@given(payloads=PAYLOADS, data=st.data())
def test_cut_anywhere_the_whole_records_before_the_cut_remain(tmp_path, payloads, data, reach):
    path = tmp_path / "a.journal"
    lengths = written(path, payloads)
    cut = data.draw(st.integers(lengths[0], lengths[-1]))
    content = path.read_bytes()
    path.write_bytes(content[:cut])
    whole = sum(1 for length in lengths[1:] if length <= cut)
    assert read(path) == payloads[:whole]
    assert cut_torn_tail(path) == cut - lengths[whole]
    reach.count("torn_record_behind_whole_ones", whole > 0 and cut > lengths[whole])
    reach.count("cut_between_records", cut == lengths[whole])
    assert path.stat().st_size == lengths[whole]
    assert cut_torn_tail(path) == 0


@reaches(damage_between_whole_records=8)
@SAME_FOLDER
@given(payloads=st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=8), data=st.data())
def test_a_damaged_byte_ends_the_journal_before_its_record(tmp_path, payloads, data, reach):
    path = tmp_path / "a.journal"
    lengths = written(path, payloads)
    position = data.draw(st.integers(lengths[0], lengths[-1] - 1))
    content = bytearray(path.read_bytes())
    content[position] ^= 0xFF
    path.write_bytes(bytes(content))
    damaged = next(i for i, length in enumerate(lengths[1:]) if position < length)
    assert read(path) == payloads[:damaged]
    reach.count("damage_between_whole_records", 0 < damaged < len(payloads) - 1)


def test_a_reader_at_the_end_finds_a_record_that_is_appended_later(tmp_path):
    writer = JournalWriter(tmp_path / "a.journal", "test")
    reader = JournalReader(tmp_path / "a.journal")
    assert reader.next_record() is None
    writer.append(b"later")
    record = reader.next_record()
    assert record is not None
    assert record.payload == b"later"
    reader.close()
    writer.close()


def test_a_file_that_is_no_journal_is_refused(tmp_path):
    (tmp_path / "a").write_bytes(b"something else entirely")
    with pytest.raises(JournalError):
        JournalReader(tmp_path / "a")


def test_an_existing_journal_is_never_written_over(tmp_path):
    written(tmp_path / "a.journal", [b"kept"])
    with pytest.raises(FileExistsError):
        JournalWriter(tmp_path / "a.journal", "test")


def test_a_record_that_readers_would_not_take_is_not_written(tmp_path):
    writer = JournalWriter(tmp_path / "a.journal", "test")
    largest = bytes(RECORD_BYTES_MAX)
    with pytest.raises(RecordTooLargeError):
        writer.append(largest + b"x")
    writer.append(largest)
    writer.append(b"behind")
    writer.close()
    assert read(tmp_path / "a.journal") == [largest, b"behind"]
