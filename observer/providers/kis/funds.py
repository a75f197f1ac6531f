"""Exchange-traded funds: quote, NAV and holdings. Bodies -> structs -> nouns. Pure (kis-api.md, section 8).

FHPST02400000, FHPST02440000, FHPST02440200, FHPST02440100, FHKST121600C0. `dprt` is the premium (괴리율), `trc_errt`
the tracking error (추적 오차율). Net assets and capitalisations are in hundred million won (observed).
"""

import msgspec

from observer.providers.funds import FundComponent, FundHoldings, FundQuote, NavComparison, NavDay, NavMinute
from observer.providers.kis.values import (
    Rows,
    amount,
    certain_day,
    day,
    hundred_millions,
    number,
    only_row,
    price,
    read_moment,
    rows,
    signed,
    whole,
)


def _change(text: str, sign_code: str) -> float | None:
    """A change of the NAV, with the sign of its code; None when blank."""
    return signed(text, sign_code) if text.strip() else None


# --- quote ---------------------------------------------------------------------------------------------------


class FundRow(msgspec.Struct):
    """The output of FHPST02400000. It does not name the symbol."""

    stck_prpr: str = ""
    prdy_vrss_sign: str = ""
    prdy_ctrt: str = ""
    acml_vol: str = ""
    stck_mxpr: str = ""
    stck_llam: str = ""
    stck_prdy_clpr: str = ""
    stck_oprc: str = ""
    stck_hgpr: str = ""
    stck_lwpr: str = ""
    prdy_last_nav: str = ""
    nav: str = ""
    nav_prdy_vrss: str = ""
    nav_prdy_vrss_sign: str = ""
    nav_prdy_ctrt: str = ""
    trc_errt: str = ""
    dprt: str = ""
    etf_trc_ert_mltp: str = ""
    etf_ntas_ttam: str = ""
    lstn_stcn: str = ""
    etf_crcl_stcn: str = ""
    etf_cu_unit_scrt_cnt: str = ""
    etf_cnfg_issu_cnt: str = ""
    stck_dryy_hgpr: str = ""
    dryy_hgpr_date: str = ""
    stck_dryy_lwpr: str = ""
    dryy_lwpr_date: str = ""
    frgn_hldn_qty: str = ""
    frgn_hldn_qty_rate: str = ""
    lp_hldn_rate: str = ""
    stck_lstn_date: str = ""
    mtrt_date: str = ""
    crcd: str = ""
    etf_dvdn_cycl: str = ""
    etf_div_name: str = ""
    etf_rprs_bstp_kor_isnm: str = ""
    mbcr_name: str = ""


class FundBody(msgspec.Struct):
    """Answer of the ETF quote."""

    output: Rows[FundRow] = None


def fund_quote_of(body: FundBody, symbol: str) -> FundQuote | None:
    """The fund's quote; None for what KIS does not know, which it answers with zeros (observed).

    Before the first trade of the day the previous close stands in for the price.

    Raises:
        MalformedError: a field that cannot be read.
    """
    row = only_row(body.output)
    current = None if row is None else price(row.stck_prpr) or price(row.stck_prdy_clpr)
    if row is None or current is None:
        return None
    return FundQuote(
        symbol=symbol,
        price=current,
        open=price(row.stck_oprc),
        high=price(row.stck_hgpr),
        low=price(row.stck_lwpr),
        previous_close=price(row.stck_prdy_clpr),
        upper_limit=price(row.stck_mxpr),
        lower_limit=price(row.stck_llam),
        change_percent=signed(row.prdy_ctrt, row.prdy_vrss_sign),
        cumulative_volume=amount(row.acml_vol),
        nav=price(row.nav),
        nav_change=_change(row.nav_prdy_vrss, row.nav_prdy_vrss_sign),
        nav_change_percent=_change(row.nav_prdy_ctrt, row.nav_prdy_vrss_sign),
        previous_nav=price(row.prdy_last_nav),
        premium_percent=number(row.dprt),
        tracking_error_percent=number(row.trc_errt),
        tracking_multiple=price(row.etf_trc_ert_mltp),
        net_assets_krw=hundred_millions(row.etf_ntas_ttam),
        listed_shares=whole(row.lstn_stcn),
        circulating_shares=whole(row.etf_crcl_stcn),
        creation_unit_shares=whole(row.etf_cu_unit_scrt_cnt),
        component_count=whole(row.etf_cnfg_issu_cnt),
        year_high=price(row.stck_dryy_hgpr),
        year_high_on=day(row.dryy_hgpr_date),
        year_low=price(row.stck_dryy_lwpr),
        year_low_on=day(row.dryy_lwpr_date),
        foreign_shares=whole(row.frgn_hldn_qty),
        foreign_percent=number(row.frgn_hldn_qty_rate),
        liquidity_provider_percent=number(row.lp_hldn_rate),
        listed_on=day(row.stck_lstn_date),
        matures_on=day(row.mtrt_date),
        currency=row.crcd.strip(),
        dividend_cycle=row.etf_dvdn_cycl.strip(),
        classification=row.etf_div_name.strip(),
        sector=row.etf_rprs_bstp_kor_isnm.strip(),
        issuer=row.mbcr_name.strip(),
    )


# --- NAV now -------------------------------------------------------------------------------------------------


class NavPriceRow(msgspec.Struct):
    """`output1` of FHPST02440000: the price."""

    stck_prpr: str = ""
    stck_prdy_clpr: str = ""
    stck_oprc: str = ""
    stck_hgpr: str = ""
    stck_lwpr: str = ""
    stck_mxpr: str = ""
    stck_llam: str = ""
    acml_vol: str = ""
    acml_tr_pbmn: str = ""


class NavRow(msgspec.Struct):
    """`output2` of FHPST02440000: the NAV."""

    nav: str = ""
    nav_prdy_vrss_sign: str = ""
    nav_prdy_vrss: str = ""
    nav_prdy_ctrt: str = ""
    prdy_clpr_nav: str = ""
    oprc_nav: str = ""
    hprc_nav: str = ""
    lprc_nav: str = ""


class NavComparisonBody(msgspec.Struct):
    """Answer of the NAV comparison."""

    output1: Rows[NavPriceRow] = None
    output2: Rows[NavRow] = None


def nav_comparison_of(body: NavComparisonBody, symbol: str) -> NavComparison | None:
    """Price and NAV now; None when the answer has no price.

    Raises:
        MalformedError: a field that cannot be read.
    """
    row, nav = only_row(body.output1), only_row(body.output2) or NavRow()
    current = None if row is None else price(row.stck_prpr) or price(row.stck_prdy_clpr)
    if row is None or current is None:
        return None
    return NavComparison(
        symbol=symbol,
        price=current,
        open=price(row.stck_oprc),
        high=price(row.stck_hgpr),
        low=price(row.stck_lwpr),
        previous_close=price(row.stck_prdy_clpr),
        upper_limit=price(row.stck_mxpr),
        lower_limit=price(row.stck_llam),
        cumulative_volume=amount(row.acml_vol),
        cumulative_value=amount(row.acml_tr_pbmn),
        nav=price(nav.nav),
        nav_open=price(nav.oprc_nav),
        nav_high=price(nav.hprc_nav),
        nav_low=price(nav.lprc_nav),
        nav_change=_change(nav.nav_prdy_vrss, nav.nav_prdy_vrss_sign),
        nav_change_percent=_change(nav.nav_prdy_ctrt, nav.nav_prdy_vrss_sign),
        previous_nav=price(nav.prdy_clpr_nav),
    )


# --- NAV by day and by minute --------------------------------------------------------------------------------


class NavDayRow(msgspec.Struct):
    """One day of FHPST02440200."""

    stck_bsop_date: str = ""
    stck_clpr: str = ""
    acml_vol: str = ""
    dprt: str = ""
    nav_vrss_prpr: str = ""
    nav: str = ""
    nav_prdy_vrss_sign: str = ""
    nav_prdy_ctrt: str = ""


class NavDaysBody(msgspec.Struct):
    """Answer of the daily NAV comparison, newest first."""

    output: Rows[NavDayRow] = None


def nav_days_of(body: NavDaysBody, symbol: str) -> list[NavDay]:
    """The days, oldest first.

    Raises:
        MalformedError: a row that cannot be read.
    """
    days = [_nav_day(row, symbol) for row in rows(body.output) if row.stck_bsop_date.strip()]
    return sorted(days, key=lambda nav_day: nav_day.day)


def _nav_day(row: NavDayRow, symbol: str) -> NavDay:
    return NavDay(
        symbol=symbol,
        day=certain_day(row.stck_bsop_date),
        close=amount(row.stck_clpr),
        nav=price(row.nav),
        price_minus_nav=number(row.nav_vrss_prpr),
        premium_percent=number(row.dprt),
        nav_change_percent=_change(row.nav_prdy_ctrt, row.nav_prdy_vrss_sign),
        volume=amount(row.acml_vol),
    )


class NavMinuteRow(msgspec.Struct):
    """One period of FHPST02440100. It has a time and no date."""

    bsop_hour: str = ""
    nav: str = ""
    nav_prdy_vrss_sign: str = ""
    nav_prdy_ctrt: str = ""
    nav_vrss_prpr: str = ""
    dprt: str = ""
    stck_prpr: str = ""
    acml_vol: str = ""
    cntg_vol: str = ""


class NavMinutesBody(msgspec.Struct):
    """Answer of the NAV comparison by time, newest first."""

    output: Rows[NavMinuteRow] = None


def nav_minutes_of(body: NavMinutesBody, symbol: str, date_text: str) -> list[NavMinute]:
    """The periods, oldest first; rows name no date, so the day is given.

    Raises:
        MalformedError: a row that cannot be read.
    """
    minutes = [_nav_minute(row, symbol, date_text) for row in rows(body.output) if row.bsop_hour.strip()]
    return sorted(minutes, key=lambda minute: minute.time_ns)


def _nav_minute(row: NavMinuteRow, symbol: str, date_text: str) -> NavMinute:
    return NavMinute(
        symbol=symbol,
        time_ns=read_moment(date_text, row.bsop_hour),
        price=amount(row.stck_prpr),
        nav=price(row.nav),
        price_minus_nav=number(row.nav_vrss_prpr),
        premium_percent=number(row.dprt),
        nav_change_percent=_change(row.nav_prdy_ctrt, row.nav_prdy_vrss_sign),
        volume=amount(row.cntg_vol),
        cumulative_volume=amount(row.acml_vol),
    )


# --- holdings ------------------------------------------------------------------------------------------------


class HoldingsRow(msgspec.Struct):
    """`output1` of FHKST121600C0: the fund. The reference's labels of its fields are shifted, the names are right."""

    stck_prpr: str = ""
    nav: str = ""
    etf_ntas_ttam: str = ""
    etf_cu_unit_scrt_cnt: str = ""
    etf_cnfg_issu_cnt: str = ""


class ComponentRow(msgspec.Struct):
    """One security of `output2`."""

    stck_shrn_iscd: str = ""
    hts_kor_isnm: str = ""
    stck_prpr: str = ""
    hts_avls: str = ""
    etf_vltn_amt: str = ""
    etf_cnfg_issu_rlim: str = ""


class HoldingsBody(msgspec.Struct):
    """Answer of the components call."""

    output1: Rows[HoldingsRow] = None
    output2: Rows[ComponentRow] = None


def fund_holdings_of(body: HoldingsBody, symbol: str) -> FundHoldings | None:
    """The fund's holdings in KIS's order; None when the answer has neither a price of the fund nor a component.

    Raises:
        MalformedError: a field that cannot be read.
    """
    row = only_row(body.output1) or HoldingsRow()
    components = tuple(_component(each) for each in rows(body.output2) if each.stck_shrn_iscd.strip())
    if price(row.stck_prpr) is None and not components:
        return None
    return FundHoldings(
        symbol=symbol,
        nav=price(row.nav),
        net_assets_krw=hundred_millions(row.etf_ntas_ttam),
        creation_unit_shares=whole(row.etf_cu_unit_scrt_cnt),
        component_count=whole(row.etf_cnfg_issu_cnt),
        components=components,
    )


def _component(row: ComponentRow) -> FundComponent:
    return FundComponent(
        symbol=row.stck_shrn_iscd.strip(),
        name=row.hts_kor_isnm.strip(),
        price=price(row.stck_prpr),
        market_cap_krw=hundred_millions(row.hts_avls),
        valuation_krw=price(row.etf_vltn_amt),
        weight_percent=number(row.etf_cnfg_issu_rlim),
    )
