"""Order books of the stream (H0STASP0 and its sisters): ten levels on either side, one book after each trade. Pure.

59 fields are documented, 62 and 63 were observed in 2026; what is appended is blank. The best prices and what rests at
them are those of the trade's own record; every price is on the grid and inside the day's limits, and 0 beyond them.
"""

from collections.abc import Callable
from typing import Final

from observer.simulator.frames import resting_shares, sign_code
from observer.simulator.instruments import Instrument
from observer.simulator.market import Market, hhmmss
from observer.simulator.tape import NS_PER_S
from observer.simulator.ticks import price_limits_krw, tick_krw

BOOK_FIELDS: Final = 59
LEVELS: Final = 10
_SPREAD_OF_SIZES: Final = 100  # how far a level's size may be from the first one's, in shares per level
_DEAL_CLASS: Final = "0"


class BookTimeline:
    """A symbol's books, one after each of its trades."""

    def __init__(self, market: Market, instrument: Instrument, fields: int) -> None:
        self._market = market
        self._instrument = instrument
        self._tape = market.tape(instrument.symbol)
        self._limits_krw = price_limits_krw(instrument.base_price_krw)
        self._appended = "^" * (fields - BOOK_FIELDS)

    def count_until(self, moment_ns: int) -> int:
        """How many books have been shown at or before a moment."""
        return self._tape.count_until(moment_ns)

    def time_ns(self, place: int) -> int:
        """When the `place`-th book was shown."""
        return self._tape.time_ns[place]

    def record(self, place: int) -> str:
        """The book after the `place`-th trade (from 0): the 59 documented fields, and what is appended to them."""
        state = self._market.state_after(self._instrument.symbol, place + 1)
        asks = _levels(state.ask_krw, self._limits_krw, _above)
        bids = _levels(state.bid_krw, self._limits_krw, _below)
        best, total = resting_shares(self._tape.volume[place])
        second = (self._tape.time_ns[place] - self._market.midnight_ns) // NS_PER_S
        fields: list[str | int] = [
            *(self._instrument.symbol, hhmmss(second), "0"),
            *asks,
            *bids,
            *_sizes(asks, best, place),
            *_sizes(bids, best, place + 1),
            *(total, total, 0, 0),
            # Outside an auction there is no expected price: its change is all of the base price.
            *(0, 0, 0, -self._instrument.base_price_krw, sign_code(-self._instrument.base_price_krw), "-100.00"),
            *(state.cumulative_volume, 0, 0, 0, 0, _DEAL_CLASS),
        ]
        return "^".join(map(str, fields)) + self._appended


def _above(price_krw: int) -> int:
    return price_krw + tick_krw(price_krw)


def _below(price_krw: int) -> int:
    return price_krw - tick_krw(price_krw - 1)


def _levels(best_krw: int, limits_krw: tuple[int, int], next_price: Callable[[int], int]) -> list[int]:
    """Ten prices from the best one outwards; 0 from the first on that is beyond the day's limits."""
    lowest_krw, highest_krw = limits_krw
    prices_krw, price_krw = list[int](), best_krw
    while len(prices_krw) < LEVELS and lowest_krw <= price_krw <= highest_krw and price_krw > 0:
        prices_krw.append(price_krw)
        price_krw = next_price(price_krw)
    return prices_krw + [0] * (LEVELS - len(prices_krw))


def _sizes(prices_krw: list[int], best: int, place: int) -> list[int]:
    """Shares at each level: the first as given, and in all ten no more than ten times as many."""
    swing = min(best // LEVELS, _SPREAD_OF_SIZES) * (place % 3 - 1)
    sizes = [best, *(best + swing * (level - LEVELS // 2) for level in range(1, LEVELS))]
    return [size if price_krw else 0 for size, price_krw in zip(sizes, prices_krw, strict=True)]
