"""The pipeline: one rate-limit token an attempt, retries where they help, and everything counted."""

import asyncio
import uuid

import msgspec
import pytest
from aiohttp import web

from observer.base.clock import ManualClock
from observer.base.errors import (
    BadRequestError,
    MaintenanceError,
    MalformedError,
    RateExceededError,
    TokenExpiredError,
    TransportError,
)
from observer.brokers.http import Request, open_client, send_once
from observer.brokers.settings import RestSettings
from tests.brokers.stand_ins import (
    OpenRateLimiter,
    RenewingCredentials,
    counted,
    pipeline_at,
    pipeline_to,
    serving,
)
from tests.waiting import DEADLINE_S

ERRORS = {429: RateExceededError, 401: TokenExpiredError, 503: MaintenanceError, 404: BadRequestError}
REQUEST = Request("ask", "GET", "/ask")


class Answer(msgspec.Struct):
    value: int


class Dialect:
    def headers(self, request, credentials):
        return {"authorization": credentials.access_token}

    def classify(self, status, body):
        return ERRORS[status](f"HTTP {status}") if status in ERRORS else None

    def more(self, headers):
        return headers.get("further") == "yes"


class Outcome:
    """A call's result and its side effects."""

    def __init__(self, answers, settings):
        self.answers = list(answers)
        self.tokens = []
        self.rate_limiter = OpenRateLimiter()
        self.credentials = RenewingCredentials()
        self.settings = settings
        self.result = None
        self.error = None

    async def handle(self, request):
        self.tokens.append(request.headers["authorization"])
        status, body = self.answers.pop(0)
        if status == "cut":
            request.transport.abort()
            return web.Response()
        return web.Response(status=status, body=body)


def called(*answers, priority="bulk", attempts_max=4, renews=True, clock=None):
    outcome = Outcome(answers, RestSettings(timeout_s=60.0, attempts_max=attempts_max))
    outcome.credentials.renews = renews

    async def scenario():
        account = uuid.uuid4().hex
        parts = {"rate_limiter": outcome.rate_limiter, "credentials": outcome.credentials, "account": account}
        if clock is not None:
            parts["clock"] = clock
        route = web.get("/ask", outcome.handle)
        async with pipeline_to(route, settings=outcome.settings, dialect=Dialect(), **parts) as (pipeline, _):
            try:
                outcome.result = (await pipeline.call_page(REQUEST, priority, Answer)).body
            except Exception as error:  # noqa: BLE001 - whatever it is, the test looks at it
                outcome.error = error
        outcome.counts = counted(account)

    asyncio.run(scenario())
    return outcome


GOOD = (200, b'{"value": 7}')


def test_an_answer_is_decoded_and_counted():
    outcome = called(GOOD, priority="urgent")
    assert outcome.result == Answer(7)
    assert outcome.rate_limiter.priorities == ["urgent"]
    assert outcome.counts == {("ask", "sent"): 1, ("ask", "ok"): 1}


def test_every_attempt_takes_its_own_token():
    outcome = called((503, b""), (503, b""), GOOD)
    assert outcome.result == Answer(7)
    assert outcome.rate_limiter.priorities == ["bulk"] * 3
    assert outcome.counts == {("ask", "sent"): 3, ("ask", "MaintenanceError"): 2, ("ask", "ok"): 1}


def test_a_rate_limit_error_penalises_the_shared_rate_limiter():
    outcome = called((429, b""), GOOD)
    assert outcome.result == Answer(7)
    assert outcome.rate_limiter.penalties == 1


def test_a_call_that_was_one_too_many_is_repeated_without_a_delay():
    outcome = called(*[(429, b"")] * 4, GOOD, attempts_max=5, clock=ManualClock(10**18))
    assert outcome.result == Answer(7)


def test_a_refused_token_is_reported_and_the_call_goes_on_with_the_next():
    outcome = called((401, b""), GOOD)
    assert outcome.result == Answer(7)
    assert outcome.credentials.rejected == ["token 1"]
    assert outcome.tokens == ["token 1", "token 2"]


def test_a_refused_token_that_is_not_renewed_ends_the_call_at_once():
    outcome = called((401, b""), GOOD, renews=False)
    assert type(outcome.error) is TokenExpiredError
    assert outcome.credentials.rejected == ["token 1"]
    assert len(outcome.answers) == 1


def test_all_clients_of_a_process_read_the_certificates_once():
    clients = [open_client("https://127.0.0.1:9", RestSettings()) for _ in range(2)]
    first, other = (client._transport._pool._ssl_context for client in clients)
    assert first is other


def test_a_cut_connection_is_tried_again():
    outcome = called(("cut", b""), GOOD)
    assert outcome.result == Answer(7)
    assert outcome.counts["ask", "TransportError"] == 1


@pytest.mark.parametrize(("status", "error_type"), [(503, MaintenanceError), (429, RateExceededError)])
def test_attempts_have_an_end_and_the_last_error_is_raised(status, error_type):
    outcome = called(*[(status, b"")] * 4)
    assert type(outcome.error) is error_type
    assert outcome.error.call == "ask"
    assert outcome.answers == []


def test_a_refusal_that_stays_is_not_asked_again():
    outcome = called((404, b""), GOOD)
    assert type(outcome.error) is BadRequestError
    assert len(outcome.answers) == 1


@pytest.mark.parametrize("body", [b'{"value": "x"}', b"{}", b"[]", b'{"other":' + b"[" * 50_000])
def test_an_answer_of_another_shape_is_malformed_and_not_asked_for_again(body):
    outcome = called((200, body), GOOD)
    assert type(outcome.error) is MalformedError
    assert outcome.error.call == "ask"
    assert outcome.counts == {("ask", "sent"): 1, ("ask", "MalformedError"): 1}


@pytest.mark.parametrize("body", [b"", b" ", b"<html>", b'{"value": 7', b'{"value"', b"\xff"])
def test_an_empty_or_cut_body_is_asked_for_again(body):
    outcome = called((200, body), (200, body), GOOD)
    assert outcome.result == Answer(7)
    assert outcome.counts == {("ask", "sent"): 3, ("ask", "MalformedError"): 2, ("ask", "ok"): 1}


def test_bodies_that_stay_cut_end_with_the_last_attempt():
    outcome = called(*[(200, b'{"value"')] * 4)
    assert type(outcome.error) is MalformedError
    assert outcome.answers == []


def test_a_body_of_a_byte_now_and_then_ends_the_call():
    async def drip(request):
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b" ")
                await asyncio.sleep(0.02)
        except ConnectionError:
            return response  # the client has had enough

    async def scenario():
        settings = RestSettings(timeout_s=1.0)
        async with serving(web.get("/ask", drip)) as address, open_client(f"http://{address}", settings) as client:
            await asyncio.wait_for(send_once(client, REQUEST, {}, Dialect()), DEADLINE_S)

    with pytest.raises(TransportError, match="ask"):
        asyncio.run(scenario())


async def test_a_page_states_whether_another_one_follows_and_the_next_request_continues_it():
    seen = []

    async def handle(request):
        seen.append(request.headers["continued"])
        return web.Response(body=b'{"value": 7}', headers={"Further": "yes" if len(seen) == 1 else "no"})

    class PagingDialect(Dialect):
        def headers(self, request, credentials):
            return {"continued": str(request.continued)}

    async with pipeline_to(web.get("/ask", handle), dialect=PagingDialect()) as (pipeline, _):
        first = await pipeline.call_page(REQUEST, "bulk", Answer)
        last = await pipeline.call_page(msgspec.structs.replace(REQUEST, continued=True), "bulk", Answer)
    assert (first.body, first.more, last.more) == (Answer(7), True, False)
    assert seen == ["False", "True"]


async def test_an_unreachable_host_is_a_transport_error():
    async with pipeline_at("http://127.0.0.1:1", RestSettings(attempts_max=2)) as (pipeline, _):
        with pytest.raises(TransportError, match="ask"):
            await pipeline.call_page(REQUEST, "bulk", Answer)
