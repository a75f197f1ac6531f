"""KIS's codes of a market's phases, stops and auctions -> words common to all brokers. Pure.

As KIS's workbook of September 2026 lists them. A code that is not here keeps its text in the row and means nothing:
among others F01 to F18 and P01 to P18, countdowns to the opening and the close.
"""

from collections.abc import Mapping
from typing import Final

from bus.events import Auction, MarketNotice

MARKET_NOTICES: Final[Mapping[str, MarketNotice]] = {
    "110": "opening_auction",
    "112": "open",
    "121": "closing_auction",
    "129": "closed",
    "130": "before_hours",
    "139": "before_hours_ended",
    "140": "closing_price",
    "146": "closing_price_traded",
    "149": "closing_price_ended",
    "164": "halted",
    "174": "breaker",
    "175": "breaker_ended",
    "182": "breaker_to_close",
    "184": "breaker",
    "185": "breaker_ended",
    "387": "sell_sidecar",
    "388": "sell_sidecar_ended",
    "397": "buy_sidecar",
    "398": "buy_sidecar_ended",
}
"""By MKOP_CLS_CODE."""

AUCTIONS: Final[Mapping[bytes, Auction]] = {
    b"A": "closing",
    b"B": "opening",
    b"C": "intraday",
    b"D": "single_price",
}
"""By HOUR_CLS_CODE, of records that state an expected price."""
DEALT: Final = b"0"
"""HOUR_CLS_CODE of a record of a trade; a record with any other code is none."""
HOUR_CLASS: Final = 43
"""The place of HOUR_CLS_CODE in records of trades and of expected prices."""
