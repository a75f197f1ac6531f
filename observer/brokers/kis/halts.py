"""Halts from the records of the trade stream: TRHT_YN of each (docs/kis.md#trades). Pure.

A record of a halted symbol, cut around the flag: `...^2^1250^20260922^20^Y^47588^...`. The documents define the flag (Y
halted, N trading), but not which record carries a Y, as nothing trades in a halt. So this module reads both: a trade
with the flag, and a record without volume (CNTG_VOL 0), which only carries the flag.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from bus.events import MarketStateChanged, Trade
from observer.brokers.broker import StreamFact
from observer.brokers.kis.fields import PROVIDER, open_frame
from observer.brokers.kis.frames import RECORD_WIDTH_MIN
from observer.brokers.kis.venues import venue_named

HALT_MARK: Final = b"Y"  # a frame without it reports no halt; every frame is searched for it
_FLAG: Final = 35
_VOLUME: Final = 12


def flags_of(frame: bytes) -> tuple[bytes, Mapping[str, bool]]:
    """Return the frame of trades without its flag-only records (empty when it has no others), and the halt flag by
    line. A malformed frame is returned unchanged; its parser rejects it.
    """
    try:
        transaction, source, count, fields, width, remainder = open_frame(frame)
        if remainder or width < RECORD_WIDTH_MIN:
            return frame, {}
        records = [fields[start : start + width] for start in range(0, len(fields), width)]
        flags = {source.line(record[0]): record[_FLAG] == HALT_MARK for record in records}
    except ValueError:
        return frame, {}
    trades = [record for record in records if record[_FLAG] != HALT_MARK or record[_VOLUME] != b"0"]
    if len(trades) == count:
        return frame, flags
    kept = b"^".join(field for record in trades for field in record)
    return (b"0|%s|%03d|%s" % (transaction, len(trades), kept) if trades else b""), flags


class HaltProjection:
    """The `halted` symbols of one connection. Its methods return changes only."""

    def __init__(self) -> None:
        self.halted: set[str] = set()

    def flagged(self, flags: Mapping[str, bool], receive_time_ns: int) -> Sequence[MarketStateChanged]:
        """Apply the flags of a frame; return the changes."""
        changed = {symbol: halted for symbol, halted in flags.items() if halted != (symbol in self.halted)}
        facts = [_state(symbol, receive_time_ns, halted=halted) for symbol, halted in changed.items()]
        self.reported(facts)
        return facts

    def traded(self, trades: Iterable[Trade], receive_time_ns: int) -> Sequence[MarketStateChanged]:
        """Apply the trades of a frame without the mark: halted symbols among them trade again. Return the changes."""
        return self.flagged(dict.fromkeys((trade.symbol for trade in trades), False), receive_time_ns)

    def reported(self, facts: Iterable[StreamFact]) -> None:
        """Apply states from other messages of the connection, so that an equal flag after them is no change."""
        for fact in facts:
            if isinstance(fact, MarketStateChanged):
                (self.halted.add if fact.halted else self.halted.discard)(fact.symbol)

    def forget(self, symbol: str) -> None:
        """Drop the symbol after its subscription has ended."""
        self.halted.discard(symbol)


def _state(symbol: str, receive_time_ns: int, *, halted: bool) -> MarketStateChanged:
    """The flag gives only the state: no reason, and none of the codes of H0STMKO0."""
    return MarketStateChanged(
        PROVIDER, symbol, receive_time_ns, halted, "", "", "", "", "", "", "", "", venue_named(symbol)
    )
