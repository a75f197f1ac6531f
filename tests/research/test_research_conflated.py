"""A share that a conflated row and a stored trade have counts once, in bars as in a simple judge's list of trades."""

from typing import Final

import polars as pl
import pytest
from hypothesis import example, given

from observer.research.bars import BarRows, bars
from observer.research.reading import stored_schema
from tests.conflated import ConflatedDay, conflated_days
from tests.research.stored import DAY

SECOND_NS: Final = 1_000_000_000
MINUTE_NS: Final = 60 * SECOND_NS


def frame(kind, rows):
    common = {"stream": 1, "provider": "kis", "symbol": "A", "session_date": DAY, "venue": "KRX", "receive_time_ns": 0}
    numbered = [common | {"sequence": nth} | row for nth, row in enumerate(rows)]
    return pl.LazyFrame(numbered, schema=dict(stored_schema(kind)))


def bar_rows(day):
    trades = [
        {"exchange_time_ns": each.second * SECOND_NS, "price": each.price, "volume": each.volume}
        | {"cumulative_volume": each.upto, "side": "buy", "side_inferred": False}
        for each in day.held
    ]
    conflated = [
        {"from_ns": row[0].second * SECOND_NS, "to_ns": row[-1].second * SECOND_NS, "trades": len(row)}
        | {"volume": sum(each.volume for each in row), "cumulative_volume": row[-1].upto}
        | {"open": row[0].price, "close": row[-1].price}
        | {"high": max(each.price for each in row), "low": min(each.price for each in row)}
        for row in day.rows
    ]
    return BarRows(
        frame("trades", trades),
        frame("conflated_trades", conflated),
        frame("recovered_minute_bars", []),
        frame("reconciliations", []),
    )


@given(conflated_days())
@example(ConflatedDay.of([(1, 10, 5), (1, 11, 5)], rows=[(0, 2)], held=[0, 1]))  # wholly
@example(ConflatedDay.of([(1, 10, 5), (1, 11, 5), (2, 12, 5)], rows=[(0, 2)], held=[1, 2]))  # in part
def test_each_share_and_each_trade_counts_once_in_its_minute(day):
    found = bars(bar_rows(day), MINUTE_NS, 0, "UTC")
    minutes = found["time"].dt.epoch("s") // 60
    volumes = dict(zip(minutes, found.select("volume", "trades").rows(), strict=True))
    assert volumes == day.volumes_by_minute()


@given(conflated_days())
def test_one_bar_of_all_has_the_prices_of_all_trades(day):
    counted = day.counted
    found = bars(bar_rows(day), 60 * MINUTE_NS, 0, "UTC")
    if not counted:
        assert found.is_empty()
        return
    prices = [each.price for each in counted]
    [row] = found.select("open", "high", "low", "close", "volume", "trades").rows()
    assert row == (prices[0], max(prices), min(prices), prices[-1], sum(each.volume for each in counted), len(counted))


@given(conflated_days(is_whole=True))
def test_trades_inside_a_conflated_row_do_not_break_the_chain(day):
    found = bars(bar_rows(day), MINUTE_NS, 0, "UTC")
    assert found["complete"][:-1].all()  # nothing proves that no trade follows the last one


def test_trades_of_a_conflated_row_that_are_stored_behind_later_ones_count_in_their_bars():
    trades = [(1, 10, 10), (61, 11, 10), (62, 12, 10), (121, 13, 10)]
    found = bars(bar_rows(ConflatedDay.of(trades, rows=[(1, 3)], held=[0, 3, 1, 2])), MINUTE_NS, 0, "UTC")
    minutes = found["time"].dt.epoch("s") // 60
    assert minutes.to_list() == [0, 1, 2]
    assert found.select("open", "close", "volume").rows() == [(10, 10, 10), (11, 12, 20), (13, 13, 10)]
    longer = bars(bar_rows(ConflatedDay.of(trades, rows=[(1, 3)], held=[0, 3, 1, 2])), 5 * MINUTE_NS, 0, "UTC")
    assert longer.select("open", "close", "volume").rows() == [(10, 13, 40)]


def test_the_mean_price_is_unknown_where_a_share_is_known_as_a_conflated_row_only():
    trades = [(1, 10, 5), (1, 20, 5)]
    whole = bars(bar_rows(ConflatedDay.of(trades, rows=[(0, 2)], held=[0, 1])), MINUTE_NS, 0, "UTC")
    part = bars(bar_rows(ConflatedDay.of(trades, rows=[(0, 2)], held=[0])), MINUTE_NS, 0, "UTC")
    assert (whole["vwap"].to_list(), part["vwap"].to_list()) == ([15.0], [None])
    assert whole["volume"].to_list() == part["volume"].to_list() == pytest.approx([10.0])
