"""The simulated market: a function of its seed, consistent to the share."""

from collections import Counter
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.base.units import NS_PER_S
from observer.simulator.kis.simulator import made_up, market_of
from observer.simulator.kis.well_known import WELL_KNOWN
from observer.simulator.market.instruments import isin_of, price_limits, rounded_down, rounded_up, tick_size
from observer.simulator.market.tape import AUCTION
from tests.simulator.simulator_client import at, market_with, settings


@pytest.fixture(scope="module")
def market():
    return market_with(symbols=500, trades_times=1.0)


def traded(market):
    return [instrument.symbol for instrument in market.instruments if instrument.trades]


def test_another_seed_or_day_offers_other_trades():
    changes: list[dict[str, object]] = [{}, {"seed": 8}, {"session_date": "2026-11-19"}]
    assert len({market_with(**change).offered_digest() for change in changes}) == 3


def test_every_trade_adds_its_volume_and_one_to_the_counts(market):
    for symbol in traded(market)[::10]:
        trades = list(market.offered(symbol))
        assert [trade.cumulative_volume for trade in trades] == list(accumulate(trade.volume for trade in trades))
        assert all(trade.cumulative_buys + trade.cumulative_sells == n for n, trade in enumerate(trades, start=1))
        assert all(trade.volume > 0 for trade in trades)


def test_trades_are_in_the_order_of_time_between_the_opening_and_the_close(market):
    for symbol in traded(market)[::10]:
        times = [trade.exchange_time_ns for trade in market.offered(symbol)]
        assert all(before <= after for before, after in pairwise(times))
        assert at(9) <= times[0]
        assert times[-1] == at(15, 30)


def test_a_day_begins_and_ends_with_an_auction_and_so_does_a_halt_in_which_orders_came(market):
    for symbol in traded(market):
        tape = market.tape(symbol)
        ends = [halt.end_ns for halt in market.halts(symbol)]
        assert (tape.side[0], tape.side[-1]) == (AUCTION, AUCTION)
        crosses = [time_ns for time_ns, side in zip(tape.time_ns, tape.side, strict=True) if side == AUCTION]
        assert set(crosses[1:-1]) <= set(ends)


def test_prices_are_on_the_grid_and_within_the_limits(market):
    for symbol in traded(market):
        instrument = market.instrument(symbol)
        assert instrument is not None
        lowest, highest = price_limits(instrument.base_price)
        for price in set(market.tape(symbol).price):
            assert lowest <= price <= highest
            assert price % tick_size(price) == 0


def test_a_suspended_symbol_does_not_trade(market):
    suspended = [i.symbol for i in market.instruments if i.suspended]
    assert suspended
    assert all(len(market.tape(symbol)) == 0 for symbol in suspended)


def test_the_market_is_as_large_as_it_was_meant_to_be(market):
    sizes = sorted(len(market.tape(symbol)) for symbol in traded(market))
    assert 250_000 < sum(sizes) < 500_000
    assert sizes[0] < 100
    assert 3_000 < sizes[-1] < 15_000


@pytest.mark.slow
def test_four_thousand_symbols_stay_below_a_million_trades():
    market = market_of(settings(symbols=4_300, trades_times=1.0))
    assert sum(len(market.tape(i.symbol)) for i in market.instruments) < 1_000_000


def test_surges_are_spread_over_the_day(market):
    surged = dict.fromkeys((10, 12, 16), 0)
    for symbol in traded(market):
        bars = market.daily_bars(symbol)[:20]
        if len(bars) == 20:
            average = sum(bar.volume for bar in bars) / 20
            for hour in surged:
                surged[hour] += market.state_at(symbol, at(hour)).cumulative_volume >= 3 * average
    assert surged[10] < surged[12] < surged[16]
    assert 25 <= surged[12] <= 60
    assert surged[16] > 60


def test_some_symbols_swing_two_and_a_half_times_their_usual_range(market):
    swinging = 0
    for symbol in traded(market):
        bars, state = market.daily_bars(symbol)[:14], market.state_at(symbol, at(16))
        if len(bars) == 14:
            base = bars[0].close
            true_range = max(state.high, base) - min(state.low, base)
            swinging += true_range >= 2.5 * sum(bar.high - bar.low for bar in bars) / 14
    assert 5 <= swinging <= 50


def test_some_seconds_are_bursts_and_none_is_fuller_than_time_and_sales_can_show(market):
    fullest = [max(Counter(t // NS_PER_S for t in market.tape(s).time_ns).values()) for s in traded(market)]
    assert sum(count >= 10 for count in fullest) >= 5
    assert max(fullest) < 30


def test_the_past_ends_at_the_base_price_and_skips_weekends_and_holidays(market):
    for instrument in market.instruments[:-1]:
        bars = market.daily_bars(instrument.symbol)
        assert len(bars) >= 40
        assert bars[0].close == instrument.base_price
        assert bars[0].volume == instrument.previous_volume
        assert bars[0].day == "20261117"
        assert not {"20261115", "20261009", "20261005"} & {bar.day for bar in bars}


def test_the_true_range_of_a_past_day_is_its_own_high_less_low(market):
    for instrument in market.instruments[:100]:
        for bar, before in pairwise(market.daily_bars(instrument.symbol)):
            assert bar.low <= before.close <= bar.high
            assert bar.low <= min(bar.open, bar.close)
            assert bar.high >= max(bar.open, bar.close)


def test_the_newcomer_has_no_past(market):
    newcomer = market.instruments[-1]
    assert newcomer.listed_on == "20261118"
    assert market.daily_bars(newcomer.symbol) == ()
    assert newcomer.ordinary


def test_all_kinds_that_a_universe_leaves_out_are_there(market):
    listed = market.instruments
    assert {"ST", "EF", "EN", "RT"} <= {i.group for i in listed}
    assert any(i.spac for i in listed)
    assert any(i.preferred for i in listed)
    assert any(i.administrative for i in listed)
    assert any(i.base_price < 4_000 for i in listed)
    assert any(not i.symbol.isdigit() and i.ordinary for i in listed)
    assert len({i.symbol for i in listed}) == len({i.name for i in listed}) == len(listed)


def test_the_state_counts_only_trades_that_have_happened(market):
    symbol = traded(market)[0]
    trades = list(market.offered(symbol))
    assert market.state_at(symbol, trades[0].exchange_time_ns - 1).trades == 0
    for index in (0, len(trades) // 2, len(trades) - 1):
        state = market.state_at(symbol, trades[index].exchange_time_ns)
        so_far = [t for t in trades if t.exchange_time_ns <= trades[index].exchange_time_ns]
        assert state.cumulative_volume == so_far[-1].cumulative_volume
        assert state.cumulative_value == sum(t.price * t.volume for t in so_far)
        assert (state.high, state.low) == (max(t.price for t in so_far), min(t.price for t in so_far))


def test_the_well_known_listings_are_there_traded_and_on_the_price_grid(market):
    samsung = market.instrument("005930")
    assert samsung is not None
    assert (samsung.name, samsung.isin, samsung.exchange) == ("삼성전자", "KR7005930003", "KOSPI")
    for known in WELL_KNOWN:
        assert market.instrument(known.symbol) == known
        assert rounded_down(known.base_price) == known.base_price
        assert len(market.tape(known.symbol)) > 100
    assert max(market.instruments, key=lambda i: i.market_cap_100m) == samsung  # the first to fill a free slot


def test_the_codes_of_a_large_market_are_unique():
    instruments = made_up(settings(symbols=4_300)).market.instruments
    assert len({i.symbol for i in instruments}) == len({i.isin for i in instruments}) == len(instruments)


@given(st.integers(min_value=100, max_value=2_000_000))
def test_rounding_goes_to_the_neighbouring_grid_prices(price):
    assert rounded_down(price) <= price <= rounded_up(price)
    assert rounded_up(price) - rounded_down(price) in (0, tick_size(price))


@pytest.mark.parametrize(
    ("price", "step"),
    [(1_999, 1), (2_000, 5), (4_999, 5), (5_000, 10), (20_000, 50), (50_000, 100), (200_000, 500), (500_000, 1_000)],
)
def test_price_steps_are_those_of_krx(price, step):
    assert tick_size(price) == step


def test_isin_check_digits_are_right():
    assert isin_of("005930") == "KR7005930003"
    assert isin_of("081660") == "KR7081660003"


def test_a_market_needs_at_least_two_listings():
    with pytest.raises(ValueError, match="symbols"):
        market_of(settings(symbols=1))
