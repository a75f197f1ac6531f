"""Halts of one symbol: which events stop trading, and the fate of the trades during the halt."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.base.units import NS_PER_S
from observer.simulator.kis.simulator import market_of
from observer.simulator.market.instruments import price_limits, tick_size
from observer.simulator.market.tape import AUCTION, BUY, LONGEST_INTERRUPTION_S, DealtTrade, Halt, interrupted
from tests.simulator.simulator_client import at, market_with, settings

CLOSE = 23_400
CONTINUOUS_END_NS = 22_800 * NS_PER_S


def day(*trades):
    """A day that opens at 10,000 won: (second after the opening, price) of each trade, a hundred shares."""
    crosses = DealtTrade(0, 10_000, 100, AUCTION), DealtTrade(CLOSE * NS_PER_S, 10_000, 100, AUCTION)
    return [crosses[0], *(DealtTrade(int(s * NS_PER_S), price, 100, BUY) for s, price in trades), crosses[1]]


def with_halts(trades, disclosure_s=None):
    disclosure_ns = None if disclosure_s is None else disclosure_s * NS_PER_S
    return interrupted(trades, disclosure_ns, CONTINUOUS_END_NS, Random(1))


@pytest.fixture(scope="module")
def market():
    return market_with(symbols=1_000)


def test_a_price_less_than_ten_percent_from_the_opening_stops_nothing():
    trades = day((100, 10_990), (200, 9_010))
    assert with_halts(trades) == (trades, ())


def test_a_price_ten_percent_away_halts_trading_for_about_two_minutes_until_an_auction():
    trades, [halt] = with_halts(day((100, 11_000), (150, 11_200), (219, 11_100), (300, 11_300)))
    assert (halt.start_ns, halt.reason, halt.reference) == (100 * NS_PER_S, "volatility", 10_000)
    assert 120 <= (halt.end_ns - halt.start_ns) / NS_PER_S <= 150
    assert trades[1] == DealtTrade(halt.end_ns, 11_100, 300, AUCTION)
    assert trades[2].time_ns == 300 * NS_PER_S


def test_the_price_of_the_auction_is_the_next_reference():
    _, halts = with_halts(day((100, 11_000), (400, 12_000), (500, 12_100)))
    assert [halt.reference for halt in halts] == [10_000, 11_000]
    assert halts[1].start_ns == 500 * NS_PER_S


def test_no_interruption_begins_so_late_that_it_reaches_into_the_closing_auction():
    trades = day((22_700, 11_500))
    assert with_halts(trades) == (trades, ())


def test_a_disclosure_halts_trading_for_half_an_hour():
    trades, [halt] = with_halts(day((100, 10_010), (700, 10_020), (2_399, 10_030), (2_401, 10_040)), disclosure_s=600)
    assert halt == Halt(600 * NS_PER_S, 2_400 * NS_PER_S, "disclosure", 10_000)
    assert trades[2] == DealtTrade(halt.end_ns, 10_030, 200, AUCTION)


def test_a_disclosure_in_a_symbol_that_would_not_trade_any_more_is_a_halt_too():
    trades = day((100, 10_010))
    after, [halt] = with_halts(trades, disclosure_s=600)
    assert (after, halt.reason) == (trades, "disclosure")


@given(
    st.lists(st.tuples(st.integers(1, 22_000), st.integers(700, 1_300)), max_size=60),
    st.none() | st.integers(600, 20_000),
)
def test_halts_keep_the_volume_the_order_and_the_crosses(planned, disclosure_s):
    before = day(*((s, tens * 10) for s, tens in sorted(planned)))
    after, halts = with_halts(before, disclosure_s)
    assert sum(trade.volume for trade in after) == sum(trade.volume for trade in before)
    assert (after[0], after[-1]) == (before[0], before[-1])
    assert all(earlier.time_ns <= later.time_ns for earlier, later in pairwise(after))
    assert all(earlier.end_ns <= later.start_ns for earlier, later in pairwise(halts))
    assert sum(halt.reason == "disclosure" for halt in halts) == (disclosure_s is not None)
    for halt in halts:
        assert not any(halt.start_ns <= trade.time_ns < halt.end_ns for trade in after)


def test_a_market_has_halts_of_both_kinds_and_no_trade_in_them(market):
    halts = [(i.symbol, halt) for i in market.instruments for halt in market.halts(i.symbol)]
    assert {halt.reason for _, halt in halts} == {"volatility", "disclosure"}
    for symbol, halt in halts:
        tape = market.tape(symbol)
        assert tape.count_until(halt.end_ns - 1) == tape.count_until(halt.start_ns - 1)
        assert market.halt_at(symbol, halt.start_ns) == market.halt_at(symbol, halt.end_ns - 1) == halt
        assert market.halt_at(symbol, halt.start_ns - 1) != halt != market.halt_at(symbol, halt.end_ns)


def test_some_symbols_are_locked_at_a_limit_and_have_one_side_of_the_book_only(market):
    locks = {i.symbol: lock for i in market.instruments if i.trades and (lock := market.plan(i.symbol).lock)}
    assert {lock.at_upper for lock in locks.values()} == {True, False}
    for symbol, lock in locks.items():
        instrument = market.instrument(symbol)
        assert instrument is not None
        limit = price_limits(instrument.base_price)[lock.at_upper]
        state = market.state_at(symbol, market.close_ns)
        book = (limit, 0) if lock.at_upper else (0, limit)
        assert (state.price, (state.bid, state.ask)) == (limit, book)
        index = market.tape(symbol).count_until(market.open_ns + (lock.start_s + LONGEST_INTERRUPTION_S) * NS_PER_S)
        assert set(market.tape(symbol).price[index:]) == {limit}


def test_every_price_of_a_market_with_halts_and_locks_is_on_the_grid_and_within_the_limits(market):
    for instrument in market.instruments:
        lowest, highest = price_limits(instrument.base_price)
        prices = set(market.tape(instrument.symbol).price)
        assert all(lowest <= price <= highest and price % tick_size(price) == 0 for price in prices)


def test_on_an_exam_day_the_market_opens_and_closes_an_hour_later():
    late = market_of(settings(session_date="2026-11-19", opens_at="10:00"))
    day_ns = 24 * 3_600 * NS_PER_S
    assert (late.open_ns, late.close_ns) == (at(10) + day_ns, at(16, 30) + day_ns)
    times = [tape.time_ns for i in late.instruments if len(tape := late.tape(i.symbol))]
    assert min(time[0] for time in times) >= late.open_ns
    assert {time[-1] for time in times} == {late.close_ns}


def test_a_split_symbol_was_dearer_by_the_ratio_the_day_before_and_as_dear_when_adjusted(market):
    split = [i for i in market.instruments if i.split]
    assert split
    for instrument in split:
        ratio = market.plan(instrument.symbol).split_ratio
        adjusted = market.daily_bars(instrument.symbol)
        as_traded = market.daily_bars(instrument.symbol, adjusted=False)
        assert ratio > 1
        assert adjusted[0].close == instrument.base_price
        assert [bar.close for bar in as_traded] == [bar.close * ratio for bar in adjusted]
        assert [bar.value for bar in as_traded] == [bar.value for bar in adjusted]
