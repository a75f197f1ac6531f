"""J, NX and UN of every call that has them, asked by httpx: each shows its own venue, or both together."""

import pytest

from observer.simulator.market.market import View
from tests.simulator.documented_calls import DOCUMENTED
from tests.simulator.simulator_client import at, running
from tests.simulator.test_simulator_venue_streams import BOTH, krx_alone, traded_by_both

DIVISION, SYMBOL = "FID_COND_MRKT_DIV_CODE", "FID_INPUT_ISCD"
BY_VIEW: dict[View, str] = {"KRX": "J", "NXT": "NX", "consolidated": "UN"}
CODES = tuple(BY_VIEW.values())
Rows = list[dict[str, str]]


async def answer(client, name, tr_id, symbol, code, **query):
    body = (await client.call(name, tr_id, {SYMBOL: symbol, DIVISION: code} | query)).json()
    assert body["rt_cd"] == "0", body
    return {block: rows if isinstance(rows, list) else [rows] for block, rows in body.items() if block[:6] == "output"}


async def quote(client, symbol, code):
    [row] = (await answer(client, "inquire-price", "FHKST01010100", symbol, code))["output"]
    return row


def volumes_of(market, symbol, now_ns):
    return [market.view(view).state_at(symbol, now_ns).cumulative_volume for view in BY_VIEW]


@pytest.mark.parametrize("now_ns", [at(8, 30), at(12), at(15, 55), at(18), at(20, 30)])
async def test_a_quote_shows_the_price_and_volume_of_its_venue_and_both_together_the_sum(now_ns):
    async with running(now_ns, venues=BOTH) as client:
        market = client.simulator.market
        symbol = traded_by_both(market)
        quotes = [await quote(client, symbol, code) for code in CODES]
        krx, nxt, both = (int(each["acml_vol"]) for each in quotes)
        assert [krx, nxt, both] == volumes_of(market, symbol, now_ns)
        assert krx + nxt == both
        prices = [market.view(view).state_at(symbol, now_ns).price for view in BY_VIEW]
        assert [int(each["stck_prpr"]) for each in quotes] == prices


async def test_a_multi_quote_has_a_venue_for_each_symbol():
    async with running(at(18), venues=BOTH) as client:
        market = client.simulator.market
        symbol, alone = traded_by_both(market), krx_alone(market)
        asked = [(symbol, "J"), (symbol, "NX"), (symbol, "UN"), (alone, "UN"), (alone, "NX")]
        query = {}
        for number, (each, code) in enumerate(asked, start=1):
            query |= {f"{DIVISION}_{number}": code, f"{SYMBOL}_{number}": each}
        body = (await client.call("intstock-multprice", "FHKST11300006", query)).json()
        rows = [(row["inter_shrn_iscd"], int(row["acml_vol"])) for row in body["output"]]
        whole = volumes_of(market, symbol, at(18))
        of_alone = market.state_at(alone, at(18)).cumulative_volume
        assert rows == [*((symbol, volume) for volume in whole), (alone, of_alone)]


@pytest.mark.parametrize("view", BY_VIEW)
async def test_time_and_sales_page_back_to_the_first_trade_of_their_venue(view):
    async with running(at(20, 30), venues=BOTH) as client:
        market = client.simulator.market
        symbol = traded_by_both(market)
        hour, sales = "235959", {}
        while True:
            found = await answer(
                client, "inquire-time-itemconclusion", "FHPST01060000", symbol, BY_VIEW[view], FID_INPUT_HOUR_1=hour
            )
            assert len(found["output2"]) <= 30
            new = {row["acml_vol"]: (row["stck_prpr"], row["cnqn"]) for row in found["output2"]}
            if new.keys() <= sales.keys():
                break
            sales |= new
            hour = found["output2"][-1]["stck_cntg_hour"]
            await client.clock.advance(1)  # the limit of calls a second is in market time
        tape = market.view(view).tape(symbol)
        trades = zip(tape.volume_after, tape.price, tape.volume, strict=True)
        assert sales == {str(after): (str(price), str(volume)) for after, price, volume in trades}


@pytest.mark.parametrize("view", BY_VIEW)
async def test_minute_bars_reach_over_the_whole_day_of_their_venue_and_add_up_to_it(view):
    async with running(at(20, 30), venues=BOTH) as client:
        market = client.simulator.market
        symbol = traded_by_both(market)
        minutes: dict[str, int] = {}
        until = "235900"
        while True:
            query = {"FID_INPUT_HOUR_1": until, "FID_PW_DATA_INCU_YN": "N", "FID_ETC_CLS_CODE": ""}
            found = await answer(client, "inquire-time-itemchartprice", "FHKST03010200", symbol, BY_VIEW[view], **query)
            rows = {row["stck_cntg_hour"]: int(row["cntg_vol"]) for row in found["output2"]}
            if rows.keys() <= minutes.keys():
                break
            minutes |= rows
            until = min(minutes)
            await client.clock.advance(1)
        tape = market.view(view).tape(symbol)
        assert sum(minutes.values()) == tape.volume_after[-1]
        assert (min(minutes) < "085000", max(minutes) > "160000") == (view != "KRX", True)


async def test_a_daily_volume_of_the_krx_goes_on_through_its_after_market_and_the_close_stays():
    async with running(at(15, 55), venues=BOTH) as client:
        market = client.simulator.market
        symbol = traded_by_both(market)
        days = {
            "FID_INPUT_DATE_1": "20261118",
            "FID_INPUT_DATE_2": "20261118",
            "FID_PERIOD_DIV_CODE": "D",
            "FID_ORG_ADJ_PRC": "1",
        }
        volumes, closes = [], []
        for hour, minute in ((15, 55), (18, 0), (20, 30)):
            await client.move_to(at(hour, minute))
            bars = [
                (await answer(client, "inquire-daily-itemchartprice", "FHKST03010100", symbol, code, **days))["output2"]
                for code in CODES
            ]
            krx, nxt, both = (int(bar["acml_vol"]) for [bar] in bars)
            assert krx + nxt == both
            volumes.append(krx)
            closes.append(bars[0][0]["stck_clpr"])
        assert volumes[0] < volumes[1] < volumes[2] == market.tape(symbol).volume_after[-1]
        assert set(closes) == {str(market.state_at(symbol, market.close_ns).price)}


async def test_search_stock_info_states_what_nxt_trades_and_what_it_has_stopped():
    async with running(at(9), venues=BOTH, symbols=120) as client:
        market = client.simulator.market
        stated = {}
        for listed in market.instruments:
            query = {"PRDT_TYPE_CD": "300", "PDNO": listed.symbol}
            [row] = (await answer(client, "search-stock-info", "CTPF1002R", listed.symbol, "J", **query))["output"]
            stated[listed.symbol] = (row["cptt_trad_tr_psbl_yn"], row["nxt_tr_stop_yn"])
            await client.clock.advance(1)
        dealt = {symbol for symbol in stated if len(market.view("NXT").tape(symbol))}
        assert {symbol for symbol, flags in stated.items() if flags == ("Y", "N")} == dealt
        assert {flags[0] for flags in stated.values()} == {"Y", "N"}
        stopped = next(symbol for symbol, flags in stated.items() if flags == ("Y", "Y"))
        krx, nxt, _ = [(await quote(client, stopped, code))["temp_stop_yn"] for code in CODES]
        assert (krx == "Y", nxt) == (stopped in {i.symbol for i in market.instruments if i.suspended}, "Y")


async def test_nxt_knows_no_share_that_it_does_not_trade_and_both_together_show_the_krx():
    async with running(at(12), venues=BOTH) as client:
        symbol = krx_alone(client.simulator.market)
        krx, nxt, both = [await quote(client, symbol, code) for code in CODES]
        assert set(nxt.values()) == {"0"}
        assert krx == both


@pytest.mark.parametrize(
    "call",
    [call for call in DOCUMENTED if call.query.get(DIVISION) == "J" and "SYMBOL" in call.query.values()],
    ids=lambda call: call.tr_id,
)
async def test_every_venue_answers_with_exactly_the_documented_fields(call):
    async with running(at(18), venues=BOTH) as client:
        symbol = traded_by_both(client.simulator.market)
        for code in CODES:
            query = {name: symbol if value == "SYMBOL" else value for name, value in call.query.items()}
            url = client.simulator.rest_url + call.path
            headers = client.headers(call.tr_id)
            body = (await client.http.get(url, params=query | {DIVISION: code}, headers=headers)).json()
            assert body["rt_cd"] == "0"
            fields = {name for block in call.blocks for row in _rows(body[block]) for name in row}
            assert fields == call.live_fields


def _rows(block):
    return block if isinstance(block, list) else [block]


@pytest.mark.parametrize("view", BY_VIEW)
async def test_the_minutes_of_a_past_day_add_up_to_the_daily_bar_of_their_venue(view):
    async with running(at(9), venues=BOTH) as client:
        market = client.simulator.market
        symbol, code, day = traded_by_both(market), BY_VIEW[view], "20261117"
        volumes: dict[str, int] = {}
        until = "235900"
        while True:
            query = {"FID_INPUT_HOUR_1": until, "FID_INPUT_DATE_1": day, "FID_PW_DATA_INCU_YN": "N"}
            found = await answer(
                client,
                *("inquire-time-dailychartprice", "FHKST03010230", symbol, code),
                **query,
                FID_FAKE_TICK_INCU_YN="N",
            )
            rows = {row["stck_cntg_hour"]: int(row["cntg_vol"]) for row in found["output2"]}
            if rows.keys() <= volumes.keys():
                break
            volumes |= rows
            until = min(volumes)
            await client.clock.advance(1)
        [bar] = [bar for bar in market.view(view).daily_bars(symbol) if bar.day == day]
        assert sum(volumes.values()) == bar.volume
        assert (min(volumes) < "090000", max(volumes) > "160000") == (view != "KRX", True)
