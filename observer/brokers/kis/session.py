"""The KIS stream's texts: register, remove, acknowledge, keep alive. No socket (docs/kis.md#stream-session).

KIS has no login message: every subscription carries the approval key. A subscription looks like

    {"header":{"approval_key":K,"custtype":"P","tr_type":"1","content-type":"utf-8"},
     "body":{"input":{"tr_id":"H0STCNT0","tr_key":"005930"}}}

and its answer like

    {"header":{"tr_id":"H0STCNT0","tr_key":"005930","encrypt":"N"},
     "body":{"rt_cd":"0","msg_cd":"OPSP0000","msg1":"SUBSCRIBE SUCCESS","output":{"iv":"...","key":"..."}}}
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from observer.base.lines import line_id, stock_of
from observer.base.text import SAID_BYTES_MAX, shown
from observer.brokers.broker import RecordKind, StreamFact
from observer.brokers.dialect import (
    Data,
    Parsed,
    Ping,
    SessionRefused,
    StreamMessage,
    Subscribed,
    Subscription,
    SubscriptionRefused,
    Unreadable,
    Unsubscribed,
)
from observer.brokers.kis.fields import bytes_of
from observer.brokers.kis.frames import TRADE_TRANSACTIONS, parse_trades, unread_lines
from observer.brokers.kis.halts import HALT_MARK, HaltProjection, flags_of
from observer.brokers.kis.records import FACT_TRANSACTIONS, parse_facts
from observer.brokers.kis.venues import KRX, STREAM_LETTERS, venue_named

# The letters of a kind of record in a TR id, between those of its venue: H0STCNT0 are trades of the KRX. Nothing of
# ours subscribes H0UN..., both venues as one: it has no trades of what NXT does not trade (docs/kis.md#trades).
_KINDS: Final[Mapping[RecordKind, str]] = {
    "trades": "CNT0",
    "order_book": "ASP0",
    "expected_price": "ANC0",
    "market_state": "MKO0",
    "nav": "NAV0",  # of an ETF, and so of the KRX alone
}
_SUBSCRIBED: Final[Mapping[str, tuple[RecordKind, str]]] = {
    f"H0{letters}{name}": (kind, venue)
    for venue, letters in STREAM_LETTERS.items()
    for kind, name in _KINDS.items()
    if kind != "nav" or venue == KRX
}
_TRANSACTION: Final = slice(2, 10)  # of a data frame: 0|H0STCNT0|001|...
_REGISTER: Final = "1"
_REMOVE: Final = "2"
_KEEP_ALIVE: Final = "PINGPONG"
_KEEP_ALIVE_BYTES_MAX: Final = 4_096  # it is sent back; a real one has about a hundred
_CODE_BYTES_MAX: Final = 80
_NOTHING: Final[Sequence[StreamFact]] = ()

# The broker's word is the truth about a subscription, also when it says that nothing had to be done.
_SUBSCRIBED_CODES: Final = frozenset({"OPSP0000", "OPSP0002"})
_UNSUBSCRIBED_CODES: Final = frozenset({"OPSP0001", "OPSP0003"})
_KEY_REJECTED: Final = "OPSP0011"
_KEY_IN_USE: Final = "OPSP8996"


class _Header(msgspec.Struct):
    tr_id: str = ""
    tr_key: str = ""


class _Body(msgspec.Struct):
    msg_cd: str = ""
    msg1: str = ""


class _Reply(msgspec.Struct):
    header: _Header
    body: _Body | None = None


_reply_decoder = msgspec.json.Decoder(_Reply)


class KisSession:
    """The dialect of one connection with an approval key; it has lines of all venues. Satisfies `StreamDialect`."""

    def __init__(self, approval_key: str) -> None:
        self._approval_key = approval_key
        self._halts = HaltProjection()
        self._expected: set[str] = set()  # lines whose expected prices are subscribed

    def opening(self) -> Sequence[str]:
        """Nothing: every subscription carries the approval key."""
        return ()

    def subscribe(self, subscription: Subscription) -> str:
        """The text that registers."""
        return self._request(_REGISTER, subscription)

    def unsubscribe(self, subscription: Subscription) -> str:
        """The text that removes."""
        return self._request(_REMOVE, subscription)

    def read(self, frame: str | bytes) -> StreamMessage:
        """The meaning of a frame: data begin with the encryption flag, all other frames are JSON. Of an encrypted frame
        only the size is returned. Never raises.
        """
        content = bytes_of(frame)
        if content[:2] == b"0|":
            return Data(content)
        if content[:2] == b"1|":  # an account's own notices, to which nothing of ours subscribes: not to be kept
            return Unreadable(b"", f"an encrypted frame of {len(content):,} bytes: counted, not stored")
        try:
            return self._meaning(content, _reply_decoder.decode(content))
        except (ValueError, RecursionError) as error:  # no JSON of that shape, no UTF-8, or nested too deep
            return Unreadable(content, f"neither a data frame nor a reply: {error}")

    def parse(self, data: Data, receive_time_ns: int) -> Parsed:
        """The records of a data frame, see `frames.parse_trades` and `records.parse_facts`; with the trades, expected
        prices among them, and who is halted from now on, or no more. Expected prices of a line that has a subscription
        of its own for them are not taken from the records of trades, which state them once more.
        """
        if data.frame[_TRANSACTION] in TRADE_TRANSACTIONS:
            return self._parse_trades(data.frame, receive_time_ns)
        facts, broken = parse_facts(data.frame, receive_time_ns)
        self._halts.reported(facts)
        return Parsed(facts=facts, broken=broken, unread=() if data.frame[_TRANSACTION] in FACT_TRANSACTIONS else None)

    def _parse_trades(self, frame: bytes, receive_time_ns: int) -> Parsed:
        content, states, is_flagged = frame, _NOTHING, HALT_MARK in frame
        if is_flagged:
            content, flags = flags_of(frame)
            states = self._halts.flagged(flags, receive_time_ns)
            if not content:
                return Parsed(facts=states)
        trades, expected, broken = parse_trades(content, receive_time_ns)
        if self._halts.halted and not is_flagged:
            states = self._halts.traded(trades, receive_time_ns)
        if expected:
            states = [*(each for each in expected if each.symbol not in self._expected), *states]
        if broken is None:
            return Parsed(trades, states)
        unread = unread_lines(content, len(trades))
        return Parsed(trades, states, msgspec.structs.replace(broken, content=frame), unread)

    def _request(self, action: str, subscription: Subscription) -> str:
        header = {"approval_key": self._approval_key, "custtype": "P", "tr_type": action, "content-type": "utf-8"}
        transaction = f"H0{STREAM_LETTERS[venue_named(subscription.symbol)]}{_KINDS[subscription.kind]}"
        body = {"input": {"tr_id": transaction, "tr_key": stock_of(subscription.symbol)}}
        return msgspec.json.encode({"header": header, "body": body}).decode()

    def _meaning(self, content: bytes, reply: _Reply) -> StreamMessage:
        """The meaning of a decoded reply; a keep-alive is answered with its own text."""
        if reply.header.tr_id == _KEEP_ALIVE:
            if len(content) > _KEEP_ALIVE_BYTES_MAX:
                return Unreadable(content, f"a keep-alive of {len(content):,} bytes")
            return Ping(content.decode())
        if reply.body is None or not reply.body.msg_cd:
            return Unreadable(content, "a reply without a message code")
        code = shown(reply.body.msg_cd, _CODE_BYTES_MAX)
        reason = shown(reply.body.msg1.strip(), SAID_BYTES_MAX)
        if code in (_KEY_REJECTED, _KEY_IN_USE):
            return SessionRefused(code, reason, key_rejected=code == _KEY_REJECTED)
        subscription = self._subscription(reply.header)
        if code not in _SUBSCRIBED_CODES | _UNSUBSCRIBED_CODES:
            return SubscriptionRefused(subscription, code, reason)
        if subscription is None:
            return Unreadable(content, f"{code} for something that is never asked for")
        if code in _SUBSCRIBED_CODES:
            if subscription.kind == "expected_price":
                self._expected.add(subscription.symbol)
            return Subscribed(subscription)
        if subscription.kind == "expected_price":
            self._expected.discard(subscription.symbol)
        self._halts.forget(subscription.symbol)
        return Unsubscribed(subscription)

    @staticmethod
    def _subscription(header: _Header) -> Subscription | None:
        """The subscription of a reply; None without a known TR id or a symbol."""
        found, symbol = _SUBSCRIBED.get(header.tr_id.strip()), header.tr_key.strip()
        return Subscription(found[0], line_id(symbol, found[1], KRX)) if found is not None and symbol else None
