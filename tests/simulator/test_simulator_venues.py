"""The simulated market of two venues: each has its own trades in its own sessions, and the seed decides all."""

import subprocess
import sys
from collections import Counter
from functools import cache
from itertools import accumulate, pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from observer.base.units import NS_PER_S
from observer.simulator.kis.simulator import market_of
from observer.simulator.market.instruments import price_limits, tick_size
from observer.simulator.market.market import View
from tests.properties import examples
from tests.simulator.simulator_client import at, market_with, settings

BOTH = ("KRX", "NXT")
VIEWS: tuple[View, ...] = ("KRX", "NXT", "consolidated")
# HHMMSS, both ends included (docs/kis.md#sessions-and-venues); the KRX closes with a cross at 15:30:00.
HOURS = {
    ("KRX", "regular"): ("090000", "151959"),
    ("KRX", "closing_auction"): ("153000", "153000"),
    ("KRX", "after"): ("160000", "195959"),
    ("NXT", "pre"): ("080000", "084959"),
    ("NXT", "regular"): ("090030", "151959"),
    ("NXT", "after"): ("153000", "195959"),
}
# As exchange and venue announced it for 2025-11-13: an hour later, the end at 20:00 as ever, no pre-market.
HOURS_OF_AN_EXAM_DAY = {
    ("KRX", "regular"): ("100000", "161959"),
    ("KRX", "closing_auction"): ("163000", "163000"),
    ("KRX", "after"): ("170000", "195959"),
    ("NXT", "regular"): ("100030", "161959"),
    ("NXT", "after"): ("163000", "195959"),
}
seeds = st.integers(0, 10**9)
few = examples(0.2)  # an example makes a market


def small(seed, **changes):
    return market_with(seed=seed, symbols=12, trades_times=0.02, venues=BOTH, **changes)


sizes = pytest.mark.parametrize("symbols", [200, pytest.param(500, marks=pytest.mark.slow)])


@cache
def large(symbols):
    return market_with(symbols=symbols, trades_times=1.0, venues=BOTH)


def offered(market):
    return [trade for listed in market.instruments for trade in market.offered(listed.symbol)]


def trades(market, view, symbol):
    """Time, price, volume and side of every trade of a view."""
    tape = market.view(view).tape(symbol)
    return list(zip(tape.time_ns, tape.price, tape.volume, tape.side, strict=True))


@pytest.mark.parametrize(
    ("changes", "digest"),
    [
        ({}, "3f2f881830a4f602153376e1f22e2672d03dd3e425ea2489efff46a5c39eac9a"),
        ({"symbols": 120}, "3637c303e71862cd185b512f59114cfafcbfa75b724a46536eaaeb328a019f76"),
        ({"symbols": 60, "opens_at": "10:00"}, "493beb32e139b05355741d76dffd31159839426dc93db0ad65cfb13bdc77a0aa"),
    ],
)
def test_a_market_of_the_krx_alone_is_what_it_was_before_there_were_two_venues(changes, digest):
    assert market_of(settings(**changes)).offered_digest() == digest


def test_a_market_of_the_krx_alone_shows_it_under_every_name():
    market = market_of(settings())
    assert {id(market.view(view)) for view in VIEWS} == {id(market)}


@few
@given(seeds)
@example(7)
def test_both_venues_together_have_the_trades_of_either_in_the_order_of_time(seed):
    market = small(seed)
    for listed in market.instruments:
        krx, nxt, both = (trades(market, view, listed.symbol) for view in VIEWS)
        assert sorted(both) == sorted(krx + nxt)
        assert all(before[0] <= after[0] for before, after in pairwise(both))


@few
@given(seeds)
@example(7)
def test_the_cumulative_volumes_of_each_venue_grow_with_every_trade_and_add_up_to_those_of_both(seed):
    market = small(seed)
    for symbol in (listed.symbol for listed in market.instruments if listed.trades):
        for view in VIEWS:
            tape = market.view(view).tape(symbol)
            assert list(tape.volume_after) == list(accumulate(tape.volume))
            assert all(volume > 0 for volume in tape.volume)
            assert all(before <= after for before, after in pairwise(tape.time_ns))
        both = market.view("consolidated").tape(symbol)
        for index in range(0, len(both), 7):
            moment_ns = both.time_ns[index]
            krx, nxt, sum_of_both = (market.view(v).state_at(symbol, moment_ns).cumulative_volume for v in VIEWS)
            assert krx + nxt == sum_of_both


@few
@given(seeds, st.sampled_from(["09:00", "10:00"]))
@example(7, "10:00")
def test_nothing_trades_outside_a_session(seed, opens_at):
    hours = HOURS if opens_at == "09:00" else HOURS_OF_AN_EXAM_DAY
    for trade in offered(small(seed, opens_at=opens_at)):
        first, last = hours[trade.venue, trade.session]
        assert first <= trade.exchange_hhmmss <= last


def test_every_session_has_trades():
    assert {(trade.venue, trade.session) for trade in offered(small(7))} == set(HOURS)
    assert {(trade.venue, trade.session) for trade in offered(small(7, opens_at="10:00"))} == set(HOURS_OF_AN_EXAM_DAY)


@few
@given(seeds)
@example(7)
def test_no_etf_trades_after_the_close_or_on_nxt(seed):
    market = small(seed)
    for etp in (listed for listed in market.instruments if listed.group in ("EF", "EN")):  # ETFs, ETNs
        assert {trade.venue for trade in market.offered(etp.symbol)} <= {"KRX"}
        assert {trade.session for trade in market.offered(etp.symbol)} <= {"regular", "closing_auction"}


@few
@given(seeds)
@example(7)
def test_the_regular_day_of_the_krx_is_the_same_with_nxt_beside_it(seed):
    whole, alone = small(seed), market_of(settings(seed=seed, symbols=12, trades_times=0.02))
    for listed in alone.instruments:
        regular = [trade for trade in trades(whole, "KRX", listed.symbol) if trade[0] <= whole.close_ns]
        assert regular == trades(alone, "KRX", listed.symbol)
        assert whole.halts(listed.symbol) == alone.halts(listed.symbol)
        assert whole.daily_bars(listed.symbol) == alone.daily_bars(listed.symbol)


def test_the_same_seed_offers_the_same_trades_at_both_venues_in_another_process():
    program = (
        "from observer.simulator.kis.simulator import market_of\n"
        "from tests.simulator.simulator_client import settings\n"
        "print(market_of(settings(venues=('KRX', 'NXT'))).offered_digest())"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == market_of(settings(venues=BOTH)).offered_digest()


def test_another_seed_is_another_day_at_both_venues():
    assert len({small(seed).offered_digest() for seed in range(5)}) == 5
    assert len({tuple(i.symbol for i in small(seed).view("NXT").instruments) for seed in range(5)}) > 1


def test_the_order_in_which_venues_and_symbols_are_asked_for_changes_nothing():
    backwards = small(7)
    for listed in reversed(backwards.instruments):
        for view in reversed(VIEWS):
            backwards.view(view).state_at(listed.symbol, at(12))
    assert backwards.offered_digest() == small(7).offered_digest()


def values(market):
    """The value of the stocks by venue and session."""
    value: Counter[tuple[str, str]] = Counter()
    for listed in market.instruments:
        for trade in market.offered(listed.symbol) if listed.group not in ("EF", "EN") else ():
            value[trade.venue, trade.session] += trade.price * trade.volume
    return value


@sizes
def test_the_value_of_nxt_is_half_of_that_of_the_stocks_of_the_krx_and_a_third_of_it_outside_the_regular_session(
    symbols,
):
    value = values(large(symbols))
    krx, nxt = (sum(each for (venue, _), each in value.items() if venue == of) for of in BOTH)
    assert 0.48 < nxt / krx < 0.52
    assert 0.28 < (value["NXT", "pre"] + value["NXT", "after"]) / nxt < 0.38
    assert 0.02 < value["KRX", "after"] / krx < 0.05


@pytest.mark.parametrize("ratio", [0.2, 0.5])
def test_the_value_of_nxt_follows_its_setting_in_a_small_market_too(ratio):
    value = values(market_of(settings(symbols=40, trades_times=0.2, venues=BOTH, nxt_value_ratio=ratio)))
    krx, nxt = (sum(each for (venue, _), each in value.items() if venue == of) for of in BOTH)
    assert nxt / krx == pytest.approx(ratio, rel=0.15)


def test_nxt_trades_about_610_of_the_larger_shares_and_not_all_of_them_every_day():
    market = market_of(settings(symbols=2_800, venues=BOTH))
    on_nxt = [listed for listed in market.view("NXT").instruments if listed.ordinary]
    ordinary = sorted((i for i in market.instruments if i.ordinary), key=lambda i: -i.market_cap_100m)
    assert len(on_nxt) == len(market.view("NXT").instruments)
    assert 580 <= len(on_nxt) <= 610
    assert set(ordinary[:200]) - {i for i in ordinary if i.administrative or i.settlement_trading} <= set(on_nxt)
    assert not set(ordinary[1_500:]) & set(on_nxt)
    stopped = [i.symbol for i in on_nxt if (listing := market.nxt_listing(i.symbol)) is not None and listing.stopped]
    assert 0 < len(stopped) < 60
    assert all(len(market.view("NXT").tape(symbol)) == 0 for symbol in stopped)


@sizes
def test_prices_at_nxt_are_on_the_grid_inside_the_limits_and_near_those_of_the_krx(symbols):
    market = large(symbols)
    for listed in market.view("NXT").instruments:
        lowest, highest = price_limits(listed.base_price)
        tape, krx = market.view("NXT").tape(listed.symbol), market.tape(listed.symbol)
        assert all(lowest <= price <= highest and price % tick_size(price) == 0 for price in set(tape.price))
        for time_ns, price in zip(tape.time_ns, tape.price, strict=True):
            traded = krx.count_until(time_ns)
            if traded and time_ns <= market.close_ns:
                beside = krx.price[traded - 1]
                assert abs(price - beside) <= tick_size(max(price, beside))


@sizes
def test_a_halt_of_the_krx_stops_nxt_too_and_an_auction_trade_ends_it(symbols):
    market, ended = large(symbols), 0
    for listed in market.view("NXT").instruments:
        tape = market.view("NXT").tape(listed.symbol)
        for halt in market.halts(listed.symbol):
            assert not [time_ns for time_ns in tape.time_ns if halt.start_ns <= time_ns < halt.end_ns]
            ended += any(
                (time_ns, side) == (halt.end_ns, 3) for time_ns, side in zip(tape.time_ns, tape.side, strict=True)
            )
    assert ended


@sizes
def test_no_second_of_both_venues_is_fuller_than_time_and_sales_can_show(symbols):
    both = large(symbols).view("consolidated")
    fullest = (
        Counter(t // NS_PER_S for t in both.tape(i.symbol).time_ns) for i in large(symbols).view("NXT").instruments
    )
    assert max(max(seconds.values(), default=0) for seconds in fullest) < 30


@pytest.mark.parametrize(
    ("day", "sessions"),
    [
        ("2025-02-28", {("KRX", "regular"), ("KRX", "closing_auction")}),
        ("2026-09-11", set(HOURS) - {("KRX", "after")}),
        ("2026-09-14", set(HOURS)),
    ],
)
def test_a_day_has_the_sessions_that_the_venues_had_then(day, sessions):
    assert {(trade.venue, trade.session) for trade in offered(small(7, session_date=day))} == sessions


def test_the_past_of_both_venues_is_the_sum_of_their_pasts():
    market = small(7)
    for listed in market.view("NXT").instruments:
        krx, nxt, both = (market.view(view).daily_bars(listed.symbol) for view in VIEWS)
        assert [bar.volume for bar in both] == [a.volume + b.volume for a, b in zip(krx, nxt, strict=True)]
        assert [bar.value for bar in both] == [a.value + b.value for a, b in zip(krx, nxt, strict=True)]
    absent = next(i.symbol for i in market.instruments if market.nxt_listing(i.symbol) is None)
    assert market.view("NXT").daily_bars(absent) == ()
    assert market.view("consolidated").daily_bars(absent) == market.daily_bars(absent)


def test_a_market_without_the_krx_is_refused():
    with pytest.raises(ValueError, match="venues"):
        settings(venues=("NXT",))
