"""The WebSocket side of the simulated broker: sockets around sessions, keep-alive, and scripted outages.

Trades are due by market time; the beat that looks for them, the keep-alive and everything else about sockets runs on
machine time. As at KIS, protocol pings are not answered.
"""

import asyncio
from typing import Final

import msgspec
from aiohttp import WSMsgType, web

from observer.clock import Clock, kst_datetime
from observer.simulator.faults import Faults
from observer.simulator.gate import Gate
from observer.simulator.market import Market
from observer.simulator.session import Reply, StreamSession
from observer.simulator.tally import Tally

_BEAT_S: Final = 0.01
_UNANSWERED_LIMIT: Final = 3
_LARGEST_MESSAGE_BYTES: Final = 64 * 1024
_CLOSE_TIMEOUT_S: Final = 1.0  # how long a peer may take to answer our close frame


class _Connection:
    """One socket and its session. `_sending` keeps the order: nothing comes between a session's texts."""

    def __init__(self, request: web.Request, session: StreamSession, clock: Clock, pingpong_interval_s: float) -> None:
        self._request = request
        self._session = session
        self._clock = clock
        self._pingpong_interval_s = pingpong_interval_s
        self._socket = web.WebSocketResponse(
            autoping=False, compress=False, timeout=_CLOSE_TIMEOUT_S, max_msg_size=_LARGEST_MESSAGE_BYTES
        )
        self._sending = asyncio.Lock()
        self._unanswered = 0

    async def serve(self) -> web.WebSocketResponse:
        """Speak until either side ends it."""
        await self._socket.prepare(self._request)
        try:
            async with asyncio.TaskGroup() as group:
                beats = [group.create_task(self._send_due()), group.create_task(self._keep_alive())]
                await self._listen()
                for beat in beats:
                    beat.cancel()
        except* ConnectionError:
            pass  # a write met a peer that is gone: an ordinary end of a connection
        finally:
            self._session.end()
        return self._socket

    def cut(self) -> None:
        """End the connection without a close frame, as a broken line does."""
        if self._request.transport is not None:
            self._request.transport.abort()

    async def close(self) -> None:
        """End the connection with a close frame."""
        await self._socket.close(code=1001, message=b"simulator stops")

    async def _listen(self) -> None:
        async for message in self._socket:
            if message.type is WSMsgType.PONG:
                self._unanswered = 0
            elif message.type is WSMsgType.TEXT:
                reply = await self._answer(message.data)
                if reply.close:
                    await self._socket.close()
                    return

    async def _answer(self, text: str) -> Reply:
        async with self._sending:
            reply = self._session.receive(text, self._clock.now_ns())
            if reply.alive:
                self._unanswered = 0
            await self._send(reply.texts)
        return reply

    async def _send_due(self) -> None:
        while True:
            async with self._sending:
                await self._send(self._session.due(self._clock.now_ns()))
            await asyncio.sleep(_BEAT_S)

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(self._pingpong_interval_s)
            if self._unanswered >= _UNANSWERED_LIMIT:
                self.cut()
                return
            self._unanswered += 1
            now = kst_datetime(self._clock.now_ns()).strftime("%Y%m%d%H%M%S")
            text = msgspec.json.encode({"header": {"tr_id": "PINGPONG", "datetime": now}}).decode()
            async with self._sending:
                await self._send((text,))

    async def _send(self, texts: tuple[str, ...]) -> None:
        for text in texts:
            await self._socket.send_str(text)


class StreamSide:
    """All connections, and the outages that end them."""

    def __init__(
        self,
        market: Market,
        gate: Gate,
        faults: Faults,
        clock: Clock,
        tally: Tally,
        *,
        registrations_limit: int,
        pingpong_interval_s: float,
    ) -> None:
        self._market = market
        self._gate = gate
        self._faults = faults
        self._clock = clock
        self._tally = tally
        self._registrations_limit = registrations_limit
        self._pingpong_interval_s = pingpong_interval_s
        self._sessions: dict[str, StreamSession] = {}
        self._connections: set[_Connection] = set()

    def application(self) -> web.Application:
        """The HTTP application whose every path is the stream's."""
        application = web.Application()
        for path in ("/", "/tryitout", "/tryitout/{tr_id}"):
            application.router.add_get(path, self._connect)
        return application

    async def run_outages(self) -> None:
        """Cut every connection at the start of each outage that is still to come."""
        started_ns = self._clock.now_ns()
        for outage in self._faults.outages:
            if outage.start_ns <= started_ns:
                continue
            await self._clock.sleep_until(outage.start_ns)
            self._tally.drops += 1
            self._tally.connections_cut += len(self._connections)
            for connection in self._connections:
                connection.cut()

    async def close(self) -> None:
        """End all connections with a close frame."""
        await asyncio.gather(*(connection.close() for connection in list(self._connections)))

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        if self._faults.stream_is_closed(self._clock.now_ns()):
            self._tally.connections_refused += 1
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=503)
        session = StreamSession(self._market, self._gate, self._sessions, self._registrations_limit, self._tally)
        connection = _Connection(request, session, self._clock, self._pingpong_interval_s)
        self._tally.connections += 1
        self._connections.add(connection)
        try:
            return await connection.serve()
        finally:
            self._connections.discard(connection)
