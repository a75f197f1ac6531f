"""Decodes a raw capture of KIS with the decoders of the live process. Touches nothing.

A received frame gives what the stream's listener received: trades, other facts, what could not be read. An answer gives
the rows of its own page: what a call makes of several pages (giving each minute its own value, cutting to the span of
the question) needs the caller's arguments, which are not in a capture. Where rows have no date, the day of the answer
stands in for the caller's.
"""

from typing import Final

from bus.events import InputQuarantined
from observer.base.errors import ProviderError
from observer.brokers.bodies import decode
from observer.brokers.dialect import Data, Unreadable
from observer.brokers.kis.calls import CALLS
from observer.brokers.kis.envelope import classify
from observer.brokers.kis.issuing import ISSUING_CALLS
from observer.brokers.kis.session import KisSession
from observer.brokers.quarantine import bounded
from observer.brokers.raw import RawFacts, RawRecord

_SOURCE: Final = "kis.stream"


class RawDecoder:
    """Decodes the records of one journal, in their order."""

    def __init__(self) -> None:
        self._sessions: dict[tuple[str, int], KisSession] = {}  # of each account's connections

    def decode(self, record: RawRecord) -> RawFacts:
        """The facts of a record. Never raises; sent records have none."""
        if record.direction == "sent":
            return RawFacts()
        return self._frame(record) if record.channel == "stream" else _answer(record)

    def _frame(self, record: RawRecord) -> RawFacts:
        session = self._sessions.setdefault((record.account, record.connection), KisSession(""))
        match session.read(record.content):
            case Data() as data:
                parsed = session.parse(data, record.time_ns)
                broken = () if parsed.broken is None else (bounded(parsed.broken),)
                return RawFacts((*parsed.trades, *parsed.facts, *broken))
            case Unreadable(content, reason):
                return RawFacts((bounded(InputQuarantined(_SOURCE, record.time_ns, reason, content)),))
        return RawFacts()


def _answer(record: RawRecord) -> RawFacts:
    if classify(record.status, record.content) is not None:
        return RawFacts(outcome="refused")
    if record.call in ISSUING_CALLS:
        return RawFacts()  # nothing of a token is recorded
    call = CALLS.get(record.call)
    if call is None:
        return RawFacts(outcome="unknown")
    try:
        body = decode(record.content, call.record.body_type, call.name)
        return RawFacts(call.read(body, call.given_of(record.query, record.time_ns)))
    except ProviderError:
        return RawFacts(outcome="malformed")
