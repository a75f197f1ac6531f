"""What a raw capture of KIS holds: its records through the decoders that the live process used. Touches nothing.

A received frame gives what the stream's listener heard of it: trades, other facts, what could not be read. An answer
gives the nouns of its own page: what a call makes of several pages (putting minutes in order and giving each its own
value, cutting to the span that was asked for) needs the caller's words, which are not in a capture. Where rows have no
date, the day of the answer stands in for the day that the caller named.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, TypeVar

import msgspec

from bus.events import InputQuarantined
from observer.errors import ProviderError
from observer.providers.dialect import Data, Unreadable
from observer.providers.http import decode
from observer.providers.interfaces import Venue
from observer.providers.kis import bodies, calls, funds, market, overseas, symbols
from observer.providers.kis.calls import DAILY_BARS_MAX, KisCall
from observer.providers.kis.doors import exchange_named
from observer.providers.kis.envelope import classify
from observer.providers.kis.moments import date_text_of
from observer.providers.kis.session import KisSession
from observer.providers.raw import RawRecord

Body = TypeVar("Body")
Read = Sequence[msgspec.Struct] | msgspec.Struct | None

_SOURCE: Final = "kis.stream"

Outcome = Literal["decoded", "refused", "malformed", "unknown"]


class Decoded(msgspec.Struct, frozen=True):
    """What a record gave. `refused`: the broker said no; `malformed`: the answer could not be read; `unknown`: a call
    that there is no decoder for. Of these three there are no facts.
    """

    facts: Sequence[msgspec.Struct] = ()
    outcome: Outcome = "decoded"


class RawDecoder:
    """Decodes the records of one journal, in their order."""

    def __init__(self) -> None:
        self._sessions: dict[tuple[str, int], KisSession] = {}  # of each account's connections

    def decode(self, record: RawRecord) -> Decoded:
        """What a record gives. Never raises; what was sent gives nothing."""
        if record.direction == "sent":
            if record.channel == "stream":
                self._note_venue(record)
            return Decoded()
        return self._frame(record) if record.channel == "stream" else _answer(record)

    def _note_venue(self, record: RawRecord) -> None:
        """A session reads acknowledgements of its own venue only: the first registration tells which it is."""
        if b'"tr_id":"H0' not in record.content:
            return
        venue: Venue = "NXT" if b'"H0NX' in record.content else "both" if b'"H0UN' in record.content else "KRX"
        self._sessions.setdefault((record.account, record.connection), KisSession("", venue))

    def _frame(self, record: RawRecord) -> Decoded:
        session = self._sessions.get((record.account, record.connection)) or KisSession("")
        match session.read(record.content):
            case Data() as data:
                parsed = session.parse(data, record.time_ns)
                broken = () if parsed.broken is None else (parsed.broken,)
                return Decoded((*parsed.trades, *parsed.facts, *broken))
            case Unreadable(content, reason):
                return Decoded((InputQuarantined(_SOURCE, record.time_ns, reason, content),))
        return Decoded()


def _answer(record: RawRecord) -> Decoded:
    if classify(record.status, record.content) is not None:
        return Decoded(outcome="refused")
    reader = READERS.get(record.call)
    if reader is None:
        return Decoded(outcome="unknown")
    try:
        return Decoded(reader(record))
    except ProviderError:
        return Decoded(outcome="malformed")


def _reads(
    call: KisCall[Body], read: Callable[[Body, RawRecord], Read]
) -> tuple[str, Callable[[RawRecord], Sequence[msgspec.Struct]]]:
    """One line of the table: a call, and what its body means."""

    def reader(record: RawRecord) -> Sequence[msgspec.Struct]:
        found = read(decode(record.content, call.body_type, call.name), record)
        if isinstance(found, msgspec.Struct):
            return [found]
        return found or []

    return call.name, reader


def _symbol(record: RawRecord) -> str:
    """The symbol that was asked for; the calls name it in three ways."""
    query = record.query
    return query.get("FID_INPUT_ISCD") or query.get("PDNO") or query.get("SYMB") or ""


def _exchange(record: RawRecord) -> str:
    return exchange_named(record.query.get("EXCD") or record.query.get("PRDT_TYPE_CD") or "")


def _day(record: RawRecord) -> str:
    return date_text_of(record.time_ns)


def _nothing(_body: object, _record: RawRecord) -> None:
    """Of a token there is nothing left to decode."""


READERS: Final[Mapping[str, Callable[[RawRecord], Sequence[msgspec.Struct]]]] = dict(
    (
        _reads(calls.TOKEN, _nothing),
        _reads(calls.APPROVAL, _nothing),
        _reads(calls.QUOTES, lambda body, _: bodies.quotes_of(body)),
        _reads(calls.DAILY_BARS, lambda body, asked: bodies.daily_bars_of(body, _symbol(asked))[-DAILY_BARS_MAX:]),
        _reads(calls.MINUTE_BARS, lambda body, asked: bodies.minute_bars_of(body, _symbol(asked))),
        _reads(calls.PAST_MINUTE_BARS, lambda body, asked: bodies.minute_bars_of(body, _symbol(asked))),
        _reads(calls.TRADES, lambda body, asked: bodies.past_trades_of(body, _symbol(asked), _day(asked))),
        _reads(calls.QUOTE_DETAIL, lambda body, _: symbols.quote_detail_of(body)),
        _reads(calls.LATEST_TRADES, lambda body, asked: symbols.latest_trades_of(body, _symbol(asked), _day(asked))),
        _reads(calls.STOCK, lambda body, asked: symbols.stock_information_of(body, _symbol(asked))),
        _reads(calls.PRODUCT, lambda body, _: symbols.product_information_of(body)),
        _reads(calls.SESSIONS, lambda body, _: market.sessions_of(body)),
        _reads(calls.INTERRUPTIONS, lambda body, _: market.interruptions_of(body)),
        _reads(calls.VOLUME_RANK, lambda body, _: market.ranking_by_volume_of(body)),
        _reads(calls.MARKET_CAP_RANK, lambda body, _: market.ranking_by_market_cap_of(body)),
        _reads(calls.FUND_QUOTE, lambda body, asked: funds.fund_quote_of(body, _symbol(asked))),
        _reads(calls.NAV_COMPARISON, lambda body, asked: funds.nav_comparison_of(body, _symbol(asked))),
        _reads(calls.NAV_DAYS, lambda body, asked: funds.nav_days_of(body, _symbol(asked))),
        _reads(calls.NAV_MINUTES, lambda body, asked: funds.nav_minutes_of(body, _symbol(asked), _day(asked))),
        _reads(calls.FUND_HOLDINGS, lambda body, asked: funds.fund_holdings_of(body, _symbol(asked))),
        _reads(
            calls.OVERSEAS_QUOTE,
            lambda body, asked: overseas.overseas_quote_of(body, _exchange(asked), _symbol(asked)),
        ),
        _reads(
            calls.OVERSEAS_QUOTE_DETAIL,
            lambda body, asked: overseas.overseas_quote_detail_of(body, _exchange(asked), _symbol(asked)),
        ),
        _reads(
            calls.OVERSEAS_DAILY_BARS,
            lambda body, asked: overseas.overseas_bars_of(body, _exchange(asked), _symbol(asked)),
        ),
        _reads(
            calls.OVERSEAS_INSTRUMENT,
            lambda body, asked: overseas.overseas_instrument_of(body, _exchange(asked), _symbol(asked)),
        ),
    )
)
