"""What we ask of a provider, in our words. Implementations translate; nobody above sees a broker's field name."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import date
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from bus.events import (
    ConnectionChanged,
    ExpectedPrice,
    InputQuarantined,
    MarketStateChanged,
    NavObserved,
    OrderBook,
    Trade,
)

if TYPE_CHECKING:  # only the name of a type: the pure parsers import this file, and may not come near a file system
    from pathlib import Path


class Quote(msgspec.Struct, frozen=True, gc=False):
    """A symbol's state at one moment; prices are None while there are none (before the first trade, say)."""

    symbol: str
    price: float
    open: float | None
    high: float | None
    low: float | None
    previous_close: float | None
    upper_limit: float | None
    lower_limit: float | None
    bid: float | None
    ask: float | None
    cumulative_volume: float
    cumulative_value: float


class Bar(msgspec.Struct, frozen=True, gc=False):
    """Open, high, low, close and volume of a day (`start_ns` its midnight KST) or of a minute; `value` in won.

    `base_price` is what the exchange compares the day's prices with: the close before it, but for splits and their
    like. None where it is not told.
    """

    symbol: str
    start_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    value: float
    base_price: float | None = None


class PastTrade(msgspec.Struct, frozen=True, gc=False):
    """A trade as time-and-sales tells it afterwards: to the second, without the day's number of trades."""

    symbol: str
    exchange_time_ns: int
    price: float
    volume: float
    cumulative_volume: float
    bid: float | None
    ask: float | None


class FileStamp(msgspec.Struct, frozen=True):
    """What a HEAD request tells of a file. Fields the server did not send are None or empty."""

    size_bytes: int | None
    last_modified: str
    etag: str


class Credentials(msgspec.Struct, frozen=True):
    """What a call needs to be allowed. Its text never shows the secrets."""

    app_key: str
    app_secret: str
    access_token: str
    approval_key: str

    def __repr__(self) -> str:
        """Hides every field."""
        return "Credentials(...)"

    __str__ = __repr__


Lane = Literal["urgent", "normal", "bulk"]


class PermitSource(Protocol):
    """Where a REST call gets its permission; shared by all processes that use the account."""

    def acquire(self, lane: Lane) -> AbstractAsyncContextManager[None]:
        """Entered when one call may be sent now; left when its answer is there, which frees its place soonest."""
        ...

    def penalise(self) -> None:
        """Tell that the broker answered "too many": everybody pauses."""
        ...


class CredentialSource(Protocol):
    """Where a call gets its keys and token."""

    async def current(self) -> Credentials:
        """The credentials in force; waits (to a deadline) while there is no token yet.

        Raises:
            TokenExpiredError: none came in time; not to be tried again, it has been waited for.
        """
        ...

    async def reject(self, used: Credentials) -> bool:
        """Tell that the broker refused this token or approval key.

        Returns True when another one is there, False after a deadline.
        """
        ...


def chunks(symbols: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """The symbols in portions of at most `size`, in their order: what one call can take."""
    return (symbols[start : start + size] for start in range(0, len(symbols), size))


class QuoteSource(Protocol):
    """Track A's door."""

    quotes_per_call: int

    async def quotes(self, symbols: Sequence[str], lane: Lane = "bulk") -> Sequence[Quote]:
        """Quotes of at most `quotes_per_call` symbols; unknown symbols are absent from the answer."""
        ...


class HaltSource(Protocol):
    """Who is halted, asked one by one: no quote of many symbols tells it."""

    async def is_halted(self, symbol: str) -> bool | None:
        """Whether dealing in the symbol is stopped; None when the broker does not know it."""
        ...


class HistorySource(Protocol):
    """Bars and past trades."""

    async def daily_bars(self, symbol: str, first: date, last: date) -> Sequence[Bar]:
        """Daily bars as traded, oldest first, both days included; at most 100."""
        ...

    async def minute_bars(self, symbol: str, from_ns: int, to_ns: int) -> Sequence[Bar]:
        """Today's minute bars that start in [from, to], oldest first."""
        ...

    async def trades_between(self, symbol: str, from_ns: int, to_ns: int) -> Sequence[PastTrade]:
        """Today's trades with an exchange time in [from, to] (whole seconds), oldest first, each once."""
        ...


Progress = Callable[[int, int | None], None]
"""Hears of a download: the bytes that have come, and of how many (None: not told)."""


class MasterFileSource(Protocol):
    """Where master files come from. An exchange is named as in `observer.reference.exchanges`."""

    async def stamp(self, exchange: str) -> FileStamp:
        """What HEAD says, without a download."""
        ...

    async def download(self, exchange: str, destination: "Path", progress: Progress | None = None) -> FileStamp:
        """Write the *unpacked* master file to `destination`, checked (length, zip CRC) and replaced atomically.

        Raises:
            DataFileError: what came is not a whole zip of one file; `destination` is as it was.
        """
        ...


RecordKind = Literal["trades", "order_book", "expected_price", "market_state", "nav"]
"""What can be streamed of a symbol. Each kind of each symbol is one registration."""

Venue = Literal["KRX", "NXT", "both"]
"""Whose trades and order books are streamed: the exchange's, the alternative venue's, or both as one market."""

StreamFact = OrderBook | ExpectedPrice | MarketStateChanged | NavObserved
"""What a stream carries beside trades."""


class StreamListener(Protocol):
    """Who hears what a stream connection brings. Calls are synchronous and must be quick."""

    def on_trades(self, trades: Sequence[Trade]) -> None:
        """The trades of one frame, in its order."""
        ...

    def on_facts(self, facts: Sequence[StreamFact]) -> None:
        """What else a frame brought, in its order."""
        ...

    def on_registered(self, symbol: str) -> None:
        """The broker acknowledged the registration of the symbol's trades: they flow from now on."""
        ...

    def on_unregistered(self, symbol: str, reason: str) -> None:
        """The registration of the symbol's trades is gone: removed as wished, refused, or lost with the connection."""
        ...

    def on_connection(self, change: ConnectionChanged) -> None:
        """The connection came up or went."""
        ...

    def on_quarantine(self, item: InputQuarantined) -> None:
        """Something came that could not be read."""
        ...


class TradeStream(Protocol):
    """One streaming connection of one account. Declarative: say what you want, it sees to it."""

    capacity: int
    """How many symbols fit."""

    def want(self, symbols: Sequence[str]) -> None:
        """The symbols to be streamed, most important first; at most `capacity` of them count.

        The difference to what the broker has acknowledged is worked off: the most important registration that is
        missing, and before it a removal where there is no room for it. After a reconnection everything wanted is
        registered again in this order, trades before every other kind of record.
        """
        ...

    @property
    def registered(self) -> frozenset[str]:
        """The symbols whose trades the broker has acknowledged: the truth about the subscription."""
        ...

    async def run(self) -> None:
        """Connect, keep the registrations as wanted, watch for silence, back off and connect again.

        Until cancelled; then it unregisters and closes cleanly.
        """
        ...
