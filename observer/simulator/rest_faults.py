"""How the REST side misbehaves: a middleware outside of everything that answers properly."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

import msgspec
from aiohttp import web

from observer.simulator.faults import Fault
from observer.simulator.misbehaviour import Misbehaviour

CONTROL_PATH: Final = "/simulator/"
_LOOK_AGAIN_S: Final = 0.02
_TIME_FORMAT: Final = "%Y-%m-%d %H:%M:%S"

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class RestMisbehaviour:
    """Strikes calls by the faults of the moment; the control calls of the simulator itself are spared."""

    def __init__(self, misbehaviour: Misbehaviour, now_ns: Callable[[], int]) -> None:
        self._misbehaviour = misbehaviour
        self._now_ns = now_ns

    @web.middleware
    async def middleware(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Answer late, wrongly or not at all, or let the call through."""
        if request.path.startswith(CONTROL_PATH):
            return await handler(request)
        strikes, now_ns = self._misbehaviour.strikes, self._now_ns()
        if strikes("rest_reset", now_ns):
            return _cut(request)
        if stall := strikes("rest_stall", now_ns):
            return await self._stall(request, stall)
        if latency := strikes("rest_latency", now_ns):
            await asyncio.sleep(latency.by_s)
        if strikes("maintenance", now_ns):
            return _failure(request, "EGW00300", "고객식별키 처리 중 GATEWAY TIMEOUT 이 발생했습니다.")
        if strikes("rest_error", now_ns):
            return _failure(request, "EGW00002", "서버 에러가 발생했습니다.")
        return self._with_skewed_clock(await handler(request), now_ns)

    async def _stall(self, request: web.Request, stall: Fault) -> web.StreamResponse:
        """Say nothing until the client has gone or the fault is over."""
        while stall.runs_at(self._now_ns()):
            await asyncio.sleep(_LOOK_AGAIN_S)
            if request.transport is None or request.transport.is_closing():
                break
        return _cut(request)

    def _with_skewed_clock(self, answer: web.StreamResponse, now_ns: int) -> web.StreamResponse:
        """A wrong clock shows in the one time that the REST side states of itself: the end of a token."""
        skew = self._misbehaviour.running("clock_skew", now_ns)
        if skew is None or not isinstance(answer, web.Response) or not isinstance(answer.body, bytes):
            return answer
        body = msgspec.json.decode(answer.body)
        if "access_token_token_expired" in body:
            body["access_token_token_expired"] = _shifted(body["access_token_token_expired"], skew.by_s)
            answer.body = msgspec.json.encode(body)
        return answer


def _shifted(text: str, by_s: float) -> str:
    moment = datetime.strptime(text, _TIME_FORMAT)  # noqa: DTZ007 - a Korean time without an offset, as KIS writes it
    return (moment + timedelta(seconds=by_s)).strftime(_TIME_FORMAT)


def _cut(request: web.Request) -> web.StreamResponse:
    """End the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)


def _failure(request: web.Request, code: str, text: str) -> web.Response:
    """An HTTP 500 with the body that the path's calls have (kis-api.md section 3)."""
    answer: Mapping[str, str] = {"rt_cd": "1", "msg_cd": code, "msg1": text}
    if request.path.startswith("/oauth2/"):
        answer = {"error_code": code, "error_description": text}
    return web.Response(body=msgspec.json.encode(answer), status=500, content_type="application/json", charset="utf-8")
