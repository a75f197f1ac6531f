"""Mutated master files never get out of hand; `python -m tests.reference.fuzz_masters` does it at length."""

from tests.reference.fuzz_masters import fuzz


def test_two_thousand_mutated_files_break_nothing():
    outcomes = fuzz(2_000, seed=20261121)
    assert outcomes.keys() == {"failed", "updated", "unchanged"}, "some are still read, and compared with what is known"
