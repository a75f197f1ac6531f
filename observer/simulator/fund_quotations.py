"""ETFs as KIS answers about them: quote, NAV through the day and day by day, and what a creation unit holds. Pure.

A listing that is no fund is answered as one that is not listed: with zeros, without rows.
"""

from typing import Final

from observer.simulator.answers import (
    VENUES,
    Body,
    Query,
    asked_instrument,
    change,
    day_range,
    input_refusal,
    limits,
    one_of,
    percent,
    required,
    shares_of,
    time_text,
    totals,
)
from observer.simulator.documented import (
    COMPONENT,
    COMPONENTS_SUMMARY,
    FUND_QUOTE,
    NAV_DAY,
    NAV_MINUTE,
    NAV_PRICE,
    NAV_VALUE,
    Row,
    nothing,
    row,
)
from observer.simulator.frames import sign_code
from observer.simulator.funds import (
    CASH,
    UNIT_SHARES,
    FundDay,
    components,
    nav_change,
    nav_text,
    premium_percent,
)
from observer.simulator.instruments import Instrument
from observer.simulator.market import Market, MarketState
from observer.simulator.quotations import finished_day
from observer.simulator.tape import NS_PER_S

NAV_MINUTES_PER_CALL: Final = 30
NAV_DAYS_PER_CALL: Final = 100
_VENUES: Final = (*VENUES, "E")
_STEPS_S: Final = ("60", "180", "300", "600", "1800", "3600", "7200")
_UNIT_KRW: Final = 100_000_000


def fund_quote(market: Market, now_ns: int, query: Query) -> Body:
    """ETF/ETN 현재가."""
    fund = _asked_fund(market, query)
    if fund is None:
        return {"output": nothing(FUND_QUOTE)}
    state, day = market.state_at(fund.symbol, now_ns), FundDay(market, fund)
    nav, assets_krw = day.at(now_ns), day.at(now_ns) * shares_of(fund) // 100
    base_krw = fund.base_price_krw
    fields = {
        "stck_prpr": str(state.price_krw),
        **change(fund, state.price_krw),
        "acml_vol": str(state.cumulative_volume),
        "prdy_vol": str(fund.previous_volume),
        **limits(fund),
        "stck_prdy_clpr": str(base_krw),
        **day_range(state),
        "prdy_clpr_vrss_oprc_rate": percent(state.open_krw - base_krw, base_krw) if state.trades else "0.00",
        "prdy_clpr_vrss_hgpr_rate": percent(state.high_krw - base_krw, base_krw) if state.trades else "0.00",
        "prdy_clpr_vrss_lwpr_rate": percent(state.low_krw - base_krw, base_krw) if state.trades else "0.00",
        "prdy_last_nav": nav_text(day.previous),
        **_nav(nav, day.previous),
        "trc_errt": "0.35",
        "stck_sdpr": str(base_krw),
        "stck_sspr": str(base_krw * 7 // 10),
        "etf_crcl_stcn": str(shares_of(fund)),
        "etf_ntas_ttam": str(assets_krw // _UNIT_KRW),
        "etf_cu_unit_scrt_cnt": str(UNIT_SHARES),
        "etf_cnfg_issu_cnt": str(len(components(market, fund)) + 1),
        "etf_dvdn_cycl": "3",
        "crcd": "KRW",
        "etf_crcl_ntas_ttam": str(assets_krw // _UNIT_KRW),
        "lp_oder_able_cls_code": "Y",
        "vi_cls_code": "N",
        "lstn_stcn": str(shares_of(fund)),
        "etf_trc_ert_mltp": "1.00",
        "dprt": premium_percent(state.price_krw, nav),
        "stck_lstn_date": fund.listed_on,
        "etf_div_name": "ETF",
    }
    return {"output": row(FUND_QUOTE, fields)}


def nav_trend(market: Market, now_ns: int, query: Query) -> Body:
    """NAV 비교추이 (종목): the price's day beside the NAV's."""
    fund = _asked_fund(market, query)
    if fund is None:
        return {"output1": nothing(NAV_PRICE), "output2": nothing(NAV_VALUE)}
    state, day = market.state_at(fund.symbol, now_ns), FundDay(market, fund)
    return {
        "output1": row(NAV_PRICE, _price(fund, state) | {"stck_prdy_clpr": str(fund.base_price_krw)} | limits(fund)),
        "output2": row(NAV_VALUE, _nav_range(day, now_ns)),
    }


def nav_by_day(market: Market, now_ns: int, query: Query) -> Body:
    """NAV 비교추이 (일): at most 100 days, newest first; the session day once it is over."""
    fund = _asked_fund(market, query)
    first, last = required(query, "FID_INPUT_DATE_1"), required(query, "FID_INPUT_DATE_2")
    if fund is None:
        return {"output": []}
    day = FundDay(market, fund)
    today, past = finished_day(market, fund.symbol, now_ns), market.daily_bars(fund.symbol)
    navs = [*(day.nav[-1] for _ in today), *(day.near(bar.close_krw, -1 - age) for age, bar in enumerate(past))]
    bars = [*today, *past]
    rows: list[Row] = []
    for bar, before, nav, nav_before in zip(bars, bars[1:], navs, navs[1:], strict=False):
        difference_krw = bar.close_krw - before.close_krw
        fields = {
            "stck_bsop_date": bar.day,
            "stck_clpr": str(bar.close_krw),
            "prdy_vrss": str(difference_krw),
            "prdy_vrss_sign": sign_code(difference_krw),
            "prdy_ctrt": percent(difference_krw, before.close_krw),
            "acml_vol": str(bar.volume),
            "cntg_vol": str(bar.volume),
            "dprt": premium_percent(bar.close_krw, nav),
            "nav_vrss_prpr": nav_text(bar.close_krw * 100 - nav),
            **_nav(nav, nav_before),
        }
        if first <= bar.day <= last:
            rows.append(row(NAV_DAY, fields))
    return {"output": rows[:NAV_DAYS_PER_CALL]}


def nav_by_minute(market: Market, now_ns: int, query: Query) -> Body:
    """NAV 비교추이 (분): at most 30 steps of FID_HOUR_CLS_CODE seconds, newest first."""
    fund = _asked_fund(market, query)
    step_ns = int(one_of(query, "FID_HOUR_CLS_CODE", _STEPS_S)) * NS_PER_S
    if fund is None:
        return {"output": []}
    day = FundDay(market, fund)
    latest = (min(now_ns, market.close_ns) - market.open_ns) // step_ns
    rows: list[Row] = []
    for step in range(latest, max(-1, latest - NAV_MINUTES_PER_CALL), -1):
        moment_ns = market.open_ns + step * step_ns
        state = market.state_at(fund.symbol, moment_ns)
        earlier = market.state_at(fund.symbol, moment_ns - step_ns).cumulative_volume
        fields = {
            "bsop_hour": time_text(market, moment_ns),
            **_nav(day.at(moment_ns), day.previous),
            "nav_vrss_prpr": nav_text(state.price_krw * 100 - day.at(moment_ns)),
            "dprt": premium_percent(state.price_krw, day.at(moment_ns)),
            "stck_prpr": str(state.price_krw),
            **change(fund, state.price_krw),
            "acml_vol": str(state.cumulative_volume),
            "cntg_vol": str(state.cumulative_volume - earlier),
        }
        rows.append(row(NAV_MINUTE, fields))
    return {"output": rows}


def fund_components(market: Market, now_ns: int, query: Query) -> Body:
    """ETF 구성종목시세: the shares of a creation unit at their latest prices, then its cash: all of its worth."""
    fund = _asked_fund(market, query)
    one_of(query, "FID_COND_SCR_DIV_CODE", ("11216",))
    if fund is None:
        return {"output1": nothing(COMPONENTS_SUMMARY), "output2": []}
    state, day = market.state_at(fund.symbol, now_ns), FundDay(market, fund)
    unit_krw = day.at(now_ns) * UNIT_SHARES // 100
    held = [(component, market.instrument(component.symbol)) for component in components(market, fund)]
    rows, cash_krw = list[Row](), unit_krw
    for component, listed in held:
        assert listed is not None
        worth_krw = component.shares * market.state_at(listed.symbol, now_ns).price_krw
        cash_krw -= worth_krw
        rows.append(_component_row(market, listed, now_ns, worth_krw, unit_krw))
    cash = {
        "stck_shrn_iscd": CASH,
        "hts_kor_isnm": "원화현금",
        "etf_cnfg_issu_rlim": percent(cash_krw, unit_krw),
        "etf_vltn_amt": str(cash_krw),
    }
    summary = {
        **{name: text for name, text in _price(fund, state).items() if name in COMPONENTS_SUMMARY},
        "etf_cnfg_issu_avls": str(unit_krw),
        **{name: text for name, text in _nav_range(day, now_ns).items() if name in COMPONENTS_SUMMARY},
        "etf_ntas_ttam": str(day.at(now_ns) * shares_of(fund) // 100 // _UNIT_KRW),
        "etf_cu_unit_scrt_cnt": str(UNIT_SHARES),
        "etf_cnfg_issu_cnt": str(len(rows) + 1),
    }
    return {"output1": row(COMPONENTS_SUMMARY, summary), "output2": [*rows, row(COMPONENT, cash)]}


def _asked_fund(market: Market, query: Query) -> Instrument | None:
    if "FID_INPUT_ISCD" not in query:
        raise input_refusal("FID_INPUT_ISCD")
    listed = asked_instrument(market, query, _VENUES)
    return listed if listed is not None and listed.group == "EF" else None


def _price(fund: Instrument, state: MarketState) -> Row:
    price = {"stck_prpr": str(state.price_krw), **change(fund, state.price_krw)}
    return price | totals(state) | day_range(state)


def _nav(nav: int, previous: int) -> Row:
    sign, difference, rate = nav_change(nav, previous)
    return {
        "nav": nav_text(nav),
        "nav_prdy_vrss_sign": sign,
        "nav_prdy_vrss": difference,
        "nav_prdy_ctrt": rate,
    }


def _nav_range(day: FundDay, now_ns: int) -> Row:
    """The NAV now and its day: open, high and low are 0.00 before the opening."""
    told = day.count_until(now_ns)
    opened, high, low = (day.nav[0], day.high[told - 1], day.low[told - 1]) if told else (0, 0, 0)
    return {
        **_nav(day.at(now_ns), day.previous),
        "prdy_clpr_nav": nav_text(day.previous),
        "oprc_nav": nav_text(opened),
        "hprc_nav": nav_text(high),
        "lprc_nav": nav_text(low),
    }


def _component_row(market: Market, listed: Instrument, now_ns: int, worth_krw: int, unit_krw: int) -> Row:
    state = market.state_at(listed.symbol, now_ns)
    fields = {
        "stck_shrn_iscd": listed.symbol,
        "hts_kor_isnm": listed.name,
        "stck_prpr": str(state.price_krw),
        **change(listed, state.price_krw),
        **totals(state),
        "tday_rsfl_rate": percent(state.price_krw - state.open_krw, state.open_krw),
        "prdy_vrss_vol": str(state.cumulative_volume - listed.previous_volume),
        "tr_pbmn_tnrt": percent(state.cumulative_value_krw, shares_of(listed) * listed.base_price_krw),
        "hts_avls": str(listed.market_cap_100m_krw),
        "etf_cnfg_issu_avls": str(worth_krw),
        "etf_cnfg_issu_rlim": percent(worth_krw, unit_krw),
        "etf_vltn_amt": str(worth_krw),
    }
    return row(COMPONENT, fields)
