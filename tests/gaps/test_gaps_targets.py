"""A day's recovery is measured against its targets: what is missed is reported once, with the counts."""

import pytest

from bus.events import GapTimesMeasured
from observer.gaps.recovery import RecoverySettings, RecoveryTargets, TargetChange, text_of

DAY, NEXT_DAY = "2026-11-18", "2026-11-19"


def ended(targets, *outcomes):
    found = (targets.ended(DAY, is_recovered=each) for each in outcomes)
    return [each for each in found if each is not None]


def test_a_gap_that_is_not_filled_misses_the_target_until_more_than_95_percent_are():
    [missed, met] = ended(RecoveryTargets(RecoverySettings()), *[True] * 3, False, *[True] * 17)
    assert missed == TargetChange(DAY, "success", is_missed=True, met=3, gaps=4)
    assert met == TargetChange(DAY, "success", is_missed=False, met=20, gaps=21)


def test_two_of_forty_miss_the_target_and_one_does_not():
    targets = RecoveryTargets(RecoverySettings())
    assert ended(targets, *[True] * 38, False) == []
    [missed] = ended(targets, False)
    assert (missed.met, missed.gaps) == (38, 40)


@pytest.mark.parametrize("measure", ["detection", "recovery"])
def test_the_limit_itself_is_too_late(measure):
    settings = RecoverySettings(detected_within_seconds=2.0, recovered_within_seconds=2.0)
    assert RecoveryTargets(settings).timed(DAY, measure, 1.9) is None
    missed = RecoveryTargets(settings).timed(DAY, measure, 2.0)
    assert missed == TargetChange(DAY, measure, is_missed=True, met=0, gaps=1)


def test_another_day_begins_a_new_count():
    targets = RecoveryTargets(RecoverySettings())
    ended(targets, False)
    assert targets.ended(NEXT_DAY, is_recovered=True) is None
    missed = targets.ended(NEXT_DAY, is_recovered=False)
    assert (missed.met, missed.gaps) == (1, 2)


def test_the_figures_are_percentiles_and_come_once_for_each_change():
    targets = RecoveryTargets(RecoverySettings())
    for number in range(1, 101):
        targets.timed(DAY, "detection", number / 80)
    targets.timed(DAY, "closing", 7.0)
    detection, closing = targets.figures(5)
    assert detection == GapTimesMeasured(DAY, 5, "detection", 100, 79, 50 / 80, 95 / 80, 99 / 80, 100 / 80)
    assert (closing.measure, closing.met, closing.max_s) == ("closing", 0, 7)
    assert targets.figures(6) == []
    targets.timed(DAY, "closing", 1.0)
    assert [(each.gaps, each.met) for each in targets.figures(7)] == [(2, 1)]
    targets.begin(NEXT_DAY)
    assert targets.figures(8) == []


@pytest.mark.parametrize("gaps", [1, 2, 3, 19, 20, 41, 1_000])
def test_after_a_restart_the_percentiles_are_those_of_before_and_each_new_gap_counts(gaps):
    before, after = RecoveryTargets(RecoverySettings()), RecoveryTargets(RecoverySettings())
    for number in range(gaps):
        before.timed(DAY, "detection", number / gaps * 1.02)
    [earlier] = before.figures(1)
    states = after.resume(DAY, [earlier], filled=3, ended=3)
    assert [(each.measure, each.is_missed) for each in states][1:] == [("recovery", False), ("success", False)]
    assert (states[0].met, states[0].gaps) == (earlier.met, gaps)
    after.timed(DAY, "detection", 9.0)
    [found] = after.figures(2)
    assert (found.gaps, found.met, found.max_s) == (gaps + 1, earlier.met, 9.0)
    assert found.p50_s >= earlier.p50_s


def test_a_target_that_was_missed_before_a_restart_is_missed_after_it():
    targets = RecoveryTargets(RecoverySettings())
    states = {each.measure: each for each in targets.resume(DAY, [], filled=3, ended=4)}
    assert states["success"] == TargetChange(DAY, "success", is_missed=True, met=3, gaps=4)
    assert targets.begin(DAY) is False
    assert targets.ended(DAY, is_recovered=False) is None


def test_the_text_has_the_counts_and_the_target():
    settings = RecoverySettings()
    assert text_of(TargetChange(DAY, "recovery", is_missed=True, met=3, gaps=4), settings) == (
        "gaps of 2026-11-18: 3 of 4 were filled within 5 s of the first call; target missed: more than 95%"
    )
    assert "within 1 s of the cut or next trade" in text_of(TargetChange(DAY, "detection", True, 3, 4), settings)
    assert text_of(TargetChange(DAY, "success", is_missed=False, met=20, gaps=21), settings) == (
        "gaps of 2026-11-18: 20 of 21 were filled; target met again: more than 95%"
    )
