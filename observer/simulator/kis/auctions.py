"""Expected prices of the auctions: H0STANC0, and the same records among those of trades. Pure.

A record every few seconds: the expected price goes from the price before the auction to the one that is dealt at its
end, and the expected volume grows to the one that is dealt: as orders come in. A symbol that is not dealt in has none.

HOUR_CLS_CODE (KIS's workbook of 2026-09-11): B before the opening, A before the close, C in the session, where an
interruption (VI) or a stop of the market ends in an auction. D, single price, is of a session that no day since
2026-09-14 has at the KRX. NXT has the auctions of the session alone.
"""

from bisect import bisect_right
from itertools import chain
from typing import Final

import msgspec

from observer.base.units import NS_PER_S
from observer.simulator.kis.frames import Timeline, change_fields, sign_code
from observer.simulator.market.instruments import Instrument, rounded_down
from observer.simulator.market.market import Market, SimulatedState, hhmmss

OPENING_AUCTION_S: Final = 1_800
CLOSING_AUCTION_S: Final = 600
_STEP_NS: Final = 5 * NS_PER_S
_FIELDS: Final = 46
_NEW_MKOP: Final = {"B": "10", "C": "20", "A": "30"}  # before the opening, in session, after the close


class Auction(msgspec.Struct, frozen=True):
    """An auction from `start_ns` on that ends with the trade of number `cross` (from 0), which is dealt at `end_ns`."""

    start_ns: int
    end_ns: int
    cross: int
    code: str


def auctions(market: Market, instrument: Instrument) -> tuple[Auction, ...]:
    """The auctions of a symbol's day in which something is dealt, in the order of time."""
    opening_ns, closing_ns = (seconds * NS_PER_S for seconds in (OPENING_AUCTION_S, CLOSING_AUCTION_S))
    spans = [
        *((stop.auction_ns, stop.end_ns, "C") for stop in market.stops_of(instrument) if not stop.closes),
        *((halt.start_ns, halt.end_ns, "C") for halt in market.halts(instrument.symbol) if halt.reason == "volatility"),
    ]
    if market.name != "NXT":
        spans += [
            (market.open_ns - opening_ns, market.open_ns, "B"),
            (market.close_ns - closing_ns, market.close_ns, "A"),
        ]
    tape, found = market.tape(instrument.symbol), list[Auction]()
    for start_ns, end_ns, code in sorted(spans):
        # The opening's trade comes within the first second.
        cross = tape.count_until(end_ns) - 1 if code != "B" else min(0, len(tape) - 1)
        is_dealt = cross >= 0 and (tape.time_ns[cross] == end_ns or code == "B")
        if is_dealt and (not found or start_ns >= found[-1].end_ns):
            found.append(Auction(start_ns, end_ns, cross, code))
    return tuple(found)


class AuctionTimeline(Timeline):
    """A symbol's expected prices of a day."""

    def __init__(self, market: Market, instrument: Instrument, fields: int = _FIELDS) -> None:
        self._market = market
        self._instrument = instrument
        self._tape = market.tape(instrument.symbol)
        self._fields_beyond = fields - _FIELDS
        self._auctions = auctions(market, instrument)
        self._starts = [each.start_ns for each in self._auctions]
        spans = (range(each.start_ns, each.end_ns, _STEP_NS) for each in self._auctions)
        super().__init__([*chain.from_iterable(spans)])

    def record(self, index: int) -> str:
        """The `index`-th expected price (from 0) as the 46 fields of a record; behind them, where more are asked for,
        MARKET_CLS_CODE 2 (the regular session with its auctions) and blank ones.
        """
        now_ns = self.time_ns(index)
        auction = self._auctions[bisect_right(self._starts, now_ns) - 1]
        state = self._market.state_at(self._instrument.symbol, auction.start_ns)
        part = (now_ns + _STEP_NS - auction.start_ns) / (auction.end_ns - auction.start_ns)
        price = state.price + (self._tape.price[auction.cross] - state.price) * min(1.0, part)
        volume = max(1, int(self._tape.volume[auction.cross] * min(1.0, part)))
        fields = self._fields(now_ns, rounded_down(round(price)), volume, state, auction.code)
        beyond = ["2", *[""] * (self._fields_beyond - 1)] if self._fields_beyond else []
        return "^".join([*fields, *beyond])

    def _fields(self, moment_ns: int, price: int, volume: int, state: SimulatedState, code: str) -> list[str]:
        total, previous = state.cumulative_volume, self._instrument.previous_volume
        average = f"{state.cumulative_value / total if total else 0:.2f}"
        against_day = chain.from_iterable(
            ("0", sign_code(price - krw if krw else 0), str(price - krw if krw else 0))
            for krw in (state.open, state.high, state.low)
        )
        return [
            self._instrument.symbol,
            hhmmss((moment_ns - self._market.midnight_ns) // NS_PER_S),
            str(price),
            *change_fields(self._instrument, price),
            average,
            str(state.open),
            str(state.high),
            str(state.low),
            str(price),
            str(price),
            str(volume),
            str(total),
            str(state.cumulative_value),
            # Nothing is dealt in an auction: its counts, sums and strength are zero; 3 is an auction's trade.
            *["0", "0", "0", "0.00", "0", "0", "3", "0.00"],
            f"{100 * total / previous if previous else 0:.2f}",
            *against_day,
            self._market.session_date.replace("-", ""),
            _NEW_MKOP[code],
            "N",
            *[str(volume)] * 4,
            *["0.00", "0", "0.00"],
            code,
            "",
            "",
        ]
