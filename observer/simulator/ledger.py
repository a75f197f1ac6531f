"""What was offered to whom and what became of it on the wire, trade by trade: the simulator's side of the account.

Offered is every trade that happened between the acknowledgement of a registration and its end. What is in no span of a
registration was withheld (a silent or cut connection). Trades are numbered from 1 within the symbol's day, as the
record's own counts number them (SELN_CNTG_CSNU + SHNU_CNTG_CSNU).
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from observer.simulator.damage import Fate
from observer.simulator.market import Market

# Places in a trade's record (kis-api.md section 9).
_VOLUME: Final = 12
_VOLUME_AFTER: Final = 13
_SELLS: Final = 15
_BUYS: Final = 16


class Span(msgspec.Struct):
    """Trades that follow each other and had one fate; `volume_before` and `volume_after` are the day's around them."""

    fate: Fate
    first_trade: int
    last_trade: int
    volume_before: int
    volume_after: int


class Registration(msgspec.Struct):
    """One acknowledged registration for trades; `ended_ns` None: it is in force.

    Offered are the trades after `trades_before` up to `trades_at_end`, both inclusive of what had happened then.
    """

    connection: int
    tr_id: str
    symbol: str
    acknowledged_ns: int
    trades_before: int
    ended_ns: int | None = None
    trades_at_end: int | None = None
    spans: list[Span] = []


class Ledger:
    """All registrations of the day. `_in_force` are those of them that have not ended, by connection, TR id, symbol."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._registrations: list[Registration] = []
        self._in_force: dict[tuple[int, str, str], Registration] = {}

    def acknowledged(self, connection: int, tr_id: str, symbol: str, now_ns: int) -> None:
        """A registration was acknowledged at this moment."""
        # What is there in captured frames only (another market's, another year's) is nobody's offer here.
        if not _is_trades(tr_id) or self._market.instrument(symbol) is None:
            return
        before = self._market.tape(symbol).count_until(now_ns)
        registration = Registration(connection, tr_id, symbol, now_ns, before)
        self._registrations.append(registration)
        self._in_force[connection, tr_id, symbol] = registration

    def removed(self, connection: int, tr_id: str, symbol: str, now_ns: int) -> None:
        """A removal was acknowledged at this moment."""
        registration = self._in_force.pop((connection, tr_id, symbol), None)
        if registration is not None:
            registration.ended_ns = now_ns
            registration.trades_at_end = self._market.tape(symbol).count_until(now_ns)

    def ended(self, connection: int, now_ns: int) -> None:
        """The connection is gone, and its registrations with it."""
        for key in [key for key in self._in_force if key[0] == connection]:
            self.removed(*key, now_ns)

    def put_on_wire(self, connection: int, frame: str, fates: Sequence[Fate]) -> None:
        """A frame went out; `frame` is what it was before any damage."""
        _, tr_id, _, payload = frame.split("|", 3)
        if not _is_trades(tr_id):
            return
        fields = payload.split("^")
        width = len(fields) // len(fates)
        for start, fate in zip(range(0, len(fields), width), fates, strict=True):
            registration = self._in_force.get((connection, tr_id, fields[start]))
            if registration is not None and fields[start + _VOLUME] != "0":  # a halt's notice is no trade
                _add(registration.spans, fate, fields, start)

    def registrations(self) -> tuple[Registration, ...]:
        """All registrations so far, the oldest first. They are the ledger's own and still grow."""
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
