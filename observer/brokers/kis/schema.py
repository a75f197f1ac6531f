"""KIS's answers, one table each: our attribute, how it is read (`decoder`), KIS's fields (docs/kis.md#calls). Pure.

A new call is a table here, and one entry in `calls.py`. A record that only KIS fills has its struct from its table.

Units: prices and amounts in the listing's currency, `_percent` in percent, volumes in shares, times in UTC
nanoseconds. None means that KIS gives none, never zero. Codes and texts are KIS's own, empty where it gives none.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from observer.brokers.broker import Bar, PastTrade, Quote
from observer.brokers.domestic import SessionDay
from observer.brokers.etf import EtfQuote, NavDay
from observer.brokers.kis.decoder import Record

# --- quotes --------------------------------------------------------------------------------------------------

# KIS repeats the reference price as the price before the first trade of the day; where even that is blank, the previous
# close or the base price stands in.
QUOTE: Final = Record(
    Quote,
    """
    symbol             quoted_line   inter_shrn_iscd @symbols
    price              price         inter2_prpr inter2_prdy_clpr inter2_sdpr
    open               price         inter2_oprc
    high               price         inter2_hgpr
    low                price         inter2_lwpr
    previous_close     price         inter2_prdy_clpr
    upper_limit        price         inter2_mxpr
    lower_limit        price         inter2_llam
    bid                price         inter2_bidp
    ask                price         inter2_askp
    cumulative_volume  amount        acml_vol
    cumulative_value   amount        acml_tr_pbmn
    venue              quoted_venue  inter_shrn_iscd @symbols
    """,
    key="inter_shrn_iscd",
    required="price",
)

# A line alone, of the answer whose whole is `QUOTE_DETAIL`; it has no bid and no ask.
SINGLE_QUOTE: Final = Record(
    Quote,
    """
    symbol             text    @symbol
    price              price   stck_prpr stck_sdpr
    open               price   stck_oprc
    high               price   stck_hgpr
    low                price   stck_lwpr
    previous_close     price   stck_sdpr
    upper_limit        price   stck_mxpr
    lower_limit        price   stck_llam
    bid                none    @symbol
    ask                none    @symbol
    cumulative_volume  amount  acml_vol
    cumulative_value   amount  acml_tr_pbmn
    venue              venue   @symbol
    """,
    one=True,
    key="stck_shrn_iscd",
    required="price",
)

# The single quote. `change` is against the base price, which stands in for the price before the first trade;
# `foreign_limit_used_percent` is how much of the foreigners' limit they hold; `market_warning` is 00 none, 01 caution,
# 02 warning, 03 risk.
QUOTE_DETAIL: Final[Record[Any]] = Record(
    "QuoteDetail",
    """
    symbol                      text              @symbol
    price                       price             stck_prpr stck_sdpr
    base_price                  price             stck_sdpr
    open                        price             stck_oprc
    high                        price             stck_hgpr
    low                         price             stck_lwpr
    upper_limit                 price             stck_mxpr
    lower_limit                 price             stck_llam
    average_price               price             wghn_avrg_stck_prc
    change                      signed            prdy_vrss prdy_vrss_sign
    change_percent              signed            prdy_ctrt prdy_vrss_sign
    cumulative_volume           amount            acml_vol
    cumulative_value            amount            acml_tr_pbmn
    listed_shares               whole             lstn_stcn
    market_cap                  hundred_millions  hts_avls
    tick_size                   price             aspr_unit
    par_value                   price             stck_fcam
    price_earnings_ratio        price             per
    price_book_ratio            price             pbr
    earnings_per_share          price             eps
    book_value_per_share        price             bps
    high_52_weeks               price             w52_hgpr
    high_52_weeks_on            day               w52_hgpr_date
    low_52_weeks                price             w52_lwpr
    low_52_weeks_on             day               w52_lwpr_date
    foreign_limit_used_percent  number            hts_frgn_ehrt
    foreign_shares              whole             frgn_hldn_qty
    sector                      text              bstp_kor_isnm
    market_warning              text              mrkt_warn_cls_code
    suspended                   yes               temp_stop_yn
    under_administration        yes               mang_issu_cls_code
    in_liquidation              yes               sltr_yn
    overheated                  yes               short_over_yn
    interrupted                 yes               vi_cls_code
    """,
    one=True,
    key="stck_shrn_iscd",
    required="price",
)

# --- bars ----------------------------------------------------------------------------------------------------

# `prdy_vrss` is the change against the day's base price, also where that is not the close before it: rows seen as
# traded are 2,860 won, then 1,859 won with a change of +429, at a base of 1,430. KIS fills short answers up with empty
# rows, and returns the newest 100 days whatever was asked.
DAILY_BAR: Final = Record(
    Bar,
    """
    symbol      text        @symbol
    start_ns    moment      stck_bsop_date
    open        amount      stck_oprc
    high        amount      stck_hgpr
    low         amount      stck_lwpr
    close       amount      stck_clpr
    volume      amount      acml_vol
    value       amount      acml_tr_pbmn
    base_price  base_price  stck_clpr prdy_vrss prdy_vrss_sign
    venue       venue       @symbol
    """,
    block="output2",
    key="stck_bsop_date",
    order="start_ns",
    rows_max=100,
)

# `value` is still the day's value after the minute, see `with_own_values`.
MINUTE_BAR: Final = Record(
    Bar,
    """
    symbol      text        @symbol
    start_ns    moment      stck_bsop_date stck_cntg_hour
    open        amount      stck_oprc
    high        amount      stck_hgpr
    low         amount      stck_lwpr
    close       amount      stck_prpr
    volume      amount      cntg_vol
    value       amount      acml_tr_pbmn
    venue       venue       @symbol
    """,
    block="output2",
    key="stck_cntg_hour",
    order="start_ns",
)


def with_own_values(bars: Sequence[Bar]) -> list[Bar]:
    """Minute bars, oldest first, with each minute's own value instead of the day's value after it.

    The first bar has no predecessor and keeps what it has: right for the first minute of a day, and only there.
    """
    before = 0.0
    own: list[Bar] = []
    for bar in bars:
        own.append(msgspec.structs.replace(bar, value=max(0.0, bar.value - before)))
        before = max(before, bar.value)
    return own


# --- past trades: rows name neither symbol nor date ------------------------------------------------------------

# The documents label the price stck_pbpr, the live host stck_prpr (docs/kis.md#time-and-sales).
PAST_TRADE: Final = Record(
    PastTrade,
    """
    symbol             text    @symbol
    exchange_time_ns   moment  @day stck_cntg_hour
    price              amount  stck_pbpr stck_prpr
    volume             amount  cnqn
    cumulative_volume  amount  acml_vol
    bid                price   bidp
    ask                price   askp
    venue              venue   @symbol
    """,
    block="output2",
    key="stck_cntg_hour",
    order="cumulative_volume",
)

# --- basic data ----------------------------------------------------------------------------------------------

# Of a domestic security: `group` is the security group (ST, EF, EN ...); `tracking_multiple` an ETF's multiple of its
# index's return; `creation_unit_shares` the shares of one creation unit of an ETF; `on_nxt`: traded on the alternative
# venue too. `pdno` is not always written as it was asked for.
STOCK: Final[Record[Any]] = Record(
    "StockInformation",
    """
    symbol                text   @symbol
    isin                  text   std_pdno
    name                  text   prdt_abrv_name prdt_name
    english_name          text   prdt_eng_name
    market                text   mket_id_cd
    group                 text   scty_grp_id_cd
    listed_shares         whole  lstg_stqt
    capital               price  lstg_cptl_amt
    par_value             price  papr
    issue_price           price  issu_pric
    listed_on             day    scts_mket_lstg_dt kosdaq_mket_lstg_dt frbd_mket_lstg_dt
    delisted_on           day    lstg_abol_dt
    sector_large          text   idx_bztp_lcls_cd_name
    sector_medium         text   idx_bztp_mcls_cd_name
    sector_small          text   idx_bztp_scls_cd_name
    industry              text   std_idst_clsf_cd_name
    in_kospi200           yes    kospi200_item_yn
    suspended             yes    tr_stop_yn
    under_administration  yes    admn_item_yn
    tracking_multiple     price  etf_chas_erng_rt_dbnb
    creation_unit_shares  whole  etf_cu_qty
    on_nxt                yes    cptt_trad_tr_psbl_yn
    suspended_on_nxt      yes    nxt_tr_stop_yn
    """,
    one=True,
    key="pdno",
)

# Of a security abroad, whose unknown ones come as blanks. `isin` is the standard number; `tracking_multiple` is of an
# ETP; `replaces` is the product's number before it changed.
OVERSEAS_INSTRUMENT: Final[Record[Any]] = Record(
    "OverseasInstrument",
    """
    exchange           text   @exchange
    symbol             text   @symbol
    isin               text   std_pdno
    name               text   prdt_name ovrs_item_name
    english_name       text   prdt_eng_name
    country            text   natn_cd
    market             text   tr_mket_cd
    currency           text   tr_crcy_cd
    kind               text   ovrs_stck_dvsn_cd
    classification     text   prdt_clsf_cd
    listed             yes    lstg_yn
    delisted           yes    lstg_abol_item_yn
    listed_on          day    lstg_dt
    delisted_on        day    lstg_abol_dt
    listed_shares      price  lstg_stck_num
    par_value          price  ovrs_papr
    trading_stop       text   ovrs_stck_tr_stop_dvsn_cd
    tracking_multiple  price  etp_chas_erng_rt_dbnb
    sedol              text   sedol_no
    bloomberg_ticker   text   blbg_tckr_text
    lei                text   lei_cd
    replaces           text   chng_bf_pdno
    """,
    one=True,
    key=("std_pdno", "prdt_eng_name"),
)

# --- sessions ------------------------------------------------------------------------------------------------

# `tr_day_yn` is Y on Saturdays too (observed): `opnd_yn` is the one to go by.
SESSION: Final = Record(
    SessionDay,
    """
    day             certain_day  bass_dt
    opens           yes_or_no    opnd_yn
    business_day    yes_or_no    bzdy_yn
    trading_day     yes_or_no    tr_day_yn
    settlement_day  yes_or_no    sttl_day_yn
    """,
    key="bass_dt",
    order="day",
    body_fields=("ctx_area_fk", "ctx_area_nk"),
)

# --- ETFs and ETNs: `dprt` is the premium (괴리율), `trc_errt` the tracking error (추적 오차율) ---------------------

# KIS answers for what it does not know with zeros (observed). Before the first trade the previous close stands in.
ETF_QUOTE: Final = Record(
    EtfQuote,
    """
    symbol                      text              @symbol
    price                       price             stck_prpr stck_prdy_clpr
    open                        price             stck_oprc
    high                        price             stck_hgpr
    low                         price             stck_lwpr
    previous_close              price             stck_prdy_clpr
    upper_limit                 price             stck_mxpr
    lower_limit                 price             stck_llam
    change_percent              signed            prdy_ctrt prdy_vrss_sign
    cumulative_volume           amount            acml_vol
    nav                         price             nav
    nav_change                  change            nav_prdy_vrss nav_prdy_vrss_sign
    nav_change_percent          change            nav_prdy_ctrt nav_prdy_vrss_sign
    previous_nav                price             prdy_last_nav
    premium_percent             number            dprt
    tracking_error_percent      number            trc_errt
    tracking_multiple           price             etf_trc_ert_mltp
    net_assets                  hundred_millions  etf_ntas_ttam
    listed_shares               whole             lstn_stcn
    circulating_shares          whole             etf_crcl_stcn
    creation_unit_shares        whole             etf_cu_unit_scrt_cnt
    component_count             whole             etf_cnfg_issu_cnt
    year_high                   price             stck_dryy_hgpr
    year_high_on                day               dryy_hgpr_date
    year_low                    price             stck_dryy_lwpr
    year_low_on                 day               dryy_lwpr_date
    foreign_shares              whole             frgn_hldn_qty
    foreign_percent             number            frgn_hldn_qty_rate
    liquidity_provider_percent  number            lp_hldn_rate
    listed_on                   day               stck_lstn_date
    matures_on                  day               mtrt_date
    currency                    text              crcd
    dividend_cycle              text              etf_dvdn_cycl
    classification              text              etf_div_name
    sector                      text              etf_rprs_bstp_kor_isnm
    issuer                      text              mbcr_name
    """,
    one=True,
    required="price",
)

NAV_DAY: Final = Record(
    NavDay,
    """
    symbol              text         @symbol
    day                 certain_day  stck_bsop_date
    close               amount       stck_clpr
    nav                 price        nav
    price_minus_nav     number       nav_vrss_prpr
    premium_percent     number       dprt
    nav_change_percent  change       nav_prdy_ctrt nav_prdy_vrss_sign
    volume              amount       acml_vol
    """,
    key="stck_bsop_date",
    order="day",
)
