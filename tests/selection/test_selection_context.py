"""Resuming from the snapshots of the opening."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.events import TriggerFired
from observer.selection.context import Baseline, OpeningPoint, baseline, movers, opening_candidates, synced_event
from observer.selection.settings import SelectionSettings
from tests.selection.builders import all_of, member, selector_of, swept

SETTINGS = SelectionSettings()
SECOND_NS = 1_000_000_000


def path(*points):
    return [OpeningPoint(price, volume) for price, volume in points]


OPENING = {
    "A": path((100.0, 10.0), (110.0, 200.0), (105.0, 300.0)),
    "B": path((100.0, 50.0), (100.0, 100.0)),
}


def test_the_volume_of_an_opening_is_its_last_cumulative_one_not_their_sum():
    assert baseline(OPENING).average_volume == 200.0


def test_the_baseline_is_the_average_symbol():
    base = baseline(OPENING)
    assert base.average_volatility == pytest.approx(0.05)
    assert (base.symbols, base.snapshots) == (2, 5)


def test_a_symbol_moves_from_its_first_trade_on_and_one_without_a_trade_has_no_volatility():
    opening = {"A": path((None, 0.0), (100.0, 10.0), (110.0, 20.0)), "B": path((None, 0.0), (None, 0.0))}
    base = baseline(opening)
    assert base.average_volatility == pytest.approx(0.1)
    first, second = movers(opening, base, SETTINGS)
    assert (first.symbol, first.price_change, second.price_change) == ("A", pytest.approx(0.1), 0.0)


def test_the_ranking_weighs_volume_volatility_and_the_change_in_percent():
    first, second = movers(OPENING, baseline(OPENING), SETTINGS)
    assert (first.symbol, second.symbol) == ("A", "B")
    assert [first.volume_ratio, first.volatility_ratio, first.price_change] == pytest.approx([1.5, 2.0, 0.05])
    assert first.activity == pytest.approx(0.4 * 1.5 + 0.3 * 2.0 + 0.3 * 5.0)
    assert second.activity == pytest.approx(0.4 * 0.5)


def test_an_opening_without_trades_is_a_degraded_start():
    base = baseline({})
    event = synced_event(base, "2026-11-18", 5)
    assert (event.degraded, event.symbols, event.average_volume) == (True, 0, 0.0)
    assert movers({}, base, SETTINGS) == ()


def test_the_thresholds_are_half_as_much_again_as_the_averages():
    base = baseline(OPENING)
    event = synced_event(base, "2026-11-18", 5)
    assert event.volume_threshold == pytest.approx(1.5 * event.average_volume)
    assert event.volatility_threshold == pytest.approx(1.5 * event.average_volatility)
    assert (event.session_date, event.synced_ns, event.symbols, event.snapshots) == ("2026-11-18", 5, 2, 5)
    assert not event.degraded
    assert event.average_volume > 0
    assert event.average_volatility > 0


def test_the_baseline_grows_at_the_pace_of_the_opening_and_its_range_with_the_root_of_the_time():
    opening = {
        "A": [OpeningPoint(100.0, 0.0, 0), OpeningPoint(110.0, 300.0, 20)],
        "B": [OpeningPoint(100.0, 0.0, 2), OpeningPoint(100.0, 100.0, 18)],
    }
    base = baseline(opening)
    assert [base.volume_by(now_ns) for now_ns in (10, 20, 80)] == [200.0, 200.0, 800.0]
    assert [base.volatility_by(now_ns) for now_ns in (20, 80)] == pytest.approx([0.05, 0.1])
    assert (baseline({}).volume_by(80), baseline({}).volatility_by(80)) == (None, None)


def triggered(base, *symbols, volume):
    """What fires at 80 ns for symbols of this volume and a range of 2 % of the price."""
    pipeline = selector_of(symbols, {"main": 5}, SETTINGS)
    if base is not None:
        pipeline.compare_with(base)
    for each in symbols:
        swept(pipeline.market, each.symbol, volume, high=10_100.0, low=9_900.0)
    return all_of(TriggerFired, pipeline.evaluate_universe(80))


def test_the_triggers_compare_a_symbol_without_a_history_with_the_thresholds_of_the_opening():
    base = Baseline(2, 4, average_volume=200.0, average_volatility=0.005, from_ns=0, to_ns=20)  # by 80 ns: 800, 1 %
    new = member("N", average_volume_20d=None, average_true_range_14d=None)
    volume, spread = triggered(base, new, volume=1_200.0)
    assert (volume.kind, volume.basis, volume.measure, volume.threshold) == ("volume_surge", "opening", 1.5, 1.5)
    assert (spread.kind, spread.basis, spread.measure) == ("volatility_spike", "opening", pytest.approx(2.0))
    assert volume.reference * volume.threshold == base.volume_threshold * 4
    assert [each.kind for each in triggered(base, new, volume=1_199.0)] == ["volatility_spike"]
    assert triggered(None, new, volume=1e9) == []


def test_a_symbol_with_a_history_is_compared_with_its_own():
    base = Baseline(2, 4, average_volume=1.0, average_volatility=0.001, from_ns=0, to_ns=20)
    assert triggered(base, member("A", average_true_range_14d=1_000.0), volume=100.0) == []


def test_a_symbol_whose_history_came_in_a_later_build_is_compared_with_its_own_from_then_on():
    pipeline = selector_of([member("N", average_volume_20d=None, average_true_range_14d=None)], {"main": 5}, SETTINGS)
    pipeline.compare_with(Baseline(2, 4, average_volume=200.0, average_volatility=0.005, from_ns=0, to_ns=20))
    swept(pipeline.market, "N", 100.0)
    pipeline.evaluate_universe(80)
    pipeline.update_history([member("N", average_volume_20d=1e6, average_true_range_14d=1_000.0)])
    swept(pipeline.market, "N", 10_000.0, high=10_100.0, low=9_900.0)
    assert not all_of(TriggerFired, pipeline.evaluate_universe(81))


def test_symbols_without_a_price_or_a_snapshot_do_not_disturb_the_ranking():
    base = baseline({"A": path((0.0, 0.0)), "B": []})
    assert [mover.activity for mover in movers({"A": path((0.0, 0.0)), "B": []}, base, SETTINGS)] == [0.0]


def test_the_candidates_score_like_the_triggers_and_live_five_minutes():
    base = baseline(OPENING)
    members = {"A": member("A"), "B": member("B")}
    first, second = opening_candidates(movers(OPENING, base, SETTINGS), members, base, 41, 0, SETTINGS)
    assert (first.symbol, first.kind, first.strength) == ("A", "context", 0.5)
    assert first.score == pytest.approx(10 * 1.5 + 1.2)
    assert first.expires_ns == second.expires_ns == 300 * SECOND_NS
    assert (first.measure, first.threshold, first.reference, first.market_cap) == (1.5, 0.0, 200.0, 1e12)
    [busy, _] = movers(OPENING | {"A": path((100.0, 0.0), (100.0, 9e9))}, base, SETTINGS)
    [overfull] = opening_candidates([busy], members, base, 41, 0, SETTINGS)
    assert overfull.strength == 1.0


def test_only_the_most_active_members_of_the_universe_are_candidates():
    base = baseline(OPENING)
    ranked = movers(OPENING, base, SETTINGS)
    both = {"A": member("A"), "B": member("B")}
    assert [item.symbol for item in opening_candidates(ranked, both, base, 1, 0, SETTINGS)] == ["A"]
    assert [item.symbol for item in opening_candidates(ranked, {"B": member("B")}, base, 1, 0, SETTINGS)] == ["B"]


@given(st.permutations("ABCDE"))
def test_equal_openings_rank_by_symbol_whatever_their_order(symbols):
    opening = {symbol: path((100.0, 5.0), (101.0, 9.0)) for symbol in symbols}
    ranked = movers(opening, baseline(opening), SETTINGS)
    assert [mover.symbol for mover in ranked] == list("ABCDE")
