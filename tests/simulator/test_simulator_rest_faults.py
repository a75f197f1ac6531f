"""Faults of the REST side, injected by the simulator's own call, seen by a plain HTTP client."""

import asyncio

import httpx
import pytest

from observer.base.clock import RealClock
from observer.simulator.faults import FaultRequest, ScriptedFault
from tests.simulator.simulator_client import at, running, running_on
from tests.waiting import DEADLINE_S

PRICE = ("inquire-price", "FHKST01010100")


async def begin(client, kind, **amounts):
    answer = await client.http.post(f"{client.simulator.rest_url}/simulator/faults", json={"kind": kind, **amounts})
    assert answer.status_code == 200, answer.text
    return answer


async def counters(client):
    answer = await client.http.get(f"{client.simulator.rest_url}/simulator/counters")
    return dict(answer.json())


async def asked_impatiently(client):
    with pytest.raises(httpx.ReadTimeout):
        async with httpx.AsyncClient(timeout=0.1, verify=False) as impatient:
            await impatient.get(f"{client.simulator.rest_url}/uapi/anything")


async def until(client, *, reachable):
    """Call until a new connection is accepted, or refused."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                async with httpx.AsyncClient(verify=False) as another:
                    await another.get(client.simulator.rest_url)
                    accepted = True
            except httpx.ConnectError:
                accepted = False
            except httpx.TransportError:
                continue  # it came in before the listener was shut, and was cut
            if accepted == reachable:
                return


async def test_errors_strike_a_share_of_the_calls_until_the_fault_ends():
    async with running(at(10), rest_limit_per_s=1_000) as client:
        await begin(client, "rest_error", for_s=60, share=0.5)
        answers = [await client.call(*PRICE) for _ in range(60)]
        failed = [answer for answer in answers if answer.status_code == 500]
        assert 10 <= len(failed) <= 50
        assert failed[0].json() == {"rt_cd": "1", "msg_cd": "EGW00002", "msg1": "서버 에러가 발생했습니다."}
        assert (await counters(client))["faults"] == {"rest_error": len(failed)}
        await client.move_to(at(10, 1))
        assert {(await client.call(*PRICE)).status_code for _ in range(20)} == {200}


async def test_maintenance_is_a_time_out_a_page_or_a_server_side_code_for_every_call():
    async with running(at(10)) as client:
        await begin(client, "maintenance", for_s=60)
        answers = [await client.call(*PRICE) for _ in range(60)]
        pages = {each.status_code for each in answers if each.text.startswith("<!DOCTYPE html>")}
        codes = {(each.status_code, each.json()["msg_cd"]) for each in answers if each.text.startswith("{")}
        assert pages == {200, 502}
        assert {(500, "EGW00300"), (200, "OPSQ1002")} <= codes
        assert all(code.startswith("OPSQ") for status, code in codes if status == 200)
        headers = client.headers("")
        tokens = [
            await client.http.post(f"{client.simulator.rest_url}/oauth2/tokenP", headers=headers) for _ in range(20)
        ]
        refused = {each.json()["error_code"] for each in tokens if each.text.startswith("{")}
        assert refused == {"EGW00300"}


async def test_a_busy_host_refuses_its_share_of_the_calls_far_below_the_limit():
    async with running(at(10)) as client:
        await begin(client, "rest_busy", for_s=60)
        answer = await client.call(*PRICE)
        assert (answer.status_code, answer.json()["msg_cd"]) == (500, "EGW00201")
        assert (await counters(client))["faults"] == {"rest_busy": 1}


async def test_a_cut_body_is_empty_or_half_with_http_200():
    async with running(at(10)) as client:
        whole = (await client.call(*PRICE)).content
        await begin(client, "rest_cut_body", for_s=60)
        answers = [await client.call(*PRICE) for _ in range(16)]
        assert {each.status_code for each in answers} == {200}
        assert {each.content for each in answers} == {b"", whole[: len(whole) // 2]}


async def test_latency_is_in_machine_time():
    async with running(at(10)) as client:
        await begin(client, "rest_latency", for_s=60, by_s=0.05)
        assert (await client.call(*PRICE)).status_code == 200  # while the market's clock stands still
        assert (await counters(client))["faults"] == {"rest_latency": 1}
    async with running(at(10)) as client:
        await begin(client, "rest_latency", for_s=60, by_s=0.5)
        await asked_impatiently(client)


async def test_a_stalled_call_is_never_answered():
    async with running(at(10)) as client:
        await begin(client, "rest_stall", for_s=60)
        await asked_impatiently(client)
        waiting = asyncio.create_task(client.call(*PRICE))
        while (await counters(client))["faults"] != {"rest_stall": 2}:
            await asyncio.sleep(0)
        await client.move_to(at(10, 1))
        with pytest.raises(httpx.RemoteProtocolError):
            await waiting
        assert (await client.call(*PRICE)).status_code == 200


async def test_a_reset_cuts_the_connection_instead_of_an_answer():
    async with running(at(10)) as client:
        await begin(client, "rest_reset", for_s=60)
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await client.call(*PRICE)


async def test_the_refused_fault_closes_the_port_until_its_end():
    async with running(at(10)) as client:
        await begin(client, "rest_refused", for_s=60)
        await until(client, reachable=False)
        await client.move_to(at(10, 1))
        await until(client, reachable=True)
        assert (await client.call(*PRICE)).status_code == 200


async def test_overlapping_refused_faults_end_with_the_last_one():
    async with running(at(10)) as client:
        for for_s in (120, 60):
            client.simulator.begin_fault(FaultRequest(kind="rest_refused", for_s=for_s))
        await until(client, reachable=False)
        await client.move_to(at(10, 1))
        for _ in range(5):
            await until(client, reachable=False)
        await client.move_to(at(10, 2))
        await until(client, reachable=True)


@pytest.mark.parametrize(("kind", "code"), [("token_revoked", "EGW00121"), ("token_expired", "EGW00123")])
async def test_a_token_that_is_gone_is_refused_and_a_new_one_works(kind, code):
    async with running(at(10)) as client:
        old = client.token
        await begin(client, kind)
        assert (await client.call(*PRICE)).json()["msg_cd"] == code
        await client.move_to(at(10, 2))
        await client.ask_token()
        assert client.token != old
        assert (await client.call(*PRICE)).json()["rt_cd"] == "0"


async def test_a_skewed_clock_shows_in_the_end_of_a_token():
    async with running(at(10)) as client:
        await begin(client, "clock_skew", for_s=3_600, by_s=-90)
        await client.move_to(at(10, 5))
        answer = await client.ask_token()
        assert answer.json()["access_token_token_expired"] == "2026-11-19 09:58:30"
        assert answer.json()["expires_in"] == 86_400


async def test_a_script_strikes_at_its_time_without_being_asked():
    script = (
        ScriptedFault(kind="maintenance", at="10:30", for_s=60),
        ScriptedFault(kind="token_revoked", at="11:00"),
    )
    async with running(at(10), faults=script) as client:
        codes = []
        for hour, minute in ((10, 29), (10, 30), (10, 31), (11, 0)):
            await client.move_to(at(hour, minute))
            codes.append((await client.call(*PRICE)).text)
        assert ["MCA00000" in code for code in codes] == [True, False, True, False]
        assert "EGW00121" in codes[-1]


async def test_the_control_calls_refuse_a_wrong_request_and_are_exempt_from_faults():
    async with running_on(RealClock()) as client:
        client.simulator.market.tape(client.liveliest)
        url = f"{client.simulator.rest_url}/simulator/faults"
        wrong = [{"kind": "earthquake"}, {"kind": "maintenance", "for": 3}, {"kind": "rest_error", "share": 2}]
        assert [(await client.http.post(url, json=body)).status_code for body in wrong] == [400, 400, 400]
        fault = (await begin(client, "maintenance", for_s=60)).json()
        assert fault["end_ns"] - fault["start_ns"] == 60 * 10**9
        assert (await counters(client))["requests"] == {"tokenP": 1}
