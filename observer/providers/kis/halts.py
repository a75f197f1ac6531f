"""Halts as the records of the trade stream tell them: TRHT_YN, field 35 of each (kis-api.md, section 9). Pure.

A record of a symbol that is halted, cut around the flag: `...^2^1250^20260922^20^Y^47588^...`. The documents say what
the flag means (Y halted, N trading), not with which record a Y comes, as nothing is traded in a halt. So both are read:
a trade that has the flag, and a record of no volume (CNTG_VOL 0), which is there for the flag alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from bus.events import MarketStateChanged, Trade
from observer.providers.interfaces import StreamFact
from observer.providers.kis.fields import PROVIDER, open_frame, symbol_of
from observer.providers.kis.frames import RECORD_WIDTH_MIN

HALT_MARK: Final = b"Y"  # where it is nowhere in a frame nobody is halted: this is looked for in every frame
_FLAG: Final = 35
_VOLUME: Final = 12


def flags_of(frame: bytes) -> tuple[bytes, Mapping[str, bool]]:
    """Of a frame of trades: the frame without the records that are there for a flag alone (nothing when all are), and
    who is halted by its flags, by symbol. A frame that is not sound is left as it is, for others to judge.
    """
    try:
        transaction, count, payload = open_frame(frame)
        fields = payload.split(b"^")
        width, remainder = divmod(len(fields), count)
        if remainder or width < RECORD_WIDTH_MIN:
            return frame, {}
        records = [fields[start : start + width] for start in range(0, len(fields), width)]
        flags = {symbol_of(record[0]): record[_FLAG] == HALT_MARK for record in records}
    except ValueError:
        return frame, {}
    trades = [record for record in records if record[_FLAG] != HALT_MARK or record[_VOLUME] != b"0"]
    if len(trades) == count:
        return frame, flags
    kept = b"^".join(field for record in trades for field in record)
    return (b"0|%s|%03d|%s" % (transaction, len(trades), kept) if trades else b""), flags


class HaltsTold:
    """Who is `halted`, by what one connection told. Answers with changes alone: each is a fact once."""

    def __init__(self) -> None:
        self.halted: set[str] = set()

    def flagged(self, flags: Mapping[str, bool], receive_time_ns: int) -> Sequence[MarketStateChanged]:
        """A frame told these flags."""
        changed = {symbol: halted for symbol, halted in flags.items() if halted != (symbol in self.halted)}
        facts = [_state(symbol, receive_time_ns, halted=halted) for symbol, halted in changed.items()]
        self.told(facts)
        return facts

    def traded(self, trades: Iterable[Trade], receive_time_ns: int) -> Sequence[MarketStateChanged]:
        """A frame without the mark told these trades: of who was halted, trading goes on."""
        return self.flagged(dict.fromkeys((trade.symbol for trade in trades), False), receive_time_ns)

    def told(self, facts: Iterable[StreamFact]) -> None:
        """The connection told a state in another way: the flag that follows it is no news."""
        for fact in facts:
            if isinstance(fact, MarketStateChanged):
                (self.halted.add if fact.halted else self.halted.discard)(fact.symbol)

    def forget(self, symbol: str) -> None:
        """Nothing is told of the symbol any more."""
        self.halted.discard(symbol)


def _state(symbol: str, receive_time_ns: int, *, halted: bool) -> MarketStateChanged:
    """All that the flag tells: not why, nor what the codes of H0STMKO0 would."""
    return MarketStateChanged(PROVIDER, symbol, receive_time_ns, halted, "", "", "", "", "", "", "", "", "")
