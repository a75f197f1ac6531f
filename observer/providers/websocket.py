"""One streaming connection of one account, kept as wanted: connect, register, watch silence, back off, connect again.

Broker-neutral: texts and meanings come from a `StreamDialect`. The broker's acknowledgements are the only truth about
what is registered; a registration that was refused but believed active would be a silent hole.

Two patiences: the pause before another connection runs on market time (it is courtesy to the broker, and a scaled day
scales it), everything about the socket itself on machine time.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from random import Random
from typing import Final, Literal, NoReturn

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from bus.events import ConnectionChanged, InputQuarantined
from observer.clock import Clock
from observer.errors import ProviderError
from observer.providers.dialect import (
    Data,
    Ping,
    Refused,
    Registered,
    SessionRefused,
    StreamDialect,
    StreamMessage,
    Unreadable,
    Unregistered,
)
from observer.providers.interfaces import Credentials, CredentialSource, StreamListener

_ASK_TIMES_MAX: Final = 3  # a lost acknowledgement should not cost forty other registrations their connection
_FRAME_BYTES_MAX: Final = 16 * 2**20  # bursts of KIS exceed 8 KB; a client with that limit was cut off


class StreamSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to connect and how patient to be. `_s` is machine time, `_market_s` is market time."""

    url: str
    provider: str
    account: str
    capacity: int = 41
    connect_s: float = 10.0
    acknowledgement_s: float = 5.0
    silence_s: float = 90.0
    close_s: float = 2.0
    # Requirement 004, "WebSocket Reconnect Fails"; the last one repeats.
    delays_market_s: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


class Step(msgspec.Struct, frozen=True):
    """The next thing to ask the broker for."""

    kind: Literal["register", "unregister"]
    symbol: str


def next_step(wanted: Sequence[str], registered: Collection[str], refused: Collection[str]) -> Step | None:
    """What to ask for next, None when all is as wanted: removals first, then registrations in order of importance.

    What the broker refused is not asked again until something has changed, see `TradeStreamConnection`.
    """
    for symbol in registered:
        if symbol not in wanted and symbol not in refused:
            return Step("unregister", symbol)
    for symbol in wanted:
        if symbol not in registered and symbol not in refused:
            return Step("register", symbol)
    return None


class _LostError(Exception):
    """The connection is of no use any more; the text says why."""


class _RefusedError(Exception):
    """The broker closed its door on this connection."""

    def __init__(self, message: SessionRefused) -> None:
        super().__init__(f"{message.code} {message.reason}")
        self.key_rejected = message.key_rejected


class TradeStreamConnection:
    """Satisfies `TradeStream`.

    A refused symbol is asked for again after a removal made room, after a reconnection, or when it was given up by
    `want` and wanted anew: asking at every call of `want` would be hammering.
    """

    def __init__(
        self,
        *,
        settings: StreamSettings,
        open_dialect: Callable[[Credentials], StreamDialect],
        credentials: CredentialSource,
        listener: StreamListener,
        clock: Clock,
        chance: Random,
    ) -> None:
        self.capacity = settings.capacity
        self._settings = settings
        self._open_dialect = open_dialect
        self._credentials = credentials
        self._listener = listener
        self._clock = clock
        self._chance = chance
        self._wanted: tuple[str, ...] = ()
        # In the order of acknowledgement. Changed by the reader alone, from what the broker says; emptied with the
        # connection.
        self._registered: dict[str, None] = {}
        self._refused: set[str] = set()
        self._asked = ""  # the symbol of the latest request: a refusal that names none means it
        self._stirred = asyncio.Event()  # something that `next_step` looks at has changed
        self._heard_s = 0.0  # loop time of the last message of any kind
        self._failures = 0  # connections in a row without data; the place in the table of delays

    def __repr__(self) -> str:
        """The state as a test wants to see it."""
        return f"<stream {self._settings.account}: {len(self._registered)} of {len(self._wanted)} registered>"

    def want(self, symbols: Sequence[str]) -> None:
        """The symbols to be registered, most important first; at most `capacity` of them count."""
        self._wanted = tuple(dict.fromkeys(symbols))[: self.capacity]
        self._refused.intersection_update({*self._wanted, *self._registered})
        self._stirred.set()

    @property
    def registered(self) -> frozenset[str]:
        """What the broker has acknowledged."""
        return frozenset(self._registered)

    async def run(self) -> None:
        """Connect, keep the registrations as wanted, watch for silence, back off and connect again.

        Until cancelled; then it unregisters and closes cleanly, which takes at most `close_s` seconds.
        """
        while True:
            await self._connect_once()
            await self._clock.sleep(self._next_delay_market_s())

    # --- one connection --------------------------------------------------------------------------------------

    async def _connect_once(self) -> None:
        """One connection from its opening to its end. Returns when another one should be tried."""
        try:
            used = await self._credentials.current()
            socket = await self._open_socket()
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI, ConnectionClosed, ProviderError) as error:
            self._report("refused", f"{type(error).__name__} {error}".strip())
            return
        dialect = self._open_dialect(used)
        try:
            await self._use(socket, dialect)
        except _LostError as error:
            await self._abandon(socket, "lost", str(error))
        except _RefusedError as error:
            await self._abandon(socket, "refused", str(error))
            if error.key_rejected:
                await self._credentials.reject(used)
        except asyncio.CancelledError:
            await self._close_cleanly(socket, dialect)
            raise
        finally:
            socket.transport.abort()  # closed already, unless the listener failed: then nobody else would

    async def _open_socket(self) -> ClientConnection:
        return await connect(
            self._settings.url,
            open_timeout=self._settings.connect_s,
            close_timeout=self._settings.close_s,
            ping_interval=None,  # KIS does not answer protocol pings; its own keep-alive is watched instead
            max_size=_FRAME_BYTES_MAX,
            compression=None,
            proxy=None,
        )

    async def _use(self, socket: ClientConnection, dialect: StreamDialect) -> NoReturn:
        """Read, register and watch at the same time until one of the three ends the connection."""
        self._heard_s = asyncio.get_running_loop().time()
        self._report("connected", "")
        tasks = [
            asyncio.create_task(self._read(socket, dialect)),
            asyncio.create_task(self._reconcile(socket, dialect)),
            asyncio.create_task(self._watch_silence()),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        raise _worst(outcomes)

    async def _abandon(self, socket: ClientConnection, state: Literal["lost", "refused"], reason: str) -> None:
        """Tell what is gone with the connection, in this order, and let the socket go."""
        gone = list(self._registered)
        self._registered.clear()
        self._refused.clear()
        self._report(state, reason, registrations=len(gone))
        for symbol in gone:
            self._listener.on_unregistered(symbol, "connection lost")
        await socket.close()

    def _next_delay_market_s(self) -> float:
        """The pause before the next connection, up to a tenth longer by chance: accounts should not march in step."""
        delays = self._settings.delays_market_s
        delay_s = delays[min(self._failures, len(delays) - 1)]
        self._failures += 1
        return delay_s * self._chance.uniform(1.0, 1.1)

    # --- reading ---------------------------------------------------------------------------------------------

    async def _read(self, socket: ClientConnection, dialect: StreamDialect) -> NoReturn:
        loop = asyncio.get_running_loop()
        try:
            while True:
                frame = await socket.recv()
                self._heard_s = loop.time()
                reply = self._take(dialect, dialect.read(frame))
                if reply is not None:
                    await socket.send(reply)
        except ConnectionClosed as error:
            raise _LostError(f"closed by the broker: {error}") from error

    def _take(self, dialect: StreamDialect, message: StreamMessage) -> str | None:
        """Act on one message without waiting for anything; returns what to answer, if anything.

        Raises:
            _RefusedError: the broker will not have this connection.
        """
        match message:
            case Data():
                self._hand_on_trades(dialect, message)
            case Ping(reply):
                return reply
            case Registered(symbol):
                self._note_registered(symbol)
            case Unregistered(symbol):
                self._note_unregistered(symbol)
            case Refused():
                self._note_refused(message)
            case Unreadable(content, reason):
                self._quarantine(content, reason)
            case SessionRefused():
                raise _RefusedError(message)
        return None

    def _hand_on_trades(self, dialect: StreamDialect, data: Data) -> None:
        trades, broken = dialect.parse(data, self._clock.now_ns())
        if trades:
            self._failures = 0  # only data prove a connection: an accepted and then idle one may be a fight for the key
            self._listener.on_trades(trades)
        if broken is not None:
            self._listener.on_quarantine(broken)

    def _note_registered(self, symbol: str) -> None:
        self._refused.discard(symbol)
        if symbol not in self._registered:
            self._registered[symbol] = None
            self._listener.on_registered(symbol)
        self._stirred.set()

    def _note_unregistered(self, symbol: str) -> None:
        self._refused.clear()  # there is room now
        if symbol in self._registered:
            del self._registered[symbol]
            self._listener.on_unregistered(symbol, "removed")
        self._stirred.set()

    def _note_refused(self, message: Refused) -> None:
        symbol = message.symbol or self._asked
        self._refused.add(symbol)
        if symbol not in self._registered:
            self._listener.on_unregistered(symbol, f"refused: {message.code} {message.reason}")
        self._stirred.set()

    def _quarantine(self, content: bytes, reason: str) -> None:
        source = f"{self._settings.provider}.stream"
        self._listener.on_quarantine(InputQuarantined(source, self._clock.now_ns(), reason, content))

    async def _watch_silence(self) -> NoReturn:
        """A dead connection often sends no close: no message of any kind, keep-alives included, is the sign."""
        loop = asyncio.get_running_loop()
        while True:
            remaining_s = self._heard_s + self._settings.silence_s - loop.time()
            if remaining_s <= 0:
                raise _LostError(f"silent for {self._settings.silence_s:g} s")
            await asyncio.sleep(remaining_s)

    # --- registering -----------------------------------------------------------------------------------------

    async def _reconcile(self, socket: ClientConnection, dialect: StreamDialect) -> NoReturn:
        """Work off the difference between what is wanted and what is acknowledged, one request at a time."""
        try:
            while True:
                self._stirred.clear()
                step = next_step(self._wanted, self._registered, self._refused)
                if step is None:
                    await self._stirred.wait()
                else:
                    await self._carry_out(socket, dialect, step)
        except ConnectionClosed as error:
            raise _LostError(f"closed by the broker: {error}") from error

    async def _carry_out(self, socket: ClientConnection, dialect: StreamDialect, step: Step) -> None:
        """Ask until the broker has answered.

        Raises:
            _LostError: it never does.
        """
        self._asked = step.symbol
        text = dialect.register(step.symbol) if step.kind == "register" else dialect.unregister(step.symbol)
        for _ in range(_ASK_TIMES_MAX):
            await socket.send(text)
            try:
                async with asyncio.timeout(self._settings.acknowledgement_s):
                    while not self._is_answered(step):
                        self._stirred.clear()
                        await self._stirred.wait()
            except TimeoutError:
                continue
            return
        raise _LostError(f"no answer to {step.kind} {step.symbol}, asked {_ASK_TIMES_MAX} times")

    def _is_answered(self, step: Step) -> bool:
        if step.symbol in self._refused:
            return True
        return (step.symbol in self._registered) == (step.kind == "register")

    # --- closing ---------------------------------------------------------------------------------------------

    async def _close_cleanly(self, socket: ClientConnection, dialect: StreamDialect) -> None:
        """Remove every registration, hear the acknowledgements and what trades still come, and close."""
        registrations = len(self._registered)
        try:
            async with asyncio.timeout(self._settings.close_s):
                for symbol in list(self._registered):
                    await socket.send(dialect.unregister(symbol))
                while self._registered:
                    self._take(dialect, dialect.read(await socket.recv()))
                await socket.close()
        except (TimeoutError, ConnectionClosed, _RefusedError):
            pass  # what could not be removed goes with the connection, and is told as such below
        for symbol in list(self._registered):
            self._listener.on_unregistered(symbol, "closed")
        self._registered.clear()
        self._report("closed", "stopped", registrations=registrations)

    def _report(
        self, state: Literal["connected", "lost", "refused", "closed"], reason: str, registrations: int = 0
    ) -> None:
        change = ConnectionChanged(
            provider=self._settings.provider,
            account=self._settings.account,
            changed_ns=self._clock.now_ns(),
            state=state,
            reason=reason,
            registrations=registrations,
        )
        self._listener.on_connection(change)


def _worst(outcomes: Sequence[BaseException | None]) -> BaseException:
    """The exception that tells most about the end: a refusal explains the close that follows it, a bug tops both."""
    ranks = (asyncio.CancelledError, _LostError, _RefusedError)

    def rank(error: BaseException) -> int:
        return next((place for place, kind in enumerate(ranks) if isinstance(error, kind)), len(ranks))

    return max((error for error in outcomes if error is not None), key=rank)
