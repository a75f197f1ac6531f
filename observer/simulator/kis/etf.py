"""ETFs as KIS answers about them: quote, NAV through the day and day by day, and what a creation unit holds. Pure.

A listing that is no fund is answered as one that is not listed: with zeros, without rows.

NAVs are in hundredths of a won. The NAV goes with the ETF's own price, a few tenths of a percent off it, every ten
seconds of the session; so premium and discount are small and change sign. A creation unit's shares are fixed by the
base prices; cash makes up the rest, so the parts are always worth exactly the whole.
"""

import math
from array import array
from heapq import nlargest
from itertools import accumulate
from typing import Final

import msgspec

from observer.base.units import NS_PER_S
from observer.simulator.kis.answers import (
    COMPONENT,
    COMPONENTS_SUMMARY,
    ETF_QUOTE,
    NAV_DAY,
    NAV_MINUTE,
    NAV_PRICE,
    NAV_VALUE,
    VENUES,
    Body,
    Query,
    Row,
    asked_instrument,
    change,
    day_range,
    input_refusal,
    limits,
    nothing,
    one_of,
    percent,
    required,
    row,
    shares_of,
    time_text,
    totals,
)
from observer.simulator.kis.frames import sign_code
from observer.simulator.kis.quotations import finished_day
from observer.simulator.market.instruments import Instrument
from observer.simulator.market.market import Market, SimulatedState

STEP_S: Final = 10
UNIT_SHARES: Final = 50_000
COMPONENTS: Final = 10
CASH: Final = "KRD010010001"  # the code under which a creation unit's won are listed
_LARGEST_PREMIUM: Final = 0.003
_STEPS_PER_WAVE: Final = 37
_PART_IN_SHARES: Final = 0.8


class Component(msgspec.Struct, frozen=True):
    """So many shares of a symbol in one creation unit."""

    symbol: str
    shares: int


class EtfDay:
    """The NAVs of one ETF on the session day, every STEP_S seconds from the opening to the close."""

    def __init__(self, market: Market, instrument: Instrument) -> None:
        self._open_ns = market.open_ns
        self._step_ns = STEP_S * NS_PER_S
        self._phase = sum(instrument.symbol.encode())
        steps = (market.close_ns - market.open_ns) // self._step_ns + 1
        prices = (market.state_at(instrument.symbol, self.time_ns(step)).price for step in range(steps))
        self.previous = self.near(instrument.base_price, -1)
        self.nav = array("q", (self.near(price, step) for step, price in enumerate(prices)))
        self.high = array("q", accumulate(self.nav, max))
        self.low = array("q", accumulate(self.nav, min))

    def near(self, price: int, step: int) -> int:
        """The NAV, in hundredths of a won, that belongs to a price at a step of the premium's wave."""
        premium = _LARGEST_PREMIUM * math.sin((step + self._phase) * 2 * math.pi / _STEPS_PER_WAVE)
        return round(price * 100 * (1 - premium))

    def time_ns(self, step: int) -> int:
        """When the NAV of a step (from 0) is reported."""
        return self._open_ns + step * self._step_ns

    def count_until(self, moment_ns: int) -> int:
        """How many NAVs have been reported at or before a moment."""
        return min(len(self.nav), max(0, (moment_ns - self._open_ns) // self._step_ns + 1))

    def at(self, moment_ns: int) -> int:
        """The NAV in force at a moment, yesterday's last one before the opening."""
        reported = self.count_until(moment_ns)
        return self.nav[reported - 1] if reported else self.previous


class EtfTimeline:
    """An ETF's NAVs as records of H0STNAV0; a symbol that is no fund has none."""

    def __init__(self, market: Market, instrument: Instrument) -> None:
        self._symbol = instrument.symbol
        self._day = EtfDay(market, instrument) if instrument.group == "EF" else None

    def count_until(self, moment_ns: int) -> int:
        """How many NAVs have been reported at or before a moment."""
        return 0 if self._day is None else self._day.count_until(moment_ns)

    def time_ns(self, index: int) -> int:
        """When the `index`-th NAV is reported."""
        assert self._day is not None
        return self._day.time_ns(index)

    def record(self, index: int) -> str:
        """The `index`-th NAV (from 0) as the 8 fields of a record (docs/kis.md#nav)."""
        day = self._day
        assert day is not None
        shown = (nav_text(value) for value in (day.nav[0], day.high[index], day.low[index]))
        nav = day.nav[index]
        return "^".join((self._symbol, nav_text(nav), *nav_change(nav, day.previous), *shown))


def components(market: Market, etf: Instrument) -> tuple[Component, ...]:
    """What one creation unit holds besides cash: equal parts, by base price, of the largest ordinary shares."""
    shares = (i for i in market.instruments if i.ordinary and i.trades)
    chosen = nlargest(COMPONENTS, shares, key=lambda share: share.market_cap_100m)
    part = etf.base_price * UNIT_SHARES * _PART_IN_SHARES / max(1, len(chosen))
    held = (Component(i.symbol, int(part // i.base_price)) for i in chosen)
    return tuple(component for component in held if component.shares)


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


NAV_MINUTES_PER_CALL: Final = 30
NAV_DAYS_PER_CALL: Final = 100
_VENUES: Final = (*VENUES, "E")
_STEPS_S: Final = ("60", "180", "300", "600", "1800", "3600", "7200")
_UNIT_KRW: Final = 100_000_000


def etf_quote(market: Market, now_ns: int, query: Query) -> Body:
    """ETF/ETN 현재가."""
    etf = _asked_etf(market, query)
    if etf is None:
        return {"output": nothing(ETF_QUOTE)}
    state, day = market.state_at(etf.symbol, now_ns), EtfDay(market, etf)
    nav, assets = day.at(now_ns), day.at(now_ns) * shares_of(etf) // 100
    base = etf.base_price
    fields = {
        "stck_prpr": str(state.price),
        **change(etf, state.price),
        "acml_vol": str(state.cumulative_volume),
        "prdy_vol": str(etf.previous_volume),
        **limits(etf),
        "stck_prdy_clpr": str(base),
        **day_range(state),
        "prdy_clpr_vrss_oprc_rate": percent(state.open - base, base) if state.trades else "0.00",
        "prdy_clpr_vrss_hgpr_rate": percent(state.high - base, base) if state.trades else "0.00",
        "prdy_clpr_vrss_lwpr_rate": percent(state.low - base, base) if state.trades else "0.00",
        "prdy_last_nav": nav_text(day.previous),
        **_nav(nav, day.previous),
        "trc_errt": "0.35",
        "stck_sdpr": str(base),
        "stck_sspr": str(base * 7 // 10),
        "etf_crcl_stcn": str(shares_of(etf)),
        "etf_ntas_ttam": str(assets // _UNIT_KRW),
        "etf_cu_unit_scrt_cnt": str(UNIT_SHARES),
        "etf_cnfg_issu_cnt": str(len(components(market, etf)) + 1),
        "etf_dvdn_cycl": "3",
        "crcd": "KRW",
        "etf_crcl_ntas_ttam": str(assets // _UNIT_KRW),
        "lp_oder_able_cls_code": "Y",
        "vi_cls_code": "N",
        "lstn_stcn": str(shares_of(etf)),
        "etf_trc_ert_mltp": "1.00",
        "dprt": premium_percent(state.price, nav),
        "stck_lstn_date": etf.listed_on,
        "etf_div_name": "ETF",
    }
    return {"output": row(ETF_QUOTE, fields)}


def nav_trend(market: Market, now_ns: int, query: Query) -> Body:
    """NAV 비교추이 (종목): the price's day beside the NAV's."""
    etf = _asked_etf(market, query)
    if etf is None:
        return {"output1": nothing(NAV_PRICE), "output2": nothing(NAV_VALUE)}
    state, day = market.state_at(etf.symbol, now_ns), EtfDay(market, etf)
    return {
        "output1": row(NAV_PRICE, _price(etf, state) | {"stck_prdy_clpr": str(etf.base_price)} | limits(etf)),
        "output2": row(NAV_VALUE, _nav_range(day, now_ns)),
    }


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
        difference = bar.close - before.close
        fields = {
            "stck_bsop_date": bar.day,
            "stck_clpr": str(bar.close),
            "prdy_vrss": str(difference),
            "prdy_vrss_sign": sign_code(difference),
            "prdy_ctrt": percent(difference, before.close),
            "acml_vol": str(bar.volume),
            "cntg_vol": str(bar.volume),
            "dprt": premium_percent(bar.close, nav),
            "nav_vrss_prpr": nav_text(bar.close * 100 - nav),
            **_nav(nav, nav_before),
        }
        if first <= bar.day <= last:
            rows.append(row(NAV_DAY, fields))
    return {"output": rows[:NAV_DAYS_PER_CALL]}


def nav_by_minute(market: Market, now_ns: int, query: Query) -> Body:
    """NAV 비교추이 (분): at most 30 steps of FID_HOUR_CLS_CODE seconds, newest first."""
    etf = _asked_etf(market, query)
    step_ns = int(one_of(query, "FID_HOUR_CLS_CODE", _STEPS_S)) * NS_PER_S
    if etf is None:
        return {"output": []}
    day = EtfDay(market, etf)
    latest = (min(now_ns, market.close_ns) - market.open_ns) // step_ns
    rows: list[Row] = []
    for step in range(latest, max(-1, latest - NAV_MINUTES_PER_CALL), -1):
        moment_ns = market.open_ns + step * step_ns
        state = market.state_at(etf.symbol, moment_ns)
        earlier = market.state_at(etf.symbol, moment_ns - step_ns).cumulative_volume
        fields = {
            "bsop_hour": time_text(market, moment_ns),
            **_nav(day.at(moment_ns), day.previous),
            "nav_vrss_prpr": nav_text(state.price * 100 - day.at(moment_ns)),
            "dprt": premium_percent(state.price, day.at(moment_ns)),
            "stck_prpr": str(state.price),
            **change(etf, state.price),
            "acml_vol": str(state.cumulative_volume),
            "cntg_vol": str(state.cumulative_volume - earlier),
        }
        rows.append(row(NAV_MINUTE, fields))
    return {"output": rows}


def etf_components(market: Market, now_ns: int, query: Query) -> Body:
    """ETF 구성종목시세: the shares of a creation unit at their latest prices, then its cash: all of its worth."""
    etf = _asked_etf(market, query)
    one_of(query, "FID_COND_SCR_DIV_CODE", ("11216",))
    if etf is None:
        return {"output1": nothing(COMPONENTS_SUMMARY), "output2": []}
    state, day = market.state_at(etf.symbol, now_ns), EtfDay(market, etf)
    unit = day.at(now_ns) * UNIT_SHARES // 100
    held = [(component, market.instrument(component.symbol)) for component in components(market, etf)]
    rows, cash_krw = list[Row](), unit
    for component, listed in held:
        assert listed is not None
        worth = component.shares * market.state_at(listed.symbol, now_ns).price
        cash_krw -= worth
        rows.append(_component_row(market, listed, now_ns, worth, unit))
    cash = {
        "stck_shrn_iscd": CASH,
        "hts_kor_isnm": "원화현금",
        "etf_cnfg_issu_rlim": percent(cash_krw, unit),
        "etf_vltn_amt": str(cash_krw),
    }
    summary = {
        **{name: text for name, text in _price(etf, state).items() if name in COMPONENTS_SUMMARY},
        "etf_cnfg_issu_avls": str(unit),
        **{name: text for name, text in _nav_range(day, now_ns).items() if name in COMPONENTS_SUMMARY},
        "etf_ntas_ttam": str(day.at(now_ns) * shares_of(etf) // 100 // _UNIT_KRW),
        "etf_cu_unit_scrt_cnt": str(UNIT_SHARES),
        "etf_cnfg_issu_cnt": str(len(rows) + 1),
    }
    return {"output1": row(COMPONENTS_SUMMARY, summary), "output2": [*rows, row(COMPONENT, cash)]}


def _asked_etf(market: Market, query: Query) -> Instrument | None:
    if "FID_INPUT_ISCD" not in query:
        raise input_refusal("FID_INPUT_ISCD")
    listed = asked_instrument(market, query, _VENUES)
    return listed if listed is not None and listed.group == "EF" else None


def _price(etf: Instrument, state: SimulatedState) -> Row:
    price = {"stck_prpr": str(state.price), **change(etf, state.price)}
    return price | totals(state) | day_range(state)


def _nav(nav: int, previous: int) -> Row:
    sign, difference, rate = nav_change(nav, previous)
    return {
        "nav": nav_text(nav),
        "nav_prdy_vrss_sign": sign,
        "nav_prdy_vrss": difference,
        "nav_prdy_ctrt": rate,
    }


def _nav_range(day: EtfDay, now_ns: int) -> Row:
    """The NAV now and its day: open, high and low are 0.00 before the opening."""
    reported = day.count_until(now_ns)
    opened, high, low = (day.nav[0], day.high[reported - 1], day.low[reported - 1]) if reported else (0, 0, 0)
    return {
        **_nav(day.at(now_ns), day.previous),
        "prdy_clpr_nav": nav_text(day.previous),
        "oprc_nav": nav_text(opened),
        "hprc_nav": nav_text(high),
        "lprc_nav": nav_text(low),
    }


def _component_row(market: Market, listed: Instrument, now_ns: int, worth: int, unit: int) -> Row:
    state = market.state_at(listed.symbol, now_ns)
    fields = {
        "stck_shrn_iscd": listed.symbol,
        "hts_kor_isnm": listed.name,
        "stck_prpr": str(state.price),
        **change(listed, state.price),
        **totals(state),
        "tday_rsfl_rate": percent(state.price - state.open, state.open),
        "prdy_vrss_vol": str(state.cumulative_volume - listed.previous_volume),
        "tr_pbmn_tnrt": percent(state.cumulative_value, shares_of(listed) * listed.base_price),
        "hts_avls": str(listed.market_cap_100m),
        "etf_cnfg_issu_avls": str(worth),
        "etf_cnfg_issu_rlim": percent(worth, unit),
        "etf_vltn_amt": str(worth),
    }
    return row(COMPONENT, fields)
