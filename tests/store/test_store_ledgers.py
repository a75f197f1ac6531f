"""The lines of the ledger of overflow."""

import json
from typing import get_args

import pytest

from bus.events import SlotOverflowed
from observer.selection.allocation import OverflowReason
from observer.store.ledgers import overflow_line


def reason(code, positions=41):
    refused = SlotOverflowed("035720", 0, "volume_surge", 0.85, 9.2, 9.5, code, 3.2, 5e11, positions)
    return str(json.loads(overflow_line(refused))["reason"])


def test_the_reason_is_the_requirements_sentence_with_the_number_of_slots():
    assert reason("all_slots_hold_higher_scores") == "All 41 slots occupied by higher priority"
    assert reason("all_slots_hold_higher_scores", 410) == "All 410 slots occupied by higher priority"


def test_the_reason_omits_an_unknown_number_of_slots():
    assert reason("all_slots_hold_higher_scores", 0) == "All slots occupied by higher priority"


@pytest.mark.parametrize("code", get_args(OverflowReason))
def test_every_reason_is_a_sentence(code):
    assert "_" not in reason(code)
    assert "SLOTS" not in reason(code)


def test_a_reason_of_another_version_is_returned_unchanged():
    assert reason("all full") == "all full"
