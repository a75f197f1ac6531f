"""Averages, ranges and rates."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.brokers.broker import Bar
from observer.selection.indicators import TradeRate, average_true_range, average_volume, ratio, true_range

SECOND_NS = 1_000_000_000


def bar(volume=0.0, high=0.0, low=0.0, close=0.0):
    return Bar("A", 0, close, high, low, close, volume, 0.0)


def test_the_average_volume_is_that_of_the_last_twenty_days():
    assert average_volume([bar(1e9)] + [bar(float(day)) for day in range(1, 21)]) == pytest.approx(10.5)


def test_a_new_listing_has_the_average_of_the_days_it_has():
    assert average_volume([bar(10), bar(20)]) == 15
    assert average_volume([]) is None


@pytest.mark.parametrize(
    ("high", "low", "previous_close", "expected"), [(110, 100, 105, 10), (110, 100, 90, 20), (110, 100, 130, 30)]
)
def test_the_true_range_includes_an_opening_gap(high, low, previous_close, expected):
    assert true_range(high, low, previous_close) == expected


def test_the_average_true_range_is_the_mean_of_the_last_fourteen():
    quiet = [bar(high=101, low=99, close=100)] * 15
    assert average_true_range([bar(high=900, low=1, close=100), *quiet]) == 2
    assert average_true_range([*quiet[:-1], bar(high=116, low=100, close=100)]) == pytest.approx((13 * 2 + 16) / 14)


def test_one_bar_has_no_true_range():
    assert average_true_range([bar(high=2, low=1, close=1)]) is None


def test_a_ratio_needs_a_positive_reference():
    assert ratio(6.0, 2.0) == 3.0
    assert ratio(6.0, 0.0) is None
    assert ratio(6.0, None) is None


@given(st.lists(st.integers(0, 20), max_size=60), st.integers(1, 5))
def test_the_trade_rate_counts_the_trades_of_the_window(seconds, window_s):
    rate = TradeRate(window_s)
    for second in sorted(seconds):
        rate.add(second * SECOND_NS)
    now_s = max(seconds, default=0)
    assert rate.per_second(now_s * SECOND_NS) * window_s == pytest.approx(
        sum(now_s - window_s < second <= now_s for second in seconds)
    )


def test_the_trade_rate_falls_to_nothing_when_trading_stops():
    rate = TradeRate(1.0)
    rate.add(0)
    assert rate.per_second(SECOND_NS - 1) == 1.0
    assert rate.per_second(SECOND_NS) == 0.0


@pytest.mark.parametrize(("count", "per_second"), [(1, 1.0), (5, 3.0), (21, 11.0)])
def test_trades_reported_together_are_taken_to_be_evenly_apart(count, per_second):
    """The trades span two seconds; only the last second counts."""
    rate = TradeRate(1.0)
    rate.add_evenly(count, 0, 2 * SECOND_NS - 2)
    assert rate.per_second(2 * SECOND_NS - 2) == per_second
