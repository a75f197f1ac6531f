"""ETFs as KIS answers about them: quote, NAV through the day and day by day. Pure.

A listing that is no fund is answered as one that is not listed: with zeros, without rows.

NAVs are in hundredths of a won. The NAV goes with the ETF's own price, a few tenths of a percent off it, every ten
seconds of the session; so premium and discount are small and change sign. A creation unit's shares are fixed by the
base prices; cash makes up the rest.
"""

import math
from array import array
from bisect import bisect_right
from heapq import nlargest
from itertools import accumulate
from typing import Final

from observer.base.units import NS_PER_S
from observer.simulator.kis.answers import (
    ETF_QUOTE,
    NAV_DAY,
    VENUES,
    Body,
    Query,
    Row,
    asked_instrument,
    input_refusal,
    moved,
    nothing,
    required,
    row,
    shares_of,
    shown,
)
from observer.simulator.kis.frames import Timeline, sign_code
from observer.simulator.kis.quotations import finished_day
from observer.simulator.market.instruments import Instrument
from observer.simulator.market.market import Market

STEP_S: Final = 10
UNIT_SHARES: Final = 50_000
COMPONENTS: Final = 10
_LARGEST_PREMIUM: Final = 0.003
_STEPS_PER_WAVE: Final = 37
_PART_IN_SHARES: Final = 0.8


class EtfDay:
    """The NAVs of one ETF on the session day, every STEP_S seconds from the opening to the close."""

    def __init__(self, market: Market, instrument: Instrument) -> None:
        step_ns = STEP_S * NS_PER_S
        self._phase = sum(instrument.symbol.encode())
        self.times_ns = range(market.open_ns, market.close_ns + 1, step_ns)
        prices = (market.state_at(instrument.symbol, time_ns).price for time_ns in self.times_ns)
        self.previous = self.near(instrument.base_price, -1)
        self.nav = array("q", (self.near(price, step) for step, price in enumerate(prices)))
        self.high = array("q", accumulate(self.nav, max))
        self.low = array("q", accumulate(self.nav, min))

    def near(self, price: int, step: int) -> int:
        """The NAV, in hundredths of a won, that belongs to a price at a step of the premium's wave."""
        premium = _LARGEST_PREMIUM * math.sin((step + self._phase) * 2 * math.pi / _STEPS_PER_WAVE)
        return round(price * 100 * (1 - premium))

    def at(self, moment_ns: int) -> int:
        """The NAV in force at a moment, yesterday's last one before the opening."""
        reported = bisect_right(self.times_ns, moment_ns)
        return self.nav[reported - 1] if reported else self.previous


class EtfTimeline(Timeline):
    """An ETF's NAVs as records of H0STNAV0."""

    def __init__(self, market: Market, instrument: Instrument) -> None:
        self._symbol = instrument.symbol
        self._day = EtfDay(market, instrument)
        super().__init__(self._day.times_ns)

    def record(self, index: int) -> str:
        """The `index`-th NAV (from 0) as the 8 fields of a record (docs/kis.md#nav)."""
        day = self._day
        shown = (nav_text(value) for value in (day.nav[0], day.high[index], day.low[index]))
        nav = day.nav[index]
        return "^".join((self._symbol, nav_text(nav), *nav_change(nav, day.previous), *shown))


def nav_timeline(market: Market, instrument: Instrument) -> Timeline:
    """The NAVs of a fund; a symbol that is none has none."""
    return EtfTimeline(market, instrument) if instrument.group == "EF" else Timeline()


def component_count(market: Market, etf: Instrument) -> int:
    """How many securities one creation unit holds, cash among them: equal parts of the largest ordinary shares."""
    shares = (i for i in market.instruments if i.ordinary and i.trades)
    chosen = nlargest(COMPONENTS, shares, key=lambda share: share.market_cap_100m)
    part = etf.base_price * UNIT_SHARES * _PART_IN_SHARES / max(1, len(chosen))
    return 1 + sum(part >= share.base_price for share in chosen)


def nav_text(nav: int) -> str:
    """Hundredths of a won as the wire writes a NAV: won with two decimals."""
    return f"{nav / 100:.2f}"


def nav_change(nav: int, previous: int) -> tuple[str, str, str]:
    """Sign code, change against the day before in won, and in percent."""
    difference = nav - previous
    return sign_code(difference), nav_text(difference), f"{100 * difference / previous if previous else 0:.2f}"


def premium_percent(price: int, nav: int) -> str:
    """괴리율 (dprt): the price against the NAV, in percent of the NAV."""
    return f"{100 * (price * 100 - nav) / nav if nav else 0:.2f}"


NAV_DAYS_PER_CALL: Final = 100
_VENUES: Final = (*VENUES, "E")
_UNIT_KRW: Final = 100_000_000


def etf_quote(market: Market, now_ns: int, query: Query) -> Body:
    """ETF/ETN 현재가."""
    etf = _asked_etf(market, query)
    if etf is None:
        return {"output": nothing(ETF_QUOTE)}
    state, day = market.state_at(etf.symbol, now_ns), EtfDay(market, etf)
    figures = shown(market, etf, now_ns) | _nav(day.at(now_ns), day.previous)
    figures |= {
        "previous_nav": nav_text(day.previous),
        "assets": day.at(now_ns) * shares_of(etf) // 100 // _UNIT_KRW,
        "components": component_count(market, etf),
        "premium": premium_percent(state.price, day.at(now_ns)),
    }
    return {"output": row(ETF_QUOTE, figures)}


def nav_by_day(market: Market, now_ns: int, query: Query) -> Body:
    """NAV 비교추이 (일): at most 100 days, newest first; the session day once it is over."""
    etf = _asked_etf(market, query)
    first, last = required(query, "FID_INPUT_DATE_1"), required(query, "FID_INPUT_DATE_2")
    if etf is None:
        return {"output": []}
    day = EtfDay(market, etf)
    today, past = finished_day(market, etf.symbol, now_ns), market.daily_bars(etf.symbol)
    navs = [*(day.nav[-1] for _ in today), *(day.near(bar.close, -1 - age) for age, bar in enumerate(past))]
    bars = [*today, *past]
    rows: list[Row] = []
    for bar, before, nav, nav_before in zip(bars, bars[1:], navs, navs[1:], strict=False):
        if first <= bar.day <= last:
            figures = {
                "bar": bar,
                "premium": premium_percent(bar.close, nav),
                "beside": nav_text(bar.close * 100 - nav),
            }
            rows.append(row(NAV_DAY, figures | moved(bar.close, before.close) | _nav(nav, nav_before)))
    return {"output": rows[:NAV_DAYS_PER_CALL]}


def _asked_etf(market: Market, query: Query) -> Instrument | None:
    if "FID_INPUT_ISCD" not in query:
        raise input_refusal("FID_INPUT_ISCD")
    listed = asked_instrument(market, query, _VENUES)
    return listed if listed is not None and listed.group == "EF" else None


def _nav(nav: int, previous: int) -> Row:
    sign, difference, rate = nav_change(nav, previous)
    return {"nav": nav_text(nav), "nav_sign": sign, "nav_change": difference, "nav_rate": rate}
