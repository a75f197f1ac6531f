"""KRX's two clients, against a stand-in that behaves as they are described; LOGOUT and an expired password
distinguished.
"""

import fcntl
import json
from contextlib import asynccontextmanager
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.base.errors import (
    BadRequestError,
    LoggedOutError,
    MaintenanceError,
    MalformedError,
    PasswordExpiredError,
    ProviderError,
    RateExceededError,
    SessionTakenError,
    TransportError,
)
from observer.brokers.krx.bodies import data_entries, login_refusal, open_days, open_entries, refusal
from observer.brokers.krx.client import BROWSER, KrxData, KrxOpenApi, open_krx_client
from observer.brokers.settings import RestSettings
from observer.reference.etf.model import EtfEntry
from tests.brokers.krx_stand_in import AUTH_KEY, PASSWORD, ROW, USER, krx_serving
from tests.strategies import json_values

DAY = date(2026, 11, 17)
NAMED = RestSettings(user_agent=BROWSER)


@asynccontextmanager
async def opened(tmp_path, password=PASSWORD, take_over=False, auth_key=AUTH_KEY):
    """The stand-in, the data call and the Open API."""
    async with krx_serving() as (krx, address), open_krx_client(address, NAMED) as client:
        data = KrxData(client, USER, password, tmp_path / "krx.lock", take_over=take_over)
        yield krx, data, KrxOpenApi(client, auth_key)


async def test_the_data_calls_fields_all_arrive(tmp_path):
    async with opened(tmp_path) as (_krx, data, _api):
        first, second = await data.etf_list(DAY)
    assert first == EtfEntry(
        symbol="069500",
        name="KODEX 200",
        group="EF",
        isin="KR7069500007",
        full_name="삼성KODEX200증권상장지수투자신탁[주식]",
        english_name="Samsung KODEX200 ETF[EQ]",
        issuer="삼성자산운용",
        index_name="코스피 200",
        index_provider="KRX",
        region="국내",
        asset_class="주식",
        replication="실물(패시브)",
        tax_type="비과세",
        leverage=1.0,
        expense_ratio_percent=0.15,
        listed_shares=188_600_000.0,
        creation_unit_shares=50_000.0,
        listed_on="2002-10-14",
    )
    assert (second.leverage, second.expense_ratio_percent) == (-2.0, None)


@pytest.mark.parametrize("number", ["nan", "inf", "-1e999"])
def test_a_number_that_is_not_finite_is_refused(number):
    body = json.dumps({"OutBlock_1": [{"BAS_DD": "20261118", "ISU_CD": "069500", "LIST_SHRS": number}]}).encode()
    with pytest.raises(MalformedError, match="is no number"):
        open_entries(body, "krx")


def test_names_hold_no_control_characters_and_are_no_books():
    def body(name):
        return json.dumps({"OutBlock_1": [{"BAS_DD": "20261118", "ISU_CD": "\x0069500", "ISU_NM": name}]}).encode()

    [entry] = open_entries(body("KODEX\x1b[2J\u202e 200\x07\n"), "krx")
    assert (entry.symbol, entry.name) == ("69500", "KODEX[2J 200")
    with pytest.raises(MalformedError, match="a text of 2,000 letters"):
        open_entries(body("x" * 2_000), "krx")


@pytest.mark.parametrize("status", [400, 404, 200])
async def test_a_session_that_was_ended_is_begun_again_once(tmp_path, status):
    async with opened(tmp_path) as (krx, data, _api):
        krx.log_out_next, krx.logout_status = 1, status
        entries = await data.etf_list(DAY)
        assert (len(entries), len(krx.logins), krx.data_calls) == (2, 2, 2)


async def test_a_session_that_is_ended_again_and_again_is_an_error_that_says_logout(tmp_path):
    async with opened(tmp_path) as (krx, data, _api):
        krx.log_out_next = 5
        with pytest.raises(LoggedOutError, match="LOGOUT"):
            await data.etf_list(DAY)
        assert krx.data_calls == 2


async def test_an_expired_password_is_reported_with_the_remedy_and_not_tried_again(tmp_path):
    async with opened(tmp_path) as (krx, data, _api):
        krx.password_expired = True
        with pytest.raises(PasswordExpiredError, match="change it at data") as caught:
            await data.etf_list(DAY)
        assert not caught.value.retry
        assert (len(krx.logins), krx.data_calls) == (1, 0)


async def test_a_session_elsewhere_is_left_alone(tmp_path):
    async with opened(tmp_path) as (krx, data, _api):
        krx.elsewhere = True
        with pytest.raises(SessionTakenError, match="take_over_session"):
            await data.etf_list(DAY)
        assert krx.thrown_out == 0


async def test_a_session_elsewhere_is_thrown_out_by_configuration_only(tmp_path):
    async with opened(tmp_path, take_over=True) as (krx, data, _api):
        krx.elsewhere = True
        entries = await data.etf_list(DAY)
        assert (len(entries), krx.thrown_out, krx.logins[-1]["skipDup"]) == (2, 1, "Y")


async def test_while_another_process_of_ours_has_the_session_nothing_is_asked(tmp_path):
    async with opened(tmp_path) as (krx, data, _api):
        with (tmp_path / "krx.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with pytest.raises(SessionTakenError, match="another process of ours"):
                await data.etf_list(DAY)
        before = len(krx.logins)
        assert (before, len(await data.etf_list(DAY))) == (0, 2)


async def test_a_refused_login_names_no_secret(tmp_path):
    async with opened(tmp_path, password="another-password") as (_krx, data, _api):
        with pytest.raises(BadRequestError, match="CD002") as caught:
            await data.etf_list(DAY)
        text = f"{caught.value!r} {caught.value.__cause__}"
    assert "another-password" not in text
    assert USER not in text


async def test_the_open_api_gives_a_days_etfs_and_their_indices_in_one_call(tmp_path):
    async with opened(tmp_path) as (_krx, _data, api):
        entries, days = await api.etf_list(DAY), await api.etf_days(DAY, 7)
        none = await api.etf_days(date(2026, 11, 15), 7)
    assert [(each.symbol, each.listed_shares, each.index_name) for each in entries] == [
        ("069500", 188_600_000.0, "코스피 200"),
        ("252670", 188_600_000.0, "코스피 200"),
    ]
    [day] = days
    assert (day.symbol, day.session_date, day.close, day.nav, day.index_close) == (
        "069500",
        "2026-11-17",
        50_000.0,
        50_050.25,
        380.5,
    )
    assert (day.volume, day.premium_percent) == (1_234_567.0, pytest.approx(-0.1, abs=1e-3))
    assert none == []


@pytest.mark.parametrize(
    ("status", "error"), [(403, BadRequestError), (429, RateExceededError), (500, MaintenanceError)]
)
async def test_the_open_apis_refusals_are_reported_apart(tmp_path, status, error):
    async with opened(tmp_path) as (krx, _data, api):
        krx.open_status = status
        with pytest.raises(error):
            await api.etf_list(DAY)


async def test_a_wrong_key_is_refused_with_the_remedy_and_without_the_key(tmp_path):
    async with opened(tmp_path, auth_key="wrong-key-value") as (_krx, _data, api):
        with pytest.raises(BadRequestError, match="the key is refused") as caught:
            await api.etf_list(DAY)
        assert "wrong-key-value" not in str(caught.value)


async def test_a_missing_answer_is_an_error_that_may_be_retried(tmp_path):
    async with krx_serving() as (_krx, address):
        pass
    async with open_krx_client(address, RestSettings()) as client:
        with pytest.raises(TransportError) as caught:
            await KrxOpenApi(client, AUTH_KEY).etf_list(DAY)
        assert caught.value.retry


@pytest.mark.parametrize("field", ["LIST_SHRS", "ETF_TOT_FEE", "LIST_DD"])
def test_a_field_that_cannot_be_read_is_malformed(field):
    body = json.dumps({"output": [{**ROW, field: "many"}]}).encode()
    with pytest.raises(MalformedError, match="many"):
        data_entries(body, "call")


@given(st.integers(100, 599), st.binary(max_size=20))
def test_any_answer_is_a_success_or_an_error_of_ours(status, body):
    error = refusal(status, body, "call")
    assert error is None if status == 200 and body.strip() != b"LOGOUT" else isinstance(error, ProviderError)


KEYS = st.sampled_from(["output", "OutBlock_1", "_error_code", *ROW, "BAS_DD", "TDD_CLSPRC", "NAV"]) | st.text(
    max_size=4
)


@given(json_values(KEYS))
def test_any_json_is_read_or_malformed(value):
    body = json.dumps(value).encode()
    for read in (
        lambda: data_entries(body, "call"),
        lambda: open_entries(body, "call"),
        lambda: open_days(body, 1, "call"),
        lambda: login_refusal(body, "call"),
    ):
        try:
            read()
        except MalformedError as error:
            assert error.call == "call"  # noqa: PT017 - any other error fails the test
