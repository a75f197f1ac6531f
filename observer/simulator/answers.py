"""What the bodies of the quotation calls share: reading a query, and figures as the wire writes them. Pure."""

from collections.abc import Mapping
from typing import Final

import msgspec

from observer.simulator.documented import Row
from observer.simulator.frames import change_fields
from observer.simulator.gate import Refusal
from observer.simulator.instruments import Instrument
from observer.simulator.market import Market, MarketState, hhmmss
from observer.simulator.ticks import price_limits_krw

Body = Mapping[str, Row | list[Row] | str]
Query = Mapping[str, str]

VENUES: Final = ("J", "NX", "UN")
_LATEST: Final = "235959"


class Page(msgspec.Struct, frozen=True):
    """A body that may have a sequel. `number` counts the pages of one question from 1."""

    body: Body
    number: int
    more: bool


def required(query: Query, name: str) -> str:
    """A parameter that has to say something. Raises Refusal."""
    value = query.get(name, "")
    if not value:
        raise input_refusal(name)
    return value


def one_of(query: Query, name: str, allowed: tuple[str, ...]) -> str:
    """A parameter that has to be one of a few. Raises Refusal."""
    value = required(query, name)
    if value not in allowed:
        raise input_refusal(name)
    return value


def input_refusal(name: str) -> Refusal:
    """The refusal of a parameter that is missing or cannot be read."""
    return Refusal("OPSQ2001", f"ERROR INPUT FIELD NOT FOUND [{name}]", 200)


def asked_instrument(market: Market, query: Query, venues: tuple[str, ...] = VENUES) -> Instrument | None:
    """The listing that is asked about; None when there is none. Raises Refusal (no symbol, or no such venue)."""
    one_of(query, "FID_COND_MRKT_DIV_CODE", venues)
    return market.instrument(required(query, "FID_INPUT_ISCD"))


def second_of_day(query: Query, name: str) -> int:
    """A parameter HHMMSS in seconds since midnight. Raises Refusal."""
    text = required(query, name)
    if len(text) != len(_LATEST) or not (text.isascii() and text.isdigit()) or text > _LATEST:
        raise input_refusal(name)
    return int(text[:2]) * 3600 + int(text[2:4]) * 60 + int(text[4:])


def time_text(market: Market, moment_ns: int) -> str:
    """A moment of the session day as HHMMSS."""
    return hhmmss((moment_ns - market.midnight_ns) // 1_000_000_000)


def session_day(market: Market) -> str:
    """The session day as YYYYMMDD."""
    return market.session_date.replace("-", "")


def percent(part: float, whole: float) -> str:
    """So many percent, with two decimals; 0.00 of nothing."""
    return f"{100 * part / whole if whole else 0:.2f}"


def change(instrument: Instrument, price_krw: int) -> Row:
    """The change against the base price: won with its sign, sign code, percent."""
    sign, difference, rate = change_fields(instrument, price_krw)
    return {"prdy_vrss": difference, "prdy_vrss_sign": sign, "prdy_ctrt": rate}


def day_range(state: MarketState) -> Row:
    """Open, high and low; 0 before the first trade."""
    return {"stck_oprc": str(state.open_krw), "stck_hgpr": str(state.high_krw), "stck_lwpr": str(state.low_krw)}


def limits(instrument: Instrument) -> Row:
    """The day's upper and lower limit."""
    lowest_krw, highest_krw = price_limits_krw(instrument.base_price_krw)
    return {"stck_mxpr": str(highest_krw), "stck_llam": str(lowest_krw)}


def totals(state: MarketState) -> Row:
    """The day's volume and value so far."""
    return {"acml_vol": str(state.cumulative_volume), "acml_tr_pbmn": str(state.cumulative_value_krw)}


def shares_of(instrument: Instrument) -> int:
    """Listed shares."""
    return instrument.listed_shares_thousands * 1_000
