"""What the body parsers promise: strings become numbers, and blanks become nothing."""

import json

import msgspec
import pytest

from observer.clock import kst_datetime
from observer.errors import MalformedError
from observer.providers.kis import bodies


def decoded(body_type, **content):
    return msgspec.json.decode(json.dumps(content), type=body_type)


QUOTE = {
    "inter_shrn_iscd": "005930",
    "inter2_prpr": "70000",
    "acml_vol": " 123 ",
    "acml_tr_pbmn": "",
    "inter2_oprc": "0",
}


def test_padded_numbers_are_read_and_absent_prices_are_none():
    (quote,) = bodies.quotes_of(decoded(bodies.QuotesBody, output=[QUOTE]))
    assert (quote.symbol, quote.price, quote.cumulative_volume, quote.cumulative_value) == ("005930", 70000.0, 123.0, 0)
    assert (quote.open, quote.high, quote.bid) == (None, None, None)


def test_an_output_may_be_one_object():
    assert len(bodies.quotes_of(decoded(bodies.QuotesBody, output=QUOTE))) == 1


def test_rows_without_a_symbol_or_any_price_are_no_quotes():
    rows = [{"inter_shrn_iscd": ""}, {"inter_shrn_iscd": "999999", "inter2_prpr": "0"}]
    assert bodies.quotes_of(decoded(bodies.QuotesBody, output=rows)) == []


def test_before_the_first_trade_the_previous_close_stands_in():
    row = {"inter_shrn_iscd": "005930", "inter2_prpr": "0", "inter2_prdy_clpr": "69000"}
    assert bodies.quotes_of(decoded(bodies.QuotesBody, output=[row]))[0].price == 69000.0


@pytest.mark.parametrize("text", ["x", "nan", "inf", "1,000"])
def test_a_field_that_is_no_number_is_malformed(text):
    with pytest.raises(MalformedError):
        bodies.quotes_of(decoded(bodies.QuotesBody, output=[{**QUOTE, "inter2_prpr": text}]))


def test_daily_bars_come_oldest_first_and_empty_rows_are_passed_over():
    row = {"stck_bsop_date": "20261120", "stck_clpr": "2", "acml_vol": "5"}
    body = decoded(bodies.DailyBody, output2=[row, {**row, "stck_bsop_date": "20261119"}, {}])
    bars = bodies.daily_bars_of(body, "005930")
    assert [kst_datetime(bar.start_ns).date().isoformat() for bar in bars] == ["2026-11-19", "2026-11-20"]


@pytest.mark.parametrize(
    ("change", "sign", "base"),
    [("429", "1", 1_430.0), ("-64", "5", 1_923.0), ("64", "5", 1_923.0), ("0", "0", 1_859.0), ("", "", None)],
)
def test_a_days_base_price_is_its_close_without_its_change(change, sign, base):
    """Rows as traded that were seen: 2,860 won; the next day, of other shares, 1,859 won and a change of 429."""
    row = {"stck_bsop_date": "20261120", "stck_clpr": "1859", "prdy_vrss": change, "prdy_vrss_sign": sign}
    [bar] = bodies.daily_bars_of(decoded(bodies.DailyBody, output2=[row]), "083660")
    assert bar.base_price == base


def test_a_row_with_an_impossible_time_is_malformed():
    body = decoded(bodies.MinuteBody, output2=[{"stck_bsop_date": "20261120", "stck_cntg_hour": "250000"}])
    with pytest.raises(MalformedError):
        bodies.minute_bars_of(body, "005930")


def test_a_minute_is_worth_the_difference_of_the_days_values():
    rows = [
        {"stck_bsop_date": "20261120", "stck_cntg_hour": f"09{minute:02}00", "acml_tr_pbmn": str(value)}
        for minute, value in enumerate([100, 250, 250])
    ]
    bars = bodies.minute_bars_of(decoded(bodies.MinuteBody, output2=rows), "005930")
    assert [bar.value for bar in bodies.with_own_values(bars)] == [100.0, 150.0, 0.0]


@pytest.mark.parametrize("label", ["stck_pbpr", "stck_prpr"])
def test_the_price_of_a_past_trade_has_two_labels(label):
    row = {"stck_cntg_hour": "100000", label: "70000", "cnqn": "3", "acml_vol": "10"}
    (trade,) = bodies.past_trades_of(decoded(bodies.ConclusionsBody, output2=row), "005930", "20261120")
    assert (trade.price, trade.volume, trade.cumulative_volume) == (70000.0, 3.0, 10.0)
    assert kst_datetime(trade.exchange_time_ns).isoformat() == "2026-11-20T10:00:00+09:00"
