"""One streaming connection of one account, kept as wanted: connect, register, watch silence, back off, connect again.

Broker-neutral: texts and meanings come from a `StreamDialect`, what to ask next from `Subscriptions`, when to ask and
when to connect from `SubscriptionRateLimiter` and `ReconnectBackoff`. Here are the sockets.

Two times: courtesy to the broker (pauses, budget) runs on market time, and a scaled day scales it; everything about the
socket itself is machine time.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from random import Random
from typing import Final, Literal, NoReturn

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from bus.events import ConnectionChanged, InputQuarantined
from observer.base.clock import Clock
from observer.base.errors import ProviderError
from observer.base.text import SAID_BYTES_MAX, shown
from observer.brokers.backoff import ReconnectBackoff
from observer.brokers.broker import Credentials, CredentialSource, StreamListener
from observer.brokers.connection_end import CONNECTION_LOST, KeyChangedError, LostError, RefusedError, decisive
from observer.brokers.dialect import (
    Data,
    Ping,
    SessionRefused,
    StreamDialect,
    StreamMessage,
    Subscribed,
    Subscription,
    SubscriptionRefused,
    Unreadable,
    Unsubscribed,
)
from observer.brokers.raw import UNRECORDED, AccountRecorder
from observer.brokers.stream_settings import StreamSettings
from observer.brokers.subscriptions import Step, SubscriptionRateLimiter, Subscriptions
from observer.monitoring.metrics.counters import COUNTERS

logger = logging.getLogger(__name__)

_ASK_TIMES_MAX: Final = 3  # a lost acknowledgement should not cost forty other subscriptions their connection
# Bursts exceed 8 KB; a client with that limit was cut off. 999 records, the most that a frame can claim, have 0.7 MB.
_FRAME_BYTES_MAX: Final = 2**20
_NEW_KEY: Final = "new approval key"
_REMOVED: Final = "removed"


def _lost(error: ConnectionClosed) -> LostError:
    return LostError(f"closed by the broker: {error}")


class _Connect(connect):
    """Follows no redirect: no other host gets the approval key."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """The error that the redirect is."""
        return exc


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
        rng: Random,
        recorder: AccountRecorder = UNRECORDED,
    ) -> None:
        self._settings = settings
        self._open_dialect = open_dialect
        self._credentials = credentials
        self._listener = listener
        self._clock = clock
        self._rng = rng
        self._recorder = recorder
        self._subscriptions = Subscriptions(settings.capacity, settings.records)
        self._limiter = SubscriptionRateLimiter(settings.changes_per_minute, settings.capacity)
        self._backoff = ReconnectBackoff(
            settings.delays_market_s, settings.attempts_per_hour, settings.slow_beat_market_s
        )
        self._stirred = asyncio.Event()  # an input of `next_step` has changed
        self._received_s = 0.0  # loop time of the last message of any kind
        self._received_ns = 0  # market time of the frame that is being read
        self._connections = 0  # opened so far
        self._farewell = _REMOVED  # the reason for subscriptions that the broker reports as removed
        self.held_back_since_ns: int | None = None
        self.capacity = self._subscriptions.symbols_max

    def __repr__(self) -> str:
        """Shows the state for tests."""
        return f"<stream {self._settings.account}: {len(self._subscriptions)} subscribed>"

    def want(self, symbols: Sequence[str], watched: Sequence[str] = ()) -> None:
        """As `TradeStream.want`."""
        self._subscriptions.want(symbols, watched)
        self._stirred.set()

    @property
    def subscribed(self) -> frozenset[str]:
        """The symbols whose trades the broker has acknowledged."""
        return self._subscriptions.symbols

    async def run(self) -> None:
        """Connect, keep the subscriptions as wanted, watch for silence, back off and connect again.

        Until cancelled; then it unregisters and closes cleanly, which takes at most `close_s` seconds.
        """
        while True:
            at_once = await self._connect_once()
            pause = self._backoff.pause(self._clock.now_ns(), self._rng.random(), at_once=at_once)
            if pause.newly_suspended:
                self._report("suspended", f"tried every {self._settings.slow_beat_market_s:g} s until data flow again")
            await self._clock.sleep_until(self._clock.now_ns() + pause.duration_ns)

    # --- one connection --------------------------------------------------------------------------------------

    async def _connect_once(self) -> bool:
        """One connection from its opening to its end. Returns whether the next one should be opened at once."""
        try:
            used = await self._credentials.current()
            self._backoff.attempted(self._clock.now_ns())
            socket = await self._open_socket()
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI, ConnectionClosed, ProviderError) as error:
            self._report("refused", f"{type(error).__name__} {error}".strip())
            return False
        dialect = self._open_dialect(used)
        try:
            await self._use(socket, dialect, used)
        except LostError as error:
            await self._abandon(socket, "lost", str(error), error.since_ns)
        except RefusedError as error:
            await self._abandon(socket, "refused", str(error))
            if error.key_rejected:
                await self._credentials.reject(used, "approval_key")
        except KeyChangedError:
            await self._close_cleanly(socket, dialect, _NEW_KEY)
            return True
        except asyncio.CancelledError:
            await self._close_cleanly(socket, dialect, "stopped")
            raise
        finally:
            socket.transport.abort()  # already closed, except after an error of the listener
        return False

    async def _open_socket(self) -> ClientConnection:
        return await _Connect(
            self._settings.url,
            open_timeout=self._settings.connect_s,
            close_timeout=self._settings.close_s,
            ping_interval=None,  # a broker may ignore protocol pings; the silence of the stream is watched instead
            max_size=_FRAME_BYTES_MAX,
            compression=None,
            proxy=None,
        )

    async def _use(self, socket: ClientConnection, dialect: StreamDialect, used: Credentials) -> NoReturn:
        """Read, register and watch at the same time until one of them ends the connection."""
        self._received_s, self._received_ns = asyncio.get_running_loop().time(), self._clock.now_ns()
        self._connections += 1
        self._limiter.connected()
        self._report("connected", "")
        loops = [
            self._read(socket, dialect),
            self._subscribe(socket, dialect),
            *([self._keep_alive(socket)] if self._settings.traits.keep_alive else ()),
            self._watch_silence(),
            self._watch_key(used),
            self._forget_refusals(),
        ]
        tasks = [asyncio.create_task(each) for each in loops]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.held_back_since_ns = None
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        raise decisive([_lost(end) if isinstance(end, ConnectionClosed) else end for end in ends])

    async def _abandon(
        self, socket: ClientConnection, state: Literal["lost", "refused"], reason: str, since_ns: int | None = None
    ) -> None:
        """Report the subscriptions that were lost with the connection, then close the socket."""
        self._report(state, reason, subscriptions=len(self._subscriptions))
        self._report_gone(self._subscriptions.lose_all(), CONNECTION_LOST, since_ns)
        await socket.close()

    # --- reading ---------------------------------------------------------------------------------------------

    async def _read(self, socket: ClientConnection, dialect: StreamDialect) -> NoReturn:
        loop = asyncio.get_running_loop()
        while True:
            frame = await self._receive(socket)
            self._received_s = loop.time()
            reply = self._take(dialect, dialect.read(frame))
            if reply is not None:
                await self._send(socket, reply)

    async def _receive(self, socket: ClientConnection) -> bytes:
        frame = await socket.recv(decode=False)
        self._received_ns = self._clock.now_ns()
        self._recorder.frame("received", self._connections, self._received_ns, frame)
        return frame

    async def _send(self, socket: ClientConnection, text: str) -> None:
        self._recorder.frame("sent", self._connections, self._clock.now_ns(), text.encode())
        await socket.send(text)

    def _take(self, dialect: StreamDialect, message: StreamMessage) -> str | None:
        """Handle one message without waiting; return the text to answer, if any.

        Raises:
            RefusedError: the broker will not have this connection.
        """
        match message:
            case Data():
                self._hand_on(dialect, message)
            case Ping(reply):
                return reply
            case Subscribed(subscription):
                if self._subscriptions.note_subscribed(subscription) and subscription.kind == "trades":
                    self._listener.on_subscribed(subscription.symbol)
                self._stirred.set()
            case Unsubscribed(subscription):
                if self._subscriptions.note_unsubscribed(subscription):
                    self._report_gone([subscription], self._farewell)
                self._stirred.set()
            case SubscriptionRefused():
                self._note_refused(message)
            case Unreadable(content, reason):
                self._quarantine(content, reason)
            case SessionRefused():
                self._subscriptions.note_session_refused()
                raise RefusedError(message)
        return None

    def _hand_on(self, dialect: StreamDialect, data: Data) -> None:
        parsed = dialect.parse(data, self._received_ns)
        if parsed.trades or parsed.facts:
            self._backoff.data_flowed()
        if parsed.trades:
            self._listener.on_trades(parsed.trades)
        if parsed.facts:
            self._listener.on_facts(parsed.facts)
        if parsed.broken is not None:
            self._listener.on_quarantine(parsed.broken, parsed.unread)

    def _note_refused(self, message: SubscriptionRefused) -> None:
        inactive = self._subscriptions.note_refused(message)
        logger.warning("%s: %s %s, refused: %s", self._settings.account, inactive, message.code, message.reason)
        if inactive is not None:
            self._report_gone([inactive], f"refused: {message.code} {message.reason}")
        self._stirred.set()

    def _report_gone(self, gone: Sequence[Subscription], reason: str, since_ns: int | None = None) -> None:
        """Report lost subscriptions to the listener: for trades only, as the other records follow them."""
        for subscription in gone:
            if subscription.kind == "trades":
                self._listener.on_unsubscribed(subscription.symbol, reason, since_ns)

    def _quarantine(self, content: bytes, reason: str) -> None:
        source = f"{self._settings.provider}.stream"
        self._listener.on_quarantine(InputQuarantined(source, self._received_ns, reason, content), None)

    async def _watch_silence(self) -> NoReturn:
        """A dead connection often sends no close: no message of any kind, keep-alives included, is the sign."""
        loop = asyncio.get_running_loop()
        while True:
            remaining_s = self._received_s + self._settings.silence_s - loop.time()
            if remaining_s <= 0:
                raise LostError(f"silent for {self._settings.silence_s:g} s", self._received_ns)
            await asyncio.sleep(remaining_s)

    async def _watch_key(self, used: Credentials) -> NoReturn:
        """End the session when the approval key changes: each session belongs to one key. Without any credentials
        the connection stays as it is.
        """
        while True:
            await asyncio.sleep(self._settings.key_check_s)
            try:
                current = await self._credentials.current()
            except ProviderError:
                continue
            if current.approval_key != used.approval_key:
                raise KeyChangedError

    # --- registering -----------------------------------------------------------------------------------------

    async def _subscribe(self, socket: ClientConnection, dialect: StreamDialect) -> NoReturn:
        """Open the session, then subscribe and unsubscribe until the acknowledged subscriptions equal the wanted ones:
        one request at a time, within the budget. After each wait for the budget the next request is chosen anew.
        """
        for text in dialect.opening():
            await self._send(socket, text)
        while True:
            self._stirred.clear()
            step = self._subscriptions.next_step()
            now_ns = self._clock.now_ns()
            if step is None:
                self.held_back_since_ns = None
                await self._stirred.wait()
            elif (allowed_ns := self._limiter.allowed_ns(now_ns, step)) > now_ns:
                self.held_back_since_ns = self.held_back_since_ns or now_ns
                await self._clock.sleep_until(allowed_ns)
            else:
                await self._carry_out(socket, dialect, step)

    async def _keep_alive(self, socket: ClientConnection) -> NoReturn:
        while True:
            await asyncio.sleep(self._settings.traits.keep_alive_s)
            await self._send(socket, self._settings.traits.keep_alive)

    async def _forget_refusals(self) -> NoReturn:
        """Retry refused subscriptions at intervals."""
        while True:
            await self._clock.sleep(self._settings.refusal_market_s)
            if self._subscriptions.forget_refusals():
                self._stirred.set()

    async def _carry_out(self, socket: ClientConnection, dialect: StreamDialect, step: Step) -> None:
        """Repeat the request until the broker answers.

        Raises:
            LostError: it never does.
        """
        self._subscriptions.note_asked(step)
        for _ in range(_ASK_TIMES_MAX):
            await self._ask(socket, dialect, step)
            try:
                async with asyncio.timeout(self._settings.acknowledgement_s):
                    while not self._subscriptions.is_answered(step):
                        self._stirred.clear()
                        await self._stirred.wait()
            except TimeoutError:
                continue
            return
        raise LostError(f"no answer to {step.action} {step.subscription}, asked {_ASK_TIMES_MAX} times")

    async def _ask(self, socket: ClientConnection, dialect: StreamDialect, step: Step) -> None:
        """Send one request, which spends a change. Without acknowledgements the broker counts as having done it."""
        is_register = step.action == "register"
        if step.subscription.kind == "trades":
            self._listener.on_requested(step.subscription.symbol, removal=not is_register)
        self._limiter.spend(self._clock.now_ns())
        COUNTERS.add("observer_subscription_changes_total", self._settings.account, step.action)
        await self._send(socket, (dialect.subscribe if is_register else dialect.unsubscribe)(step.subscription))
        if not self._settings.traits.acknowledges:
            self._take(dialect, (Subscribed if is_register else Unsubscribed)(step.subscription))

    # --- closing ---------------------------------------------------------------------------------------------

    async def _close_cleanly(self, socket: ClientConnection, dialect: StreamDialect, reason: str) -> None:
        """Remove every subscription, read the acknowledgements (where there are any) and the last trades, and close.

        These removals do not wait for the budget, though they count: a session that is left to the broker to clean up
        keeps the key in use.
        """
        subscriptions, self._farewell = len(self._subscriptions), reason
        try:
            async with asyncio.timeout(self._settings.close_s):
                for subscription in self._subscriptions.subscribed:
                    await self._ask(socket, dialect, Step("unregister", subscription))
                while len(self._subscriptions):
                    self._take(dialect, dialect.read(await self._receive(socket)))
                await socket.close()
        except (TimeoutError, ConnectionClosed, RefusedError):
            pass  # what could not be removed goes with the connection, and is reported as such below
        self._report_gone(self._subscriptions.lose_all(), CONNECTION_LOST)
        self._farewell = _REMOVED
        self._report("closed", reason, subscriptions=subscriptions)

    def _report(
        self,
        state: Literal["connected", "lost", "refused", "closed", "suspended"],
        reason: str,
        subscriptions: int = 0,
    ) -> None:
        change = ConnectionChanged(
            provider=self._settings.provider,
            account=self._settings.account,
            changed_ns=self._clock.now_ns(),
            state=state,
            reason=shown(reason, SAID_BYTES_MAX),
            subscriptions=subscriptions,
        )
        self._listener.on_connection(change)
