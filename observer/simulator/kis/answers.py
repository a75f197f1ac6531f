"""Every answer as a table: its fields, as KIS documents them, and what the simulated market fills them with. Pure.

An answer has all of its fields, in this order; a field that the simulated market cannot fill is blank, as it often is
at KIS. `NAME=TEXT` fills a field with a text, in which `{...}` is a figure of `shown` or of the caller. Here are also
the parsing of a query and the wire format of figures.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from observer.simulator.kis.authentication import Refusal
from observer.simulator.kis.frames import change_fields, sign_code
from observer.simulator.market.instruments import Instrument, price_limits
from observer.simulator.market.market import Market, hhmmss

Row = dict[str, str]


class Block(msgspec.Struct, frozen=True):
    """The fields of a row, in their order, and the texts that fill some of them."""

    names: tuple[str, ...]
    texts: Mapping[str, str]


def _block(table: str) -> Block:
    words = [word.partition("=") for word in table.split()]
    return Block(tuple(name for name, _, _ in words), {name: text for name, _, text in words if text})


# 주식현재가 시세, output
SINGLE_QUOTE: Final = _block(
    """
    iscd_stat_cls_code={status} marg_rate=40.00 rprs_mrkt_kor_name={listed.exchange} new_hgpr_lwpr_cls_code
    bstp_kor_isnm temp_stop_yn={stopped} oprc_rang_cont_yn clpr_rang_cont_yn crdt_able_yn=Y grmn_rate_cls_code
    elw_pblc_yn=N stck_prpr={state.price} prdy_vrss={change} prdy_vrss_sign={sign} prdy_ctrt={rate}
    acml_tr_pbmn={state.cumulative_value} acml_vol={state.cumulative_volume} prdy_vrss_vol_rate={volume_rate}
    stck_oprc={state.open} stck_hgpr={state.high} stck_lwpr={state.low} stck_mxpr={highest} stck_llam={lowest}
    stck_sdpr={listed.base_price} wghn_avrg_stck_prc={average:.2f} hts_frgn_ehrt frgn_ntby_qty pgtr_ntby_qty
    pvt_scnd_dmrs_prc pvt_frst_dmrs_prc pvt_pont_val pvt_frst_dmsp_prc pvt_scnd_dmsp_prc dmrs_val dmsp_val
    cpfn={capital} rstc_wdth_prc={width} stck_fcam=5000 stck_sspr={floor} aspr_unit={tick} hts_deal_qty_unit_val=1
    lstn_stcn={shares} hts_avls={listed.market_cap_100m} per=10.00 pbr=1.00 stac_month=12 vol_tnrt={turnover}
    eps={eps:.2f} bps={listed.base_price:.2f} d250_hgpr={high[0]} d250_hgpr_date={high[1]}
    d250_hgpr_vrss_prpr_rate={from_high} d250_lwpr={low[0]} d250_lwpr_date={low[1]}
    d250_lwpr_vrss_prpr_rate={from_low} stck_dryy_hgpr dryy_hgpr_vrss_prpr_rate dryy_hgpr_date stck_dryy_lwpr
    dryy_lwpr_vrss_prpr_rate dryy_lwpr_date w52_hgpr={high[0]} w52_hgpr_vrss_prpr_ctrt={from_high}
    w52_hgpr_date={high[1]} w52_lwpr={low[0]} w52_lwpr_vrss_prpr_ctrt={from_low} w52_lwpr_date={low[1]}
    whol_loan_rmnd_rate ssts_yn stck_shrn_iscd={listed.symbol} fcam_cnnm={par} cpfn_cnnm apprch_rate frgn_hldn_qty
    vi_cls_code={interrupted} ovtm_vi_cls_code=N last_ssts_cntg_qty invt_caful_yn=N mrkt_warn_cls_code=00
    short_over_yn=N sltr_yn={settling} mang_issu_cls_code={administrative}
    """
)
# 관심종목 멀티 시세, output
MULTI_QUOTE: Final = _block(
    """
    kospi_kosdaq_cls_name={listed.exchange} mrkt_trtm_cls_name hour_cls_code=0 inter_shrn_iscd={listed.symbol}
    inter_kor_isnm={listed.name} inter2_prpr={state.price} inter2_prdy_vrss={change} prdy_vrss_sign={sign}
    prdy_ctrt={rate} acml_vol={state.cumulative_volume} inter2_oprc={state.open} inter2_hgpr={state.high}
    inter2_lwpr={state.low} inter2_llam={lowest} inter2_mxpr={highest} inter2_askp={state.ask}
    inter2_bidp={state.bid} seln_rsqn={at_ask} shnu_rsqn={at_bid} total_askp_rsqn={total} total_bidp_rsqn={total}
    acml_tr_pbmn={state.cumulative_value} inter2_prdy_clpr={listed.base_price} oprc_vrss_hgpr_rate={rise}
    intr_antc_cntg_vrss intr_antc_cntg_vrss_sign intr_antc_cntg_prdy_ctrt intr_antc_vol
    inter2_sdpr={listed.base_price}
    """
)
# 기간별시세, output1
DAILY_SUMMARY: Final = _block(
    """
    prdy_vrss={change} prdy_vrss_sign={sign} prdy_ctrt={rate} stck_prdy_clpr={listed.base_price}
    acml_vol={state.cumulative_volume} acml_tr_pbmn={state.cumulative_value} hts_kor_isnm={listed.name}
    stck_prpr={state.price} stck_shrn_iscd={listed.symbol} prdy_vol={listed.previous_volume} stck_mxpr={highest}
    stck_llam={lowest} stck_oprc={state.open} stck_hgpr={state.high} stck_lwpr={state.low}
    stck_prdy_oprc={yesterday.open} stck_prdy_hgpr={yesterday.high} stck_prdy_lwpr={yesterday.low} askp={state.ask}
    bidp={state.bid} prdy_vrss_vol={more_volume} vol_tnrt={turnover} stck_fcam lstn_stcn={shares} cpfn
    hts_avls={listed.market_cap_100m} per eps pbr itewhol_loan_rmnd_ratem
    """
)
# 기간별시세, output2
DAILY_ROW: Final = _block(
    """
    stck_bsop_date={bar.day} stck_clpr={bar.close} stck_oprc={bar.open} stck_hgpr={bar.high} stck_lwpr={bar.low}
    acml_vol={bar.volume} acml_tr_pbmn={bar.value} flng_cls_code=00 prtt_rate=0.00 mod_yn=N prdy_vrss_sign={sign}
    prdy_vrss={change} revl_issu_reas
    """
)
# 당일분봉 and 일별분봉, output1
MINUTE_SUMMARY: Final = _block(
    """
    prdy_vrss={change} prdy_vrss_sign={sign} prdy_ctrt={rate} stck_prdy_clpr={listed.base_price}
    acml_vol={state.cumulative_volume} acml_tr_pbmn={state.cumulative_value} hts_kor_isnm={listed.name}
    stck_prpr={state.price}
    """
)
# 당일분봉 and 일별분봉, output2
MINUTE_ROW: Final = _block(
    """
    stck_bsop_date={day} stck_cntg_hour={bar.start_hhmmss} stck_prpr={bar.close} stck_oprc={bar.open}
    stck_hgpr={bar.high} stck_lwpr={bar.low} cntg_vol={bar.volume} acml_tr_pbmn={bar.value_after}
    """
)
# 당일시간대별체결, output1
SALES_SUMMARY: Final = _block(
    """
    stck_prpr={state.price} prdy_vrss={change} prdy_vrss_sign={sign} prdy_ctrt={rate}
    acml_vol={state.cumulative_volume} prdy_vol={listed.previous_volume} rprs_mrkt_kor_name={listed.exchange}
    """
)
# 당일시간대별체결, output2; the documents label the price stck_pbpr (docs/kis.md#time-and-sales)
SALES_ROW: Final = _block(
    """
    stck_cntg_hour stck_prpr prdy_vrss prdy_vrss_sign prdy_ctrt askp bidp tday_rltv acml_vol cnqn
    """
)
# 주식현재가 일자별, output
DAILY_PRICE: Final = _block(
    """
    stck_bsop_date={bar.day} stck_oprc={bar.open} stck_hgpr={bar.high} stck_lwpr={bar.low} stck_clpr={bar.close}
    acml_vol={bar.volume} prdy_vrss_vol_rate={volume_rate} prdy_vrss={change} prdy_vrss_sign={sign} prdy_ctrt={rate}
    hts_frgn_ehrt=0.00 frgn_ntby_qty=0 flng_cls_code=00 acml_prtt_rate=1.00
    """
)
# 주식현재가 호가/예상체결, output1
_LEVELS: Final = range(1, 11)
ASKING_PRICES: Final = _block(
    "aspr_acpt_hour={time}"
    + "".join(f" {name}{level}" for name in ("askp", "bidp", "askp_rsqn", "bidp_rsqn") for level in _LEVELS)
    + "".join(f" {name}_rsqn_icdc{level}" for name in ("askp", "bidp") for level in _LEVELS)
    + """
    total_askp_rsqn={asked} total_bidp_rsqn={bid} total_askp_rsqn_icdc total_bidp_rsqn_icdc ovtm_total_askp_icdc
    ovtm_total_bidp_icdc ovtm_total_askp_rsqn ovtm_total_bidp_rsqn ntby_aspr_rsqn={net} new_mkop_cls_code={session}0
    """
)
# 주식현재가 호가/예상체결, output2
ASKING_EXPECTED: Final = _block(
    """
    antc_mkop_cls_code stck_prpr={state.price} stck_oprc={state.open} stck_hgpr={state.high} stck_lwpr={state.low}
    stck_sdpr={listed.base_price} antc_cnpr=0 antc_cntg_vrss_sign antc_cntg_vrss antc_cntg_prdy_ctrt antc_vol=0
    stck_shrn_iscd={listed.symbol} vi_cls_code=N
    """
)
# 주식현재가 시세2, output
SECOND_QUOTE: Final = _block(
    """
    rprs_mrkt_kor_name={listed.exchange} new_hgpr_lwpr_cls_code mxpr_llam_cls_code crdt_able_yn stck_mxpr={highest}
    elw_pblc_yn prdy_clpr_vrss_oprc_rate={opened} crdt_rate marg_rate lwpr_vrss_prpr={off_low}
    lwpr_vrss_prpr_sign={off_low_sign} prdy_clpr_vrss_lwpr_rate={lowered} stck_lwpr={state.low}
    hgpr_vrss_prpr={off_high} hgpr_vrss_prpr_sign={off_high_sign} prdy_clpr_vrss_hgpr_rate={raised}
    stck_hgpr={state.high} oprc_vrss_prpr={off_open} oprc_vrss_prpr_sign={off_open_sign}
    mang_issu_yn={administrative} divi_app_cls_code short_over_yn mrkt_warn_cls_code=00 invt_caful_yn stange_runup_yn
    ssts_hot_yn low_current_yn vi_cls_code short_over_cls_code stck_llam={lowest} new_lstn_cls_name
    vlnt_deal_cls_name flng_cls_name revl_issu_reas_name mrkt_warn_cls_name stck_sdpr={listed.base_price}
    bstp_cls_code stck_prdy_clpr={listed.base_price} insn_pbnt_yn fcam_mod_cls_name stck_prpr={state.price}
    prdy_vrss={change} prdy_vrss_sign={sign} prdy_ctrt={rate} acml_tr_pbmn={state.cumulative_value}
    acml_vol={state.cumulative_volume} prdy_vrss_vol_rate={volume_rate} bstp_kor_isnm sltr_yn={settling}
    trht_yn={halted} oprc_rang_cont_yn vlnt_fin_cls_code stck_oprc={state.open} prdy_vol={listed.previous_volume}
    """
)
# 주식현재가 투자자, output
INVESTOR_DAY: Final = _block(
    """
    stck_bsop_date={bar.day} stck_clpr={bar.close} prdy_vrss={change} prdy_vrss_sign={sign} prsn_ntby_qty
    frgn_ntby_qty orgn_ntby_qty prsn_ntby_tr_pbmn frgn_ntby_tr_pbmn orgn_ntby_tr_pbmn prsn_shnu_vol frgn_shnu_vol
    orgn_shnu_vol prsn_shnu_tr_pbmn frgn_shnu_tr_pbmn orgn_shnu_tr_pbmn prsn_seln_vol frgn_seln_vol orgn_seln_vol
    prsn_seln_tr_pbmn frgn_seln_tr_pbmn orgn_seln_tr_pbmn
    """
)
# 국내휴장일조회, output
HOLIDAY: Final = _block(
    """
    bass_dt={day:%Y%m%d} wday_dvsn_cd={weekday:02d} bzdy_yn={opened} tr_day_yn={opened} opnd_yn={opened}
    sttl_day_yn={opened}
    """
)
# 주식기본조회, output
STOCK_INFORMATION: Final = _block(
    """
    pdno={product} prdt_type_cd=300 prdt_name={listed.name} prdt_name120={listed.name} prdt_abrv_name={listed.name}
    prdt_eng_name prdt_eng_name120 prdt_eng_abrv_name mket_id_cd={market} scty_grp_id_cd={listed.group}
    excg_dvsn_cd={division} setl_mmdd=1231 lstg_stqt={shares} lstg_cptl_amt cpta papr=5000 issu_pric
    kospi200_item_yn=N scts_mket_lstg_dt={in_kospi} scts_mket_lstg_abol_dt kosdaq_mket_lstg_dt={in_kosdaq}
    kosdaq_mket_lstg_abol_dt frbd_mket_lstg_dt frbd_mket_lstg_abol_dt reits_kind_cd etf_dvsn_cd={is_etf} oilf_fund_yn
    idx_bztp_lcls_cd idx_bztp_mcls_cd idx_bztp_scls_cd idx_bztp_lcls_cd_name idx_bztp_mcls_cd_name
    idx_bztp_scls_cd_name stck_kind_cd={kind} mfnd_opng_dt mfnd_end_dt dpsi_erlm_cncl_dt etf_cu_qty={unit}
    std_pdno={listed.isin} dpsi_aptm_erlm_yn etf_txtn_type_cd etf_type_cd lstg_abol_dt nwst_odst_dvsn_cd sbst_pric
    thco_sbst_pric thco_sbst_pric_chng_dt tr_stop_yn={suspended} admn_item_yn={administrative} thdt_clpr={close}
    bfdy_clpr={listed.base_price} clpr_chng_dt={day} std_idst_clsf_cd std_idst_clsf_cd_name ocr_no crfd_item_yn
    elec_scty_yn=Y issu_istt_cd etf_chas_erng_rt_dbnb={multiple} etf_etn_ivst_heed_item_yn stln_int_rt_dvsn_cd
    frnr_psnl_lmt_rt lstg_rqsr_issu_istt_cd lstg_rqsr_item_cd trst_istt_issu_istt_cd cptt_trad_tr_psbl_yn={at_nxt}
    nxt_tr_stop_yn={stopped_at_nxt}
    """
)
# 상품기본조회, output
PRODUCT_INFORMATION: Final = _block(
    """
    pdno={product} prdt_type_cd=300 std_pdno={listed.isin} shtn_pdno={listed.symbol} prdt_sale_stat_cd
    prdt_risk_grad_cd prdt_clsf_cd={listed.group}1 sale_strt_dt={listed.listed_on} sale_end_dt=99991231
    wrap_asst_type_cd ivst_prdt_type_cd frst_erlm_dt={listed.listed_on} prdt_clsf_name
    """
)
# ETF/ETN 현재가, output
ETF_QUOTE: Final = _block(
    """
    stck_prpr={state.price} prdy_vrss_sign={sign} prdy_vrss={change} prdy_ctrt={rate}
    acml_vol={state.cumulative_volume} prdy_vol={listed.previous_volume} stck_mxpr={highest} stck_llam={lowest}
    stck_prdy_clpr={listed.base_price} stck_oprc={state.open} prdy_clpr_vrss_oprc_rate={opened}
    stck_hgpr={state.high} prdy_clpr_vrss_hgpr_rate={raised} stck_lwpr={state.low} prdy_clpr_vrss_lwpr_rate={lowered}
    prdy_last_nav={previous_nav} nav={nav} nav_prdy_vrss={nav_change} nav_prdy_vrss_sign={nav_sign}
    nav_prdy_ctrt={nav_rate} trc_errt=0.35 stck_sdpr={listed.base_price} stck_sspr={floor} nmix_ctrt
    etf_crcl_stcn={shares} etf_ntas_ttam={assets} etf_frcr_ntas_ttam frgn_limt_rate frgn_oder_able_qty
    etf_cu_unit_scrt_cnt=50000 etf_cnfg_issu_cnt={components} etf_dvdn_cycl=3 crcd=KRW etf_crcl_ntas_ttam={assets}
    etf_frcr_crcl_ntas_ttam etf_frcr_last_ntas_wrth_val lp_oder_able_cls_code=Y stck_dryy_hgpr
    dryy_hgpr_vrss_prpr_rate dryy_hgpr_date stck_dryy_lwpr dryy_lwpr_vrss_prpr_rate dryy_lwpr_date bstp_kor_isnm
    vi_cls_code=N lstn_stcn={shares} frgn_hldn_qty frgn_hldn_qty_rate etf_trc_ert_mltp=1.00 dprt={premium} mbcr_name
    stck_lstn_date={listed.listed_on} mtrt_date shrg_type_code lp_hldn_rate etf_trgt_nmix_bstp_code etf_div_name=ETF
    etf_rprs_bstp_kor_isnm lp_hldn_vol
    """
)
# NAV 비교추이 (일), output
NAV_DAY: Final = _block(
    """
    stck_bsop_date={bar.day} stck_clpr={bar.close} prdy_vrss={change} prdy_vrss_sign={sign} prdy_ctrt={rate}
    acml_vol={bar.volume} cntg_vol={bar.volume} dprt={premium} nav_vrss_prpr={beside} nav={nav}
    nav_prdy_vrss_sign={nav_sign} nav_prdy_vrss={nav_change} nav_prdy_ctrt={nav_rate}
    """
)
# 해외주식 상품기본정보, output
OVERSEAS_INFORMATION: Final = _block(
    """
    std_pdno prdt_eng_name={listing.name} natn_cd natn_name={listing.country} tr_mket_cd
    tr_mket_name={listing.exchange} ovrs_excg_cd={listing.exchange} ovrs_excg_name={listing.exchange}
    tr_crcy_cd={listing.currency} ovrs_papr crcy_name={listing.currency} ovrs_stck_dvsn_cd={kind} prdt_clsf_cd
    prdt_clsf_name sll_unit_qty=1 buy_unit_qty=1 tr_unit_amt lstg_stck_num=1000000000 lstg_dt=20200102
    ovrs_stck_tr_stop_dvsn_cd=01 lstg_abol_item_yn=N ovrs_stck_prdt_grp_no lstg_yn=Y tax_levy_yn
    ovrs_stck_erlm_rosn_cd ovrs_stck_hist_rght_dvsn_cd chng_bf_pdno prdt_type_cd_2 ovrs_item_name={listing.name}
    sedol_no blbg_tckr_text ovrs_stck_etf_risk_drtp_cd etp_chas_erng_rt_dbnb istt_usge_isin_cd mint_svc_yn
    mint_svc_yn_chng_dt prdt_name={listing.name} lei_cd ovrs_stck_stop_rson_cd lstg_abol_dt mini_stk_tr_stat_dvsn_cd
    mint_frst_svc_erlm_dt mint_dcpt_trad_psbl_yn mint_fnum_trad_psbl_yn mint_cblc_cvsn_ipsb_yn ptp_item_yn
    ptp_item_trfx_exmt_yn ptp_item_trfx_exmt_strt_dt ptp_item_trfx_exmt_end_dt dtm_tr_psbl_yn sdrf_stop_ecls_yn
    sdrf_stop_ecls_erlm_dt memo_text1 ovrs_now_pric1={close:.5f} last_rcvg_dtime={day}080000
    """
)


def row(block: Block, figures: Mapping[str, object] = {}, **fields: str) -> Row:
    """A row with all its documented fields, filled with these figures; `fields` are filled as they are."""
    assert fields.keys() <= set(block.names), f"not documented: {sorted(fields.keys() - set(block.names))}"
    filled = {name: text.format_map(figures) for name, text in block.texts.items()} | fields
    return {name: filled.get(name, "") for name in block.names}


def nothing(block: Block) -> Row:
    """The block that KIS answers for an unknown symbol: "0" in every field that looks like a number."""
    return dict.fromkeys(block.names, "0")


def shown(market: Market, listed: Instrument, now_ns: int) -> dict[str, object]:
    """The figures of a listing at a moment that several answers have."""
    state, base = market.state_at(listed.symbol, now_ns), listed.base_price
    lowest, highest = price_limits(base)
    return {
        "listed": listed,
        "state": state,
        **change(listed, state.price),
        "lowest": lowest,
        "highest": highest,
        "floor": base * 7 // 10,
        "shares": shares_of(listed),
        "more_volume": state.cumulative_volume - listed.previous_volume,
        "volume_rate": percent(state.cumulative_volume, listed.previous_volume),
        "turnover": percent(state.cumulative_volume, shares_of(listed)),
        "opened": percent(state.open - base, base) if state.trades else "0.00",
        "raised": percent(state.high - base, base) if state.trades else "0.00",
        "lowered": percent(state.low - base, base) if state.trades else "0.00",
        "administrative": yes(listed.administrative),
        "settling": yes(listed.settlement_trading),
        "suspended": yes(listed.suspended),
    }


def yes(value: bool) -> str:
    """A flag as the wire has it."""
    return "Y" if value else "N"


Body = Mapping[str, Row | list[Row] | str]
Query = Mapping[str, str]

VENUES: Final = ("J", "NX", "UN")
_LATEST: Final = "235959"


class AnswerPage(msgspec.Struct, frozen=True):
    """A body with possible further pages. `number` counts the pages of one query from 1."""

    body: Body
    number: int
    more: bool


def required(query: Query, name: str) -> str:
    """The value of a required parameter. Raises Refusal."""
    value = query.get(name, "")
    if not value:
        raise input_refusal(name)
    return value


def one_of(query: Query, name: str, allowed: tuple[str, ...]) -> str:
    """The value of a parameter with fixed choices. Raises Refusal."""
    value = required(query, name)
    if value not in allowed:
        raise input_refusal(name)
    return value


def wants_adjusted(query: Query) -> bool:
    """Whether bars in today's shares are asked for: 0 or 1, which older clients pad with zeros. Raises Refusal."""
    padded = one_of(query, "FID_ORG_ADJ_PRC", ("0", "1", "0" * 10, "1".zfill(10)))
    return int(padded) == 0


def input_refusal(name: str) -> Refusal:
    """The refusal of a missing or unreadable parameter."""
    return Refusal("OPSQ2001", f"ERROR INPUT FIELD NOT FOUND [{name}]", 200)


def asked_instrument(market: Market, query: Query, venues: tuple[str, ...] = VENUES) -> Instrument | None:
    """The queried listing; None for an unknown symbol. Raises Refusal (no symbol, or no such venue)."""
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
    """A ratio as percent with two decimals; 0.00 for a ratio to zero."""
    return f"{100 * part / whole if whole else 0:.2f}"


def change(instrument: Instrument, price: int) -> Row:
    """The change against the base price: won with its sign, sign code, percent."""
    sign, difference, rate = change_fields(instrument, price)
    return {"change": difference, "sign": sign, "rate": rate}


def moved(price: int, before: int) -> Row:
    """As `change`, against another price."""
    difference = price - before
    return {"change": str(difference), "sign": sign_code(difference), "rate": percent(difference, before)}


def shares_of(instrument: Instrument) -> int:
    """Listed shares."""
    return instrument.listed_shares_thousands * 1_000
