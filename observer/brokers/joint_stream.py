"""Several accounts' streams as one: each carries the symbols of its own slots, the listener receives symbols.

A symbol can be subscribed with two accounts for a moment, while it moves from one to the other: it counts as subscribed
from the first acknowledgement to the last removal. When one of the two accounts stops sending, the listener learns it
too: trades of that account may be under way and unread.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

from bus.events import ConnectionChanged, InputQuarantined, Trade
from observer.brokers.broker import StreamFact, StreamListener, TradeStream
from observer.brokers.connection_end import CONNECTION_LOST, REMOVED_BESIDE, UNREAD_BESIDE


class JointStream:
    """The streams of all accounts.

    Args:
        open_stream: by account name, the function that opens its stream for a listener.
        listener: receives the events of all streams; `on_subscribed` and `on_unsubscribed` of a symbol once, for any
            number of accounts.
    """

    def __init__(
        self, open_stream: Mapping[str, Callable[[StreamListener], TradeStream]], listener: StreamListener
    ) -> None:
        self._listener = listener
        self.requested: set[tuple[str, str]] = set()  # symbols that are requested and not answered, with the account
        self._streams = {
            account: opened(_AccountListener(account, self, listener)) for account, opened in open_stream.items()
        }

    def want(self, symbols: Mapping[str, Sequence[str]], watched: Mapping[str, Sequence[str]] = {}) -> None:
        """The symbols that each account is to carry, most important first, and those whose market state alone is;
        an account not named carries none.
        """
        for account, stream in self._streams.items():
            stream.want(symbols.get(account, ()), watched.get(account, ()))

    @property
    def subscribed(self) -> frozenset[str]:
        """The acknowledged symbols of all connections."""
        return frozenset().union(*(stream.subscribed for stream in self._streams.values()))

    @property
    def held_back_since_ns(self) -> Mapping[str, int | None]:
        """By account: since when changes of its subscriptions wait for the bound a minute; None: none waits."""
        return {account: stream.held_back_since_ns for account, stream in self._streams.items()}

    def subscribed_at(self, account: str) -> frozenset[str]:
        """The acknowledged symbols of this account's connection."""
        return self._streams[account].subscribed

    def is_subscribed_elsewhere(self, symbol: str, account: str) -> bool:
        """Whether another account than this one carries the symbol too."""
        return any(symbol in stream.subscribed for name, stream in self._streams.items() if name != account)

    def is_requested_elsewhere(self, symbol: str, account: str) -> bool:
        """Whether another account than this one may send the symbol, and its answer is not read."""
        return any(each == symbol and name != account for each, name in self.requested)

    async def run(self) -> None:
        """Keep all connections as wanted, until cancelled; then close them cleanly."""
        async with asyncio.TaskGroup() as tasks:
            for stream in self._streams.values():
                tasks.create_task(stream.run())


class _AccountListener:
    """Passes one account's stream on to the common listener."""

    def __init__(self, account: str, joint: JointStream, listener: StreamListener) -> None:
        self._account = account
        self._joint = joint
        self._listener = listener

    def on_trades(self, trades: Sequence[Trade]) -> None:
        self._listener.on_trades(trades)

    def on_facts(self, facts: Sequence[StreamFact]) -> None:
        self._listener.on_facts(facts)

    def on_requested(self, symbol: str, *, removal: bool = False) -> None:
        if not removal:
            self._joint.requested.add((symbol, self._account))
        self._listener.on_requested(symbol, removal=removal)

    def on_subscribed(self, symbol: str) -> None:
        self._joint.requested.discard((symbol, self._account))
        if not (is_beside := self._joint.is_subscribed_elsewhere(symbol, self._account)):
            self._listener.on_subscribed(symbol)
        if is_beside or self._joint.is_requested_elsewhere(symbol, self._account):
            self._listener.on_unsubscribed(symbol, UNREAD_BESIDE)

    def on_unsubscribed(self, symbol: str, reason: str, since_ns: int | None = None) -> None:
        self._joint.requested.discard((symbol, self._account))
        if self._joint.is_subscribed_elsewhere(symbol, self._account):
            reason = UNREAD_BESIDE if reason == CONNECTION_LOST else REMOVED_BESIDE
        self._listener.on_unsubscribed(symbol, reason, since_ns)

    def on_connection(self, change: ConnectionChanged) -> None:
        self._listener.on_connection(change)

    def on_quarantine(self, item: InputQuarantined, unread: Collection[str] | None) -> None:
        streamed = self._joint.subscribed_at(self._account)
        self._listener.on_quarantine(item, unread if unread is not None and streamed.issuperset(unread) else streamed)
