"""The interface of a broker: the values and functions of `Broker`, and the Protocols that its parts satisfy.

A broker is a folder with a module `broker` that states a `Broker` as `BROKER`, and one line in `_FOLDERS`. Nothing
outside the folder imports any of it: the folder is loaded by name, when a setting or an account names the broker.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import date
from importlib import import_module
from typing import TYPE_CHECKING, Final, Literal, Protocol

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
from observer.brokers.settings import BrokerSettings
from observer.brokers.time_and_sales import TimeAndSales
from observer.calendar.venues import TradingVenue

if TYPE_CHECKING:  # only names of types: the pure parsers import this file, and may not come near files and sockets
    from pathlib import Path

    import httpx

    from observer.base.clock import Clock
    from observer.brokers.dialect import StreamDialect, StreamTraits
    from observer.brokers.domestic import BarReach
    from observer.brokers.http import RestDialect, RestPipeline
    from observer.brokers.raw import AccountRecorder, RawCaptureDecoder
    from observer.brokers.rest import RestClient
    from observer.reference.listings.model import Listing, UnreadableLine


class Quote(msgspec.Struct, frozen=True, gc=False):
    """A line's state at one moment; prices are None while there are none (before the first trade, say). `symbol` is the
    line's id, as in everything here (`observer.base.lines`), and `venue` the name of its venue.
    """

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
    venue: str = ""


class Bar(msgspec.Struct, frozen=True, gc=False):
    """Open, high, low, close and volume of a day (`start_ns` its local midnight) or of a minute, in the currency.

    `base_price` is what the exchange compares the day's prices with: the close before it, but for splits and their
    like. None where it is not reported.
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
    venue: str = ""


class PastTrade(msgspec.Struct, frozen=True, gc=False):
    """A trade from a time-and-sales request: time in whole seconds, without the day's trade count."""

    symbol: str
    exchange_time_ns: int
    price: float
    volume: float
    cumulative_volume: float
    bid: float | None
    ask: float | None
    venue: str = ""


class FileStamp(msgspec.Struct, frozen=True):
    """The result of a HEAD request for a file. Fields that the server did not send are None or empty."""

    size_bytes: int | None
    last_modified: str
    etag: str


class Credentials(msgspec.Struct, frozen=True):
    """The credentials of a call. Its text never shows the secrets."""

    app_key: str
    app_secret: str
    access_token: str
    approval_key: str

    def __repr__(self) -> str:
        """Hides every field."""
        return "Credentials(...)"

    __str__ = __repr__


CredentialPart = Literal["access_token", "approval_key"]
"""What of a call's credentials a broker can refuse, and a renewal brings anew."""

Priority = Literal["urgent", "normal", "bulk", "background"]


class RateLimiter(Protocol):
    """Grants REST calls their start; shared by all processes that use the account."""

    def acquire(self, priority: Priority) -> AbstractAsyncContextManager[None]:
        """Entered when one call may be sent now; left when its answer is there, which frees its position soonest. Left
        with a RateExceededError: the call is to be repeated at once; how long others wait is the limiter's decision.
        """
        ...


class CredentialSource(Protocol):
    """Supplies calls with keys and token."""

    async def current(self) -> Credentials:
        """The credentials in force; waits (to a deadline) while there is no token yet.

        Raises:
            TokenExpiredError: none came in time; not to be tried again, it has been waited for.
        """
        ...

    async def reject(self, used: Credentials, part: CredentialPart = "access_token") -> bool:
        """Report that the broker refused this secret.

        Returns True when another one is there, False after a deadline.
        """
        ...


def chunks(symbols: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Split the symbols into portions of at most `size`, in their order: the most that one call takes."""
    return (symbols[start : start + size] for start in range(0, len(symbols), size))


class QuoteSource(Protocol):
    """Quotes of many symbols in one call: the source of Track A."""

    quotes_per_call: int

    async def quotes(self, symbols: Sequence[str], priority: Priority = "bulk") -> Sequence[Quote]:
        """Quotes of at most `quotes_per_call` lines; unknown ones are absent from the answer. Takes one call, or two
        where both lines of a stock are among them.
        """
        ...


class HaltSource(Protocol):
    """Halt states, one symbol a call: quotes of many symbols do not carry them."""

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

    async def trades_between(
        self, symbol: str, from_ns: int, to_ns: int, after_volume: float = 0.0, rows_max: int | None = None
    ) -> Sequence[PastTrade]:
        """Today's trades with an exchange time in [from, to] (whole seconds), oldest first, each once. Those up to the
        day's volume `after_volume` may be left out, and the oldest beyond some `rows_max`.
        """
        ...


Progress = Callable[[int, int | None], None]
"""Hears of a download: the bytes that have come, and of how many (None: not reported)."""


class MasterFileSource(Protocol):
    """A source of master files. An exchange is named as in `observer.reference.listings.model`."""

    async def stamp(self, exchange: str) -> FileStamp:
        """The result of HEAD, without a download."""
        ...

    async def download(self, exchange: str, destination: "Path", progress: Progress | None = None) -> FileStamp:
        """Write the *unpacked* master file to `destination`, checked (length, zip CRC) and replaced atomically.

        Raises:
            DataFileError: what came is not a whole zip of one file; `destination` is as it was.
        """
        ...


RecordKind = Literal["trades", "order_book", "expected_price", "market_state", "nav"]
"""The kinds of records of a stream. Each kind of each symbol is one subscription."""

StreamFact = OrderBook | ExpectedPrice | MarketStateChanged | NavObserved
"""The facts of a stream other than trades."""


class StreamListener(Protocol):
    """Receives what a stream connection delivers. Calls are synchronous and must be quick."""

    def on_trades(self, trades: Sequence[Trade]) -> None:
        """The trades of one frame, in its order."""
        ...

    def on_facts(self, facts: Sequence[StreamFact]) -> None:
        """The other facts of one frame, in its order."""
        ...

    def on_requested(self, symbol: str, *, removal: bool = False) -> None:
        """The subscription of the symbol's trades, or its `removal`, is requested: the broker may send them, or send no
        more, from now on. Its acknowledgement can be read much later, or never, where the connection breaks before.
        """
        ...

    def on_subscribed(self, symbol: str) -> None:
        """The broker acknowledged the subscription of the symbol's trades: they flow from now on."""
        ...

    def on_unsubscribed(self, symbol: str, reason: str, since_ns: int | None = None) -> None:
        """The subscription of the symbol's trades has ended: removed on request, refused, or lost in a disconnect, also
        one that was requested and not answered. A silent connection was lost when it last brought anything, at
        `since_ns`; None: now.
        """
        ...

    def on_connection(self, change: ConnectionChanged) -> None:
        """The connection came up or went."""
        ...

    def on_quarantine(self, item: InputQuarantined, unread: Collection[str] | None) -> None:
        """The connection delivered something unreadable. Trades of the symbols `unread` may be lost with it; None: of
        any symbol that the connection streams.
        """
        ...


class TradeStream(Protocol):
    """One streaming connection of one account. Declarative: the caller states the wanted symbols, the connection
    subscribes them.
    """

    capacity: int
    """How many symbols fit."""
    held_back_since_ns: int | None
    """Since when changes wait for the bound of changes a minute; None while all is as wanted."""

    def want(self, symbols: Sequence[str], watched: Sequence[str] = ()) -> None:
        """The symbols to be streamed, most important first; at most `capacity` of them count. `watched`: the market
        state alone, of symbols for which they leave a subscription.

        The difference to what the broker acknowledged is worked off: the most important subscription that is missing,
        before it a removal where there is no room. After a reconnection all is subscribed again, trades first.
        """
        ...

    @property
    def subscribed(self) -> frozenset[str]:
        """The symbols whose trades the broker has acknowledged: the truth about the subscription."""
        ...

    async def run(self) -> None:
        """Connect, keep the subscriptions as wanted, watch for silence, back off and connect again.

        Until cancelled; then it unregisters and closes cleanly.
        """
        ...


Capability = Literal["quotes", "halts", "bars", "trades", "etf", "sessions", "securities"]
"""A group of REST calls that a broker offers. Calls go to accounts whose broker offers them (`accounts.clients`)."""

CredentialsKind = Literal["none", "key_pair", "token", "approval_key"]
"""The credentials of a call: none; the app key and secret themselves; an access token issued for them; a token, and an
approval key for the stream.
"""


class RateBucket(msgspec.Struct, frozen=True, kw_only=True):
    """A limit that calls share, under a name: those of one account, of one account and one call, or of one IP."""

    name: str
    scope: Literal["account", "account_call", "ip"]


class IssuedToken(msgspec.Struct, frozen=True):
    """An access token and its life in UTC ns; `issued_ns` is when the broker made it, perhaps before the request."""

    access_token: str
    issued_ns: int
    expires_ns: int

    def __repr__(self) -> str:
        """Shows the life, never the token."""
        return f"IssuedToken(issued_ns={self.issued_ns}, expires_ns={self.expires_ns})"

    __str__ = __repr__


class CredentialIssuer(Protocol):
    """The calls that issue credentials. Each raises a `ProviderError` when the broker refuses or does not answer."""

    async def issue_token(self, app_key: str, app_secret: str) -> IssuedToken:
        """An access token."""
        ...

    async def issue_approval_key(self, app_key: str, app_secret: str) -> str:
        """The stream's approval key; empty at a broker that has none."""
        ...


class Broker(msgspec.Struct, frozen=True, kw_only=True):
    """One broker, as its folder states it. Its functions import what they need when they are called.

    Args:
        name: of its section in the configuration, and the `provider` of its facts.
        venue: where what it streams is traded.
        venues: the names of the venues whose lines it serves, the main venue first (`observer.base.lines`).
        capabilities: the REST calls that it offers.
        slots: subscriptions of one account; the bound of an account's `max_slots`.
        buckets: its rate limits; their sizes are settings.
        credentials: what a call needs.
        key_variables: environment variables of app key and secret, for the account of a system without an account file.
        stream: how its stream differs from others.
        settings: the type of its section in the configuration; every field has a default.
        probe_symbol: a symbol that trades every day, for health checks.
        time_and_sales: how its call for past trades answers; None where it has none.
        rest_dialect: headers and refusals of its REST calls.
        rest: its REST calls on an account's pipeline, to the hosts of these settings.
        issuing: the calls that issue credentials; None where there are none.
        stream_dialect: the texts of one connection with these credentials.
        exchanges: those of `observer.reference.listings.model` whose listings it has as files.
        listing_file: the name of an exchange's unpacked file, in small letters.
        listing_files: the files of its listings; None where it has none.
        listings: the records of an exchange's file, and its lines that are none.
        venue_files: the files that list what each venue beside the main one trades, by the venue's name.
        unknown_tail: what the records of an exchange's file have behind their known fields, in words; "" for nothing.
        raw_decoder: decodes a raw capture of it.
        bar_reach: of its bars; None where it has none of past days.
    """

    name: str
    venue: TradingVenue
    venues: tuple[str, ...]
    capabilities: frozenset[Capability]
    slots: int
    buckets: tuple[RateBucket, ...]
    credentials: CredentialsKind
    key_variables: tuple[str, str]
    stream: "StreamTraits"
    settings: type[BrokerSettings]
    probe_symbol: str
    time_and_sales: TimeAndSales | None
    rest_dialect: "Callable[[], RestDialect]"
    rest: "Callable[[RestPipeline, BrokerSettings], RestClient]"
    issuing: "Callable[[httpx.AsyncClient, Clock, AccountRecorder], CredentialIssuer] | None"
    stream_dialect: "Callable[[Credentials], StreamDialect]"
    exchanges: tuple[str, ...]
    listing_file: Callable[[str], str]
    listing_files: "Callable[[httpx.AsyncClient], MasterFileSource] | None"
    listings: "Callable[[str, bytes], tuple[Sequence[Listing], Sequence[UnreadableLine]]]"
    unknown_tail: Callable[[str, bytes], str]
    venue_files: Mapping[str, Sequence[str]] = {}
    raw_decoder: "Callable[[], RawCaptureDecoder]"
    bar_reach: "BarReach | None" = None


_FOLDERS: Final[Mapping[str, str]] = {"kis": "observer.brokers.kis"}
DEFAULT_BROKER: Final = next(iter(_FOLDERS))  # of accounts that name none
BROKER_NAMES: Final = tuple(_FOLDERS)


def broker_named(name: str) -> Broker:
    """The broker of this name; the first use imports its folder.

    Raises:
        ValueError: there is none; names those that there are.
    """
    if name not in _FOLDERS:
        raise ValueError(f"provider: no broker {name!r}; there are {', '.join(BROKER_NAMES)}")
    broker: Broker = import_module(f"{_FOLDERS[name]}.broker").BROKER
    return broker
