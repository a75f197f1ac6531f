"""Damaged frames: the simulator reports the remains of each record beside the text."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.simulator.counters import Counters
from observer.simulator.faults import Fault, FaultInjector
from observer.simulator.kis.wire import WireFrame, on_the_wire, record_count
from observer.simulator.market.rng import seeded_rng

WIDTH = 47


def frame(count):
    """A frame whose fields say where they stand: record.field."""
    fields = [f"{record}.{field}" for record in range(count) for field in range(WIDTH)]
    return f"0|H0STCNT0|{count:03d}|{'^'.join(fields)}"


def damaged(kind, count, seed):
    return on_the_wire(frame(count), FaultInjector([Fault(kind, 0, 1)], seeded_rng(seed), Counters()), 0)


def readable(text):
    """The records of a frame by the rule fields / count; none where that does not hold."""
    parts = text.split("|")
    if len(parts) != 4 or not parts[2].isdigit():
        return []
    fields = parts[3].split("^")
    width, rest = divmod(len(fields), int(parts[2]))
    return [] if rest else [fields[start : start + width] for start in range(0, len(fields), width)]


counts = st.integers(min_value=1, max_value=20)
seeds = st.integers(min_value=0, max_value=10_000)


def test_without_a_fault_a_frame_goes_out_once_as_it_is():
    whole = on_the_wire(frame(3), FaultInjector([], seeded_rng(1), Counters()), 0)
    assert whole == WireFrame(frame(3), 1, ("sent",) * 3)


@given(counts, seeds)
def test_a_duplicated_frame_goes_out_twice_unharmed(count, seed):
    assert damaged("duplicated", count, seed) == WireFrame(frame(count), 2, ("sent",) * count)


@given(counts, seeds)
def test_the_records_before_the_cut_of_a_truncated_frame_are_whole_and_no_others(count, seed):
    cut = damaged("truncated", count, seed)
    kept = cut.fates.count("doubtful")
    assert cut.fates == ("doubtful",) * kept + ("broken",) * (count - kept)
    assert kept < count
    assert frame(count).startswith(cut.text)
    assert record_count(cut.text) == count
    assert kept * WIDTH < len(cut.text.rpartition("|")[2].split("^")) <= kept * WIDTH + 12


@given(counts, seeds)
def test_a_wrongly_counted_frame_has_all_its_records_under_another_number(count, seed):
    wrong = damaged("wrong_count", count, seed)
    assert wrong.fates == ("doubtful",) * count
    assert record_count(wrong.text) in {count - 1, count + 1} - {0}
    assert wrong.text.rpartition("|")[2] == frame(count).rpartition("|")[2]


@given(counts, seeds)
def test_a_record_that_is_called_broken_in_a_malformed_frame_cannot_be_read(count, seed):
    malformed = damaged("malformed", count, seed)
    records = readable(malformed.text)
    assert len(malformed.fates) == count
    assert "broken" in malformed.fates
    if not records:
        assert set(malformed.fates) == {"broken"}
    for number, (record, fate) in enumerate(zip(records, malformed.fates, strict=bool(records))):
        whole = record == [f"{number}.{field}" for field in range(WIDTH)]
        assert whole == (fate == "doubtful")


@pytest.mark.parametrize("kind", ["malformed", "truncated", "wrong_count"])
def test_no_damaged_frame_is_the_frame_that_it_was(kind):
    texts = Counter(damaged(kind, 5, seed).text for seed in range(60))
    assert frame(5) not in texts
    assert len(texts) > 1
