"""What a call or a stream shows of two venues: KIS's codes for them, and what differs by venue on the wire. Pure.

Calls: FID_COND_MRKT_DIV_CODE J (KRX), NX (NXT), UN (both). Streams: H0ST..., H0NX..., H0UN.... H0UNCNT0 sends nothing,
all day, for what NXT does not trade (docs/kis.md#trades). In a market of the KRX alone all of them show the KRX.
"""

from collections.abc import Mapping
from typing import Final

from observer.simulator.market.market import Market, View
from observer.simulator.market.tape import EMPTY_TAPE, DayTape

_BY_DIVISION: Final[Mapping[str, View]] = {"NX": "NXT", "UN": "consolidated"}
DIVISION: Final = "FID_COND_MRKT_DIV_CODE"
CONSOLIDATED_TRADES: Final = "H0UNCNT0"


def view_of(market: Market, code: str) -> Market:
    """The view that a code means: J, NX, UN of a call; ST, NX, UN of a stream. Any other code means the KRX."""
    return market.view(_BY_DIVISION.get(code, "KRX"))


def streamed_view(market: Market, tr_id: str) -> Market:
    """The view whose records a TR id has."""
    return view_of(market, tr_id[2:4])


def is_silent(market: Market, tr_id: str, symbol: str) -> bool:
    """Whether a subscription is acknowledged and never has a record."""
    return tr_id == CONSOLIDATED_TRADES and market.whole_day and len(market.view("NXT").tape(symbol)) == 0


def streamed_tape(market: Market, tr_id: str, symbol: str) -> DayTape:
    """The trades that a subscription for trades has."""
    return EMPTY_TAPE if is_silent(market, tr_id, symbol) else streamed_view(market, tr_id).tape(symbol)


def market_class(market: Market, moment_ns: int) -> str:
    """MARKET_CLS_CODE of a trade: 1 pre-market, 2 regular session with its auctions, 3 after-market."""
    if moment_ns < market.open_ns:
        return "1"
    return "2" if moment_ns <= market.close_ns else "3"
