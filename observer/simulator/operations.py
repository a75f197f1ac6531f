"""Market operation of a symbol's day (H0STMKO0): auctions, opening, close, halts, as KIS announces them. Pure.

MKOP_CLS_CODE (the provider's table): 110 opening auction begins, 112 market opens, 121 closing auction begins, 129
market closes. A halt changes no phase: it is told by TRHT_YN and VI_CLS_CODE.
"""

from bisect import bisect_right
from typing import Final

import msgspec

from observer.simulator.auctions import CLOSING_AUCTION_S, OPENING_AUCTION_S
from observer.simulator.instruments import Instrument
from observer.simulator.market import Market
from observer.simulator.tape import NS_PER_S

OPENING_AUCTION: Final = "110"
OPEN: Final = "112"
CLOSING_AUCTION: Final = "121"
CLOSED: Final = "129"
_KRX: Final = "1"


class Announcement(msgspec.Struct, frozen=True):
    """From `time_ns` on: the market's phase, and whether the symbol is halted or interrupted."""

    time_ns: int
    phase: str
    halted: bool = False
    interrupted: bool = False


def announcements(market: Market, instrument: Instrument) -> tuple[Announcement, ...]:
    """What is announced of a symbol during the day, in the order of time."""
    phases = (
        (market.open_ns - OPENING_AUCTION_S * NS_PER_S, OPENING_AUCTION),
        (market.open_ns, OPEN),
        (market.close_ns - CLOSING_AUCTION_S * NS_PER_S, CLOSING_AUCTION),
        (market.close_ns, CLOSED),
    )
    halts = market.halts(instrument.symbol)
    moments = {moment_ns for moment_ns, _ in phases} | {h.start_ns for h in halts} | {h.end_ns for h in halts}
    told = []
    for moment_ns in sorted(moments):
        halt = market.halt_at(instrument.symbol, moment_ns)
        reason = None if halt is None else halt.reason
        phase = next((code for start_ns, code in reversed(phases) if start_ns <= moment_ns), OPENING_AUCTION)
        halted = instrument.suspended or reason == "disclosure"
        told.append(Announcement(moment_ns, phase, halted, reason == "volatility"))
    return tuple(told)


class OperationTimeline:
    """A symbol's announcements as records."""

    def __init__(self, market: Market, instrument: Instrument) -> None:
        self._instrument = instrument
        self._told = announcements(market, instrument)

    def count_until(self, moment_ns: int) -> int:
        """How many announcements were made at or before a moment."""
        return bisect_right(self._told, moment_ns, key=lambda told: told.time_ns)

    def time_ns(self, place: int) -> int:
        """When the `place`-th announcement was made."""
        return self._told[place].time_ns

    def record(self, place: int) -> str:
        """The `place`-th announcement (from 0) as the 11 fields of a record."""
        told = self._told[place]
        fields = (
            self._instrument.symbol,
            "Y" if told.halted else "N",
            "거래정지" if told.halted else "",
            told.phase,
            "",
            "",
            "",
            status_code(self._instrument, halted=told.halted),
            "Y" if told.interrupted else "N",
            "N",
            _KRX,
        )
        return "^".join(fields)


def status_code(instrument: Instrument, *, halted: bool) -> str:
    """ISCD_STAT_CLS_CODE: 58 trading halt, 51 administrative issue, 55 credit allowed."""
    return "58" if halted or instrument.suspended else "51" if instrument.administrative else "55"
