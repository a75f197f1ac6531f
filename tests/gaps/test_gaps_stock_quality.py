"""A stock's quality from its lines' reports: the weakest word, and sums."""

import msgspec
import pytest

from bus.events import QualityJudged
from observer.gaps.reconciliation import DAY_WORDS, SLOTS_WORDS, stock_qualities


def report(symbol, slots="complete", day="whole", volume=10.0):
    return QualityJudged(
        "kis", symbol, "2026-11-18", 1, slots, "", 1.0, 1, 10.0, 0.0, 0.0, 0.0, 0, 0, day_quality=day, day_volume=volume
    )


def of_both(first, second):
    [found] = stock_qualities([first, second], {})
    return found


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("complete", "recovered", "recovered"),
        ("recovered", "unknown", "unknown"),
        ("unknown", "degraded", "degraded"),
        ("complete", "missing", "missing"),
    ],
)
def test_a_defect_that_is_proved_at_one_venue_is_the_stocks(one, other, both):
    assert of_both(report("A", one), report("A.NXT", other)).slots_quality == both
    assert of_both(report("A", other), report("A.NXT", one)).slots_quality == both


def test_a_day_that_is_a_part_at_one_venue_is_a_part_whatever_is_unknown_of_the_other():
    assert of_both(report("A", day="unknown", volume=None), report("A.NXT", day="part")).day_quality == "part"
    assert of_both(report("A", day="unknown", volume=None), report("A.NXT", day="whole")).day_quality == "unknown"


def test_every_word_of_a_report_has_its_strength():
    hints = {field.name: field.type for field in msgspec.structs.fields(QualityJudged)}
    assert set(hints["slots_quality"].__args__) == set(SLOTS_WORDS)
    assert set(hints["day_quality"].__args__) == set(DAY_WORDS)


def test_an_unknown_volume_of_one_line_makes_the_stocks_unknown():
    found = of_both(report("A", volume=None), report("A.NXT"))
    assert (found.day_volume, found.volume_share) == (None, None)


@pytest.mark.parametrize(("volume", "word"), [(0.0, "whole"), (5.0, "part"), (None, "unknown")])
def test_a_line_without_a_slot_counts_by_what_it_traded(volume, word):
    [found] = stock_qualities([report("A")], {"A": {"A": 10.0, "A.NXT": volume}, "B": {"B": 1.0}})
    assert (found.stock, found.day_quality) == ("A", word)


def test_stocks_are_apart():
    found = stock_qualities([report("B"), report("A"), report("A.NXT")], {})
    assert [(each.stock, len(each.reports)) for each in found] == [("A", 2), ("B", 1)]
