"""Expected prices of the opening and the closing auction (H0STANC0): 45 fields, every few seconds. Pure.

The expected price goes from the price before the auction to the one that is dealt at its end, and the expected volume
grows to the one that is dealt: as orders come in. A symbol that is not dealt in has none.
"""

from itertools import chain
from typing import Final

from observer.simulator.frames import change_fields, sign_code
from observer.simulator.instruments import Instrument
from observer.simulator.market import Market, MarketState, hhmmss
from observer.simulator.tape import NS_PER_S
from observer.simulator.ticks import rounded_down_krw

OPENING_AUCTION_S: Final = 1_800
CLOSING_AUCTION_S: Final = 600
STEP_S: Final = 5
_OPENING_STEPS: Final = OPENING_AUCTION_S // STEP_S
_CLOSING_STEPS: Final = CLOSING_AUCTION_S // STEP_S


class AuctionTimeline:
    """A symbol's expected prices of a day: those before the opening cross, then those before the closing one."""

    def __init__(self, market: Market, instrument: Instrument) -> None:
        self._market = market
        self._instrument = instrument
        self._tape = market.tape(instrument.symbol)
        self._opening_ns = market.open_ns - OPENING_AUCTION_S * NS_PER_S
        self._closing_ns = market.close_ns - CLOSING_AUCTION_S * NS_PER_S

    def count_until(self, moment_ns: int) -> int:
        """How many expected prices were shown at or before a moment."""
        if len(self._tape) == 0:
            return 0
        opening = _steps(moment_ns - self._opening_ns, _OPENING_STEPS)
        return opening + _steps(moment_ns - self._closing_ns, _CLOSING_STEPS)

    def time_ns(self, place: int) -> int:
        """When the `place`-th expected price was shown."""
        if place < _OPENING_STEPS:
            return self._opening_ns + place * STEP_S * NS_PER_S
        return self._closing_ns + (place - _OPENING_STEPS) * STEP_S * NS_PER_S

    def record(self, place: int) -> str:
        """The `place`-th expected price (from 0) as the 45 fields of a record."""
        tape, base_krw = self._tape, self._instrument.base_price_krw
        if place < _OPENING_STEPS:
            state = self._market.state_after(self._instrument.symbol, 0)
            part, start_krw, cross = (place + 1) / _OPENING_STEPS, base_krw, 0
        else:
            state = self._market.state_at(self._instrument.symbol, self._closing_ns)
            part, start_krw, cross = (place - _OPENING_STEPS + 1) / _CLOSING_STEPS, state.price_krw, len(tape) - 1
        price_krw = start_krw + (tape.price_krw[cross] - start_krw) * part
        volume = max(1, int(tape.volume[cross] * part))
        return "^".join(self._fields(self.time_ns(place), rounded_down_krw(round(price_krw)), volume, state))

    def _fields(self, moment_ns: int, price_krw: int, volume: int, state: MarketState) -> list[str]:
        total, previous = state.cumulative_volume, self._instrument.previous_volume
        average = f"{state.cumulative_value_krw / total if total else 0:.2f}"
        against_day = chain.from_iterable(
            ("0", sign_code(price_krw - krw if krw else 0), str(price_krw - krw if krw else 0))
            for krw in (state.open_krw, state.high_krw, state.low_krw)
        )
        return [
            self._instrument.symbol,
            hhmmss((moment_ns - self._market.midnight_ns) // NS_PER_S),
            str(price_krw),
            *change_fields(self._instrument, price_krw),
            *(average, str(state.open_krw), str(state.high_krw), str(state.low_krw)),
            *(str(price_krw), str(price_krw), str(volume), str(total), str(state.cumulative_value_krw)),
            # Nothing is dealt in an auction: its counts, sums and strength are zero; 3 is an auction's trade.
            *("0", "0", "0", "0.00", "0", "0", "3", "0.00"),
            f"{100 * total / previous if previous else 0:.2f}",
            *against_day,
            *(self._market.session_date.replace("-", ""), "10" if total == 0 else "30", "N"),
            *(str(volume), str(volume), str(volume), str(volume)),
            *("0.00", "0", "0.00", "0", ""),
        ]


def _steps(elapsed_ns: int, most: int) -> int:
    """How many steps of an auction have begun, the first one at its start."""
    return min(most, max(0, elapsed_ns // (STEP_S * NS_PER_S) + 1))
