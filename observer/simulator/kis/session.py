"""One stream session without its socket: texts in, texts out. Pure; the market time is given.

Rules (KIS): one session per app key, 41 subscriptions over all TR ids and symbols (a symbol with trades and quotes has
two), an acknowledgement for every request. Data: the records of each subscription from the moment of its
acknowledgement on, those of one TR id in the order of the exchange's time, each once; nothing is sent again. What
happened up to the moment of a removal is sent before the removal is acknowledged. Captured frames of a subscription
are sent once, as they are, right after its acknowledgement: no fault strikes them, and no ledger counts them as the
market's trades.

H0STCNI0 and H0STCNI9 (the paper host's) are an account's own notices: encrypted with the key and the initial vector of
the acknowledgement. Without orders there are none; one made-up notice follows the acknowledgement, for clients to read.
"""

import hashlib
from collections.abc import Iterator, MutableMapping
from typing import Final

import msgspec

from observer.simulator.counters import Counters
from observer.simulator.kis.authentication import Authentication
from observer.simulator.kis.encryption import encrypted
from observer.simulator.kis.frames import Timeline, data_frame
from observer.simulator.kis.timelines import TRADE_TR_IDS, CapturedFrames, NoticedTrades, Timelines

RECORDS_PER_FRAME: Final = 20
_REGISTER: Final = "1"
_REMOVE: Final = "2"
_NO_KEY: Final = "(null)"
NOTICE_TR_IDS: Final = frozenset({"H0STCNI0", "H0STCNI9"})
# Customer, account, order, original order, buys (02), correction, kind, condition, symbol, executed, price, time,
# refused, executed (2), accepted, branch, ordered, name, condition price, venue, pop-up, filler, credit class and date,
# name of the share, order price.
_NOTICE: Final = (
    "simulated^0000000001^0000000001^^02^0^00^0^005930^1^70000^100000^0^2^2^00000^1^SIMULATED^0^1^Y^^10^^삼성전자^70000"
)


class Header(msgspec.Struct, frozen=True):
    """A client's header; only an answer to PINGPONG has `tr_id`."""

    approval_key: str = ""
    custtype: str = ""
    tr_type: str = ""
    tr_id: str = ""


class Target(msgspec.Struct, frozen=True, order=True):
    """The kind of record and the symbol to subscribe or remove."""

    tr_id: str = ""
    tr_key: str = ""


class RequestBody(msgspec.Struct, frozen=True):
    """The body of a request."""

    input: Target | None = None


class ClientMessage(msgspec.Struct, frozen=True):
    """A text from the client: a request, or an answer to PINGPONG, which has no body."""

    header: Header
    body: RequestBody | None = None


class Reply(msgspec.Struct, frozen=True):
    """The texts to send, in this order, and whether the connection then ends. `captured` are frames sent unchanged
    after the texts; `alive`: the client answered PINGPONG; `registered` and `removed`: what the last text acknowledges.
    """

    texts: tuple[str, ...] = ()
    close: bool = False
    alive: bool = False
    captured: tuple[str, ...] = ()
    registered: Target | None = None
    removed: Target | None = None


class StreamSession:
    """The subscriptions of one connection. `_next` holds each one's next record number."""

    def __init__(
        self,
        timelines: Timelines,
        authentication: Authentication,
        sessions: MutableMapping[str, "StreamSession"],
        registrations_limit: int,
        counters: Counters,
        captured: CapturedFrames,
    ) -> None:
        self._timelines = timelines
        self._authentication = authentication
        self._sessions = sessions  # which session has which app key; shared by all sessions
        self._limit = registrations_limit
        self._counters = counters
        self._captured = captured
        self._next: dict[Target, int] = {}
        self._app_key: str | None = None

    @property
    def registered(self) -> frozenset[Target]:
        """The acknowledged subscriptions."""
        return frozenset(self._next)

    def receive(self, text: str, now_ns: int) -> Reply:
        """Process one text of the client and return the reply."""
        try:
            message = msgspec.json.decode(text, type=ClientMessage)
        except msgspec.DecodeError:
            return self._refused(Target(_NO_KEY, ""), "OPSP9999", "JSON PARSING ERROR : invalid json")
        if message.header.tr_id == "PINGPONG":
            return Reply(alive=True)
        if message.body is None or message.body.input is None:
            return self._refused(Target(_NO_KEY, ""), "OPSP9992", "JSON PARSING ERROR : body not found")
        return (
            self._misstated(message.header, message.body.input)
            or self._enter(message.header.approval_key, now_ns)
            or self._apply(message.header.tr_type, message.body.input, now_ns)
        )

    def _misstated(self, header: Header, target: Target) -> Reply | None:
        """The refusal of a request with a missing or unknown value (docs/kis.md#stream-session)."""
        if not header.custtype:
            return self._refused(target, "OPSP9997", "JSON PARSING ERROR : custtype not found")
        if header.custtype not in ("P", "B"):
            return self._refused(target, "OPSP8998", "invalid custtype")
        if header.tr_type not in (_REGISTER, _REMOVE):
            return self._refused(target, "OPSP8997", "invalid tr_type")
        if not target.tr_key:
            return self._refused(target, "OPSP8992", "invalid tr_key")
        return None

    def due(self, now_ns: int) -> tuple[str, ...]:
        """Frames with every due, unsent record of the subscriptions."""
        indices: dict[str, list[tuple[int, str, int, Timeline]]] = {}
        for target, start in self._next.items():
            timeline = self._timeline(target)
            end = start if timeline is None else timeline.count_until(now_ns)
            if timeline is None or end <= start:
                continue
            self._next[target] = end
            found = indices.setdefault(target.tr_id, [])
            found.extend((timeline.time_ns(index), target.tr_key, index, timeline) for index in range(start, end))
            if target.tr_id in TRADE_TR_IDS:
                notices = timeline.notices(start, end) if isinstance(timeline, NoticedTrades) else 0
                self._counters.trades_by_symbol[target.tr_key] += end - start - notices
        frames = [frame for tr_id, found in indices.items() for frame in _frames(tr_id, found)]
        self._counters.frames += len(frames)
        return tuple(frames)

    def end(self) -> None:
        """End the session after the connection: free its subscriptions and its app key."""
        self._next.clear()
        if self._app_key is not None and self._sessions.get(self._app_key) is self:
            del self._sessions[self._app_key]

    def _enter(self, approval_key: str, now_ns: int) -> Reply | None:
        """Take the app key for the life of the session; returns a reply only for a refusal."""
        app_key = self._authentication.app_key_of_approval(approval_key, now_ns)
        if app_key is None:
            return self._refused(Target(_NO_KEY, ""), "OPSP0011", "invalid approval : NOT FOUND", close=True)
        if self._app_key not in (None, app_key) or self._sessions.setdefault(app_key, self) is not self:
            return self._refused(Target(_NO_KEY, ""), "OPSP8996", "ALREADY IN USE appkey", close=True, return_code="9")
        self._app_key = app_key
        return None

    def _apply(self, tr_type: str, target: Target, now_ns: int) -> Reply:
        is_known = self._timelines.offers(target.tr_id) or target.tr_id in NOTICE_TR_IDS
        if not is_known and (target.tr_id, target.tr_key) not in self._captured:
            return self._refused(target, "OPSP8991", "invalid tr_id")
        return (self._register if tr_type == _REGISTER else self._remove)(target, now_ns)

    def _register(self, target: Target, now_ns: int) -> Reply:
        captured = self._captured.get((target.tr_id, target.tr_key), ())
        if target.tr_id in NOTICE_TR_IDS:
            iv, key = self._secret(target)
            captured = (f"1|{target.tr_id}|001|{encrypted(_NOTICE, key, iv)}",)
        if target in self._next:
            return self._refused(target, "OPSP0002", "ALREADY IN SUBSCRIBE")
        if len(self._next) >= self._limit:
            return self._refused(target, "OPSP0008", "MAX SUBSCRIBE OVER")
        timeline = self._timeline(target)
        if timeline is None and not captured:
            return self._refused(target, "OPSP0007", "SUBSCRIBE INTERNAL ERROR")
        self._next[target] = 0 if timeline is None else timeline.count_until(now_ns)
        self._counters.registrations += 1
        self._counters.frames += len(captured)
        text = self._acknowledgement(target, "OPSP0000", "SUBSCRIBE SUCCESS")
        return Reply((text,), captured=captured, registered=target)

    def _remove(self, target: Target, now_ns: int) -> Reply:
        if target not in self._next:
            return self._refused(target, "OPSP0003", "UNSUBSCRIBE ERROR(not found!)")
        frames = self.due(now_ns)
        del self._next[target]
        self._counters.removals += 1
        text = self._acknowledgement(target, "OPSP0001", "UNSUBSCRIBE SUCCESS")
        return Reply((*frames, text), removed=target)

    def _timeline(self, target: Target) -> Timeline | None:
        """The records of a subscription; None for a key that only captured frames have."""
        return self._timelines.of(target.tr_id, target.tr_key) if self._timelines.offers(target.tr_id) else None

    def _acknowledgement(self, target: Target, code: str, text: str) -> str:
        """A success carries an iv and a key, which only encrypted account notices need."""
        iv, key = self._secret(target)
        return _control_text(target, "0", code, text, {"iv": iv, "key": key})

    def _secret(self, target: Target) -> tuple[str, str]:
        """Initial vector and key of a TR id."""
        secret = hashlib.sha256(f"{self._app_key}/{target.tr_id}".encode()).hexdigest()
        return secret[:16], secret[16:48]

    def _refused(self, target: Target, code: str, text: str, *, close: bool = False, return_code: str = "1") -> Reply:
        self._counters.refusals[code] += 1
        return Reply((_control_text(target, return_code, code, text),), close=close)


def _frames(tr_id: str, indices: list[tuple[int, str, int, Timeline]]) -> Iterator[str]:
    """Records of one kind in the order of time, as many to a frame as it holds."""
    indices.sort()
    records = [timeline.record(index) for _, _, index, timeline in indices]
    for start in range(0, len(records), RECORDS_PER_FRAME):
        yield data_frame(tr_id, records[start : start + RECORDS_PER_FRAME])


def _control_text(target: Target, return_code: str, code: str, text: str, output: dict[str, str] | None = None) -> str:
    body: dict[str, object] = {"rt_cd": return_code, "msg_cd": code, "msg1": text}
    if output is not None:
        body["output"] = output
    header = {"tr_id": target.tr_id, "tr_key": target.tr_key, "encrypt": "N"}
    return msgspec.json.encode({"header": header, "body": body}).decode()
