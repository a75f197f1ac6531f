"""The HTTP side, asked by httpx: tokens, refusals, limits, and quotations that equal the trades."""

from datetime import date

import pytest

from observer.simulator.kis.bars import daily_bars
from tests.simulator.simulator_client import APP_KEYS, at, market_with, running


def offered(client):
    return list(client.simulator.market.offered(client.liveliest))


def refusal(answer):
    return answer.status_code, answer.json()["rt_cd"], answer.json()["msg_cd"]


async def test_a_token_answer_has_the_documented_fields():
    async with running(at(8)) as client:
        await client.clock.advance(60)
        body = (await client.ask_token()).json()
        assert (body["token_type"], body["expires_in"]) == ("Bearer", 86_400)
        assert body["access_token_token_expired"] == "2026-11-19 08:00:00"


async def test_a_second_token_within_the_minute_is_refused():
    async with running(at(8)) as client:
        answer = await client.ask_token()
        assert (answer.status_code, answer.json()["error_code"]) == (403, "EGW00133")
        assert client.simulator.counters().refusals == {"EGW00133": 1}


async def test_a_token_request_that_is_no_json_is_refused():
    async with running(at(8)) as client:
        answer = await client.http.post(client.simulator.rest_url + "/oauth2/tokenP", content=b"grant")
        assert (answer.status_code, answer.json()["error_code"]) == (500, "EGW00002")


async def test_a_revoked_token_opens_nothing():
    async with running(at(8)) as client:
        await client.post("/oauth2/revokeP", appkey="first", appsecret=APP_KEYS["first"], token=client.token)
        assert refusal(await client.call("inquire-price", "FHKST01010100")) == (500, "1", "EGW00121")


async def test_the_nineteenth_call_of_a_market_second_is_refused():
    async with running(at(10)) as client:
        answers = [await client.call("inquire-price", "FHKST01010100") for _ in range(19)]
        assert [answer.json()["rt_cd"] for answer in answers] == ["0"] * 18 + ["1"]
        assert answers[-1].json()["msg_cd"] == "EGW00201"
        await client.clock.advance(1)
        assert (await client.call("inquire-price", "FHKST01010100")).status_code == 200
        counters = client.simulator.counters()
        assert (counters.rate_errors, counters.requests["FHKST01010100"]) == (1, 20)
        assert counters.busiest_seconds == (19, 0)


def pairs(symbols):
    query: dict[str, str] = {}
    for number, symbol in enumerate(symbols, start=1):
        query |= {f"FID_COND_MRKT_DIV_CODE_{number}": "J", f"FID_INPUT_ISCD_{number}": symbol}
    return query


async def test_a_multi_quote_has_thirty_symbols_in_the_order_asked_and_leaves_unknown_ones_out():
    async with running(at(10)) as client:
        market = client.simulator.market
        symbols = [i.symbol for i in market.instruments][:29]
        answer = await client.call("intstock-multprice", "FHKST11300006", pairs([*symbols[:9], "999999", *symbols[9:]]))
        rows = answer.json()["output"]
        assert [row["inter_shrn_iscd"] for row in rows] == symbols
        for row in rows:
            state = market.state_at(row["inter_shrn_iscd"], at(10))
            assert (int(row["inter2_prpr"]), int(row["acml_vol"])) == (state.price, state.cumulative_volume)


async def test_before_the_opening_a_quote_is_the_base_price_without_a_range():
    async with running(at(8, 30)) as client:
        answer = await client.call("intstock-multprice", "FHKST11300006", pairs([client.liveliest]))
        row = answer.json()["output"][0]
        assert row["inter2_prpr"] == row["inter2_sdpr"] == row["inter2_prdy_clpr"]
        assert (row["inter2_oprc"], row["acml_vol"], row["inter2_prdy_vrss"]) == ("0", "0", "0")


async def test_minute_bars_are_made_of_the_trades_of_their_minutes():
    async with running(at(10, 15, 30)) as client:
        query = {"FID_INPUT_HOUR_1": "101500", "FID_PW_DATA_INCU_YN": "N", "FID_ETC_CLS_CODE": ""}
        answer = await client.call("inquire-time-itemchartprice", "FHKST03010200", query)
        rows = answer.json()["output2"]
        assert len(rows) == 30
        assert rows[0]["stck_cntg_hour"] == "101500"
        trades = [t for t in offered(client) if t.exchange_time_ns <= at(10, 15, 30)]
        for row in rows:
            inside = [t for t in trades if t.exchange_hhmmss[:4] == row["stck_cntg_hour"][:4]]
            prices = [t.price for t in inside]
            expected = (prices[0], max(prices), min(prices), prices[-1], sum(t.volume for t in inside))
            names = ("stck_oprc", "stck_hgpr", "stck_lwpr", "stck_prpr", "cntg_vol")
            assert tuple(int(row[name]) for name in names) == expected


async def test_the_session_day_has_a_daily_bar_only_after_the_close():
    query = {
        "FID_INPUT_DATE_1": "20261001",
        "FID_INPUT_DATE_2": "20261118",
        "FID_PERIOD_DIV_CODE": "D",
        "FID_ORG_ADJ_PRC": "1",
    }
    async with running(at(15, 29, 59)) as client:
        rows = (await client.call("inquire-daily-itemchartprice", "FHKST03010100", query)).json()["output2"]
        assert [row["stck_bsop_date"] for row in rows][:2] == ["20261117", "20261116"]
        assert rows[-1]["stck_bsop_date"] == "20261001"
        await client.move_to(at(15, 30))
        rows = (await client.call("inquire-daily-itemchartprice", "FHKST03010100", query)).json()["output2"]
        last = offered(client)[-1]
        assert rows[0]["stck_bsop_date"] == "20261118"
        assert (rows[0]["stck_clpr"], rows[0]["acml_vol"]) == (str(last.price), str(last.cumulative_volume))


@pytest.mark.parametrize(("padded", "plain"), [("0000000000", "0"), ("0000000001", "1")])
async def test_a_choice_that_older_clients_pad_with_zeros_is_understood(padded, plain):
    query = {"FID_PERIOD_DIV_CODE": "D", "FID_INPUT_DATE_1": "20261001", "FID_INPUT_DATE_2": "20261118"}
    async with running(at(10)) as client:
        for name, tr_id in (
            ("inquire-daily-price", "FHKST01010400"),
            ("inquire-daily-itemchartprice", "FHKST03010100"),
        ):
            asked = [query | {"FID_ORG_ADJ_PRC": choice} for choice in (padded, plain, "2")]
            answers = [(await client.call(name, tr_id, each)).json() for each in asked]
            assert answers[0] == answers[1]
            assert [answer["rt_cd"] for answer in answers] == ["0", "0", "1"]


def test_the_change_of_a_day_of_a_split_is_against_its_base_price():
    """As traded: the closes before it are of fewer shares."""
    market = market_with(symbols=120)
    instrument = next(each for each in market.instruments if each.split and each.trades)
    query = {
        "FID_COND_MRKT_DIV_CODE": "J",
        "FID_INPUT_ISCD": instrument.symbol,
        "FID_INPUT_DATE_1": "20261001",
        "FID_INPUT_DATE_2": "20261118",
        "FID_PERIOD_DIV_CODE": "D",
        "FID_ORG_ADJ_PRC": "1",
    }
    session, before, *_ = daily_bars(market, at(16), query)["output2"]
    assert int(session["stck_clpr"]) - int(session["prdy_vrss"]) == instrument.base_price
    ratio = market.plan(instrument.symbol).split_ratio
    assert int(before["stck_clpr"]) == ratio * instrument.base_price


async def test_a_symbol_listed_today_has_no_daily_bars():
    async with running(at(10)) as client:
        market = client.simulator.market
        newest = next(i.symbol for i in market.instruments if not market.daily_bars(i.symbol))
        query = {
            "FID_INPUT_ISCD": newest,
            "FID_INPUT_DATE_1": "20261001",
            "FID_INPUT_DATE_2": "20261118",
            "FID_PERIOD_DIV_CODE": "D",
            "FID_ORG_ADJ_PRC": "1",
        }
        answer = await client.call("inquire-daily-itemchartprice", "FHKST03010100", query)
        assert (answer.status_code, answer.json()["rt_cd"], answer.json()["output2"]) == (200, "0", [])


async def test_weekends_are_holidays():
    async with running(at(8)) as client:
        rows = (
            await client.call("chk-holiday", "CTCA0903R", {"BASS_DT": "20261118", "CTX_AREA_FK": "", "CTX_AREA_NK": ""})
        ).json()["output"]
        for row in rows:
            day = date.fromisoformat(row["bass_dt"])
            assert row["opnd_yn"] == ("Y" if day.weekday() < 5 else "N")
            assert row["wday_dvsn_cd"] == f"{day.isoweekday() % 7 + 1:02d}"
