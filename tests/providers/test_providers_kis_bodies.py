"""What the body parsers promise: strings become numbers, blanks become nothing, refusals become our errors."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.clock import kst_datetime
from observer.errors import (
    BadRequestError,
    MaintenanceError,
    MalformedError,
    RateExceededError,
    TokenExpiredError,
    TokenThrottledError,
)
from observer.providers.kis import bodies

NOW_NS = 1_790_000_000_000_000_000


def decoded(body_type, **content):
    return msgspec.json.decode(json.dumps(content), type=body_type)


@pytest.mark.parametrize(
    ("status", "body", "error_type"),
    [
        (500, {"rt_cd": "1", "msg_cd": "EGW00201", "msg1": "too many"}, RateExceededError),
        (200, {"rt_cd": "1", "msg_cd": "EGW00201"}, RateExceededError),
        (500, {"rt_cd": "1", "msg_cd": "EGW00123"}, TokenExpiredError),
        (200, {"rt_cd": "1", "msg_cd": "EGW00121"}, TokenExpiredError),
        (401, {}, TokenExpiredError),
        (403, {"error_code": "EGW00133", "error_description": "once a minute"}, TokenThrottledError),
        (500, {"rt_cd": "1", "msg_cd": "EGW00300"}, MaintenanceError),
        (503, {}, MaintenanceError),
        (429, {}, RateExceededError),
        (200, {"rt_cd": "1", "msg_cd": "OPSQ2001", "msg1": "no such symbol"}, BadRequestError),
        (404, {}, BadRequestError),
        (302, {}, BadRequestError),
    ],
)
def test_a_refusal_becomes_the_error_that_its_code_names(status, body, error_type):
    error = bodies.classify(status, json.dumps(body).encode())
    assert type(error) is error_type


def test_an_error_carries_code_and_text():
    error = bodies.classify(500, b'{"rt_cd":"1","msg_cd":"EGW00201","msg1":" too many "}')
    assert error is not None
    assert (error.code, str(error)) == ("EGW00201", "EGW00201 too many")


@pytest.mark.parametrize("body", [b'{"rt_cd":"0","msg_cd":"MCA00000"}', b'{"rt_cd":"0 "}', b'{"access_token":"x"}'])
def test_a_success_is_no_error(body):
    assert bodies.classify(200, body) is None


@pytest.mark.parametrize("body", [b"<html>bad gateway</html>", b"", b"\xff\xfe", b"[1]"])
def test_an_unreadable_failure_is_judged_by_its_status(body):
    assert type(bodies.classify(502, body)) is MaintenanceError


@given(st.integers(100, 599), st.binary())
def test_classification_never_raises(status, body):
    bodies.classify(status, body)


def test_a_token_ends_when_kis_says_in_korean_time():
    body = bodies.TokenBody("secret", 86_400, "2026-11-21 08:01:30")
    token = bodies.issued_token(body, NOW_NS)
    assert kst_datetime(token.expires_ns).isoformat() == "2026-11-21T08:01:30+09:00"
    assert token.expires_ns - token.issued_ns >= 24 * 3600 * 10**9
    assert "secret" not in repr(token)


def test_without_a_date_a_token_lives_as_long_as_it_says():
    assert bodies.issued_token(bodies.TokenBody("t", 600), NOW_NS).expires_ns == NOW_NS + 600 * 10**9


def test_a_blank_token_is_none():
    with pytest.raises(MalformedError):
        bodies.issued_token(bodies.TokenBody(" "), NOW_NS)


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
