"""One domestic symbol in detail: single quote, latest trades, registered facts. Bodies -> structs -> nouns. Pure.

kis-api.md, section 8: FHKST01010100, FHKST01010300, CTPF1002R, CTPF1604R. Unknown symbols come as an empty output or as
one of blanks and zeros.
"""

import msgspec

from observer.providers.domestic import LatestTrade, ProductInformation, QuoteDetail, StockInformation
from observer.providers.kis.values import (
    Rows,
    amount,
    day,
    hundred_millions,
    number,
    only_row,
    price,
    read_moment,
    rows,
    signed,
    whole,
    yes,
)

# --- single quote --------------------------------------------------------------------------------------------


class DetailRow(msgspec.Struct):
    """The output of FHKST01010100. The market capitalisation is in hundred million won."""

    stck_shrn_iscd: str = ""
    stck_prpr: str = ""
    prdy_vrss: str = ""
    prdy_vrss_sign: str = ""
    prdy_ctrt: str = ""
    acml_tr_pbmn: str = ""
    acml_vol: str = ""
    stck_oprc: str = ""
    stck_hgpr: str = ""
    stck_lwpr: str = ""
    stck_mxpr: str = ""
    stck_llam: str = ""
    stck_sdpr: str = ""
    wghn_avrg_stck_prc: str = ""
    hts_frgn_ehrt: str = ""
    frgn_hldn_qty: str = ""
    stck_fcam: str = ""
    aspr_unit: str = ""
    lstn_stcn: str = ""
    hts_avls: str = ""
    per: str = ""
    pbr: str = ""
    eps: str = ""
    bps: str = ""
    w52_hgpr: str = ""
    w52_hgpr_date: str = ""
    w52_lwpr: str = ""
    w52_lwpr_date: str = ""
    bstp_kor_isnm: str = ""
    mrkt_warn_cls_code: str = ""
    temp_stop_yn: str = ""
    mang_issu_cls_code: str = ""
    sltr_yn: str = ""
    short_over_yn: str = ""
    vi_cls_code: str = ""


class DetailBody(msgspec.Struct):
    """Answer of the single quote."""

    output: Rows[DetailRow] = None


def quote_detail_of(body: DetailBody) -> QuoteDetail | None:
    """The quote of the symbol that the answer names; None when it names none or gives no price.

    As with the multi quote, the base price stands in before the first trade of the day.

    Raises:
        MalformedError: a field that cannot be read.
    """
    row = only_row(body.output)
    current = None if row is None else price(row.stck_prpr) or price(row.stck_sdpr)
    if row is None or current is None or not row.stck_shrn_iscd.strip():
        return None
    return QuoteDetail(
        symbol=row.stck_shrn_iscd.strip(),
        price=current,
        base_price=price(row.stck_sdpr),
        open=price(row.stck_oprc),
        high=price(row.stck_hgpr),
        low=price(row.stck_lwpr),
        upper_limit=price(row.stck_mxpr),
        lower_limit=price(row.stck_llam),
        average_price=price(row.wghn_avrg_stck_prc),
        change=signed(row.prdy_vrss, row.prdy_vrss_sign),
        change_percent=signed(row.prdy_ctrt, row.prdy_vrss_sign),
        cumulative_volume=amount(row.acml_vol),
        cumulative_value=amount(row.acml_tr_pbmn),
        listed_shares=whole(row.lstn_stcn),
        market_cap_krw=hundred_millions(row.hts_avls),
        tick_size=price(row.aspr_unit),
        par_value=price(row.stck_fcam),
        price_earnings_ratio=price(row.per),
        price_book_ratio=price(row.pbr),
        earnings_per_share=price(row.eps),
        book_value_per_share=price(row.bps),
        high_52_weeks=price(row.w52_hgpr),
        high_52_weeks_on=day(row.w52_hgpr_date),
        low_52_weeks=price(row.w52_lwpr),
        low_52_weeks_on=day(row.w52_lwpr_date),
        foreign_limit_used_percent=number(row.hts_frgn_ehrt),
        foreign_shares=whole(row.frgn_hldn_qty),
        sector=row.bstp_kor_isnm.strip(),
        market_warning=row.mrkt_warn_cls_code.strip(),
        suspended=yes(row.temp_stop_yn),
        under_administration=yes(row.mang_issu_cls_code),
        in_liquidation=yes(row.sltr_yn),
        overheated=yes(row.short_over_yn),
        interrupted=yes(row.vi_cls_code),
    )


# --- latest trades -------------------------------------------------------------------------------------------


class LatestRow(msgspec.Struct):
    """One trade of FHKST01010300."""

    stck_cntg_hour: str = ""
    stck_prpr: str = ""
    cntg_vol: str = ""
    tday_rltv: str = ""


class LatestBody(msgspec.Struct):
    """Answer of the latest trades, newest first."""

    output: Rows[LatestRow] = None


def latest_trades_of(body: LatestBody, symbol: str, date_text: str) -> list[LatestTrade]:
    """The trades, oldest first; rows name neither symbol nor date, so both are given.

    Raises:
        MalformedError: a row that cannot be read.
    """
    newest_first = [_latest_trade(row, symbol, date_text) for row in rows(body.output) if row.stck_cntg_hour.strip()]
    return newest_first[::-1]


def _latest_trade(row: LatestRow, symbol: str, date_text: str) -> LatestTrade:
    return LatestTrade(
        symbol=symbol,
        exchange_time_ns=read_moment(date_text, row.stck_cntg_hour),
        price=amount(row.stck_prpr),
        volume=amount(row.cntg_vol),
        strength_percent=number(row.tday_rltv),
    )


# --- registered facts ----------------------------------------------------------------------------------------


class StockRow(msgspec.Struct):
    """The output of CTPF1002R. `pdno` is not always written as it was asked for."""

    pdno: str = ""
    prdt_abrv_name: str = ""
    prdt_name: str = ""
    prdt_eng_name: str = ""
    std_pdno: str = ""
    mket_id_cd: str = ""
    scty_grp_id_cd: str = ""
    lstg_stqt: str = ""
    lstg_cptl_amt: str = ""
    papr: str = ""
    issu_pric: str = ""
    scts_mket_lstg_dt: str = ""
    kosdaq_mket_lstg_dt: str = ""
    frbd_mket_lstg_dt: str = ""
    lstg_abol_dt: str = ""
    idx_bztp_lcls_cd_name: str = ""
    idx_bztp_mcls_cd_name: str = ""
    idx_bztp_scls_cd_name: str = ""
    std_idst_clsf_cd_name: str = ""
    kospi200_item_yn: str = ""
    tr_stop_yn: str = ""
    admn_item_yn: str = ""
    etf_chas_erng_rt_dbnb: str = ""
    etf_cu_qty: str = ""
    cptt_trad_tr_psbl_yn: str = ""
    nxt_tr_stop_yn: str = ""


class StockBody(msgspec.Struct):
    """Answer of the stock's basic information."""

    output: Rows[StockRow] = None


def stock_information_of(body: StockBody, symbol: str) -> StockInformation | None:
    """The registered facts; None when the answer names no product.

    Raises:
        MalformedError: a field that cannot be read.
    """
    row = only_row(body.output)
    if row is None or not row.pdno.strip():
        return None
    listed_on = day(row.scts_mket_lstg_dt) or day(row.kosdaq_mket_lstg_dt) or day(row.frbd_mket_lstg_dt)
    return StockInformation(
        symbol=symbol,
        isin=row.std_pdno.strip(),
        name=row.prdt_abrv_name.strip() or row.prdt_name.strip(),
        english_name=row.prdt_eng_name.strip(),
        market=row.mket_id_cd.strip(),
        group=row.scty_grp_id_cd.strip(),
        listed_shares=whole(row.lstg_stqt),
        capital_krw=price(row.lstg_cptl_amt),
        par_value=price(row.papr),
        issue_price=price(row.issu_pric),
        listed_on=listed_on,
        delisted_on=day(row.lstg_abol_dt),
        sector_large=row.idx_bztp_lcls_cd_name.strip(),
        sector_medium=row.idx_bztp_mcls_cd_name.strip(),
        sector_small=row.idx_bztp_scls_cd_name.strip(),
        industry=row.std_idst_clsf_cd_name.strip(),
        in_kospi200=yes(row.kospi200_item_yn),
        suspended=yes(row.tr_stop_yn),
        under_administration=yes(row.admn_item_yn),
        tracking_multiple=price(row.etf_chas_erng_rt_dbnb),
        creation_unit_shares=whole(row.etf_cu_qty),
        on_nxt=yes(row.cptt_trad_tr_psbl_yn),
        suspended_on_nxt=yes(row.nxt_tr_stop_yn),
    )


class ProductRow(msgspec.Struct):
    """The output of CTPF1604R."""

    pdno: str = ""
    std_pdno: str = ""
    shtn_pdno: str = ""
    prdt_sale_stat_cd: str = ""
    prdt_risk_grad_cd: str = ""
    prdt_clsf_cd: str = ""
    sale_strt_dt: str = ""
    sale_end_dt: str = ""
    frst_erlm_dt: str = ""


class ProductBody(msgspec.Struct):
    """Answer of the product's basic information."""

    output: Rows[ProductRow] = None


def product_information_of(body: ProductBody) -> ProductInformation | None:
    """The broker's record; None when the answer names no product.

    Raises:
        MalformedError: a field that cannot be read.
    """
    row = only_row(body.output)
    if row is None or not row.pdno.strip():
        return None
    return ProductInformation(
        product=row.pdno.strip(),
        isin=row.std_pdno.strip(),
        short_code=row.shtn_pdno.strip(),
        sale_state=row.prdt_sale_stat_cd.strip(),
        risk_grade=row.prdt_risk_grad_cd.strip(),
        classification=row.prdt_clsf_cd.strip(),
        sold_from=day(row.sale_strt_dt),
        sold_until=day(row.sale_end_dt),
        registered_on=day(row.frst_erlm_dt),
    )
