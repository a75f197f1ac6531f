"""Candidates without a slot, kept alive between sweeps."""

from hypothesis import given
from hypothesis import strategies as st

from observer.selection.ranking import SLACK, PendingCandidates
from observer.selection.triggers import TriggersSettings
from tests.selection.builders import candidate

SECOND_NS = 1_000_000_000
TRIGGERS = TriggersSettings()


def pending(*symbols: str) -> PendingCandidates:
    made = PendingCandidates(TRIGGERS, 600.0)
    made.take([candidate(symbol) for symbol in symbols], 100 * SECOND_NS)
    return made


def test_without_a_sweep_nobody_claims_anything() -> None:
    assert list(PendingCandidates(TRIGGERS, 600.0).standing(0)) == []


@given(st.integers(100, 999))
def test_a_claim_has_its_triggers_full_life_at_any_moment_until_the_next_sweep_is_overdue(now_s: int) -> None:
    [candidate_] = pending("A").standing(now_s * SECOND_NS)
    assert candidate_ == candidate("A", expires_ns=(now_s + 300) * SECOND_NS)


def test_a_claim_ends_when_the_next_sweep_is_overdue() -> None:
    ends_ns = round((100 + 600 * (1 + SLACK)) * SECOND_NS)
    assert pending("A").standing(ends_ns - 1)
    assert not pending("A").standing(ends_ns)


def test_the_next_sweep_alone_tells_who_claims_from_then_on() -> None:
    made = pending("A", "B")
    made.take([candidate("C")], 700 * SECOND_NS)
    assert [each.symbol for each in made.standing(1_500 * SECOND_NS)] == ["C"]


def test_who_has_a_slot_claims_none() -> None:
    made = pending("A", "B", "C")
    made.drop({"B", "D"})
    assert [each.symbol for each in made.standing(101 * SECOND_NS)] == ["A", "C"]
