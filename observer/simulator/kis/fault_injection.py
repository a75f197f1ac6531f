"""Carries out the faults: scripted ones at their time, requested ones at once.

`LoopbackServer` is an HTTP application on one loopback port, which can be shut for a while; `RestFaultInjector` is the
outermost middleware; `FaultScript` reaches all parts of the simulator.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Final

import msgspec
from aiohttp import web

from observer.base.clock import Clock
from observer.simulator.counters import Counters
from observer.simulator.faults import Fault, FaultInjector, FaultRequest
from observer.simulator.kis.authentication import Authentication
from observer.simulator.kis.stream import StreamSide

_HOST: Final = "127.0.0.1"
_STOP_TIMEOUT_S: Final = 2.0


class LoopbackServer:
    """Start it once, stop it once; between, shut and reopen it."""

    def __init__(self, application: web.Application, port: int) -> None:
        self._port = port
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=_STOP_TIMEOUT_S)
        self._site: web.TCPSite | None = None

    async def start(self) -> str:
        """Serve; returns host:port. Raises OSError when the port is taken."""
        await self._runner.setup()
        await self.reopen()
        self._port = self._runner.addresses[0][1]
        return f"{_HOST}:{self._port}"

    async def shut(self) -> None:
        """Stop listening, and cut the open connections."""
        if self._site is not None:
            await self._site.stop()
            self._site = None
        if self._runner.server is not None:
            for connection in self._runner.server.connections:
                if connection.transport is not None:
                    connection.transport.abort()

    async def reopen(self) -> None:
        """Listen again at the same port."""
        if self._site is None:
            self._site = web.TCPSite(self._runner, _HOST, self._port)
            await self._site.start()

    async def stop(self) -> None:
        """Stop for good."""
        await self._runner.cleanup()


CONTROL_PATH: Final = "/simulator/"
_SERVER_CODES: Final = ("OPSQ1002", "OPSQ0003", "OPSQ0009", "OPSQ0010", "OPSQ0011")
_CHECK_AGAIN_S: Final = 0.02
_TIME_FORMAT: Final = "%Y-%m-%d %H:%M:%S"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class RestFaultInjector:
    """Strikes calls by the running faults, except the simulator's own control calls."""

    def __init__(self, fault_injector: FaultInjector, now_ns: Callable[[], int]) -> None:
        self._fault_injector = fault_injector
        self._now_ns = now_ns

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Delay, falsify or suppress the answer, or pass the call on."""
        if request.path.startswith(CONTROL_PATH):
            return await handler(request)
        strikes, now_ns = self._fault_injector.strikes, self._now_ns()
        if strikes("rest_reset", now_ns):
            return _cut(request)
        if stall := strikes("rest_stall", now_ns):
            return await self._stall(request, stall)
        if latency := strikes("rest_latency", now_ns):
            await asyncio.sleep(latency.by_s)
        if strikes("maintenance", now_ns):
            return _under_maintenance(request, self._fault_injector.rng("maintenance"))
        if strikes("rest_error", now_ns):
            return _failure(request, "EGW00002", "서버 에러가 발생했습니다.")
        if strikes("rest_busy", now_ns):
            return _failure(request, "EGW00201", "초당 거래건수를 초과하였습니다.")
        answer = self._with_skewed_clock(await handler(request), now_ns)
        if strikes("rest_cut_body", now_ns) and isinstance(answer, web.Response) and isinstance(answer.body, bytes):
            answer.body = answer.body[: self._fault_injector.rng("rest_cut_body").choice((0, len(answer.body) // 2))]
        return answer

    async def _stall(self, request: web.Request, stall: Fault) -> web.StreamResponse:
        """Send nothing until the client has gone or the fault is over."""
        while stall.runs_at(self._now_ns()):
            await asyncio.sleep(_CHECK_AGAIN_S)
            if request.transport is None or request.transport.is_closing():
                break
        return _cut(request)

    def _with_skewed_clock(self, answer: web.StreamResponse, now_ns: int) -> web.StreamResponse:
        """Shift the end of a token, the only clock time in REST answers."""
        skew = self._fault_injector.running("clock_skew", now_ns)
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


def _under_maintenance(request: web.Request, rng: Random) -> web.Response:
    """One of what KIS answers at maintenance (docs/kis.md#errors): the gateway's time-out, an HTML page with either
    status, or a server-side code with HTTP 200.
    """
    choice = rng.randrange(4)
    if choice < 2:
        page = "<!DOCTYPE html><html><body>시스템 점검 중입니다.</body></html>"
        return web.Response(text=page, status=(200, 502)[choice], content_type="text/html", charset="utf-8")
    if choice == 2 and not request.path.startswith("/oauth2/"):
        return _failure(request, rng.choice(_SERVER_CODES), "서비스 처리 중 오류가 발생했습니다.", 200)
    return _failure(request, "EGW00300", "고객식별키 처리 중 GATEWAY TIMEOUT 이 발생했습니다.")


def _failure(request: web.Request, code: str, text: str, status: int = 500) -> web.Response:
    """A failure with the body that the path's calls have (docs/kis.md#errors)."""
    answer: Mapping[str, str] = {"rt_cd": "1", "msg_cd": code, "msg1": text}
    if request.path.startswith("/oauth2/"):
        answer = {"error_code": code, "error_description": text}
    return web.Response(
        body=msgspec.json.encode(answer), status=status, content_type="application/json", charset="utf-8"
    )


class FaultScript:
    """The parts of the simulator that faults reach, and the schedule of the faults."""

    def __init__(
        self,
        fault_injector: FaultInjector,
        clock: Clock,
        counters: Counters,
        *,
        authentication: Authentication,
        stream: StreamSide,
        rest_listener: LoopbackServer,
    ) -> None:
        self._fault_injector = fault_injector
        self._clock = clock
        self._counters = counters
        self._authentication = authentication
        self._stream = stream
        self._rest_listener = rest_listener
        self._refusals: set[asyncio.Task[None]] = set()

    async def run(self, script: Sequence[Fault]) -> None:
        """Run a script in the order of time; faults that began earlier are not begun again, but still run."""
        started_ns = self._clock.now_ns()
        for fault in script:
            if fault.start_ns > started_ns:
                await self._clock.sleep_until(fault.start_ns)
                self._begin(fault)

    def begin(self, request: FaultRequest) -> Fault:
        """Begin a fault now."""
        fault = Fault.from_now_on(request, self._clock.now_ns())
        self._fault_injector.add(fault)
        self._begin(fault)
        return fault

    async def stop(self) -> None:
        """Cancel the listeners' pending reopenings."""
        for task in self._refusals:
            task.cancel()
        await asyncio.gather(*self._refusals, return_exceptions=True)

    def _begin(self, fault: Fault) -> None:
        """Carry out a fault's first moment; most kinds strike single calls and frames while they run."""
        match fault.kind:
            case "stream_cut":
                self._counters.drops += 1
                self._stream.cut_all()
            case "half_open":
                self._stream.silence_all()
            case "token_revoked":
                self._counters.faults[fault.kind] += 1
                self._authentication.revoke_all_tokens()
            case "token_expired":
                self._counters.faults[fault.kind] += 1
                self._authentication.expire_all_tokens(fault.start_ns)
            case "approval_revoked":
                self._counters.faults[fault.kind] += 1
                self._authentication.revoke_all_approvals()
            case "rest_refused":
                self._counters.faults[fault.kind] += 1
                task = asyncio.create_task(self._refuse(fault.end_ns))
                self._refusals.add(task)
                task.add_done_callback(self._refusals.discard)
            case _:
                pass

    async def _refuse(self, end_ns: int) -> None:
        await self._rest_listener.shut()
        await self._clock.sleep_until(end_ns)
        if len(self._refusals) == 1:  # of refusals that overlap the last to end lets the callers in again
            await self._rest_listener.reopen()
