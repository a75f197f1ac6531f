"""Frames damaged on the wire, and the ledger of offered trades and their fate. Pure.

The rng is passed in. A client may keep or drop the whole records of a broken frame, but it must not take a broken
record for a trade, and a dropped record is a gap. So a whole record of a broken frame is *doubtful*, and an unreadable
one is *broken*: stored trades = (sent and doubtful) less those inside recorded gaps, for every such client.

Offered is every trade between the acknowledgement of a subscription and its end. Offered trades without a span were
withheld (a silent or cut connection). Trades are numbered from 1 within the symbol's day, as the record's own counts
number them (SELN_CNTG_CSNU + SHNU_CNTG_CSNU).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from observer.simulator.faults import FaultInjector
from observer.simulator.kis.venues import streamed_tape, streamed_view
from observer.simulator.market.market import Market, View

if TYPE_CHECKING:
    from random import Random


Fate = Literal["sent", "doubtful", "broken"]

_UNREADABLE: Final = "#@!"
# Fields that no client can do without (of a trade: price, volume, cumulative volume).
_NEEDED_FIELDS: Final = (2, 12, 13)
_LONGEST_STUMP_FIELDS: Final = 12


class WireFrame(msgspec.Struct, frozen=True):
    """One frame's output on the wire: its text, the number of copies, and the fate of each of its records."""

    text: str
    times: int
    fates: tuple[Fate, ...]


def on_the_wire(frame: str, fault_injector: FaultInjector, now_ns: int) -> WireFrame:
    """The frame after the running faults; at most one of them damages it."""
    count = record_count(frame)
    if fault_injector.strikes("malformed", now_ns):
        return _malformed(frame, count, fault_injector.rng("malformed"))
    if fault_injector.strikes("truncated", now_ns):
        return _truncated(frame, count, fault_injector.rng("truncated"))
    if fault_injector.strikes("wrong_count", now_ns):
        return _wrongly_counted(frame, count, fault_injector.rng("wrong_count"))
    return WireFrame(frame, 2 if fault_injector.strikes("duplicated", now_ns) else 1, _all("sent", count))


def record_count(frame: str) -> int:
    """The number of records in a frame's header."""
    return int(frame.split("|", 3)[2])


def _all(fate: Fate, count: int) -> tuple[Fate, ...]:
    return (fate,) * count


def _malformed(frame: str, count: int, generator: Random) -> WireFrame:
    """One of three: an invalid header, meaningless bytes, or one record with unreadable numbers."""
    choice = generator.randrange(3)
    if choice == 0:
        return WireFrame(frame.replace("|", "!"), 1, _all("broken", count))
    if choice == 1:
        return WireFrame("0|" + _UNREADABLE * generator.randint(1, 40), 1, _all("broken", count))
    head, _, payload = frame.rpartition("|")
    fields = payload.split("^")
    broken, width = generator.randrange(count), len(fields) // count
    for index in _NEEDED_FIELDS:
        if index < width:
            fields[broken * width + index] = _UNREADABLE
    fates: list[Fate] = ["doubtful"] * count
    fates[broken] = "broken"
    return WireFrame(f"{head}|{'^'.join(fields)}", 1, tuple(fates))


def _truncated(frame: str, count: int, generator: Random) -> WireFrame:
    """The records before the cut are whole; the one that is cut lacks most of its fields."""
    head, _, payload = frame.rpartition("|")
    fields = payload.split("^")
    width, kept = len(fields) // count, generator.randrange(count)
    stump = generator.randint(1, min(_LONGEST_STUMP_FIELDS, width - 1))
    fates: tuple[Fate, ...] = (*_all("doubtful", kept), *_all("broken", count - kept))
    return WireFrame(f"{head}|{'^'.join(fields[: kept * width + stump])}", 1, fates)


def _wrongly_counted(frame: str, count: int, generator: Random) -> WireFrame:
    """The header states one record more or less than the frame has; the records themselves are whole."""
    stated = count + 1 if count == 1 else count + generator.choice((-1, 1))
    encrypted, tr_id, _, payload = frame.split("|", 3)
    return WireFrame(f"{encrypted}|{tr_id}|{stated:03d}|{payload}", 1, _all("doubtful", count))


# Places in a trade's record (docs/kis.md#trades).
_VOLUME: Final = 12
_VOLUME_AFTER: Final = 13
_SELLS: Final = 15
_BUYS: Final = 16
_HOUR_CLASS: Final = 43


def is_trade(record: Sequence[str]) -> bool:
    """Whether a record of the trade stream is one: no halt's notice, and no expected price."""
    return record[_VOLUME] != "0" and record[_HOUR_CLASS] == "0"


class Span(msgspec.Struct):
    """Consecutive trades with one fate; `volume_before` and `volume_after` are the day's volumes around them."""

    fate: Fate
    first_trade: int
    last_trade: int
    volume_before: int
    volume_after: int


class Registration(msgspec.Struct):
    """One acknowledged subscription for trades; `ended_ns` None: it is in force; `removed`: the client ended it, not
    the end of its connection.

    Offered are the trades after `trades_before` up to `trades_at_end`, both inclusive of what had happened then, of the
    venue `view`, or of both together.
    """

    connection: int
    tr_id: str
    symbol: str
    acknowledged_ns: int
    trades_before: int
    ended_ns: int | None = None
    trades_at_end: int | None = None
    spans: list[Span] = []
    view: View = "KRX"
    removed: bool = False


class Ledger:
    """All subscriptions of the day. `_in_force` has the open ones by connection, TR id, symbol."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._registrations: list[Registration] = []
        self._in_force: dict[tuple[int, str, str], Registration] = {}

    def acknowledged(self, connection: int, tr_id: str, symbol: str, now_ns: int) -> None:
        """Record the acknowledgement of a subscription at this moment."""
        # Captured frames (of another market or another year) are no trades of this market.
        if not _is_trades(tr_id) or self._market.instrument(symbol) is None:
            return
        before = streamed_tape(self._market, tr_id, symbol).count_until(now_ns)
        view = streamed_view(self._market, tr_id).name
        registration = Registration(connection, tr_id, symbol, now_ns, before, view=view)
        self._registrations.append(registration)
        self._in_force[connection, tr_id, symbol] = registration

    def removed(self, connection: int, tr_id: str, symbol: str, now_ns: int) -> None:
        """Record the acknowledgement of a removal at this moment."""
        self._end((connection, tr_id, symbol), now_ns, removed=True)

    def ended(self, connection: int, now_ns: int) -> None:
        """Record the end of a connection and of its subscriptions."""
        for key in [key for key in self._in_force if key[0] == connection]:
            self._end(key, now_ns, removed=False)

    def _end(self, key: tuple[int, str, str], now_ns: int, *, removed: bool) -> None:
        if (registration := self._in_force.pop(key, None)) is not None:
            registration.ended_ns, registration.removed = now_ns, removed
            registration.trades_at_end = streamed_tape(self._market, *key[1:]).count_until(now_ns)

    def put_on_wire(self, connection: int, frame: str, fates: Sequence[Fate]) -> None:
        """Record a sent frame; `frame` is the undamaged one."""
        _, tr_id, _, payload = frame.split("|", 3)
        if not _is_trades(tr_id):
            return
        fields = payload.split("^")
        width = len(fields) // len(fates)
        for start, fate in zip(range(0, len(fields), width), fates, strict=True):
            registration = self._in_force.get((connection, tr_id, fields[start]))
            if registration is not None and is_trade(fields[start : start + width]):
                _add(registration.spans, fate, fields, start)

    def registrations(self) -> tuple[Registration, ...]:
        """All subscriptions so far, the oldest first. They are the ledger's own and still grow."""
        return tuple(self._registrations)


def _is_trades(tr_id: str) -> bool:
    return tr_id.endswith("CNT0")


def _add(spans: list[Span], fate: Fate, fields: Sequence[str], start: int) -> None:
    number = int(fields[start + _SELLS]) + int(fields[start + _BUYS])
    after = int(fields[start + _VOLUME_AFTER])
    if spans and spans[-1].fate == fate and spans[-1].last_trade == number - 1:
        spans[-1].last_trade, spans[-1].volume_after = number, after
    else:
        spans.append(Span(fate, number, number, after - int(fields[start + _VOLUME]), after))
