"""Every call that we make asks what KIS documents, and every field of its answer becomes what it is."""

import asyncio
import re
from collections.abc import Sequence
from datetime import date
from functools import cache
from pathlib import Path

import pytest
from aiohttp import web

from observer.base.errors import BadRequestError, MalformedError
from observer.base.local_time import local_ns
from observer.brokers.kis import calls
from observer.brokers.kis.client import KisClient
from tests.brokers.kis_contract import (
    BY_TR_ID,
    CONTRACTS,
    DAY,
    FIRST,
    LAST,
    SYMBOL,
    answer_of,
    encoded,
    fetched,
    row_of,
)
from tests.brokers.kis_contract import read as read_content
from tests.brokers.stand_ins import pipeline_to

REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "kis-api.md"


def asked(ask, answer):
    """A call's result at a KIS whose every path gives what `answer(number of the request)` returns, body and `tr_cont`;
    the requests that it sent and the priorities of their rate-limit tokens.
    """

    requests = []

    async def handle(request):
        requests.append(request)
        body, tr_cont = answer(len(requests))
        return web.json_response(body, headers={"tr_cont": tr_cont})

    async def scenario():
        async with pipeline_to(web.route("*", "/{path:.*}", handle)) as (pipeline, rate_limiter):
            return await ask(pipeline), requests, rate_limiter.priorities

    return asyncio.run(scenario())


def the_row(result):
    return result[0] if isinstance(result, Sequence) else result


def expected(text, found, factor):
    """The field's text as the attribute should have it."""
    if isinstance(found, bool):
        return text == "Y"
    if isinstance(found, date):
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    return text if isinstance(found, str) else float(text) * factor


@cache
def outcome_of(contract):
    """The call's outcome with the reference's answer, cached for all tests."""
    return asked(contract.ask, lambda _: (answer_of(contract.call), ""))


def read(contract, answer):
    return read_content(contract, encoded(answer))


HEADERS = {
    "content-type": "application/json; charset=utf-8",
    "authorization": "Bearer token 1",
    "appkey": "app key",
    "appsecret": "app secret",
    "custtype": "P",
    "tr_cont": "",
}


@pytest.mark.parametrize("contract", CONTRACTS, ids=repr)
def test_each_call_sends_the_request_of_the_reference(contract):
    _, [request], priorities = outcome_of(contract)
    assert (request.method, request.path) == ("GET", BY_TR_ID[contract.call.transaction].path)
    assert dict(request.query) == contract.query
    assert priorities == [contract.priority]
    sent = {**HEADERS, "tr_id": contract.call.transaction}
    assert {name: request.headers.get(name) for name in sent} == sent


@pytest.mark.parametrize("contract", CONTRACTS, ids=repr)
def test_each_attribute_of_a_row_is_decoded_from_its_field(contract):
    found_row, row = the_row(outcome_of(contract)[0]), row_of(contract.call)
    for attribute, source in contract.attributes.items():
        field, factor = source
        found = getattr(found_row, attribute)
        assert found == expected(row[field], found, factor), attribute


NO_ROWS = [{}, {"output": [], "output1": [], "output2": []}, {"output": {}, "output1": {}, "output2": {}}]


@pytest.mark.parametrize("contract", CONTRACTS, ids=repr)
@pytest.mark.parametrize("outputs", NO_ROWS, ids=["absent", "empty", "blank"])
def test_an_answer_without_rows_is_empty_or_nothing(contract, outputs):
    assert not read(contract, {"rt_cd": "0", **outputs})


@pytest.mark.parametrize("contract", CONTRACTS, ids=repr)
def test_padding_leading_zeros_and_a_lone_object_change_nothing(contract):
    row = row_of(contract.call)
    padded = {name: f" {text.rjust(12, '0') if NUMBER.fullmatch(text) else text}  " for name, text in row.items()}
    plain = the_row(read(contract, answer_of(contract.call)))
    found = the_row(read(contract, {"rt_cd": "0 ", "output": padded, "output1": [padded], "output2": padded}))
    for attribute in contract.attributes:
        value = getattr(plain, attribute)
        assert isinstance(value, str) or getattr(found, attribute) == value, attribute


NUMBER = re.compile(r"1\d{3}")


@pytest.mark.skipif(not REFERENCE.is_file(), reason="the reference is not beside the repository")
@pytest.mark.realdata
def test_the_documented_fields_are_those_of_the_reference():
    section = REFERENCE.read_text().split("\n## 8.")[1].split("\n## 9.")[0]
    documented = re.findall(r"`GET (\S+)` · TR `(\w+)`.*?\nFields: (.*?)\n", section, re.DOTALL)
    found = {transaction: (path, set(re.findall(r"`(\w+)`", fields))) for path, transaction, fields in documented}
    for contract in CONTRACTS:
        call = BY_TR_ID[contract.call.transaction]
        assert found[call.tr_id] == (call.path, set(call.fields.split()))


def test_every_call_has_its_contract():
    assert [contract.call.name for contract in CONTRACTS] == [*{contract.call.name: 0 for contract in CONTRACTS}]
    assert {contract.call.name for contract in CONTRACTS} == calls.CALLS.keys()


def session_pages(days_per_page):
    """The holiday call over pages: days of January 2026, the keys naming the page."""

    def answer(number):
        first = 1 + (number - 1) * days_per_page
        row = {"bzdy_yn": "Y", "tr_day_yn": "Y", "opnd_yn": "N", "sttl_day_yn": "Y"}
        days = [{**row, "bass_dt": f"202601{day:02}"} for day in range(first, min(32, first + days_per_page))]
        more = "F" if first + days_per_page <= 31 else "E"
        return {"rt_cd": "0", "ctx_area_fk": f"fk{number}", "ctx_area_nk": f"nk{number}", "output": days}, more

    return answer


def sessions_until(last):
    return lambda pipeline: KisClient(pipeline).sessions(FIRST, last)


def test_pages_are_asked_for_with_the_keys_of_the_one_before():
    days, requests, _ = asked(sessions_until(date(2026, 3, 1)), session_pages(10))
    assert [session.day.day for session in days] == list(range(1, 32))
    assert [request.headers["tr_cont"] for request in requests] == ["", "N", "N", "N"]
    assert [request.query["CTX_AREA_NK"] for request in requests] == ["", "nk1", "nk2", "nk3"]
    assert [request.query["CTX_AREA_FK"] for request in requests] == ["", "fk1", "fk2", "fk3"]


def test_no_more_pages_are_asked_for_than_hold_the_days():
    days, requests, _ = asked(sessions_until(date(2026, 1, 15)), session_pages(10))
    assert [session.day.day for session in days] == list(range(1, 16))
    assert len(requests) == 2


@pytest.mark.parametrize("tr_cont", ["D", "E", "", " "])
def test_paging_stops_at_the_last_page(tr_cont):
    _, requests, _ = asked(
        lambda pipeline: KisClient(pipeline).nav_days(SYMBOL, FIRST, LAST),
        lambda _: (answer_of(calls.NAV_DAYS), tr_cont),
    )
    assert len(requests) == 1


def test_endless_pages_are_an_error():
    with pytest.raises(MalformedError, match="pages"):
        asked(
            lambda pipeline: KisClient(pipeline).nav_days(SYMBOL, FIRST, LAST),
            lambda _: (answer_of(calls.NAV_DAYS), "M"),
        )


def test_an_exchange_that_kis_does_not_have_is_refused_without_asking():
    with pytest.raises(BadRequestError, match="NASD"):
        asked(fetched(calls.OVERSEAS_INSTRUMENT, exchange="XETRA", symbol="SAP"), lambda _: ({}, ""))


def test_the_minutes_of_a_past_day_leave_out_the_day_before_it():
    def answer(_):
        hours = [("20260203", "090100", "30"), ("20260203", "090000", "10"), ("20260202", "153000", "900")]
        rows = [{"stck_bsop_date": day, "stck_cntg_hour": hour, "acml_tr_pbmn": value} for day, hour, value in hours]
        return {"rt_cd": "0", "output2": rows}, ""

    bars, _, _ = asked(
        lambda pipeline: KisClient(pipeline).past_minute_bars(SYMBOL, local_ns(DAY), local_ns(DAY, 15, 30)), answer
    )
    assert [(bar.start_ns, bar.value) for bar in bars] == [(local_ns(DAY, 9), 10.0), (local_ns(DAY, 9, 1), 20.0)]


PRODUCT_CALLS = [each for each in CONTRACTS if each.call in (calls.STOCK, calls.OVERSEAS_INSTRUMENT)]


@pytest.mark.parametrize("contract", PRODUCT_CALLS, ids=repr)
def test_an_unknown_product_is_none_and_another_refusal_is_an_error(contract):
    refusal = {"rt_cd": "7", "msg_cd": "KIOK0560", "msg1": "조회할 내용이 없습니다"}
    assert not asked(contract.ask, lambda _: (refusal, ""))[0]
    with pytest.raises(BadRequestError):
        asked(contract.ask, lambda _: ({**refusal, "msg_cd": "OPSQ2001"}, ""))
