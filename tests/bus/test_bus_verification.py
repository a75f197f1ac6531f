"""Verification classifies a journal as whole, torn or damaged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.codec import pack
from bus.journal import JournalError
from bus.verification import StreamContent, verify
from tests.builders import trades
from tests.bus.test_bus_journal import SAME_FOLDER, written

A, B = "aa" * 16, "bb" * 16


BATCHES = (pack(A, 1, trades(3)), pack(B, 5, trades(2)), pack(A, 4, trades(1)))


def test_the_report_of_a_whole_journal_states_its_content(tmp_path):
    lengths = written(tmp_path / "j", BATCHES)
    report = verify(tmp_path / "j")
    assert (report.records, report.events, report.size_bytes) == (3, 6, lengths[-1])
    assert (report.torn_bytes, report.damaged_at, report.unreadable, report.absent) == (0, None, 0, 0)
    assert report.streams == {A: StreamContent(1, 4, 4, 0), B: StreamContent(5, 6, 2, 0)}


@SAME_FOLDER
@given(data=st.data())
def test_a_journal_cut_anywhere_is_torn_and_its_whole_records_count(tmp_path, data):
    path = tmp_path / "j"
    lengths = written(path, BATCHES)
    cut = data.draw(st.integers(lengths[0], lengths[-1]))
    path.write_bytes(path.read_bytes()[:cut])
    whole = sum(1 for length in lengths[1:] if length <= cut)
    report = verify(path)
    assert (report.records, report.torn_bytes, report.damaged_at) == (whole, cut - lengths[whole], None)


@SAME_FOLDER
@given(data=st.data())
def test_a_broken_byte_before_the_last_record_is_damage_at_a_reported_position(tmp_path, data):
    path = tmp_path / "j"
    lengths = written(path, BATCHES)
    position = data.draw(st.integers(lengths[0], lengths[-2] - 1))
    content = bytearray(path.read_bytes())
    content[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(content))
    report = verify(path)
    assert report.damaged_at == max(length for length in lengths if length <= position)
    assert report.torn_bytes == 0


def test_zeros_at_the_end_are_a_torn_tail(tmp_path):
    """The file as a power cut leaves it: grown, but without its content on the disk."""
    lengths = written(tmp_path / "j", BATCHES)
    with (tmp_path / "j").open("ab") as file:
        file.write(bytes(4096))
    report = verify(tmp_path / "j")
    assert (report.records, report.torn_bytes, report.damaged_at) == (3, 4096, None)
    assert report.size_bytes == lengths[-1] + 4096


def test_a_whole_record_that_is_no_batch_is_damage(tmp_path):
    lengths = written(tmp_path / "j", [BATCHES[0], b"something else"])
    assert verify(tmp_path / "j").damaged_at == lengths[1]


def test_events_that_cannot_be_read_are_counted(tmp_path):
    written(tmp_path / "j", [pack(A, 1, trades(2)).replace(b"005930", b"00593\xff")])
    assert verify(tmp_path / "j").unreadable == 2


@pytest.mark.parametrize(("label", "has_missing_ranges"), [(f"capture {A} *", True), (f"capture {A} trade,gap", False)])
def test_absent_sequence_numbers_are_missing_ranges_unless_only_some_kinds_were_wanted(
    tmp_path, label, has_missing_ranges
):
    written(tmp_path / "j", [pack(B, 5, trades(2)), pack(B, 10, trades(1))], label)
    report = verify(tmp_path / "j")
    assert report.streams == {B: StreamContent(5, 10, 3, 3)}
    assert (report.absent, report.has_missing_ranges) == (3, has_missing_ranges)


def test_a_file_that_is_not_a_journal_is_refused(tmp_path):
    (tmp_path / "j").write_bytes(b"a diary")
    with pytest.raises(JournalError):
        verify(tmp_path / "j")
