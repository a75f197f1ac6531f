"""Further answers about one symbol that public clients ask for: days, book, second quote, investors. Pure.

Paths, TR ids and fields are those of the provider's public samples (2025-06).
"""

import hashlib
from itertools import pairwise
from typing import Final

from observer.simulator.kis.answers import (
    ASKING_EXPECTED,
    ASKING_PRICES,
    DAILY_PRICE,
    INVESTOR_DAY,
    SECOND_QUOTE,
    Body,
    Query,
    Row,
    asked_instrument,
    day_range,
    nothing,
    one_of,
    percent,
    row,
    time_text,
    wants_adjusted,
)
from observer.simulator.kis.bars import day_fields
from observer.simulator.kis.frames import sign_code
from observer.simulator.kis.quotations import finished_day, is_halted, quote_fields, yes
from observer.simulator.kis.records import BOOK_FIELDS, LEVELS, BookTimeline
from observer.simulator.kis.venues import market_class
from observer.simulator.market.instruments import Instrument
from observer.simulator.market.market import Market, SimulatedState
from observer.simulator.market.plan import DayBar

_DAYS: Final = 30
_PERIODS: Final = ("D", "W", "M")


def daily_prices(market: Market, now_ns: int, query: Query) -> Body:
    """주식현재가 일자별: the latest 30 days, newest first. Only days are made up."""
    instrument = asked_instrument(market, query)
    one_of(query, "FID_PERIOD_DIV_CODE", _PERIODS)
    adjusted = wants_adjusted(query)
    if instrument is None:
        return {"output": []}
    bars = _days(market, instrument, now_ns, adjusted=adjusted)
    return {"output": [_daily_price(bar, before) for bar, before in pairwise(bars[: _DAYS + 1])]}


def investors(market: Market, now_ns: int, query: Query) -> Body:
    """주식현재가 투자자: who bought and sold on the latest 30 days, newest first; the three together net to nothing."""
    instrument = asked_instrument(market, query)
    if instrument is None:
        return {"output": []}
    bars = _days(market, instrument, now_ns, adjusted=False)
    return {"output": [_investor_day(instrument.symbol, bar, before) for bar, before in pairwise(bars[: _DAYS + 1])]}


def asking_prices(market: Market, now_ns: int, query: Query) -> Body:
    """주식현재가 호가/예상체결: the book after the latest trade, ten levels on either side; no expected price."""
    instrument = asked_instrument(market, query)
    if instrument is None:
        return {"output1": nothing(ASKING_PRICES), "output2": nothing(ASKING_EXPECTED)}
    state = market.state_at(instrument.symbol, now_ns)
    book = BookTimeline(market, instrument, BOOK_FIELDS)
    fields = book.record(state.trades - 1).split("^") if state.trades else ["0"] * BOOK_FIELDS
    levels: Row = {}
    for start, name in ((3, "askp"), (13, "bidp"), (23, "askp_rsqn"), (33, "bidp_rsqn")):
        levels |= {f"{name}{level + 1}": fields[start + level] for level in range(LEVELS)}
    prices = {
        **levels,
        "aspr_acpt_hour": time_text(market, now_ns),
        "total_askp_rsqn": fields[43],
        "total_bidp_rsqn": fields[44],
        "ntby_aspr_rsqn": str(int(fields[44]) - int(fields[43])),
        "new_mkop_cls_code": f"{market_class(market, now_ns)}0",
    }
    expected = {
        "stck_prpr": str(state.price),
        **day_range(state),
        "stck_sdpr": str(instrument.base_price),
        "antc_cnpr": "0",
        "antc_vol": "0",
        "stck_shrn_iscd": instrument.symbol,
        "vi_cls_code": "N",
    }
    return {"output1": row(ASKING_PRICES, prices), "output2": row(ASKING_EXPECTED, expected)}


def second_quote(market: Market, now_ns: int, query: Query) -> Body:
    """주식현재가 시세2."""
    instrument = asked_instrument(market, query)
    if instrument is None:
        return {"output": nothing(SECOND_QUOTE)}
    state = market.state_at(instrument.symbol, now_ns)
    fields = {
        **quote_fields(instrument, state),
        **_against_day(instrument, state),
        "stck_prdy_clpr": str(instrument.base_price),
        "prdy_vol": str(instrument.previous_volume),
        "trht_yn": yes(is_halted(market, instrument, now_ns)),
        "mang_issu_yn": yes(instrument.administrative),
    }
    return {"output": row(SECOND_QUOTE, fields)}


def _days(market: Market, instrument: Instrument, now_ns: int, *, adjusted: bool) -> list[DayBar]:
    """The days' bars, newest first; the session day is there once it is over."""
    return [*finished_day(market, instrument.symbol, now_ns), *market.daily_bars(instrument.symbol, adjusted=adjusted)]


def _daily_price(bar: DayBar, before: DayBar) -> Row:
    fields = {
        **day_fields(bar, before.close),
        "prdy_vrss_vol_rate": percent(bar.volume - before.volume, before.volume),
        "prdy_ctrt": percent(bar.close - before.close, before.close),
        "hts_frgn_ehrt": "0.00",
        "frgn_ntby_qty": "0",
        "acml_prtt_rate": "1.00",
    }
    return row(DAILY_PRICE, fields)


def _investor_day(symbol: str, bar: DayBar, before: DayBar) -> Row:
    """A share of the day's volume that a hash gives for foreigners and institutions, the rest for persons."""
    draw = hashlib.sha256(f"{symbol}/{bar.day}".encode()).digest()
    bought, sold = _shares(bar.volume, draw[0], draw[1]), _shares(bar.volume, draw[2], draw[3])
    fields = {name: text for name, text in day_fields(bar, before.close).items() if name in INVESTOR_DAY}
    for who, buys, sells in zip(("prsn", "frgn", "orgn"), bought, sold, strict=True):
        for name, shares in (("ntby_qty", buys - sells), ("shnu_vol", buys), ("seln_vol", sells)):
            fields[f"{who}_{name}"] = str(shares)
            worth = name.replace("_qty", "").replace("_vol", "")
            fields[f"{who}_{worth}_tr_pbmn"] = str(shares * bar.close // 1_000_000)
    return row(INVESTOR_DAY, fields)


def _shares(volume: int, foreign: int, institutional: int) -> tuple[int, int, int]:
    """Persons, foreigners, institutions; the draws are of 256."""
    foreigners, institutions = volume * foreign // 768, volume * institutional // 768
    return volume - foreigners - institutions, foreigners, institutions


def _against_day(instrument: Instrument, state: SimulatedState) -> Row:
    """The price against the day's open, high and low, and these against the day before."""
    fields: Row = {}
    for name, price in (("oprc", state.open), ("hgpr", state.high), ("lwpr", state.low)):
        difference = state.price - price if price else 0
        fields[f"{name}_vrss_prpr"] = str(difference)
        fields[f"{name}_vrss_prpr_sign"] = sign_code(difference)
        fields[f"prdy_clpr_vrss_{name}_rate"] = percent(price - instrument.base_price, instrument.base_price)
    return fields
