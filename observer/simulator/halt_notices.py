"""Trades of a symbol, and between them the records that tell of its halts (TRHT_YN). Pure.

KIS documents the flag and not which record brings a Y, for nothing is dealt in a halt. This market repeats the last
trade's record when a disclosure halt begins, with the halt's time, no volume and the flag; the trade that ends the halt
says N like any other.
"""

from bisect import bisect_left, bisect_right
from typing import Final

from observer.simulator.frames import TradeTimeline
from observer.simulator.instruments import Instrument
from observer.simulator.market import Market, hhmmss
from observer.simulator.tape import NS_PER_S

_TIME: Final = 1
_VOLUME: Final = 12
_HALTED: Final = 35


def trades_and_halts(market: Market, instrument: Instrument, fields: int) -> "TradeTimeline | HaltNotices":
    """The records of the day; with notices where the symbol has a halt to tell of."""
    trades = TradeTimeline(market, instrument, fields)
    starts = [halt.start_ns for halt in market.halts(instrument.symbol) if halt.reason == "disclosure"]
    return HaltNotices(market, trades, starts) if starts else trades


class HaltNotices:
    """Satisfies `Timeline`. `_places` are those of the notices, each behind the trades that came before its halt."""

    def __init__(self, market: Market, trades: TradeTimeline, starts_ns: list[int]) -> None:
        self._market = market
        self._trades = trades
        self._starts_ns = starts_ns
        self._places = [trades.count_until(start_ns) + number for number, start_ns in enumerate(starts_ns)]

    def count_until(self, moment_ns: int) -> int:
        """How many records there are at or before a moment."""
        return self._trades.count_until(moment_ns) + bisect_right(self._starts_ns, moment_ns)

    def notices(self, first: int, end: int) -> int:
        """How many of the records from the one place to before the other are no trades."""
        return bisect_left(self._places, end) - bisect_left(self._places, first)

    def time_ns(self, place: int) -> int:
        """When a record is due."""
        before = bisect_left(self._places, place)
        return self._starts_ns[before] if self._is_notice(place, before) else self._trades.time_ns(place - before)

    def record(self, place: int) -> str:
        """The `place`-th record (from 0)."""
        before = bisect_left(self._places, place)
        if not self._is_notice(place, before):
            return self._trades.record(place - before)
        told = self._trades.record(place - before - 1).split("^")
        told[_TIME] = hhmmss((self._starts_ns[before] - self._market.midnight_ns) // NS_PER_S)
        told[_VOLUME], told[_HALTED] = "0", "Y"
        return "^".join(told)

    def _is_notice(self, place: int, before: int) -> bool:
        return before < len(self._places) and self._places[before] == place
