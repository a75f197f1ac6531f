"""A small part of `python -m tests.brokers.fuzz_frames`."""

from collections import Counter

from tests.brokers.fuzz_frames import fuzz, seeds
from tests.brokers.kis_builders import PINGPONG


def test_mutated_frames_are_read_or_quarantined_and_no_exception_escapes():
    outcomes = Counter(fuzz(5_000, seed=6))
    assert outcomes.total() == 5_000
    assert outcomes["quarantined"] > 500
    assert outcomes["quarantined, records kept"] > 100
    assert outcomes["read"] > 100
    assert outcomes["Unreadable"] > 100


def test_the_mutated_frames_cover_every_kind_of_record_and_control_message():
    texts = seeds()
    assert PINGPONG in texts
    for name in ("H0STCNT0", "H0UNCNT0", "H0NXCNT0", "H0STASP0", "H0STANC0", "H0STMKO0", "H0STNAV0", "HDFSCNT0"):
        assert any(text.startswith(f"0|{name}|") for text in texts)
    assert any("OPSP8996" in text for text in texts)
