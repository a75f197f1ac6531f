"""Which streamed trades can be real: their day, hour, price and volume."""

from itertools import accumulate

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.base.units import NS_PER_S
from observer.gaps.plausibility import (
    AHEAD_MAX_NS,
    GRACE_S,
    SURGE,
    USUAL_SESSION_S,
    TradeScreen,
    TradingHours,
    allowed_volume,
    observed_state,
    state_of,
    vote,
)
from tests.builders import trade, trades
from tests.selection.builders import seen

SYMBOL, DAY = "005930", "2026-11-18"
OPENS_NS = 1_795_000_000 * NS_PER_S
HOURS = TradingHours(DAY, OPENS_NS - 7_200 * NS_PER_S, OPENS_NS + 39_600 * NS_PER_S, OPENS_NS)
AVERAGE = USUAL_SESSION_S * 10  # ten shares a second
AT_ONCE = SURGE * 10 * GRACE_S


def screen(average=AVERAGE):
    made = TradeScreen(HOURS)
    made.expect(SYMBOL, average)
    return made


def at(second, volume, cumulative_volume, **changes):
    """A trade so many seconds after the opening."""
    moment_ns = OPENS_NS + round(second * NS_PER_S)
    made = trade(volume=volume, cumulative_volume=cumulative_volume)
    return msgspec.structs.replace(made, exchange_time_ns=moment_ns, receive_time_ns=moment_ns, **changes)


def position(made):
    return made.cumulative_volume, made.exchange_time_ns


# --- day and hour ---


@pytest.mark.parametrize("date", ["2026-11-17", "2026-11-19", "2026-12-18", "1996-11-18"])
def test_a_trade_of_another_day_cannot_be(date):
    assert screen().misdated(at(60, 1, 1, session_date=date)) == f"a trade of {date}, and the session is that of {DAY}"


@pytest.mark.parametrize("second", [-7_201.0, 39_601.0])
def test_a_trade_outside_the_markets_hours_cannot_be(second):
    assert screen().misdated(at(second, 1, 1)) == "its time is outside the market's hours"


@pytest.mark.parametrize("second", [-7_200.0, 0.0, 39_600.0])
def test_a_trade_of_any_session_of_the_day_can_be(second):
    assert screen().misdated(at(second, 1, 1)) == ""


def test_a_trade_may_be_ahead_of_the_clock_by_the_tolerance_and_no_more():
    made = at(60, 1, 1)
    within = msgspec.structs.replace(made, receive_time_ns=made.exchange_time_ns - AHEAD_MAX_NS)
    beyond = msgspec.structs.replace(made, receive_time_ns=made.exchange_time_ns - AHEAD_MAX_NS - NS_PER_S)
    assert screen().misdated(within) == ""
    assert screen().misdated(beyond) == (
        "its time is 1,801 s ahead of this machine's clock: if that is slow, set it with chrony"
    )


def test_a_trade_that_arrives_after_midnight_is_of_its_own_day():
    made = at(39_000, 1, 1)
    late = msgspec.structs.replace(made, receive_time_ns=made.exchange_time_ns + 86_400 * NS_PER_S)
    assert screen().misdated(late) == ""


# --- price ---


def test_a_price_outside_the_limits_of_the_sweep_is_doubted():
    made = screen()
    prices = {"price": 100.0, "high": 100.0, "low": 100.0, "upper_limit": 130.0, "lower_limit": 70.0}
    made.observe(SYMBOL, state_of(seen(SYMBOL, 100.0, **prices)))
    assert made.doubt(at(60, 1, 101, price=130.0), None) == ""
    assert made.doubt(at(60, 1, 101, price=70.0), None) == ""
    assert made.doubt(at(60, 1, 101, price=131.0), None) == "price 131 outside 70 to 130"
    assert made.doubt(at(60, 1, 101, price=69.0), None) == "price 69 outside 70 to 130"


def test_a_symbol_without_limits_trades_at_any_price():
    made = screen()
    made.observe(SYMBOL, observed_state(100.0, OPENS_NS, (None, None), [100.0]))
    assert made.doubt(at(60, 1, 101, price=1e9), None) == ""


def test_prices_that_the_broker_names_count_even_outside_its_limits():
    made = screen()
    made.observe(SYMBOL, observed_state(100.0, OPENS_NS, (70.0, 130.0), [100.0, 150.0, None, 0.0]))
    assert made.doubt(at(60, 1, 101, price=150.0), None) == ""
    assert made.doubt(at(60, 1, 101, price=151.0), None) != ""


# --- volume ---


def test_the_volume_may_grow_by_a_multiple_of_the_usual_rate_since_the_last_known_one():
    last = at(600, 10, 5_000)
    allowed = allowed_volume(10.0, 60 * NS_PER_S)
    assert allowed == SURGE * 10 * (60 + GRACE_S)
    assert screen().doubt(at(660, 1, 5_000 + allowed), position(last)) == ""
    reason = screen().doubt(at(660, 1, 5_001 + allowed), position(last))
    assert reason == "the day's volume grows from 5,000 to 77,001, plausible are 72,000 more"


def test_a_jump_of_the_same_size_is_plausible_after_a_long_outage():
    last = at(600, 10, 5_000)
    assert screen().doubt(at(601, 1, 500_000), position(last)) != ""
    assert screen().doubt(at(600 + 3_600, 1, 500_000), position(last)) == ""


def test_a_large_block_is_as_plausible_as_a_gap_of_its_size():
    last = at(600, 10, 5_000)
    assert screen().doubt(at(600, AT_ONCE, 5_000 + AT_ONCE), position(last)) == ""
    assert screen().doubt(at(600, AT_ONCE + 1, 5_001 + AT_ONCE), position(last)) != ""


def test_a_quote_makes_the_volume_that_it_shows_plausible():
    last, jump = at(600, 10, 5_000), at(601, 1, 2_000_000)
    made = screen()
    assert made.doubt(jump, position(last)) != ""
    made.observe(SYMBOL, observed_state(2_000_000.0, jump.receive_time_ns, (None, None), []))
    assert made.doubt(jump, position(last)) == ""
    assert made.doubt(at(602, 1, 900_000_000), position(last)) != ""


def test_a_day_with_much_trading_has_its_own_usual_rate():
    made = screen(average=1.0)
    last = at(3_600, 10, 3_600_000)
    made.observe(SYMBOL, observed_state(3_600_000.0, last.exchange_time_ns, (None, None), []))
    assert made.doubt(at(3_601, 100_000, 3_700_000), position(last)) == ""


def test_the_openings_volume_is_no_rate_for_the_day():
    """A tenth of a day in the first second would make any volume plausible."""
    made = screen(average=None)
    made.observe(SYMBOL, observed_state(100_000.0, OPENS_NS + NS_PER_S, (None, None), []))
    assert made.doubt(at(2, 1, 100_000_000), (100_000.0, OPENS_NS + NS_PER_S)) != ""


def test_the_first_trade_is_compared_with_the_opening_if_no_volume_is_known():
    assert screen().doubt(at(0, AT_ONCE, AT_ONCE), None) == ""
    assert screen().doubt(at(0, 1, AT_ONCE * 1000), None) != ""


def test_a_symbol_without_any_known_volume_is_not_doubted():
    assert screen(average=None).doubt(at(1, 1, 1e12), None) == ""
    assert TradeScreen(HOURS).doubt(at(1, 1, 1e12), None) == ""


def test_a_new_listing_without_an_average_is_judged_by_its_own_day():
    made = screen(average=None)
    made.observe(SYMBOL, observed_state(36_000.0, OPENS_NS + 3_600 * NS_PER_S, (None, None), []))
    last = (36_000.0, OPENS_NS + 3_600 * NS_PER_S)
    assert made.doubt(at(3_601, 1, 36_000 + AT_ONCE), last) == ""
    assert made.doubt(at(3_601, 1, 36_000_000), last) != ""


# --- bounds for the hot path ---

STEPS = st.lists(st.tuples(st.floats(0, 3_600), st.floats(1, AT_ONCE * 3)), min_size=1, max_size=30)


@given(STEPS, st.booleans())
def test_what_lies_within_the_bounds_is_never_doubted(steps, is_swept):
    made = screen()
    if is_swept:
        made.observe(SYMBOL, observed_state(1_000.0, OPENS_NS, (1.0, 1e6), []))
    known = None
    seconds = list(accumulate(step for step, _ in steps))
    for second, (_, volume) in zip(seconds, steps, strict=True):
        taken = at(second, volume, (known[0] if known else 0.0) + volume)
        bounds = made.bounds[SYMBOL]
        reason = made.doubt(taken, known)
        if taken.cumulative_volume <= bounds.ceiling and bounds.lower <= taken.price <= bounds.upper:
            assert reason == ""
        elif not reason:
            made.passed(taken)
        if not reason:
            known = position(taken)


@given(st.floats(1e-3, 1e9), st.integers(0, 10**14), st.integers(0, 10**14))
def test_more_time_never_allows_less(usual_per_s, one_ns, other_ns):
    shorter, longer = sorted((one_ns, other_ns))
    assert 0 < allowed_volume(usual_per_s, -shorter) == allowed_volume(usual_per_s, 0)
    assert allowed_volume(usual_per_s, shorter) <= allowed_volume(usual_per_s, longer)


def test_a_symbol_that_is_looked_at_closely_has_no_bounds_until_a_trade_passes():
    made = screen()
    made.passed(at(1, 1, 1))
    assert made.bounds[SYMBOL].ceiling == 1 + AT_ONCE
    made.look_closely(SYMBOL)
    assert made.bounds[SYMBOL].ceiling < 0
    made.passed(at(2, 1, 2))
    assert made.bounds[SYMBOL].ceiling == 2 + AT_ONCE
    assert TradeScreen(HOURS).unbounded.ceiling > 1e300


# --- votes ---


@given(st.integers(1, 8))
def test_two_trades_in_a_row_that_continue_a_held_one_confirm_it(count):
    assert vote(trades(count, first=1_000), 0) == ("confirmed" if count >= 3 else None)


@given(st.integers(1, 8), st.integers(0, 5))
def test_two_trades_that_continue_without_it_refute_it(count, continuing):
    assert (vote(trades(count, first=1_000), continuing) == "refuted") == (continuing >= 2)


def test_trades_that_do_not_continue_each_other_confirm_nothing():
    assert vote([trade(1_000), trade(2_000), trade(3_000)], 0) is None
