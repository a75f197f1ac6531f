"""The body parsers: strings become numbers, and blanks become nothing."""

import json

import pytest

from observer.base.errors import MalformedError
from observer.base.local_time import local_datetime
from observer.brokers.bodies import decode
from observer.brokers.kis import calls, schema


def read(call, **content):
    body = decode(json.dumps(content).encode(), call.record.body_type, call.name)
    return call.read(body, {"symbol": "005930", "symbols": {"005930": "005930"}, "day": "20261120"})


QUOTE = {
    "inter_shrn_iscd": "005930",
    "inter2_prpr": "70000",
    "acml_vol": " 123 ",
    "acml_tr_pbmn": "",
    "inter2_oprc": "0",
}


def test_padded_numbers_are_read_and_absent_prices_are_none():
    (quote,) = read(calls.QUOTES, output=[QUOTE])
    assert (quote.symbol, quote.price, quote.cumulative_volume, quote.cumulative_value) == ("005930", 70000.0, 123.0, 0)
    assert (quote.open, quote.high, quote.bid) == (None, None, None)


def test_an_output_may_be_one_object():
    assert len(read(calls.QUOTES, output=QUOTE)) == 1


def test_rows_without_a_symbol_or_any_price_are_no_quotes():
    rows = [{"inter_shrn_iscd": ""}, {"inter_shrn_iscd": "999999", "inter2_prpr": "0"}]
    assert read(calls.QUOTES, output=rows) == []


def test_the_price_before_the_first_trade_is_the_previous_close():
    row = {"inter_shrn_iscd": "005930", "inter2_prpr": "0", "inter2_prdy_clpr": "69000"}
    assert read(calls.QUOTES, output=[row])[0].price == 69000.0


@pytest.mark.parametrize("text", ["x", "nan", "inf", "1,000"])
def test_a_field_that_is_no_number_is_malformed(text):
    with pytest.raises(MalformedError):
        read(calls.QUOTES, output=[{**QUOTE, "inter2_prpr": text}])


def test_daily_bars_come_oldest_first_and_empty_rows_are_passed_over():
    row = {"stck_bsop_date": "20261120", "stck_clpr": "2", "acml_vol": "5"}
    bars = read(calls.DAILY_BARS, output2=[row, {**row, "stck_bsop_date": "20261119"}, {}])
    assert [local_datetime(bar.start_ns).date().isoformat() for bar in bars] == ["2026-11-19", "2026-11-20"]


@pytest.mark.parametrize(
    ("change", "sign", "base"),
    [("429", "1", 1_430.0), ("-64", "5", 1_923.0), ("64", "5", 1_923.0), ("0", "0", 1_859.0), ("", "", None)],
)
def test_a_days_base_price_is_its_close_without_its_change(change, sign, base):
    """Rows as traded that were seen: 2,860 won; the next day, of other shares, 1,859 won and a change of 429."""
    row = {"stck_bsop_date": "20261120", "stck_clpr": "1859", "prdy_vrss": change, "prdy_vrss_sign": sign}
    [bar] = read(calls.DAILY_BARS, output2=[row])
    assert bar.base_price == base


def test_a_row_with_an_impossible_time_is_malformed():
    with pytest.raises(MalformedError, match="minute_bars: stck_bsop_date, stck_cntg_hour: '250000'"):
        read(calls.MINUTE_BARS, output2=[{"stck_bsop_date": "20261120", "stck_cntg_hour": "250000"}])


def test_a_minute_is_worth_the_difference_of_the_days_values():
    rows = [
        {"stck_bsop_date": "20261120", "stck_cntg_hour": f"09{minute:02}00", "acml_tr_pbmn": str(value)}
        for minute, value in enumerate([100, 250, 250])
    ]
    bars = read(calls.MINUTE_BARS, output2=rows)
    assert [bar.value for bar in schema.with_own_values(bars)] == [100.0, 150.0, 0.0]


@pytest.mark.parametrize("label", ["stck_pbpr", "stck_prpr"])
def test_the_price_of_a_past_trade_has_two_labels(label):
    row = {"stck_cntg_hour": "100000", label: "70000", "cnqn": "3", "acml_vol": "10"}
    (trade,) = read(calls.TRADES, output2=row)
    assert (trade.price, trade.volume, trade.cumulative_volume) == (70000.0, 3.0, 10.0)
    assert local_datetime(trade.exchange_time_ns).isoformat() == "2026-11-20T10:00:00+09:00"
