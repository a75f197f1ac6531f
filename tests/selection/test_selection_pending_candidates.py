"""Candidates without a slot, kept alive between sweeps."""

from hypothesis import given
from hypothesis import strategies as st

from observer.selection.allocation import SLACK, PendingCandidates
from observer.selection.triggers import TriggersSettings
from tests.selection.builders import candidate

SECOND_NS = 1_000_000_000
TRIGGERS = TriggersSettings()


def pending(*symbols):
    made = PendingCandidates(TRIGGERS, 600.0)
    made.take([candidate(symbol) for symbol in symbols], 100 * SECOND_NS)
    return made


@given(st.integers(100, 999))
def test_a_pending_candidate_has_its_full_life_until_the_next_sweep_is_overdue(now_s):
    [candidate_] = pending("A").standing(now_s * SECOND_NS)
    assert candidate_ == candidate("A", expires_ns=(now_s + 300) * SECOND_NS)


def test_a_pending_candidate_expires_when_the_next_sweep_is_overdue():
    ends_ns = round((100 + 600 * (1 + SLACK)) * SECOND_NS)
    assert pending("A").standing(ends_ns - 1)
    assert not pending("A").standing(ends_ns)


def test_a_symbol_with_a_slot_is_not_a_pending_candidate():
    made = pending("A", "B", "C")
    made.drop({"B", "D"})
    assert [each.symbol for each in made.standing(101 * SECOND_NS)] == ["A", "C"]
