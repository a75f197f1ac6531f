"""Days on which the exchange's base price is not the previous close: splits and their like."""

from math import ceil, floor

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.events import DailyBar, SharesAdjusted, TriggerFired
from observer.selection.indicators import (
    adjustment,
    base_price,
    factor_since,
    in_latest_shares,
    price_factor,
    scaled,
)
from observer.selection.settings import SelectionSettings, SlotSettings
from tests.selection.builders import SEEN, all_of, member, selector_of

SNAPSHOT = msgspec.structs.replace(SEEN, symbol="005930", cumulative_volume=1.0)


def adjusted(before, snapshot):
    """The member as that day's decisions see it."""
    return scaled(before, price_factor(before, snapshot))


def tick(price):
    """KRX's steps of prices since 2023."""
    bounds = ((2_000, 1), (5_000, 5), (20_000, 10), (50_000, 50), (200_000, 100), (500_000, 500))
    return next((step for bound, step in bounds if price < bound), 1_000)


def seen(base, **changes):
    """Track A's snapshot on a day with this base price: limits of 30 %, rounded inwards to ticks."""
    upper, lower = base * 1.3, base * 0.7
    return msgspec.structs.replace(
        SNAPSHOT,
        upper_limit=float(floor(upper / tick(upper)) * tick(upper)),
        lower_limit=float(ceil(lower / tick(lower)) * tick(lower)),
        **changes,
    )


@pytest.mark.parametrize(("ratio", "name"), [(1 / 5, "5:1"), (5.0, "1:5"), (1 / 50, "50:1")])
def test_after_a_split_history_is_brought_to_the_new_shares(ratio, name):
    before = member(previous_close=50_000.0, average_volume_20d=1_000.0, average_true_range_14d=2_000.0)
    after = adjusted(before, seen(50_000.0 * ratio))
    assert after.previous_close == pytest.approx(50_000.0 * ratio, rel=0.002), name
    assert after.average_volume_20d == pytest.approx(1_000.0 / ratio, rel=0.002)
    assert after.average_true_range_14d == pytest.approx(2_000.0 * ratio, rel=0.002)


@given(st.integers(1_000, 1_000_000))
def test_limits_around_the_previous_close_change_nothing(close):
    before = member(previous_close=float(close))
    assert adjusted(before, seen(close)) is before


@given(st.integers(500, 1_000_000), st.floats(0.01, 50.0))
def test_the_base_price_is_derived_from_the_limits(close, ratio):
    base = max(100.0, round(close * ratio))
    snapshot = seen(base)
    assert base_price(snapshot.upper_limit, snapshot.lower_limit) == pytest.approx(base, rel=0.02)


@given(st.integers(4_000, 1_000_000), st.floats(0.02, 50.0))
def test_a_split_keeps_the_turnover(close, ratio):
    before = member(previous_close=float(close), average_volume_20d=1_000.0)
    after = adjusted(before, seen(max(100.0, close * ratio)))
    assert after.average_volume_20d is not None
    assert after.average_volume_20d * after.previous_close == pytest.approx(1_000.0 * close)


@given(st.integers(4_000, 500_000))
def test_the_first_day_of_a_new_issue_is_no_split(price):
    """Its limits are 60 % and 400 % of the price of the issue."""
    before = member(previous_close=float(price))
    limits = {"upper_limit": price * 4.0, "lower_limit": price * 0.6}
    assert price_factor(before, msgspec.structs.replace(SNAPSHOT, **limits)) == 1.0


@pytest.mark.parametrize(
    "limits", [(None, 7_000.0), (13_000.0, None), (0.0, 0.0), (7_000.0, 7_000.0), (5_000.0, 9_000.0)]
)
def test_unusable_limits_change_nothing(limits):
    snapshot = msgspec.structs.replace(SNAPSHOT, upper_limit=limits[0], lower_limit=limits[1])
    before = member(previous_close=50_000.0)
    assert adjusted(before, snapshot) is before


def test_unknown_history_stays_unknown_after_a_split():
    after = adjusted(
        member(previous_close=50_000.0, average_volume_20d=None, average_true_range_14d=None), seen(10_000)
    )
    assert (after.average_volume_20d, after.average_true_range_14d) == (None, None)


@pytest.mark.parametrize("changes", [{"close_is_base": True}, {"session_date": "2026-11-17"}])
@pytest.mark.parametrize(("ratio", "is_split"), [(0.71, False), (1.29, False), (0.5, True), (0.2, True), (2.0, True)])
def test_a_close_that_may_be_a_session_older_proves_only_a_move_beyond_the_daily_limit(changes, ratio, is_split):
    """A symbol that moved by its limit on the day between was not split."""
    before = member(previous_close=50_000.0, **changes)
    assert (price_factor(before, seen(50_000.0 * ratio)) != 1.0) == is_split
    assert price_factor(member(previous_close=50_000.0), seen(50_000.0 * ratio)) == pytest.approx(ratio, rel=0.01)


# --- what is stored for later days ---


BAR = DailyBar("kis", "005930", "2026-11-16", 9_900.0, 10_200.0, 9_800.0, 10_000.0, 1_000.0, 1e7)


def test_a_base_price_that_is_not_the_close_before_it_is_a_change_of_shares():
    found = adjustment(BAR, "2026-11-17", 2_000.0, "2026-11-18")
    assert found == SharesAdjusted("kis", "005930", "2026-11-17", "2026-11-18", 2_000.0, 10_000.0)


@pytest.mark.parametrize("base", [None, 10_000.0, 10_499.0, 9_501.0])
def test_without_a_base_price_or_with_nearly_the_close_the_shares_are_the_same(base):
    assert adjustment(BAR, "2026-11-17", base, "2026-11-18") is None


@pytest.mark.parametrize("base", [10_501.0, 9_499.0])
def test_a_base_price_that_differs_by_more_than_ticks_is_a_change_of_shares(base):
    assert adjustment(BAR, "2026-11-17", base, "2026-11-18") is not None


def test_a_bar_without_a_price_yields_no_change_of_shares():
    assert adjustment(msgspec.structs.replace(BAR, close=0.0), "2026-11-17", 2_000.0, "2026-11-18") is None


def split(session_date, factor):
    return SharesAdjusted("kis", "005930", session_date, session_date, 10_000.0 * factor, 10_000.0)


def test_only_later_changes_concern_a_session_and_they_multiply():
    changes = [split("2026-11-10", 0.2), split("2026-11-12", 0.5)]
    dates = ("2026-11-09", "2026-11-10", "2026-11-11", "2026-11-12")
    assert [factor_since(date, changes) for date in dates] == pytest.approx([0.1, 0.5, 0.5, 1.0])


def test_a_bar_in_later_shares_has_scaled_prices_and_the_same_turnover():
    found = in_latest_shares(BAR, [split("2026-11-17", 0.2)])
    prices = (found.open, found.high, found.low, found.close)
    assert prices == pytest.approx((1_980.0, 2_040.0, 1_960.0, 2_000.0))
    assert (found.volume, found.value) == pytest.approx((5_000.0, 1e7))
    assert in_latest_shares(BAR, [split("2026-11-16", 0.2)]) == BAR


def fired(previous_close, snapshot):
    """The triggers on a day with ordinary turnover: as many won as the average day, at today's price."""
    base = base_price(snapshot.upper_limit, snapshot.lower_limit) or 0.0
    today = msgspec.structs.replace(
        snapshot,
        price=base,
        high=base * 1.005,
        low=base * 0.995,
        cumulative_volume=1_000.0 * previous_close / base,
        receive_time_ns=1_000_000_000,
    )
    history = member(
        previous_close=previous_close, average_volume_20d=1_000.0, average_true_range_14d=previous_close / 50
    )
    selector = selector_of([history], {"main": 1}, SelectionSettings(slots=SlotSettings(max_slots=1)))
    selector.market.update_snapshot(today)
    return all_of(TriggerFired, selector.evaluate_universe(2_000_000_000))


@pytest.mark.parametrize("ratio", [1.0, 1 / 5, 5.0, 1 / 50])
def test_an_ordinary_day_with_a_split_fires_no_trigger(ratio):
    """Five times the shares at a fifth of the price are no surge of volume; five times the price is no volatility."""
    assert fired(50_000.0, seen(50_000.0 * ratio)) == []


@pytest.mark.parametrize(
    ("symbol", "ratio", "is_split"), [("A.NXT", 0.8, False), ("A", 0.8, True), ("A.NXT", 0.2, True)]
)
def test_the_base_price_of_a_further_venue_is_the_main_venue_s_close_so_only_a_large_difference_is_a_split(
    symbol, ratio, is_split
):
    before = member(symbol, previous_close=50_000.0)
    assert (price_factor(before, seen(50_000.0 * ratio, symbol=symbol)) != 1.0) == is_split
