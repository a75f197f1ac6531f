"""The WebSocket side of the simulated broker: sockets around sessions, keep-alive, and line faults.

Trades are due by market time; the beat that sends them, the keep-alive and all socket timeouts run on machine time. As
at KIS, protocol pings are not answered.
"""

import asyncio
from itertools import count
from typing import Final

import msgspec
from aiohttp import WSMsgType, web

from observer.base.clock import Clock
from observer.base.local_time import local_datetime
from observer.base.units import NS_PER_S
from observer.simulator.counters import Counters
from observer.simulator.faults import FaultInjector
from observer.simulator.kis.authentication import Authentication
from observer.simulator.kis.forgery import Forgery, forged
from observer.simulator.kis.session import Reply, StreamSession
from observer.simulator.kis.timelines import TRADE_TR_IDS, CapturedFrames, Timelines
from observer.simulator.kis.wire import Ledger, on_the_wire
from observer.simulator.settings import SimulatorSettings

_BEAT_S: Final = 0.01
_UNANSWERED_LIMIT: Final = 3
_LARGEST_MESSAGE_BYTES: Final = 64 * 1024
_CLOSE_TIMEOUT_S: Final = 1.0  # how long a peer may take to answer our close frame
_SLOW_TIMEOUT_S: Final = 1.0  # how long a full send buffer may take to fall below its limit again


class StreamSide:
    """All connections. `_held` are sessions of connections that ended uncleanly, with the time that frees their app
    keys.
    """

    def __init__(
        self,
        timelines: Timelines,
        captured: CapturedFrames,
        authentication: Authentication,
        fault_injector: FaultInjector,
        ledger: Ledger,
        clock: Clock,
        counters: Counters,
        settings: SimulatorSettings,
    ) -> None:
        self.fault_injector = fault_injector
        self.ledger = ledger
        self.clock = clock
        self.counters = counters
        self.settings = settings
        self.forgeries: list[Forgery] = []  # false records sent so far
        self._timelines = timelines
        self._captured = captured
        self._authentication = authentication
        self._sessions: dict[str, StreamSession] = {}
        self._connections: set[_Connection] = set()
        self._held: list[tuple[int, StreamSession]] = []
        self._numbers = count(1)

    def application(self) -> web.Application:
        """The HTTP application whose every path is the stream's."""
        application = web.Application()
        for path in ("/", "/tryitout", "/tryitout/{tr_id}"):
            application.router.add_get(path, self._connect)
        return application

    def cut_all(self) -> None:
        """End every connection without a close frame."""
        for connection in self._connections:
            self.counters.connections_cut += connection.is_open
            connection.cut()

    def forge(self, frame: str, now_ns: int) -> str:
        """The frame with a false record to send after this one; empty if no fault strikes it."""
        if frame.split("|", 2)[1] not in TRADE_TR_IDS or not self.fault_injector.strikes("poison", now_ns):
            return ""
        forgery = forged(frame, self.fault_injector.rng("poison"), now_ns)
        if forgery is None:
            return ""
        self.forgeries.append(forgery)
        return forgery.frame

    def silence_all(self) -> None:
        """Silence every open connection for the rest of its life."""
        for connection in self._connections:
            connection.fall_silent()

    def free_keys(self, now_ns: int) -> None:
        """Free the app keys whose time after an unclean end is over."""
        over = [session for until_ns, session in self._held if until_ns <= now_ns]
        self._held = [(until_ns, session) for until_ns, session in self._held if until_ns > now_ns]
        for session in over:
            session.end()

    async def close(self) -> None:
        """End all connections with a close frame."""
        await asyncio.gather(*(connection.close() for connection in list(self._connections)))

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        if self.fault_injector.running("stream_cut", self.clock.now_ns()):
            self.counters.connections_refused += 1
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=503)
        limit = self.settings.registrations_limit
        session = StreamSession(
            self._timelines, self._authentication, self._sessions, limit, self.counters, self._captured
        )
        connection = _Connection(self, request, session, next(self._numbers))
        self.counters.connections += 1
        self._connections.add(connection)
        if self.fault_injector.running("half_open", self.clock.now_ns()):
            connection.fall_silent()
        try:
            return await connection.serve()
        finally:
            self._connections.discard(connection)
            self._end(connection, session)

    def _end(self, connection: "_Connection", session: StreamSession) -> None:
        now_ns = self.clock.now_ns()
        # A busy simulator serves the end of a cut connection later than it was.
        self.ledger.ended(connection.number, now_ns if connection.cut_ns is None else connection.cut_ns)
        if connection.closed_cleanly or self.settings.session_timeout_s == 0:
            session.end()
        else:
            self._held.append((now_ns + round(self.settings.session_timeout_s * NS_PER_S), session))


class _Connection:
    """One socket and its session. `_sending` serialises the session's texts."""

    def __init__(self, side: StreamSide, request: web.Request, session: StreamSession, number: int) -> None:
        self.number = number
        self.closed_cleanly = False
        self.cut_ns: int | None = None  # market time
        self._side = side
        self._request = request
        self._session = session
        self._socket = web.WebSocketResponse(
            autoping=False,
            autoclose=False,
            compress=False,
            timeout=_CLOSE_TIMEOUT_S,
            max_msg_size=_LARGEST_MESSAGE_BYTES,
        )
        self._sending = asyncio.Lock()
        self._unanswered = 0
        self._silent = False

    async def serve(self) -> web.WebSocketResponse:
        """Serve the session until either side ends it."""
        await self._socket.prepare(self._request)
        if self._request.transport is not None:
            # The limit is judged here, before a write: the transport itself must not make a write wait below it.
            self._request.transport.set_write_buffer_limits(2 * self._side.settings.send_buffer_limit_bytes)
        try:
            async with asyncio.TaskGroup() as group:
                beats = [group.create_task(self._send_due()), group.create_task(self._keep_alive())]
                await self._listen()
                for beat in beats:
                    beat.cancel()
        except* ConnectionError:
            pass  # a write met a peer that is gone: an ordinary end of a connection
        return self._socket

    @property
    def is_open(self) -> bool:
        """Whether neither side has ended the connection yet."""
        return self._request.transport is not None and not self._request.transport.is_closing()

    def cut(self) -> None:
        """End the connection without a close frame, as a broken line does."""
        if self._request.transport is not None:
            if self.is_open and self.cut_ns is None:
                self.cut_ns = self._side.clock.now_ns()
            self._request.transport.abort()

    def fall_silent(self) -> None:
        """Send nothing any more and stay open: the line is dead without any close."""
        self._silent = True
        self._side.counters.faults["half_open"] += 1

    async def close(self) -> None:
        """End the connection with a close frame."""
        self.closed_cleanly = True
        await self._socket.close(code=1001, message=b"simulator stops")

    async def _listen(self) -> None:
        while True:
            message = await self._socket.receive()
            if message.type is WSMsgType.PONG:
                self._unanswered = 0
            elif message.type is WSMsgType.TEXT:
                reply = await self._answer(message.data)
                if reply.close:
                    self.closed_cleanly = True
                    await self._socket.close()
                    return
            elif message.type is WSMsgType.CLOSE and not self._silent:
                self.closed_cleanly = True
                await self._socket.close(drain=False)
                return
            elif message.type not in (WSMsgType.PING, WSMsgType.BINARY):
                self.cut()  # the peer is gone without a close, or a dead line does not answer its close frame
                return

    async def _answer(self, text: str) -> Reply:
        async with self._sending:
            if self._silent:
                return Reply()
            now_ns = self._side.clock.now_ns()
            self._side.free_keys(now_ns)
            reply = self._session.receive(text, now_ns)
            if reply.alive:
                self._unanswered = 0
            await self._send(reply.texts, now_ns, reply)
            await self._send_captured(reply.captured)
        return reply

    async def _send_due(self) -> None:
        while not self._silent:
            async with self._sending:
                now_ns = self._side.clock.now_ns()
                await self._send(self._session.due(now_ns), now_ns)
            await asyncio.sleep(_BEAT_S)

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(self._side.settings.pingpong_interval_s)
            if self._silent:
                return
            if self._unanswered >= _UNANSWERED_LIMIT:
                self._side.counters.silent_clients += 1
                self.cut()
                return
            self._unanswered += 1
            async with self._sending:
                await self._send((self._keep_alive_text(),), self._side.clock.now_ns())

    def _keep_alive_text(self) -> str:
        now_ns = self._side.clock.now_ns()
        skew = self._side.fault_injector.running("clock_skew", now_ns)
        if skew is not None:
            self._side.counters.faults["clock_skew"] += 1
            now_ns += round(skew.by_s * NS_PER_S)
        shown = local_datetime(now_ns).strftime("%Y%m%d%H%M%S")
        return msgspec.json.encode({"header": {"tr_id": "PINGPONG", "datetime": shown}}).decode()

    async def _send(self, texts: tuple[str, ...], now_ns: int, reply: Reply = Reply()) -> None:  # noqa: B008 - frozen
        """Send texts and record them in the ledger. Raises ConnectionError when the peer is gone or was cut."""
        for text in texts:
            if self._silent:
                return
            await self._wait_for_room()
            if text.startswith("{"):
                self._note(reply, now_ns)
                await self._socket.send_str(text)
                continue
            frame = on_the_wire(text, self._side.fault_injector, now_ns)
            for _ in range(frame.times):
                await self._socket.send_str(frame.text)
            self._side.ledger.put_on_wire(self.number, text, frame.fates)
            if false_frame := self._side.forge(text, now_ns):
                await self._socket.send_str(false_frame)

    async def _send_captured(self, frames: tuple[str, ...]) -> None:
        """Send captured frames unchanged. Raises ConnectionError as `_send`."""
        for frame in frames:
            await self._wait_for_room()
            await self._socket.send_str(frame)

    def _note(self, reply: Reply, now_ns: int) -> None:
        """Record an acknowledgement in the ledger; other texts of the session are refusals and keep-alives."""
        ledger = self._side.ledger
        if (target := reply.registered) is not None:
            ledger.acknowledged(self.number, target.tr_id, target.tr_key, now_ns)
        if (target := reply.removed) is not None:
            ledger.removed(self.number, target.tr_id, target.tr_key, now_ns)

    async def _wait_for_room(self) -> None:
        """Cut a client that does not read. Raises ConnectionResetError."""
        transport, limit = self._request.transport, self._side.settings.send_buffer_limit_bytes
        if transport is None or transport.get_write_buffer_size() <= limit:
            return
        for _ in range(round(_SLOW_TIMEOUT_S / _BEAT_S)):
            await asyncio.sleep(_BEAT_S)
            if transport.get_write_buffer_size() <= limit:
                return
        self._side.counters.slow_consumers += 1
        self.cut()
        raise ConnectionResetError("the client does not read")
