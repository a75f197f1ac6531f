"""Which triggers fire, their strength, and their lifetime."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.events import TriggerEnded
from observer.selection.triggers import (
    TRIGGERS,
    ActiveTriggers,
    RecentVolumeSettings,
    SymbolView,
    TriggerRules,
    TriggerSettings,
    TriggersSettings,
    by_market_cap,
    by_pin,
    score,
)
from tests.selection.builders import candidate, member

SETTINGS = TriggersSettings()
SECOND_NS = 1_000_000_000
NOW_NS = 1_795_000_000 * SECOND_NS


def evaluate(of, seen, now_ns, settings=SETTINGS):
    return tuple(TriggerRules(settings).evaluate(of, seen, now_ns))


def fired(**seen):
    return evaluate(member(), msgspec.convert(seen, SymbolView), NOW_NS)


def of_kind(kind, candidates):
    """The candidates of one kind; another kind may fire on the same values."""
    return [candidate for candidate in candidates if candidate.kind == kind]


@pytest.mark.parametrize(
    ("seen", "kind", "strength", "ttl_s"),
    [
        ({"cumulative_volume": 3_000.0}, "volume_surge", 0.6, 300),
        ({"cumulative_volume": 5_000.0}, "volume_surge", 1.0, 300),
        ({"cumulative_volume": 40_000.0}, "volume_surge", 4.0, 300),
        ({"trades_per_second": 10.0}, "trade_velocity", 0.5, 180),
        ({"trades_per_second": 20.0}, "trade_velocity", 1.0, 180),
        ({"trades_per_second": 40.0}, "trade_velocity", 2.0, 180),
        ({"high": 10_100.0, "low": 9_900.0}, "volatility_spike", 2 / 3, 300),
        ({"high": 10_300.0, "low": 10_200.0}, "volatility_spike", 1.0, 300),
    ],
)
def test_a_condition_fires_at_its_threshold(seen, kind, strength, ttl_s):
    [only] = of_kind(kind, fired(**seen))
    assert only.strength == pytest.approx(strength)
    assert only.expires_ns == NOW_NS + ttl_s * SECOND_NS


@pytest.mark.parametrize(
    "seen",
    [
        {},
        {"cumulative_volume": 2_999.0},
        {"trades_per_second": 9.9},
        {"high": 10_099.0, "low": 9_900.0},
        {"high": 99_999.0},
    ],
)
def test_below_the_threshold_or_unseen_nothing_fires(seen):
    assert fired(**seen) == ()


@pytest.mark.parametrize(
    ("seen", "kind", "severity"),
    [
        ({"cumulative_volume": 2_999.0}, "volume_surge", "mild"),
        ({"cumulative_volume": 3_000.0}, "volume_surge", "moderate"),
        ({"cumulative_volume": 5_000.0}, "volume_surge", "severe"),
        ({"trades_per_second": 10.0}, "trade_velocity", "basic"),
        ({"trades_per_second": 20.0}, "trade_velocity", "high"),
        ({"high": 20_000.0, "low": 10_000.0}, "volatility_spike", ""),
    ],
)
def test_a_candidate_has_the_severity_of_its_level(seen, kind, severity):
    mild = msgspec.structs.replace(SETTINGS.volume_surge, threshold=2.0)
    settings = msgspec.structs.replace(SETTINGS, volume_surge=mild)
    [only] = of_kind(kind, evaluate(member(), msgspec.convert(seen, SymbolView), NOW_NS, settings))
    assert only.severity == severity


@pytest.mark.parametrize(
    ("seen", "basis", "measure", "reference"),
    [
        ({"cumulative_volume": 3_400.0}, "day", 3.4, 1_000.0),
        ({"cumulative_volume": 400.0, "average_volume_by_now": 100.0}, "time_of_day", 4.0, 100.0),
        ({"cumulative_volume": 4_000.0, "average_volume_by_now": 1_200.0}, "day", 4.0, 1_000.0),  # the higher ratio
    ],
)
def test_a_candidate_states_the_highest_measure_and_its_reference(seen, basis, measure, reference):
    (surge,) = fired(**seen)
    assert (surge.kind, surge.basis, surge.measure, surge.reference) == ("volume_surge", basis, measure, reference)
    assert surge.threshold == 3.0


def test_a_pin_has_full_strength_and_no_expiry():
    manual = by_pin(member(), None)
    assert (manual.kind, manual.strength, manual.expires_ns) == ("manual", 1.0, None)
    assert manual.score == pytest.approx(5 * 2 + 1.2)


@pytest.mark.parametrize("reference", [None, 0.0])
def test_without_history_no_ratio_fires(reference):
    new = member(average_volume_20d=reference, average_true_range_14d=reference)
    seen = SymbolView(cumulative_volume=1e9, high=99_999.0, low=1.0)
    found = evaluate(new, seen, NOW_NS, SETTINGS)
    assert of_kind("volume_surge", found) == of_kind("volatility_spike", found) == []


def test_all_conditions_that_hold_fire_in_the_order_of_the_registry():
    together = fired(cumulative_volume=9_000.0, trades_per_second=99.0, high=20_000.0, low=9_000.0)
    kinds = [item.kind for item in together]
    assert kinds == [trigger.kind for trigger in TRIGGERS if trigger.kind in kinds]
    assert set(kinds) >= {"volume_surge", "trade_velocity", "volatility_spike"}


def test_a_kind_that_is_switched_off_does_not_fire():
    off = msgspec.structs.replace(SETTINGS.volume_surge, enabled=False)
    settings = msgspec.structs.replace(SETTINGS, volume_surge=off)
    assert evaluate(member(), SymbolView(cumulative_volume=9_000.0), NOW_NS, settings) == ()


def test_the_score_is_weight_strength_and_a_tenth_of_the_powers_of_ten():
    assert score(10.0, 0.6, 1e12) == pytest.approx(10 * 1.6 + 1.2)
    assert [score(10.0, 0.6, market_cap) for market_cap in (None, 0.0, 0.5)] == [16.0] * 3, "none adds nothing"


def test_a_filler_scores_by_size_and_below_every_trigger():
    default = by_market_cap(member(market_cap=1e15))
    assert default.score == pytest.approx(1 + 1.5)
    assert default.expires_ns is None
    assert default.score < min(item.score for item in (*fired(trades_per_second=10.0), by_pin(member(), None)))


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_higher_measure_never_scores_less(one, other):
    low, high = sorted((one, other))
    at_low, at_high = fired(trades_per_second=low), fired(trades_per_second=high)
    assert len(at_low) <= len(at_high)
    if at_low:
        assert 0 <= at_low[0].strength <= at_high[0].strength
        assert at_low[0].score <= at_high[0].score


# --- recent volume: a surge begins and ends ---


def surges(*, active=False, settings=SETTINGS, **seen):
    """The surge of these values: its basis, measure and strength."""
    held = {("005930", "volume_surge")} if active else set()
    found = TriggerRules(settings).evaluate(member(), msgspec.convert(seen, SymbolView), NOW_NS, held)
    return [(each.basis, each.measure, each.strength) for each in of_kind("volume_surge", found)]


@pytest.mark.parametrize(
    ("volume", "recent", "active", "found"),
    [
        (9_000.0, 1.99, False, []),  # the day's ratio arms a surge, which needs twice its usual recent volume
        (9_000.0, 1.99, True, []),
        (9_000.0, 2.0, False, [("day", 9.0, 0.4)]),
        (10.0, 2.99, False, []),  # without it, three times the usual one is needed
        (10.0, 3.0, False, [("recent", 3.0, 0.6)]),
        (10.0, 2.0, True, [("recent", 2.0, 0.4)]),  # one that holds is renewed at the mild level
        (10.0, 1.99, True, []),
    ],
)
def test_a_surge_begins_and_is_renewed_by_its_recent_volume(volume, recent, active, found):
    assert surges(active=active, cumulative_volume=volume, recent_ratio=recent, usual_recent_volume=7.0) == found


def test_the_strength_of_a_surge_is_that_of_its_recent_volume_and_grows_with_each_doubling():
    for ratio, strength in ((5.0, 1.0), (10.0, 2.0), (40.0, 4.0)):
        assert surges(cumulative_volume=90_000.0, recent_ratio=ratio)[0][2] == pytest.approx(strength)


def test_switched_off_the_day_s_ratio_alone_is_a_surge_of_strength_one_at_most_and_without_age():
    off = msgspec.structs.replace(SETTINGS, recent_volume=RecentVolumeSettings(enabled=False))
    assert surges(cumulative_volume=9_000.0, recent_ratio=0.0, settings=off) == [("day", 9.0, 1.0)]
    [surge] = evaluate(member(), SymbolView(cumulative_volume=9_000.0), NOW_NS, off)
    assert surge.evidence_ns is None


def test_a_volatility_spike_lives_from_the_moment_at_which_the_range_grew_last():
    grew_ns = NOW_NS - 299 * SECOND_NS
    [spike] = fired(high=10_300.0, low=10_200.0, range_ns=grew_ns)
    assert (spike.evidence_ns, spike.expires_ns) == (grew_ns, NOW_NS + SECOND_NS)
    assert fired(high=10_300.0, low=10_200.0, range_ns=grew_ns - SECOND_NS) == ()


RATIOS = st.none() | st.floats(0, 100)


@given(RATIOS, RATIOS, RATIOS, st.booleans())
def test_a_surge_fires_exactly_by_the_rule_in_one_line(day, time_of_day, recent, active):
    seen = {"cumulative_volume": None if day is None else day * 1_000, "recent_ratio": recent}
    if time_of_day:
        seen |= {"average_volume_by_now": (day or 0.0) * 1_000 / time_of_day or None}
    armed = day is not None and max(day, (time_of_day or 0.0) if day else 0.0) >= 3.0001
    clearly_not = day is None or max(day, time_of_day or 0.0) < 2.9999
    found = surges(active=active, **seen)  # type: ignore[arg-type]
    if recent is None:
        assert found or not armed
        assert not (found and clearly_not)
    elif recent < 2.0:
        assert found == []
    else:
        assert found or not (armed or active or recent >= 3.0)
        assert not (found and clearly_not and not active and recent < 3.0)


# --- active triggers ---


def test_a_lasting_condition_begins_once():
    active = ActiveTriggers()
    assert active.begun([candidate("A", expires_ns=10)], 0) == [candidate("A", expires_ns=10)]
    assert active.begun([candidate("A", expires_ns=18)], 8) == []
    assert active.begun([candidate("A", expires_ns=27)], 17) == []


def test_a_condition_that_expired_begins_again():
    active = ActiveTriggers()
    active.begun([candidate("A", expires_ns=10)], 0)
    assert active.ended(9) == []
    active.begun([candidate("A", expires_ns=14)], 4)
    assert active.ended(14) == [TriggerEnded("A", "volume_surge", fired_ns=0, held_until_ns=4, ended_ns=14)]
    assert len(active.begun([candidate("A", expires_ns=24)], 14)) == 1


def test_a_pending_candidate_prolongs_its_life_but_not_the_time_that_its_condition_held():
    """Of a symbol without a slot nothing newer is known than its sweep."""
    active, seen = ActiveTriggers(), candidate("A", expires_ns=10)
    evident = msgspec.structs.replace(seen, evidence_ns=0)
    active.begun([evident], 0)
    active.begun([msgspec.structs.replace(evident, expires_ns=18)], 8)
    assert active.ended(18) == [TriggerEnded("A", "volume_surge", 0, 0, 18)]


def test_the_end_of_the_day_ends_every_condition():
    active = ActiveTriggers()
    active.begun([candidate("A", expires_ns=None), candidate("B", expires_ns=99)], 5)
    assert [(event.symbol, event.ended_ns) for event in active.all_ended(9)] == [("A", 9), ("B", 9)]
    assert active.all_ended(9) == []


# --- settings ---


@pytest.mark.parametrize("ttl_seconds", [0.0, -2.0])
def test_the_life_of_a_trigger_is_positive_or_unlimited(ttl_seconds):
    with pytest.raises(ValueError, match="ttl_seconds"):
        TriggerSettings(threshold=1, full_strength=1, ttl_seconds=ttl_seconds, weight=1)


def test_the_requirement_s_configuration_is_understood():
    written = {"enabled": True, "threshold": 3.0, "ttl_seconds": -1, "weight": 10.0, "full_strength": 5.0}
    assert msgspec.convert({"volume_surge": written}, TriggersSettings).volume_surge.ttl_seconds == -1
