"""Passes a broker's market data stream to the recorder and the selection."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar

import msgspec

from bus.events import (
    ConnectionChanged,
    ExpectedPrice,
    GapReason,
    InputQuarantined,
    MarketStateChanged,
    OrderBook,
    Trade,
)
from observer.brokers.accounts.failover import StreamOutages
from observer.brokers.broker import StreamFact
from observer.brokers.connection_end import CONNECTION_LOST, REMOVED_BESIDE, UNREAD_BESIDE
from observer.calendar.sessions import DaySessions
from observer.collection.late_end import LateEnd
from observer.collection.parts import StreamParts
from observer.collection.recorder import NO_ACCOUNT, TradeRecorder
from observer.collection.settings import TrackBSettings
from observer.collection.stream_monitor import STREAM, StreamMonitor
from observer.collection.sweep_times import session_of
from observer.collection.unreadable import TRADES_PER_MINUTE_MAX, UnreadableInputs
from observer.gaps.detector import Mark, in_order
from observer.gaps.plausibility import TradeScreen, TradingHours
from observer.selection.sampling import Kept
from observer.selection.selector import Selector

# Gap reasons of symbols with a slot that are not subscribed, by the connection's wording; any other is a reconnection.
_GAP_REASONS: Final[Mapping[str, GapReason]] = {"new approval key": "token_renewal", "removed": "moved"}


_Record = TypeVar("_Record", bound=Trade | OrderBook | ExpectedPrice)

NOT_STREAMED: Final = "not_streamed:"
"""How the identity of an alert begins that a symbol with a slot is not streamed."""


class StreamReceiver:
    """Satisfies `StreamListener`. Trades reach the selection only after `selector` is set.

    Args:
        parts: of the day.
        settings: of Track B.
        hours: the day and its hours of trading.
        sessions: the day's, for records that state none.
        is_outage_of_stream_alone: whether an outage of this account's stream is not one of the account, which has an
            alert.
        late_end: bounds volumes that are asked for after the day's stop.
    """

    tasks: asyncio.TaskGroup
    outages: StreamOutages

    def __init__(
        self,
        parts: StreamParts,
        settings: TrackBSettings,
        hours: TradingHours,
        sessions: DaySessions,
        *,
        is_outage_of_stream_alone: Callable[[str], bool],
        late_end: LateEnd,
    ) -> None:
        self.selector: Selector | None = None
        self.unreadable = UnreadableInputs(parts.producer, parts.alerts, parts.clock, settings.quarantine_bytes_max)
        self.trades = TradeRecorder(
            parts,
            TradeScreen(hours),
            apply=self.update_kept,
            quarantine=partial(self.unreadable.take, rows_max=TRADES_PER_MINUTE_MAX),
            account_of=self._account_of,
            sampling=settings.sampling,
            late_end=late_end,
        )
        self.monitor = StreamMonitor(parts, self.trades, hours.session_date, beside=self._symbols_beside)
        self._alerts = parts.alerts
        self._is_outage_of_stream_alone = is_outage_of_stream_alone
        self._producer = parts.producer
        self._session_date = hours.session_date
        self._sessions = sessions
        self._venues = frozenset(each.venue for each in sessions.sessions)
        self._moving: set[str] = set()  # symbols with a slot whose removal from an account is requested
        self._requested: dict[str, Mark | None] = {}  # by symbol that is not watched yet: what was known of it then

    def _account_of(self, symbol: str) -> str:
        """The account with the symbol's slot; NO_ACCOUNT without one."""
        return next((account for account, symbols in self._slots() if symbol in symbols), NO_ACCOUNT)

    def _symbols_beside(self, symbol: str) -> Collection[str]:
        """The symbols with a slot at the same account, the symbol included; none without a slot."""
        return next((symbols for _, symbols in self._slots() if symbol in symbols), ())

    def _slots(self) -> Collection[tuple[str, Collection[str]]]:
        return self.selector.wanted_by_account.items() if self.selector is not None else ()

    def leave(self, symbol: str) -> None:
        """Stop watching a symbol and query its missing volume."""
        self.monitor.leaving(symbol)
        self.trades.leave(symbol, self._settle)

    def _settle(self, symbols: Collection[str]) -> None:
        settling = self.trades.settle(symbols)
        try:
            self.tasks.create_task(settling)
        except RuntimeError:  # the process stops: the gaps stay open, the next process closes them
            settling.close()

    def on_trades(self, trades: Sequence[Trade]) -> None:
        """Check and store a frame's trades; pass the stored ones to the triggers."""
        for trade in in_order(trades):
            self.trades.take(trade if trade.session is not None else self._in_session(trade))

    def update_kept(self, kept: Kept) -> None:
        """Pass stored trades to the triggers when they are published."""
        if self.selector is None:
            return
        if isinstance(kept, Trade):
            self.selector.market.update_trade(kept)
        else:
            self.selector.market.update_conflated(kept)

    def on_facts(self, facts: Sequence[StreamFact]) -> None:
        """Publish the market data stream's other events."""
        self._producer.publish(*map(self._with_session, facts))
        if self.selector is not None:
            for fact in facts:
                if isinstance(fact, MarketStateChanged):
                    self.selector.market.update_state(fact)

    def _with_session(self, fact: StreamFact) -> StreamFact:
        if isinstance(fact, OrderBook | ExpectedPrice) and fact.session is None:
            return self._in_session(fact)
        return fact

    def _in_session(self, record: _Record) -> _Record:
        """Return the record with the session of its venue at its time, unchanged if that session is unknown."""
        if record.venue not in self._venues:
            return record
        session = session_of(self._sessions, record.venue, record.exchange_time_ns)
        return msgspec.structs.replace(record, session=session)

    def on_requested(self, symbol: str, *, removal: bool = False) -> None:
        """Note the symbol's volume at the request: the broker may send trades, and the connection lose them, before the
        acknowledgement is read, and a sweep until then shows a volume behind such trades. A removal is requested while
        the slot stands when the symbol moves: the broker may stop sending before the slot ends, so the trades between
        the two moments are asked for.
        """
        if removal:
            if self.selector is not None and symbol in self.selector.wanted:
                self._moving.add(symbol)
        elif not self.trades.detector.is_watched(symbol):
            self.trades.report_rows(symbol)
            seen = self.selector.market.volume_of(symbol) if self.selector is not None else None
            mark = Mark(symbol, self._session_date, seen[0], None, seen[1]) if seen is not None else None
            self._requested.setdefault(symbol, mark)

    def on_subscribed(self, symbol: str) -> None:
        """Start watching the symbol: no trade of it since the request may be missing."""
        self._alerts.resolve(_not_streamed(symbol), f"{symbol} is streamed")
        self.trades.report_rows(symbol)
        before = self._requested.pop(symbol, None)
        member = self.selector.market.members.get(symbol) if self.selector is not None else None
        self.trades.screen.expect(symbol, member.average_volume_20d if member is not None else None)
        self.trades.hold({symbol})
        self.trades.watch(symbol, before)
        is_known = self.trades.detector.position(symbol) is not None
        if self.monitor.subscribed(symbol, is_known=is_known):
            self.tasks.create_task(self.monitor.learn())
        if self.monitor.returned(symbol):
            self.tasks.create_task(self.monitor.check_returned())

    def on_unsubscribed(self, symbol: str, reason: str, since_ns: int | None = None) -> None:
        """Stop watching a symbol that lost its slot. A symbol that lost its connection stays watched, as it will be
        back: its missed trades are a gap from now on. A symbol whose request was not answered may have been streamed.
        """
        is_moving = symbol in self._moving
        if reason != UNREAD_BESIDE:
            self._moving.discard(symbol)
        if reason in (UNREAD_BESIDE, REMOVED_BESIDE):
            self.monitor.unread([symbol])
            return
        if symbol in self._requested and reason == CONNECTION_LOST:
            self.trades.watch(symbol, self._requested[symbol])
        self._requested.pop(symbol, None)
        if self.selector is None or symbol not in self.selector.wanted:
            if reason == CONNECTION_LOST:  # and with it trades from before the end of the slot
                self.trades.interrupt(symbol, "reconnect", since_ns)
            elif is_moving:
                self.monitor.unread([symbol])
            self.leave(symbol)
            self._alerts.resolve(_not_streamed(symbol), f"{symbol} has no slot any more")
        else:
            self.trades.interrupt(symbol, _GAP_REASONS.get(reason, "reconnect"), since_ns)
            if reason.startswith("refused"):
                text = f"{symbol} has a slot and is not streamed: {reason}"
                self._alerts.report(_not_streamed(symbol), "warning", text)

    def doubt_requested(self) -> None:
        """Ask at the end of the slots for each symbol whose request was not acknowledged, and perhaps carried out."""
        for symbol, before in self._requested.items():
            self.trades.watch(symbol, before)
            self.trades.interrupt(symbol, "reconnect")
        self._requested.clear()

    def keep_wanted(self, wanted: Iterable[str]) -> None:
        """End the alerts of symbols that are not in `wanted`: a refused symbol is never unsubscribed."""
        besides = {_not_streamed(symbol) for symbol in wanted}
        self._alerts.resolve_all(NOT_STREAMED, "it has no slot any more", besides)

    def on_connection(self, change: ConnectionChanged) -> None:
        """Record the connection's state: symbols move away from an account whose connection stays down."""
        self._producer.publish(change)
        identity = f"{STREAM}{change.account}"
        if change.state == "connected":
            self.outages.came_up(change.account, change.changed_ns)
            self._alerts.settle(identity, f"the stream of account {change.account} is connected")
        else:
            self.outages.went_down(change.account, change.changed_ns)
            self._report_outage(identity, change)

    def _report_outage(self, identity: str, change: ConnectionChanged) -> None:
        """Report a stream that does not run. A stream that its own process closed is no outage."""
        if change.state == "closed":
            self._alerts.resolve(identity, f"the stream of account {change.account} is closed: {change.reason}")
        elif identity in self._alerts.identities or self._is_outage_of_stream_alone(change.account):
            text = f"no stream of account {change.account}: {change.state}, {change.reason}"
            self._alerts.report(identity, "warning" if change.state == "lost" else "critical", text)

    def on_quarantine(self, item: InputQuarantined, unread: Collection[str] | None) -> None:
        """Store unreadable input, and note the symbols whose trades it may hold; None: any symbol."""
        self.unreadable.take(item)
        self.monitor.unread(self.trades.detector.watched if unread is None else unread)


def _not_streamed(symbol: str) -> str:
    """The identity of the alert that a symbol with a slot is not streamed."""
    return f"{NOT_STREAMED}{symbol}"
