"""The contract of every KIS call that we make, stated without the code that keeps it (docs/kis.md#calls).

A `Contract` is one call: how it is asked, what must then be on the wire, and which attribute of the result each field
becomes. `answer_of` writes a body from the documents' list of fields in which every field has a value of its own, so
that two fields taken for each other are seen.
"""

import json
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import NamedTuple

from observer.base.local_time import local_ns
from observer.brokers.http import decode
from observer.brokers.kis import calls
from observer.brokers.kis.client import KisClient
from tests.simulator.documented_calls import DOCUMENTED

SYMBOL = "005930"
FIRST, LAST = date(2026, 1, 1), date(2026, 4, 30)
DAY = date(2026, 2, 3)
BY_TR_ID = {call.tr_id: call for call in DOCUMENTED}
HUNDRED_MILLION = 1e8

DATES = {"bass_dt", "stck_bsop_date", "stck_lstn_date", "mtrt_date"}
FLAGS = {"mang_issu_cls_code", "vi_cls_code"}


class Contract(NamedTuple):
    """One call. `table` has a line for each attribute of the result: its name, the field, `x1e8` for the factor."""

    call: calls.KisCall
    ask: Callable
    query: Mapping[str, str]
    table: str
    priority: str = "normal"

    def __repr__(self) -> str:
        return self.call.name

    def __hash__(self) -> int:
        return hash(self.call.name)

    @property
    def attributes(self) -> dict[str, tuple[str, float]]:
        """Of the result -> the field, and the factor between them."""
        lines = [line.split() for line in self.table.splitlines() if line.strip()]
        return {name: (field, HUNDRED_MILLION if more else 1.0) for name, field, *more in lines}


def value_of(name: str, index: int) -> str:
    """A value that the field can have and no other field of the answer has (flags and sign codes excepted)."""
    if name == "stck_cntg_hour":
        return f"0900{index:02}"
    if name in DATES or name.endswith(("_date", "_dt")):
        return (FIRST + timedelta(days=index)).strftime("%Y%m%d")
    if name.endswith("_yn") or name in FLAGS:
        return "Y"
    return "2" if name.endswith("sign") else str(1001 + index)


def row_of(call: calls.KisCall) -> dict[str, str]:
    """One row with all fields of the documents."""
    names = BY_TR_ID[call.transaction].fields.split()
    fields = {name: value_of(name, index) for index, name in enumerate(names)}
    return {**fields, "stck_shrn_iscd": SYMBOL} if call is calls.QUOTE_DETAIL else fields


def answer_of(call: calls.KisCall) -> dict[str, object]:
    """A well-formed answer: lists where the documents have several rows, and fields that no client reads."""
    row = {**row_of(call), "a_field_of_next_year": "x"}
    envelope = {"rt_cd": "0", "msg_cd": "MCA00000", "msg1": "정상처리 되었습니다."}
    return {**envelope, "ctx_area_fk": "FK", "ctx_area_nk": "NK", "output": [row], "output1": row, "output2": [row]}


GIVEN = {"symbol": SYMBOL, "symbols": {SYMBOL: SYMBOL}, "exchange": "NASD", "day": "20260203"}
"""What rows do not repeat of the question."""


def read(contract: Contract, content: bytes) -> list:
    """The rows of one answer."""
    call = contract.call
    return call.read(decode(content, call.record.body_type, call.name), GIVEN)


def encoded(answer: object) -> bytes:
    return json.dumps(answer, ensure_ascii=False).encode()


def asking(method: str, *arguments: object) -> Callable:
    """A method of the client."""
    return lambda pipeline: getattr(KisClient(pipeline), method)(*arguments)


def fetched(call: calls.KisCall, **arguments: object) -> Callable:
    """A call without a method of the client."""
    return asking("fetch", call, arguments)


ONE = {"FID_COND_MRKT_DIV_CODE": "J", "FID_INPUT_ISCD": SYMBOL}
SPAN = {"FID_INPUT_DATE_1": "20260101", "FID_INPUT_DATE_2": "20260430"}
TWO = {
    "FID_COND_MRKT_DIV_CODE_1": "J",
    "FID_INPUT_ISCD_1": SYMBOL,
    "FID_COND_MRKT_DIV_CODE_2": "J",
    "FID_INPUT_ISCD_2": "0004Y0",
}
MINUTE_NS = local_ns(date(2026, 1, 9), 9, 0)
"""A row of the minute bars says day 8 after the first of January and 09:00:09."""
MINUTE = (SYMBOL, MINUTE_NS, MINUTE_NS + 59 * 10**9)
BAR = """
    open   stck_oprc
    high   stck_hgpr
    low    stck_lwpr
    value  acml_tr_pbmn
"""
MINUTE_BAR = f"""{BAR}
    close   stck_prpr
    volume  cntg_vol
"""
PRICES = """
    price        stck_prpr
    open         stck_oprc
    high         stck_hgpr
    low          stck_lwpr
    upper_limit  stck_mxpr
    lower_limit  stck_llam
"""

CONTRACTS = [
    Contract(
        calls.QUOTES,
        asking("quotes", [SYMBOL, "0004Y0"]),
        TWO,
        """
        symbol             inter_shrn_iscd
        price              inter2_prpr
        open               inter2_oprc
        high               inter2_hgpr
        low                inter2_lwpr
        previous_close     inter2_prdy_clpr
        upper_limit        inter2_mxpr
        lower_limit        inter2_llam
        bid                inter2_bidp
        ask                inter2_askp
        cumulative_volume  acml_vol
        cumulative_value   acml_tr_pbmn
        """,
        "bulk",
    ),
    Contract(
        calls.DAILY_BARS,
        asking("daily_bars", SYMBOL, FIRST, LAST),
        {**ONE, **SPAN, "FID_PERIOD_DIV_CODE": "D", "FID_ORG_ADJ_PRC": "1"},
        f"""{BAR}
        close   stck_clpr
        volume  acml_vol
        """,
        "background",
    ),
    Contract(
        calls.MINUTE_BARS,
        asking("minute_bars", *MINUTE),
        {**ONE, "FID_INPUT_HOUR_1": "090059", "FID_PW_DATA_INCU_YN": "N", "FID_ETC_CLS_CODE": ""},
        MINUTE_BAR,
        "urgent",
    ),
    Contract(
        calls.PAST_MINUTE_BARS,
        asking("past_minute_bars", *MINUTE),
        {
            **ONE,
            "FID_INPUT_HOUR_1": "090059",
            "FID_INPUT_DATE_1": "20260109",
            "FID_PW_DATA_INCU_YN": "Y",
            "FID_FAKE_TICK_INCU_YN": "",
        },
        MINUTE_BAR,
        "urgent",
    ),
    Contract(
        calls.TRADES,
        asking("trades_between", SYMBOL, local_ns(DAY, 9), local_ns(DAY, 9, 1)),
        {**ONE, "FID_INPUT_HOUR_1": "090100"},
        """
        price              stck_pbpr
        volume             cnqn
        cumulative_volume  acml_vol
        bid                bidp
        ask                askp
        """,
        "urgent",
    ),
    Contract(
        calls.QUOTE_DETAIL,
        fetched(calls.QUOTE_DETAIL, symbol=SYMBOL),
        ONE,
        f"""{PRICES}
        symbol                      stck_shrn_iscd
        base_price                  stck_sdpr
        average_price               wghn_avrg_stck_prc
        change                      prdy_vrss
        change_percent              prdy_ctrt
        cumulative_volume           acml_vol
        cumulative_value            acml_tr_pbmn
        listed_shares               lstn_stcn
        market_cap                  hts_avls            x1e8
        tick_size                   aspr_unit
        par_value                   stck_fcam
        price_earnings_ratio        per
        price_book_ratio            pbr
        earnings_per_share          eps
        book_value_per_share        bps
        high_52_weeks               w52_hgpr
        high_52_weeks_on            w52_hgpr_date
        low_52_weeks                w52_lwpr
        low_52_weeks_on             w52_lwpr_date
        foreign_limit_used_percent  hts_frgn_ehrt
        foreign_shares              frgn_hldn_qty
        sector                      bstp_kor_isnm
        market_warning              mrkt_warn_cls_code
        suspended                   temp_stop_yn
        under_administration        mang_issu_cls_code
        in_liquidation              sltr_yn
        overheated                  short_over_yn
        interrupted                 vi_cls_code
        """,
    ),
    Contract(
        calls.STOCK,
        fetched(calls.STOCK, symbol=SYMBOL),
        {"PRDT_TYPE_CD": "300", "PDNO": SYMBOL},
        """
        isin                  std_pdno
        name                  prdt_abrv_name
        english_name          prdt_eng_name
        market                mket_id_cd
        group                 scty_grp_id_cd
        listed_shares         lstg_stqt
        capital               lstg_cptl_amt
        par_value             papr
        issue_price           issu_pric
        listed_on             scts_mket_lstg_dt
        delisted_on           lstg_abol_dt
        sector_large          idx_bztp_lcls_cd_name
        sector_medium         idx_bztp_mcls_cd_name
        sector_small          idx_bztp_scls_cd_name
        industry              std_idst_clsf_cd_name
        in_kospi200           kospi200_item_yn
        suspended             tr_stop_yn
        under_administration  admn_item_yn
        tracking_multiple     etf_chas_erng_rt_dbnb
        creation_unit_shares  etf_cu_qty
        on_nxt                cptt_trad_tr_psbl_yn
        suspended_on_nxt      nxt_tr_stop_yn
        """,
    ),
    Contract(
        calls.SESSIONS,
        asking("sessions", FIRST, FIRST),
        {"BASS_DT": "20260101", "CTX_AREA_FK": "", "CTX_AREA_NK": ""},
        """
        day             bass_dt
        opens           opnd_yn
        business_day    bzdy_yn
        trading_day     tr_day_yn
        settlement_day  sttl_day_yn
        """,
    ),
    Contract(
        calls.ETF_QUOTE,
        asking("etf_quote", SYMBOL),
        ONE,
        f"""{PRICES}
        previous_close              stck_prdy_clpr
        change_percent              prdy_ctrt
        cumulative_volume           acml_vol
        nav                         nav
        nav_change                  nav_prdy_vrss
        nav_change_percent          nav_prdy_ctrt
        previous_nav                prdy_last_nav
        premium_percent             dprt
        tracking_error_percent      trc_errt
        tracking_multiple           etf_trc_ert_mltp
        net_assets                  etf_ntas_ttam           x1e8
        listed_shares               lstn_stcn
        circulating_shares          etf_crcl_stcn
        creation_unit_shares        etf_cu_unit_scrt_cnt
        component_count             etf_cnfg_issu_cnt
        year_high                   stck_dryy_hgpr
        year_high_on                dryy_hgpr_date
        year_low                    stck_dryy_lwpr
        year_low_on                 dryy_lwpr_date
        foreign_shares              frgn_hldn_qty
        foreign_percent             frgn_hldn_qty_rate
        liquidity_provider_percent  lp_hldn_rate
        listed_on                   stck_lstn_date
        matures_on                  mtrt_date
        currency                    crcd
        dividend_cycle              etf_dvdn_cycl
        classification              etf_div_name
        sector                      etf_rprs_bstp_kor_isnm
        issuer                      mbcr_name
        """,
        "bulk",
    ),
    Contract(
        calls.NAV_DAYS,
        asking("nav_days", SYMBOL, FIRST, LAST),
        {**ONE, **SPAN},
        """
        day                 stck_bsop_date
        close               stck_clpr
        nav                 nav
        price_minus_nav     nav_vrss_prpr
        premium_percent     dprt
        nav_change_percent  nav_prdy_ctrt
        volume              acml_vol
        """,
        "bulk",
    ),
    Contract(
        calls.OVERSEAS_INSTRUMENT,
        fetched(calls.OVERSEAS_INSTRUMENT, exchange="NASD", symbol="AAPL"),
        {"PRDT_TYPE_CD": "512", "PDNO": "AAPL"},
        """
        isin               std_pdno
        name               prdt_name
        english_name       prdt_eng_name
        country            natn_cd
        market             tr_mket_cd
        currency           tr_crcy_cd
        kind               ovrs_stck_dvsn_cd
        classification     prdt_clsf_cd
        listed             lstg_yn
        delisted           lstg_abol_item_yn
        listed_on          lstg_dt
        delisted_on        lstg_abol_dt
        listed_shares      lstg_stck_num
        par_value          ovrs_papr
        trading_stop       ovrs_stck_tr_stop_dvsn_cd
        tracking_multiple  etp_chas_erng_rt_dbnb
        sedol              sedol_no
        bloomberg_ticker   blbg_tckr_text
        lei                lei_cd
        replaces           chng_bf_pdno
        """,
    ),
]
