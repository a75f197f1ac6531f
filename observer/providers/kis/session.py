"""The KIS stream's texts: register, remove, acknowledge, keep alive. No socket (kis-api.md, section 5).

KIS has no login message: every registration carries the approval key. A registration looks like

    {"header":{"approval_key":K,"custtype":"P","tr_type":"1","content-type":"utf-8"},
     "body":{"input":{"tr_id":"H0STCNT0","tr_key":"005930"}}}

and its answer like

    {"header":{"tr_id":"H0STCNT0","tr_key":"005930","encrypt":"N"},
     "body":{"rt_cd":"0","msg_cd":"OPSP0000","msg1":"SUBSCRIBE SUCCESS","output":{"iv":"...","key":"..."}}}
"""

from typing import Final

import msgspec

from bus.events import InputQuarantined, Trade
from observer.providers.dialect import (
    Data,
    Ping,
    Refused,
    Registered,
    SessionRefused,
    StreamMessage,
    Unreadable,
    Unregistered,
)
from observer.providers.kis.frames import parse_trades

KRX_TRADES: Final = "H0STCNT0"
_REGISTER: Final = "1"
_REMOVE: Final = "2"
_KEEP_ALIVE: Final = "PINGPONG"

# The broker's word is the truth about a registration, also when it says that nothing had to be done.
_REGISTERED_CODES: Final = frozenset({"OPSP0000", "OPSP0002"})
_UNREGISTERED_CODES: Final = frozenset({"OPSP0001", "OPSP0003"})
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
    """The dialect of one connection: an approval key and one kind of record. Satisfies `StreamDialect`."""

    def __init__(self, approval_key: str, transaction: str = KRX_TRADES) -> None:
        self._approval_key = approval_key
        self._transaction = transaction

    def register(self, symbol: str) -> str:
        """The text that registers a symbol."""
        return self._request(_REGISTER, symbol)

    def unregister(self, symbol: str) -> str:
        """The text that removes a symbol."""
        return self._request(_REMOVE, symbol)

    def read(self, frame: str | bytes) -> StreamMessage:
        """What a frame means: data begin with the encryption flag, everything else is JSON. Never raises."""
        try:
            text = frame if isinstance(frame, str) else frame.decode()
            if text[:2] in ("0|", "1|"):
                return Data(text)
            return _meaning(text, _reply_decoder.decode(text))
        except (msgspec.DecodeError, UnicodeError) as error:
            content = frame if isinstance(frame, bytes) else frame.encode("utf-8", "surrogatepass")
            return Unreadable(content, f"neither a data frame nor a reply: {error}")

    def parse(self, data: Data, receive_time_ns: int) -> tuple[list[Trade], InputQuarantined | None]:
        """The trades of a data frame, see `frames.parse_trades`."""
        return parse_trades(data.frame, receive_time_ns)

    def _request(self, kind: str, symbol: str) -> str:
        header = {"approval_key": self._approval_key, "custtype": "P", "tr_type": kind, "content-type": "utf-8"}
        body = {"input": {"tr_id": self._transaction, "tr_key": symbol}}
        return msgspec.json.encode({"header": header, "body": body}).decode()


def _meaning(text: str, reply: _Reply) -> StreamMessage:
    """The meaning of a decoded reply; a keep-alive is answered with its own text."""
    if reply.header.tr_id == _KEEP_ALIVE:
        return Ping(text)
    if reply.body is None or not reply.body.msg_cd:
        return Unreadable(text.encode(), "a reply without a message code")
    symbol, code, reason = reply.header.tr_key.strip(), reply.body.msg_cd, reply.body.msg1.strip()
    if code in (_KEY_REJECTED, _KEY_IN_USE):
        return SessionRefused(code, reason, key_rejected=code == _KEY_REJECTED)
    if code in _REGISTERED_CODES:
        return Registered(symbol)
    if code in _UNREGISTERED_CODES:
        return Unregistered(symbol)
    return Refused(symbol, code, reason)
