"""Every documented call, asked as documented and refused when asked otherwise (docs/kis.md).

Headers, envelopes and limits are asked over a socket; what a body says is asked of the call itself.
"""

import pytest

from observer.simulator.kis.authentication import Refusal
from observer.simulator.kis.rest import CALLS, answer_of
from tests.simulator.documented_calls import DOCUMENTED
from tests.simulator.simulator_client import at, market_with, running

BY_TR_ID = {call.tr_id: call for call in DOCUMENTED}
SERVED = {call.tr_id: call for call in CALLS}
MARKET = market_with(symbols=120)
PRODUCT_NAMES = {"prdt_name", "prdt_name120", "prdt_abrv_name", "prdt_eng_name", "prdt_eng_name120"} | {
    "prdt_eng_abrv_name"
}


def query_of(market, call, **changes):
    query = call.query | changes
    if "SYMBOL" in query.values():
        share = max((i.symbol for i in market.instruments if i.ordinary), key=lambda symbol: len(market.tape(symbol)))
        query = {name: share if value == "SYMBOL" else value for name, value in query.items()}
    if "FUND" in query.values():
        etf = next(i.symbol for i in market.instruments if i.group == "EF" and i.trades)
        query = {name: etf if value == "FUND" else value for name, value in query.items()}
    return query


def page(tr_id, now_ns=at(10), market=MARKET, **changes):
    """The answer without its way over the wire."""
    return answer_of(SERVED[tr_id], market, now_ns, query_of(market, BY_TR_ID[tr_id], **changes))


def answered(tr_id, now_ns=at(10), market=MARKET, **changes):
    """The blocks of an answer, each as a list of rows."""
    body = page(tr_id, now_ns, market, **changes).body
    return {block: as_rows(body[block]) for block in BY_TR_ID[tr_id].blocks}


async def ask(client, call, query=None, **headers):
    url, query = client.simulator.rest_url + call.path, query or query_of(client.simulator.market, call)
    return await client.http.get(url, params=query, headers=client.headers(call.tr_id) | headers)


def as_rows(block):
    return block if isinstance(block, list) else [block]


def test_the_simulator_has_every_call_and_no_other():
    assert {(call.path, call.tr_id) for call in CALLS} == {(call.path, call.tr_id) for call in DOCUMENTED}


async def test_every_answer_has_exactly_the_documented_fields_all_of_them_texts():
    async with running(at(15, 10), symbols=120, rest_limit_per_s=100) as client:
        for call in DOCUMENTED:
            answer = await ask(client, call)
            body = answer.json()
            assert (answer.status_code, body["rt_cd"], body["msg_cd"]) == (200, "0", "MCA00000"), call.tr_id
            assert answer.headers["content-type"] == "application/json; charset=utf-8"
            assert (answer.headers["tr_id"], answer.headers["tr_cont"] in tuple("FMDE")) == (call.tr_id, True)
            rows = [found for block in call.blocks for found in as_rows(body[block])]
            named = {name for found in rows for name in found}
            # Clients read the names of the product from 상품기본조회 too, though the list leaves them out.
            assert named - (PRODUCT_NAMES if call.tr_id == "CTPF1604R" else set()) == call.live_fields
            assert all(isinstance(value, str) for found in rows for value in found.values())


async def test_every_answer_has_a_number_of_its_own_in_the_header_that_public_clients_read():
    async with running(at(10)) as client:
        call = BY_TR_ID["FHKST01010100"]
        numbers = [(await ask(client, call)).headers["gt_uid"] for _ in range(3)]
        assert len(set(numbers)) == 3
        assert {len(number) for number in numbers} == {32}


def test_a_call_without_one_of_its_parameters_names_it():
    for call in DOCUMENTED:
        for missing in call.query:
            query = query_of(MARKET, call)
            del query[missing]
            with pytest.raises(Refusal) as refused:
                answer_of(SERVED[call.tr_id], MARKET, at(10), query)
            assert (refused.value.return_code, refused.value.code) == ("1", "OPSQ2001"), (call.tr_id, missing)
            assert missing.upper() in refused.value.text


async def test_a_refused_parameter_is_reported_in_the_envelope_of_the_calls():
    async with running(at(10)) as client:
        answer = await ask(client, BY_TR_ID["FHKST01010100"], {"FID_COND_MRKT_DIV_CODE": "J"})
        assert (answer.status_code, answer.json()["rt_cd"], answer.json()["msg_cd"]) == (200, "1", "OPSQ2001")
        assert "FID_INPUT_ISCD" in answer.json()["msg1"]


WRONG_HEADERS = [
    ("authorization", "", "EGW00121"),
    ("authorization", "Bearer other", "EGW00121"),
    ("appkey", "", "EGW00102"),
    ("appkey", "other", "EGW00103"),
    ("appsecret", "", "EGW00105"),
    ("tr_id", "XHKST00000000", "EGW00206"),
    ("custtype", "X", "EGW00208"),
    ("content-type", "text/plain", "EGW00132"),
    ("tr_cont", "M", "EGW00002"),
]


async def test_a_call_with_a_wrong_header_is_refused():
    async with running(at(10), symbols=120, rest_limit_per_s=1_000) as client:
        for call in DOCUMENTED:
            for header, value, code in WRONG_HEADERS:
                body = (await ask(client, call, **{header: value})).json()
                assert (body["rt_cd"], body["msg_cd"]) == ("1", code), (call.tr_id, header)


async def test_names_of_a_query_may_be_in_small_letters_and_a_path_may_begin_with_two_slashes():
    async with running(at(10), symbols=120, rest_limit_per_s=1_000) as client:
        for call in DOCUMENTED:
            asked = query_of(client.simulator.market, call)
            usual = (await ask(client, call, asked)).json()
            url = f"{client.simulator.rest_url}/{call.path}"
            lower = {name.lower(): value for name, value in asked.items()}
            answer = await client.http.get(url, params=lower, headers=client.headers(call.tr_id))
            assert answer.json() == usual, call.tr_id


async def test_the_price_of_time_and_sales_has_the_live_hosts_name_or_the_documents():
    found = {}
    for documented in (False, True):
        async with running(at(10), documented_labels=documented) as client:
            call = BY_TR_ID["FHPST01060000"]
            found[documented] = (await ask(client, call)).json()["output2"]
    assert [row["stck_prpr"] for row in found[False]] == [row["stck_pbpr"] for row in found[True]] != []
    assert "stck_pbpr" not in found[False][0]
    assert "stck_prpr" not in found[True][0]


async def test_the_paper_host_lacks_three_calls_and_admits_one_a_second():
    async with running(at(10), symbols=120, paper=True) as client:
        for call in DOCUMENTED:
            await client.clock.advance(1)
            body = (await ask(client, call)).json()
            lacking = call.tr_id in ("FHKST11300006", "FHKST03010230", "CTCA0903R")
            assert body["msg_cd"] == ("EGW00213" if lacking else "MCA00000"), call.tr_id
        second = (await ask(client, call)).json()
        assert second["msg_cd"] == "EGW00201"


def test_daily_prices_are_those_of_the_daily_chart():
    chart = {row["stck_bsop_date"]: row["stck_clpr"] for row in answered("FHKST03010100")["output2"]}
    prices = {row["stck_bsop_date"]: row["stck_clpr"] for row in answered("FHKST01010400")["output"]}
    shared = chart.keys() & prices.keys()
    assert len(prices) <= 30
    assert shared
    assert {day: chart[day] for day in shared} == {day: prices[day] for day in shared}


def test_the_investors_of_a_day_net_to_nothing_and_bought_its_volume():
    volumes = {row["stck_bsop_date"]: row["acml_vol"] for row in answered("FHKST01010400")["output"]}
    for row in answered("FHKST01010900")["output"]:
        assert sum(int(row[f"{who}_ntby_qty"]) for who in ("prsn", "frgn", "orgn")) == 0
        for side in ("shnu", "seln"):
            bought = sum(int(row[f"{who}_{side}_vol"]) for who in ("prsn", "frgn", "orgn"))
            assert str(bought) == volumes[row["stck_bsop_date"]]


def test_the_asked_book_is_around_the_price_of_the_quote():
    [book], [expected] = answered("FHKST01010200").values()
    [quote] = answered("FHKST01010100")["output"]
    assert expected["stck_prpr"] == quote["stck_prpr"]
    assert int(book["bidp1"]) <= int(quote["stck_prpr"]) <= int(book["askp1"])
    assert int(book["bidp2"]) < int(book["bidp1"]) < int(book["askp1"]) < int(book["askp2"])


@pytest.mark.parametrize("tr_id", ["FHKST01010100", "FHKST03010200", "FHKST03010230", "FHPST01060000", "FHPST02400000"])
def test_an_unknown_symbol_is_answered_with_zeros_and_no_rows(tr_id):
    blocks = answered(tr_id, FID_INPUT_ISCD="999999")
    assert {value for rows in blocks.values() for found in rows for value in found.values()} <= {"0"}


def test_an_unknown_product_is_answered_as_not_found():
    for tr_id in ("CTPF1002R", "CTPF1604R", "CTPF1702R"):
        with pytest.raises(Refusal) as refused:
            page(tr_id, PDNO="NONE")
        assert (refused.value.return_code, refused.value.code) == ("7", "KIOK0560")


async def test_holidays_go_on_page_by_page_until_the_header_says_that_it_is_the_end():
    async with running(at(10)) as client:
        call, days, marks = BY_TR_ID["CTCA0903R"], list[str](), list[str]()
        query = query_of(client.simulator.market, call)
        while not marks or marks[-1] in "FM":
            answer = await ask(client, call, query, tr_cont="N" if marks else "")
            marks.append(answer.headers["tr_cont"])
            days += [found["bass_dt"] for found in answer.json()["output"]]
            query |= {f"CTX_AREA_{key}": answer.json()[f"ctx_area_{key.lower()}"] for key in ("FK", "NK")}
        assert marks == ["F", "M", "D"]
        assert len(days) == len(set(days)) == 60
        assert (days[0], sorted(days)) == ("20261118", days)


def test_minutes_of_a_past_day_are_that_days_bar():
    day = answered("FHKST03010100", FID_INPUT_DATE_2="20261116")["output2"][0]
    minutes: list[dict[str, str]] = []
    until = "153000"
    while until >= "090000":
        rows = answered("FHKST03010230", FID_INPUT_DATE_1="20261116", FID_INPUT_HOUR_1=until)["output2"]
        assert len(rows) <= 120
        minutes += rows
        until = (
            f"{int(rows[-1]['stck_cntg_hour']) - 100:06d}"
            if rows[-1]["stck_cntg_hour"][2:4] != "00"
            else (f"{int(rows[-1]['stck_cntg_hour'][:2]) - 1:02d}5900")
        )
    assert day["stck_bsop_date"] == "20261116"
    assert sum(int(m["cntg_vol"]) for m in minutes) == int(day["acml_vol"])
    assert (minutes[-1]["stck_oprc"], minutes[0]["stck_prpr"]) == (day["stck_oprc"], day["stck_clpr"])
    assert max(int(m["stck_hgpr"]) for m in minutes) == int(day["stck_hgpr"])
    assert min(int(m["stck_lwpr"]) for m in minutes) == int(day["stck_lwpr"])
    assert minutes[0]["acml_tr_pbmn"] == day["acml_tr_pbmn"]


def test_an_etfs_quote_has_a_nav_near_the_price():
    [quote] = answered("FHPST02400000", at(11))["output"]
    price, nav = int(quote["stck_prpr"]), float(quote["nav"])
    assert float(quote["dprt"]) == pytest.approx(100 * (price - nav) / nav, abs=0.006)
    assert abs(float(quote["dprt"])) < 1


async def test_rate_refusals_come_as_both_kinds_and_the_busiest_second_is_remembered():
    async with running(at(10), rest_limit_per_s=5) as client:
        call = BY_TR_ID["FHKST01010100"]
        statuses = [(await ask(client, call)).status_code for _ in range(30)]
        assert statuses[:5] == [200] * 5
        assert {200, 500} == set(statuses[5:])
        assert client.simulator.counters().rate_errors == 25
        assert client.simulator.counters().busiest_seconds == (30, 0)


async def test_a_minute_can_have_a_limit_of_its_own():
    async with running(at(10), rest_limit_per_minute=3) as client:
        call = BY_TR_ID["FHKST01010100"]
        codes = []
        for _ in range(4):
            codes.append((await ask(client, call)).json()["msg_cd"])
            await client.clock.advance(10)
        await client.clock.advance(30)
        codes.append((await ask(client, call)).json()["msg_cd"])
        assert codes == ["MCA00000"] * 3 + ["EGW00201", "MCA00000"]
