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
    moved,
    nothing,
    one_of,
    percent,
    row,
    shown,
    time_text,
    wants_adjusted,
    yes,
)
from observer.simulator.kis.frames import sign_code
from observer.simulator.kis.quotations import finished_day, is_halted
from observer.simulator.kis.records import BOOK_FIELDS, LEVELS, BookTimeline
from observer.simulator.kis.venues import market_class
from observer.simulator.market.instruments import Instrument
from observer.simulator.market.market import Market
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
    figures, state = shown(market, instrument, now_ns), market.state_at(instrument.symbol, now_ns)
    book = BookTimeline(market, instrument, BOOK_FIELDS)
    fields = book.record(state.trades - 1).split("^") if state.trades else ["0"] * BOOK_FIELDS
    levels: Row = {}
    for start, name in ((3, "askp"), (13, "bidp"), (23, "askp_rsqn"), (33, "bidp_rsqn")):
        levels |= {f"{name}{level + 1}": fields[start + level] for level in range(LEVELS)}
    figures |= {
        "time": time_text(market, now_ns),
        "asked": fields[43],
        "bid": fields[44],
        "net": int(fields[44]) - int(fields[43]),
        "session": market_class(market, now_ns),
    }
    return {"output1": row(ASKING_PRICES, figures, **levels), "output2": row(ASKING_EXPECTED, figures)}


def second_quote(market: Market, now_ns: int, query: Query) -> Body:
    """주식현재가 시세2."""
    instrument = asked_instrument(market, query)
    if instrument is None:
        return {"output": nothing(SECOND_QUOTE)}
    figures, state = shown(market, instrument, now_ns), market.state_at(instrument.symbol, now_ns)
    figures["halted"] = yes(is_halted(market, instrument, now_ns))
    for name, price in (("open", state.open), ("high", state.high), ("low", state.low)):
        figures[f"off_{name}"] = difference = state.price - price if price else 0
        figures[f"off_{name}_sign"] = sign_code(difference)
    for name, price in (("opened", state.open), ("raised", state.high), ("lowered", state.low)):
        figures[name] = percent(price - instrument.base_price, instrument.base_price)
    return {"output": row(SECOND_QUOTE, figures)}


def _days(market: Market, instrument: Instrument, now_ns: int, *, adjusted: bool) -> list[DayBar]:
    """The days' bars, newest first; the session day is there once it is over."""
    return [*finished_day(market, instrument.symbol, now_ns), *market.daily_bars(instrument.symbol, adjusted=adjusted)]


def _daily_price(bar: DayBar, before: DayBar) -> Row:
    rate = percent(bar.volume - before.volume, before.volume)
    return row(DAILY_PRICE, {"bar": bar, "volume_rate": rate, **moved(bar.close, before.close)})


def _investor_day(symbol: str, bar: DayBar, before: DayBar) -> Row:
    """A share of the day's volume that a hash gives for foreigners and institutions, the rest for persons."""
    draw = hashlib.sha256(f"{symbol}/{bar.day}".encode()).digest()
    bought, sold = _shares(bar.volume, draw[0], draw[1]), _shares(bar.volume, draw[2], draw[3])
    fields: Row = {}
    for who, buys, sells in zip(("prsn", "frgn", "orgn"), bought, sold, strict=True):
        for name, shares in (("ntby_qty", buys - sells), ("shnu_vol", buys), ("seln_vol", sells)):
            fields[f"{who}_{name}"] = str(shares)
            worth = name.replace("_qty", "").replace("_vol", "")
            fields[f"{who}_{worth}_tr_pbmn"] = str(shares * bar.close // 1_000_000)
    return row(INVESTOR_DAY, {"bar": bar, **moved(bar.close, before.close)}, **fields)


def _shares(volume: int, foreign: int, institutional: int) -> tuple[int, int, int]:
    """Persons, foreigners, institutions; the draws are of 256."""
    foreigners, institutions = volume * foreign // 768, volume * institutional // 768
    return volume - foreigners - institutions, foreigners, institutions
