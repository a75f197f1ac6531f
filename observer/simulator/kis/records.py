"""Records of the stream beside trades and expected prices: order books, market operation. Pure.

H0STASP0 and its sisters: ten levels on either side, one book after each trade. 59 fields are documented, 63 were
observed since September 2026, the last one MARKET_CLS_CODE; what is appended beyond them is blank. The best
prices and what rests at them are those of the trade's own record; every price is on the grid and inside the day's
limits, and 0 beyond them.

H0STMKO0: auctions, opening, close, halts. MKOP_CLS_CODE (the provider's table): 110 opening auction begins, 112 market
opens, 121 closing auction begins, 129 market closes; each session of NXT opens and closes; what the KRX's after-market
has is not documented, and it has nothing. A stop of the whole market is announced with each of its symbols: 174 begins
at the KRX, 184 at NXT; 175 and 185 end it where its auction begins. 182 stops the market until its close. A sidecar
(387, 388, 397, 398) stops orders of programs and no trading: it is not simulated. A halt changes no phase: TRHT_YN and
VI_CLS_CODE report it. 10 fields, as on the wire; 11 with EXCH_CLS_CODE, as in the documents. A text that is not there
is `(null)`.
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from observer.base.units import NS_PER_S
from observer.simulator.kis.auctions import CLOSING_AUCTION_S, OPENING_AUCTION_S
from observer.simulator.kis.frames import TapeTimeline, Timeline, resting_shares, sign_code
from observer.simulator.kis.venues import market_class
from observer.simulator.market.instruments import Instrument, price_limits, tick_size
from observer.simulator.market.market import Market, hhmmss

BOOK_FIELDS: Final = 59
LEVELS: Final = 10
_SPREAD_OF_SIZES: Final = 100  # how far a level's size may be from the first one's, in shares per level
_DEAL_CLASS: Final = "0"
_NO_SIDE: Final = "2"  # who waits at the middle of the spread (KMID_CLS_CODE, NMID_CLS_CODE)
_KRX: Final = "1"
_NXT: Final = "2"


class BookTimeline(TapeTimeline):
    """A symbol's books, one after each of its trades."""

    def __init__(self, market: Market, instrument: Instrument, fields: int) -> None:
        super().__init__(market.tape(instrument.symbol))
        self._market = market
        self._instrument = instrument
        self._limits = price_limits(instrument.base_price)
        # Books beside the KRX's also have NXT's middle price; that of both, the venue of the expected price.
        more = {"KRX": 0, "NXT": 2, "consolidated": 3}[market.name] if fields > BOOK_FIELDS else 0
        self._appended = fields - BOOK_FIELDS + more

    def record(self, index: int) -> str:
        """The book after the `index`-th trade (from 0): the 59 documented fields, and what is appended to them."""
        state = self._market.state_after(self._instrument.symbol, index + 1)
        asks = _levels(state.ask, self._limits, _above)
        bids = _levels(state.bid, self._limits, _below)
        best, total = resting_shares(self._tape.volume[index])
        second = (self._tape.time_ns[index] - self._market.midnight_ns) // NS_PER_S
        fields: list[str | int] = [
            *(self._instrument.symbol, hhmmss(second), "0"),
            *asks,
            *bids,
            *_sizes(asks, best, index),
            *_sizes(bids, best, index + 1),
            *(total, total, 0, 0),
            # Outside an auction there is no expected price: its change is all of the base price.
            *(0, 0, 0, -self._instrument.base_price, sign_code(-self._instrument.base_price), "-100.00"),
            *(state.cumulative_volume, 0, 0, 0, 0, _DEAL_CLASS),
        ]
        appended = self._beyond(str(state.price), self._tape.time_ns[index])[: self._appended]
        return "^".join([*map(str, fields), *appended])

    def _beyond(self, price: str, time_ns: int) -> list[str]:
        """What a book has beyond the documented fields."""
        middle = [price, "0", _NO_SIDE]
        match self._market.name:
            case "KRX":
                middle.append(market_class(self._market, time_ns))
            case "NXT":
                middle += middle
            case "consolidated":
                middle += [*middle, _KRX]
        return middle + [""] * self._appended


def _above(price: int) -> int:
    return price + tick_size(price)


def _below(price: int) -> int:
    return price - tick_size(price - 1)


def _levels(best: int, limits: tuple[int, int], next_price: Callable[[int], int]) -> list[int]:
    """Ten prices from the best one outwards; 0 from the first on that is beyond the day's limits."""
    lowest, highest = limits
    prices, price = list[int](), best
    while len(prices) < LEVELS and lowest <= price <= highest and price > 0:
        prices.append(price)
        price = next_price(price)
    return prices + [0] * (LEVELS - len(prices))


def _sizes(prices: list[int], best: int, index: int) -> list[int]:
    """Shares at each level: the first as given, and in all ten no more than ten times as many."""
    swing = min(best // LEVELS, _SPREAD_OF_SIZES) * (index % 3 - 1)
    sizes = [best, *(best + swing * (level - LEVELS // 2) for level in range(1, LEVELS))]
    return [size if price else 0 for size, price in zip(sizes, prices, strict=True)]


OPENING_AUCTION: Final = "110"
OPEN: Final = "112"
CLOSING_AUCTION: Final = "121"
CLOSED: Final = "129"
STOPPED: Final = ("174", "184")  # at the KRX, at NXT
RESUMED: Final = ("175", "185")
STOPPED_UNTIL_CLOSE: Final = "182"
_NULL: Final = "(null)"
STATE_FIELDS: Final = 10


class Announcement(msgspec.Struct, frozen=True):
    """From `time_ns` on: the market's phase, and whether the symbol is halted or interrupted."""

    time_ns: int
    phase: str
    halted: bool = False
    interrupted: bool = False


def announcements(market: Market, instrument: Instrument) -> tuple[Announcement, ...]:
    """What is announced of a symbol during the day, in the order of time."""
    at_nxt = market.name == "NXT"
    phases = _with_stops(market, instrument, _nxt_phases(market) if at_nxt else _krx_phases(market), int(at_nxt))
    halts = market.halts(instrument.symbol)
    moments = {moment_ns for moment_ns, _ in phases} | {h.start_ns for h in halts} | {h.end_ns for h in halts}
    reported = []
    for moment_ns in sorted(moments):
        halt = market.halt_at(instrument.symbol, moment_ns)
        reason = None if halt is None else halt.reason
        phase = next((code for start_ns, code in reversed(phases) if start_ns <= moment_ns), OPENING_AUCTION)
        halted = market.is_suspended(instrument) or reason == "disclosure"
        reported.append(Announcement(moment_ns, phase, halted, reason == "volatility"))
    return tuple(reported)


def _krx_phases(market: Market) -> tuple[tuple[int, str], ...]:
    return (
        (market.open_ns - OPENING_AUCTION_S * NS_PER_S, OPENING_AUCTION),
        (market.open_ns, OPEN),
        (market.close_ns - CLOSING_AUCTION_S * NS_PER_S, CLOSING_AUCTION),
        (market.close_ns, CLOSED),
    )


def _nxt_phases(market: Market) -> tuple[tuple[int, str], ...]:
    bounds = ((each.start_s, each.end_s) for each in market.sessions("NXT"))
    seconds = ((second, code) for start_end in bounds for second, code in zip(start_end, (OPEN, CLOSED), strict=True))
    return tuple((market.midnight_ns + second * NS_PER_S, code) for second, code in seconds)


def _with_stops(
    market: Market, instrument: Instrument, phases: Sequence[tuple[int, str]], venue: int
) -> Sequence[tuple[int, str]]:
    """The phases, and the stops of the symbol's market in the codes of a venue."""
    for stop in market.stops_of(instrument):
        if stop.closes:
            before = [phase for phase in phases if phase[0] < stop.start_ns]
            return [*before, (stop.start_ns, STOPPED_UNTIL_CLOSE), (market.close_ns, CLOSED)]
        phases = [*phases, (stop.start_ns, STOPPED[venue]), (stop.auction_ns, RESUMED[venue])]
    return sorted(phases)


class OperationTimeline(Timeline):
    """A symbol's announcements as records."""

    def __init__(self, market: Market, instrument: Instrument, fields: int) -> None:
        self._instrument = instrument
        self._exchange = _NXT if market.name == "NXT" else _KRX
        self._reported = announcements(market, instrument)
        self._fields = fields
        super().__init__([reported.time_ns for reported in self._reported])

    def record(self, index: int) -> str:
        """The `index`-th announcement (from 0) as a record."""
        reported = self._reported[index]
        fields = (
            self._instrument.symbol,
            "Y" if reported.halted else "N",
            "거래정지" if reported.halted else _NULL,
            reported.phase,
            "",
            "",
            "",
            status_code(self._instrument, halted=reported.halted),
            "Y" if reported.interrupted else "N",
            "N",
            self._exchange,
        )
        return "^".join(fields[: self._fields])


def status_code(instrument: Instrument, *, halted: bool) -> str:
    """ISCD_STAT_CLS_CODE: 58 trading halt, 51 administrative issue, 55 credit allowed."""
    return "58" if halted or instrument.suspended else "51" if instrument.administrative else "55"
