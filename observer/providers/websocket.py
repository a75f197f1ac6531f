"""One streaming connection of one account, kept as wanted: connect, register, watch silence, back off, connect again.

Broker-neutral: texts and meanings come from a `StreamDialect`, what to ask next from `Registrations`, when to ask and
when to connect from `ChangeBudget` and `Patience`. Here are the sockets.

Two times: courtesy to the broker (pauses, budget) runs on market time, and a scaled day scales it; everything about the
socket itself is machine time.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from random import Random
from typing import Final, Literal, NoReturn

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from bus.events import ConnectionChanged, InputQuarantined
from observer.clock import Clock
from observer.errors import ProviderError
from observer.providers.budget import ChangeBudget
from observer.providers.connection_end import KeyChangedError, LostError, RefusedError, decisive
from observer.providers.dialect import (
    Data,
    Ping,
    Refused,
    Registered,
    Registration,
    SessionRefused,
    StreamDialect,
    StreamMessage,
    Unreadable,
    Unregistered,
)
from observer.providers.interfaces import Credentials, CredentialSource, RecordKind, StreamListener
from observer.providers.patience import Patience
from observer.providers.raw import UNRECORDED, FrameRecorder
from observer.providers.registrations import Registrations, Step

logger = logging.getLogger(__name__)

_ASK_TIMES_MAX: Final = 3  # a lost acknowledgement should not cost forty other registrations their connection
_FRAME_BYTES_MAX: Final = 16 * 2**20  # bursts of KIS exceed 8 KB; a client with that limit was cut off
_NEW_KEY: Final = "new approval key"
_REMOVED: Final = "removed"


class StreamSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to connect, what to stream and how patient to be. `_s` is machine time, `_market_s` is market time.

    `records` are streamed of every symbol; each takes one of the `capacity` registrations, so two kinds halve the
    number of symbols. `attempts_per_hour` is requirement 004's ("Constraints"), and so are the delays, the last of
    which repeats. The slow beat needs 6 of those attempts; a broker that is ill for an afternoon is seen to be well
    again within ten minutes. `changes_per_minute` is ours: twice it gives away and takes every one of 41 places within
    a minute (82), with room for what triggers ask between; a client that goes on beyond two changes a second is the
    loop that keys are blocked for. What the broker refused to register is asked for again every `refusal_market_s`: a
    place whose symbol does not stream is a hole that only a person would see.
    """

    url: str
    provider: str
    account: str
    capacity: int = 41
    records: tuple[RecordKind, ...] = ("trades",)
    connect_s: float = 10.0
    acknowledgement_s: float = 5.0
    silence_s: float = 90.0
    close_s: float = 2.0
    key_look_s: float = 1.0
    delays_market_s: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
    attempts_per_hour: int = 60
    slow_beat_market_s: float = 600.0
    changes_per_minute: int = 120
    refusal_market_s: float = 300.0

    def __post_init__(self) -> None:
        """Trades are what the listener's `on_registered` speaks of: they cannot be left out."""
        once = len(set(self.records)) == len(self.records)
        if "trades" not in self.records or not once or len(self.records) > self.capacity:
            raise ValueError(f"records {self.records} of capacity {self.capacity}: each once, and trades among them")


class TradeStreamConnection:
    """Satisfies `TradeStream`."""

    def __init__(
        self,
        *,
        settings: StreamSettings,
        open_dialect: Callable[[Credentials], StreamDialect],
        credentials: CredentialSource,
        listener: StreamListener,
        clock: Clock,
        chance: Random,
        recorder: FrameRecorder = UNRECORDED,
    ) -> None:
        self._settings = settings
        self._open_dialect = open_dialect
        self._credentials = credentials
        self._listener = listener
        self._clock = clock
        self._chance = chance
        self._recorder = recorder
        self._registrations = Registrations(settings.capacity, settings.records)
        self._budget = ChangeBudget(settings.changes_per_minute, settings.capacity)
        self._patience = Patience(settings.delays_market_s, settings.attempts_per_hour, settings.slow_beat_market_s)
        self._stirred = asyncio.Event()  # something that `next_step` looks at has changed
        self._heard_s = 0.0  # loop time of the last message of any kind
        self._received_ns = 0  # market time of the frame that is being read
        self._connections = 0  # opened so far
        self._farewell = _REMOVED  # why a registration that the broker says is gone was given up
        self.capacity = self._registrations.symbols_max

    def __repr__(self) -> str:
        """The state as a test wants to see it."""
        return f"<stream {self._settings.account}: {len(self._registrations)} registered>"

    def want(self, symbols: Sequence[str]) -> None:
        """The symbols to be streamed, most important first; at most `capacity` of them count."""
        self._registrations.want(symbols)
        self._stirred.set()

    @property
    def registered(self) -> frozenset[str]:
        """The symbols whose trades the broker has acknowledged."""
        return self._registrations.symbols

    async def run(self) -> None:
        """Connect, keep the registrations as wanted, watch for silence, back off and connect again.

        Until cancelled; then it unregisters and closes cleanly, which takes at most `close_s` seconds.
        """
        while True:
            at_once = await self._connect_once()
            pause = self._patience.pause(self._clock.now_ns(), self._chance.random(), at_once=at_once)
            if pause.newly_suspended:
                self._report("suspended", f"tried every {self._settings.slow_beat_market_s:g} s until data flow again")
            await self._clock.sleep_until(self._clock.now_ns() + pause.duration_ns)

    # --- one connection --------------------------------------------------------------------------------------

    async def _connect_once(self) -> bool:
        """One connection from its opening to its end. Returns whether the next one should be opened at once."""
        try:
            used = await self._credentials.current()
            self._patience.attempted(self._clock.now_ns())
            socket = await self._open_socket()
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI, ConnectionClosed, ProviderError) as error:
            self._report("refused", f"{type(error).__name__} {error}".strip())
            return False
        dialect = self._open_dialect(used)
        try:
            await self._use(socket, dialect, used)
        except LostError as error:
            await self._abandon(socket, "lost", str(error))
        except RefusedError as error:
            await self._abandon(socket, "refused", str(error))
            if error.key_rejected:
                await self._credentials.reject(used)
        except KeyChangedError:
            await self._close_cleanly(socket, dialect, _NEW_KEY)
            return True
        except asyncio.CancelledError:
            await self._close_cleanly(socket, dialect, "stopped")
            raise
        finally:
            socket.transport.abort()  # closed already, unless the listener failed: then nobody else would
        return False

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

    async def _use(self, socket: ClientConnection, dialect: StreamDialect, used: Credentials) -> NoReturn:
        """Read, register and watch at the same time until one of them ends the connection."""
        self._heard_s = asyncio.get_running_loop().time()
        self._connections += 1
        self._budget.connected()
        self._report("connected", "")
        tasks = [
            asyncio.create_task(self._read(socket, dialect)),
            asyncio.create_task(self._reconcile(socket, dialect)),
            asyncio.create_task(self._watch_silence()),
            asyncio.create_task(self._watch_key(used)),
            asyncio.create_task(self._forget_refusals()),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        raise decisive(outcomes)

    async def _abandon(self, socket: ClientConnection, state: Literal["lost", "refused"], reason: str) -> None:
        """Tell what is gone with the connection, in this order, and let the socket go."""
        gone = self._registrations.lose_all()
        self._report(state, reason, registrations=len(gone))
        self._tell_gone(gone, "connection lost")
        await socket.close()

    # --- reading ---------------------------------------------------------------------------------------------

    async def _read(self, socket: ClientConnection, dialect: StreamDialect) -> NoReturn:
        loop = asyncio.get_running_loop()
        try:
            while True:
                frame = await self._receive(socket)
                self._heard_s = loop.time()
                reply = self._take(dialect, dialect.read(frame))
                if reply is not None:
                    await self._send(socket, reply)
        except ConnectionClosed as error:
            raise LostError(f"closed by the broker: {error}") from error

    async def _receive(self, socket: ClientConnection) -> bytes:
        frame = await socket.recv(decode=False)
        self._received_ns = self._clock.now_ns()
        self._recorder.frame("received", self._connections, self._received_ns, frame)
        return frame

    async def _send(self, socket: ClientConnection, text: str) -> None:
        self._recorder.frame("sent", self._connections, self._clock.now_ns(), text.encode())
        await socket.send(text)

    def _take(self, dialect: StreamDialect, message: StreamMessage) -> str | None:
        """Act on one message without waiting for anything; returns what to answer, if anything.

        Raises:
            RefusedError: the broker will not have this connection.
        """
        match message:
            case Data():
                self._hand_on(dialect, message)
            case Ping(reply):
                return reply
            case Registered(registration):
                if self._registrations.note_registered(registration) and registration.kind == "trades":
                    self._listener.on_registered(registration.symbol)
                self._stirred.set()
            case Unregistered(registration):
                if self._registrations.note_unregistered(registration):
                    self._tell_gone([registration], self._farewell)
                self._stirred.set()
            case Refused():
                self._note_refused(message)
            case Unreadable(content, reason):
                self._quarantine(content, reason)
            case SessionRefused():
                raise RefusedError(message)
        return None

    def _hand_on(self, dialect: StreamDialect, data: Data) -> None:
        parsed = dialect.parse(data, self._received_ns)
        if parsed.trades or parsed.facts:
            self._patience.data_flowed()
        if parsed.trades:
            self._listener.on_trades(parsed.trades)
        if parsed.facts:
            self._listener.on_facts(parsed.facts)
        if parsed.broken is not None:
            self._listener.on_quarantine(parsed.broken)

    def _note_refused(self, message: Refused) -> None:
        inactive = self._registrations.note_refused(message)
        logger.warning("%s: %s %s, refused: %s", self._settings.account, inactive, message.code, message.reason)
        if inactive is not None:
            self._tell_gone([inactive], f"refused: {message.code} {message.reason}")
        self._stirred.set()

    def _tell_gone(self, gone: Sequence[Registration], reason: str) -> None:
        """The listener hears of trades; what else is registered follows them."""
        for registration in gone:
            if registration.kind == "trades":
                self._listener.on_unregistered(registration.symbol, reason)

    def _quarantine(self, content: bytes, reason: str) -> None:
        source = f"{self._settings.provider}.stream"
        self._listener.on_quarantine(InputQuarantined(source, self._received_ns, reason, content))

    async def _watch_silence(self) -> NoReturn:
        """A dead connection often sends no close: no message of any kind, keep-alives included, is the sign."""
        loop = asyncio.get_running_loop()
        while True:
            remaining_s = self._heard_s + self._settings.silence_s - loop.time()
            if remaining_s <= 0:
                raise LostError(f"silent for {self._settings.silence_s:g} s")
            await asyncio.sleep(remaining_s)

    async def _watch_key(self, used: Credentials) -> NoReturn:
        """Each session belongs to one approval key: a new one needs a new session (requirement 004, "WebSocket Session
        Coordination"). While there are no credentials at all the connection stays as it is.
        """
        while True:
            await asyncio.sleep(self._settings.key_look_s)
            try:
                current = await self._credentials.current()
            except ProviderError:
                continue
            if current.approval_key != used.approval_key:
                raise KeyChangedError

    # --- registering -----------------------------------------------------------------------------------------

    async def _reconcile(self, socket: ClientConnection, dialect: StreamDialect) -> NoReturn:
        """Work off the difference between what is wanted and what is acknowledged, one request at a time and no more
        of them than the budget allows; what has to wait for it is chosen anew when the wait is over.
        """
        try:
            while True:
                self._stirred.clear()
                step = self._registrations.next_step()
                now_ns = self._clock.now_ns()
                if step is None:
                    await self._stirred.wait()
                elif (allowed_ns := self._budget.allowed_ns(now_ns)) > now_ns:
                    await self._clock.sleep_until(allowed_ns)
                else:
                    await self._carry_out(socket, dialect, step)
        except ConnectionClosed as error:
            raise LostError(f"closed by the broker: {error}") from error

    async def _forget_refusals(self) -> NoReturn:
        """Let what was refused be asked for again, now and then."""
        while True:
            await self._clock.sleep(self._settings.refusal_market_s)
            if self._registrations.forget_refusals():
                self._stirred.set()

    async def _carry_out(self, socket: ClientConnection, dialect: StreamDialect, step: Step) -> None:
        """Ask until the broker has answered.

        Raises:
            LostError: it never does.
        """
        self._registrations.note_asked(step)
        text = (dialect.register if step.action == "register" else dialect.unregister)(step.registration)
        for _ in range(_ASK_TIMES_MAX):
            self._budget.spend(self._clock.now_ns())
            await self._send(socket, text)
            try:
                async with asyncio.timeout(self._settings.acknowledgement_s):
                    while not self._registrations.is_answered(step):
                        self._stirred.clear()
                        await self._stirred.wait()
            except TimeoutError:
                continue
            return
        raise LostError(f"no answer to {step.action} {step.registration}, asked {_ASK_TIMES_MAX} times")

    # --- closing ---------------------------------------------------------------------------------------------

    async def _close_cleanly(self, socket: ClientConnection, dialect: StreamDialect, reason: str) -> None:
        """Remove every registration, hear the acknowledgements and what trades still come, and close.

        These removals do not wait for the budget, though they count: a session that is left to the broker to clean up
        keeps the key in use.
        """
        registrations, self._farewell = len(self._registrations), reason
        try:
            async with asyncio.timeout(self._settings.close_s):
                for registration in self._registrations.registered:
                    self._budget.spend(self._clock.now_ns())
                    await self._send(socket, dialect.unregister(registration))
                while len(self._registrations):
                    self._take(dialect, dialect.read(await self._receive(socket)))
                await socket.close()
        except (TimeoutError, ConnectionClosed, RefusedError):
            pass  # what could not be removed goes with the connection, and is told as such below
        self._tell_gone(self._registrations.lose_all(), reason)
        self._farewell = _REMOVED
        self._report("closed", reason, registrations=registrations)

    def _report(
        self,
        state: Literal["connected", "lost", "refused", "closed", "suspended"],
        reason: str,
        registrations: int = 0,
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
