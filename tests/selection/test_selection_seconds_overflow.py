"""Seconds with more trades than a page of past trades: their measure, and its weight in the ranking."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.events import SlotAssigned, TradesConflated
from observer.base.units import NS_PER_S
from observer.selection.allocation import raised
from observer.selection.market_state import MarketState
from observer.selection.profile import EarlierDays
from observer.selection.recent_volume import overflowing_trades
from observer.selection.settings import SelectionSettings, SlotSettings
from observer.selection.triggers import TriggersSettings, aged
from tests.selection.builders import candidate, member, seen, selector_of

PAGE = 30
RATES = st.floats(0, 1_000)
SIZES = EarlierDays(trade_volumes={"BUSY": 1.0, "BIG": 100.0})
MEMBERS = [member("BIG", market_cap=1e13), member("BUSY", market_cap=1e12)]


# --- the measure ---


@given(RATES, RATES, st.integers(1, 100))
def test_more_trades_a_second_overflow_more_and_never_more_than_there_are(one, more, page):
    low, high = sorted((one, more))
    assert 0 <= overflowing_trades(low, page) <= overflowing_trades(high, page) <= high


@given(st.floats(0.1, 60), st.integers(1, 60))
def test_it_is_the_mean_excess_of_a_geometric_number_of_trades(rate, page):
    part = rate / (1 + rate)
    excess = sum((number - page) * (1 - part) * part**number for number in range(page, 6_000))
    assert overflowing_trades(rate, page) == pytest.approx(excess, rel=1e-6, abs=1e-9)


def swept(state, symbol, *volumes):
    """Sweeps ten minutes apart."""
    for number, volume in enumerate(volumes):
        state.update_snapshot(seen(symbol, volume, receive_time_ns=(1 + 600 * number) * NS_PER_S))


@given(st.floats(0, 1e6))
def test_the_rate_is_the_latest_volume_in_trades_of_the_symbols_own_size(volume):
    state = MarketState(MEMBERS, TriggersSettings(), SIZES)
    swept(state, "BUSY", 0.0, volume)
    swept(state, "BIG", 0.0, 100 * volume)
    expected = overflowing_trades(volume / 600, PAGE)
    assert state.seconds_overflow(MEMBERS[0], PAGE) == pytest.approx(expected)
    assert state.seconds_overflow(MEMBERS[1], PAGE) == pytest.approx(expected)


def test_a_symbol_without_a_trade_size_or_two_volumes_or_at_a_broker_without_pages_has_none():
    state = MarketState(MEMBERS, TriggersSettings(), EarlierDays())
    assert state.seconds_overflow(MEMBERS[1], PAGE) == 0
    swept(state, "BUSY", 0.0, 60_000.0)
    assert state.seconds_overflow(MEMBERS[1], PAGE) == 0
    known = MarketState(MEMBERS, TriggersSettings(), SIZES)
    swept(known, "BUSY", 60_000.0)
    assert known.seconds_overflow(MEMBERS[1], PAGE) == 0
    swept(known, "BUSY", 60_000.0, 120_000.0)
    assert known.seconds_overflow(MEMBERS[1], PAGE) > 0
    assert known.seconds_overflow(MEMBERS[1], 0) == 0


def test_a_streamed_symbol_is_measured_alike():
    state = MarketState(MEMBERS, TriggersSettings(), SIZES)
    for second in range(0, 601, 10):
        row = TradesConflated(
            "kis", "BUSY", "2026-11-18", second * NS_PER_S, (second + 10) * NS_PER_S, (second + 10) * NS_PER_S,
            200, 200.0, 1.0, 1.0, 1.0, 1.0, 20.0 * (second + 10), None,
        )  # fmt: skip
        state.update_conflated(row)
    assert state.seconds_overflow(MEMBERS[1], PAGE) == pytest.approx(overflowing_trades(20, PAGE))


# --- its weight ---


def pipeline(weight, page_trades=PAGE):
    """One slot; trades of BUSY are small."""
    settings = SelectionSettings(slots=SlotSettings(seconds_overflow_weight=weight))
    return selector_of(MEMBERS, {"main": 1}, settings, SIZES, page_trades=page_trades)


def assigned(events):
    return [each.symbol for each in events if isinstance(each, SlotAssigned) and each.trigger != "market_cap"]


def surged(found):
    """The symbols that win a slot when both have the same multiple of their average day."""
    for symbol in ("BUSY", "BIG"):
        swept(found.market, symbol, 0.0, 12_000.0)
    return assigned(found.evaluate_universe(601 * NS_PER_S))


def test_of_equal_surges_the_larger_symbol_wins_without_the_weight_and_the_overflowing_one_with_it():
    assert surged(pipeline(0.0)) == ["BIG"]
    assert surged(pipeline(1.0)) == ["BUSY"]
    assert surged(pipeline(1.0, page_trades=0)) == ["BIG"]


def test_a_pin_stands_above_any_overflow():
    found = pipeline(1_000.0)
    found.pin("BIG", 0)
    assert surged(found) == []
    assert found.wanted == ("BIG",)


VOLUMES = st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 1e5)), min_size=1, max_size=8)


@given(VOLUMES)
def test_without_the_weight_every_decision_is_as_before(rises):
    def decided(found):
        events = []
        busy = big = 0.0
        for number, (of_busy, of_big) in enumerate(rises, start=1):
            busy, big, at_ns = busy + of_busy, big + of_big, 600 * number * NS_PER_S
            found.market.update_snapshot(seen("BUSY", busy, receive_time_ns=at_ns))
            found.market.update_snapshot(seen("BIG", big, receive_time_ns=at_ns))
            events += found.evaluate_universe(at_ns)
        return events

    assert decided(pipeline(0.0)) == decided(pipeline(0.0, page_trades=0))


@given(st.floats(0, 100), st.integers(0, 3_600))
def test_the_addition_halves_with_the_age_of_the_evidence(by, age_s):
    plain, at_ns = msgspec.structs.replace(candidate("A"), evidence_ns=0, full_score=15.0), age_s * NS_PER_S
    difference = aged(raised(plain, by), at_ns, 300.0).score - aged(plain, at_ns, 300.0).score
    assert difference == pytest.approx(by * 0.5 ** (age_s / 300), abs=1e-9)
