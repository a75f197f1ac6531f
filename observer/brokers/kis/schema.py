"""KIS's answers: one declaration per body, KIS's field names beside our attributes (docs/kis.md#calls). Pure.

A struct that only KIS fills carries its rules in its annotations; the structs of all brokers (`providers.broker`,
`domestic`, `etf`) get a table of rules. A new call is a struct and a `Record` here, and one line in `calls.py`.

Units: prices and amounts in the listing's currency, `_percent` in percent, volumes in shares, times in UTC
nanoseconds. None means that KIS gives none, never zero. Codes and texts are KIS's own, empty where it gives none.
"""

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Final, Literal

import msgspec

from observer.brokers.broker import Bar, PastTrade, Quote
from observer.brokers.domestic import SessionDay
from observer.brokers.etf import EtfQuote, NavDay
from observer.brokers.kis import values, venues
from observer.brokers.kis.decoder import Nested, Record, either, together

# --- rules: see the functions of `values` for what is blank, zero or malformed ----------------------------------

text: Final = either(values.text)
amount: Final = either(values.amount)
number: Final = either(values.number)
price: Final = either(values.price)
whole: Final = either(values.whole)
hundred_millions: Final = either(values.hundred_millions)
day: Final = either(values.day)
certain_day: Final = either(values.certain_day)
yes: Final = either(values.yes)
yes_or_no: Final = either(values.yes_or_no)
signed: Final = together(values.signed)
change: Final = together(values.change)
moment: Final = together(values.read_moment)
end_moment: Final = together(values.end_moment)
base_price: Final = together(values.base_price)
venue: Final = either(venues.venue_named)
quoted_line: Final = together(venues.quoted_line)  # of a line that was asked for among others
quoted_venue: Final = together(venues.quoted_venue)

# --- quotes --------------------------------------------------------------------------------------------------

# KIS repeats the reference price as the price before the first trade of the day; where even that is blank, the previous
# close or the base price stands in.
QUOTE: Final = Record(
    Quote,
    {
        "symbol": quoted_line("inter_shrn_iscd", "@symbols"),
        "price": price("inter2_prpr", "inter2_prdy_clpr", "inter2_sdpr"),
        "open": price("inter2_oprc"),
        "high": price("inter2_hgpr"),
        "low": price("inter2_lwpr"),
        "previous_close": price("inter2_prdy_clpr"),
        "upper_limit": price("inter2_mxpr"),
        "lower_limit": price("inter2_llam"),
        "bid": price("inter2_bidp"),
        "ask": price("inter2_askp"),
        "cumulative_volume": amount("acml_vol"),
        "cumulative_value": amount("acml_tr_pbmn"),
        "venue": quoted_venue("inter_shrn_iscd", "@symbols"),
    },
    key=("inter_shrn_iscd",),
    required="price",
)


class QuoteDetail(msgspec.Struct, frozen=True, kw_only=True):
    """The single quote. `change` is against the base price, which stands in for the price before the first trade.

    `foreign_limit_used_percent` is how much of the foreigners' limit they hold; `market_warning` is 00 none, 01
    caution, 02 warning, 03 risk.
    """

    symbol: Annotated[str, text("@symbol")]
    price: Annotated[float, price("stck_prpr", "stck_sdpr")]
    base_price: Annotated[float | None, price("stck_sdpr")]
    open: Annotated[float | None, price("stck_oprc")]
    high: Annotated[float | None, price("stck_hgpr")]
    low: Annotated[float | None, price("stck_lwpr")]
    upper_limit: Annotated[float | None, price("stck_mxpr")]
    lower_limit: Annotated[float | None, price("stck_llam")]
    average_price: Annotated[float | None, price("wghn_avrg_stck_prc")]
    change: Annotated[float, signed("prdy_vrss", "prdy_vrss_sign")]
    change_percent: Annotated[float, signed("prdy_ctrt", "prdy_vrss_sign")]
    cumulative_volume: Annotated[float, amount("acml_vol")]
    cumulative_value: Annotated[float, amount("acml_tr_pbmn")]
    listed_shares: Annotated[int | None, whole("lstn_stcn")]
    market_cap: Annotated[float | None, hundred_millions("hts_avls")]
    tick_size: Annotated[float | None, price("aspr_unit")]
    par_value: Annotated[float | None, price("stck_fcam")]
    price_earnings_ratio: Annotated[float | None, price("per")]
    price_book_ratio: Annotated[float | None, price("pbr")]
    earnings_per_share: Annotated[float | None, price("eps")]
    book_value_per_share: Annotated[float | None, price("bps")]
    high_52_weeks: Annotated[float | None, price("w52_hgpr")]
    high_52_weeks_on: Annotated[date | None, day("w52_hgpr_date")]
    low_52_weeks: Annotated[float | None, price("w52_lwpr")]
    low_52_weeks_on: Annotated[date | None, day("w52_lwpr_date")]
    foreign_limit_used_percent: Annotated[float | None, number("hts_frgn_ehrt")]
    foreign_shares: Annotated[int | None, whole("frgn_hldn_qty")]
    sector: Annotated[str, text("bstp_kor_isnm")]
    market_warning: Annotated[str, text("mrkt_warn_cls_code")]
    suspended: Annotated[bool, yes("temp_stop_yn")]
    under_administration: Annotated[bool, yes("mang_issu_cls_code")]
    in_liquidation: Annotated[bool, yes("sltr_yn")]
    overheated: Annotated[bool, yes("short_over_yn")]
    interrupted: Annotated[bool, yes("vi_cls_code")]


QUOTE_DETAIL: Final = Record(QuoteDetail, one=True, key=("stck_shrn_iscd",), required="price")

# --- bars ----------------------------------------------------------------------------------------------------

# `prdy_vrss` is the change against the day's base price, also where that is not the close before it: rows seen as
# traded are 2,860 won, then 1,859 won with a change of +429, at a base of 1,430. KIS fills short answers up with empty
# rows, and returns the newest 100 days whatever was asked.
DAILY_BAR: Final = Record(
    Bar,
    {
        "symbol": text("@symbol"),
        "start_ns": moment("stck_bsop_date"),
        "open": amount("stck_oprc"),
        "high": amount("stck_hgpr"),
        "low": amount("stck_lwpr"),
        "close": amount("stck_clpr"),
        "volume": amount("acml_vol"),
        "value": amount("acml_tr_pbmn"),
        "base_price": base_price("stck_clpr", "prdy_vrss", "prdy_vrss_sign"),
        "venue": venue("@symbol"),
    },
    blocks=("output2",),
    key=("stck_bsop_date",),
    order="start_ns",
    rows_max=100,
)

# `value` is still the day's value after the minute, see `with_own_values`.
MINUTE_BAR: Final = Record(
    Bar,
    {
        "symbol": text("@symbol"),
        "start_ns": moment("stck_bsop_date", "stck_cntg_hour"),
        "open": amount("stck_oprc"),
        "high": amount("stck_hgpr"),
        "low": amount("stck_lwpr"),
        "close": amount("stck_prpr"),
        "volume": amount("cntg_vol"),
        "value": amount("acml_tr_pbmn"),
        "venue": venue("@symbol"),
    },
    blocks=("output2",),
    key=("stck_cntg_hour",),
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
    {
        "symbol": text("@symbol"),
        "exchange_time_ns": moment("@day", "stck_cntg_hour"),
        "price": amount("stck_pbpr", "stck_prpr"),
        "volume": amount("cnqn"),
        "cumulative_volume": amount("acml_vol"),
        "bid": price("bidp"),
        "ask": price("askp"),
        "venue": venue("@symbol"),
    },
    blocks=("output2",),
    key=("stck_cntg_hour",),
    order="cumulative_volume",
)


class LatestTrade(msgspec.Struct, frozen=True, gc=False):
    """One of the newest trades, to the second. `strength_percent` is the day's bought over its sold volume so far."""

    symbol: Annotated[str, text("@symbol")]
    exchange_time_ns: Annotated[int, moment("@day", "stck_cntg_hour")]
    price: Annotated[float, amount("stck_prpr")]
    volume: Annotated[float, amount("cntg_vol")]
    strength_percent: Annotated[float | None, number("tday_rltv")]


LATEST_TRADE: Final = Record(LatestTrade, key=("stck_cntg_hour",), order="exchange_time_ns")

# --- basic data ----------------------------------------------------------------------------------------------


class StockInformation(msgspec.Struct, frozen=True, kw_only=True):
    """The basic data of a domestic security.

    `group` is the security group (ST, EF, EN ...); `tracking_multiple` an ETF's multiple of its index's return;
    `creation_unit_shares` the shares of one creation unit of an ETF; `on_nxt`: traded on the alternative venue too.
    """

    symbol: Annotated[str, text("@symbol")]
    isin: Annotated[str, text("std_pdno")]
    name: Annotated[str, text("prdt_abrv_name", "prdt_name")]
    english_name: Annotated[str, text("prdt_eng_name")]
    market: Annotated[str, text("mket_id_cd")]
    group: Annotated[str, text("scty_grp_id_cd")]
    listed_shares: Annotated[int | None, whole("lstg_stqt")]
    capital: Annotated[float | None, price("lstg_cptl_amt")]
    par_value: Annotated[float | None, price("papr")]
    issue_price: Annotated[float | None, price("issu_pric")]
    listed_on: Annotated[date | None, day("scts_mket_lstg_dt", "kosdaq_mket_lstg_dt", "frbd_mket_lstg_dt")]
    delisted_on: Annotated[date | None, day("lstg_abol_dt")]
    sector_large: Annotated[str, text("idx_bztp_lcls_cd_name")]
    sector_medium: Annotated[str, text("idx_bztp_mcls_cd_name")]
    sector_small: Annotated[str, text("idx_bztp_scls_cd_name")]
    industry: Annotated[str, text("std_idst_clsf_cd_name")]
    in_kospi200: Annotated[bool, yes("kospi200_item_yn")]
    suspended: Annotated[bool, yes("tr_stop_yn")]
    under_administration: Annotated[bool, yes("admn_item_yn")]
    tracking_multiple: Annotated[float | None, price("etf_chas_erng_rt_dbnb")]
    creation_unit_shares: Annotated[int | None, whole("etf_cu_qty")]
    on_nxt: Annotated[bool, yes("cptt_trad_tr_psbl_yn")]
    suspended_on_nxt: Annotated[bool, yes("nxt_tr_stop_yn")]


STOCK: Final = Record(StockInformation, one=True, key=("pdno",))  # `pdno` is not always written as it was asked for


class ProductInformation(msgspec.Struct, frozen=True, kw_only=True):
    """KIS's own record of a domestic security as a product."""

    product: Annotated[str, text("pdno")]
    isin: Annotated[str, text("std_pdno")]
    short_code: Annotated[str, text("shtn_pdno")]
    sale_state: Annotated[str, text("prdt_sale_stat_cd")]
    risk_grade: Annotated[str, text("prdt_risk_grad_cd")]
    classification: Annotated[str, text("prdt_clsf_cd")]
    sold_from: Annotated[date | None, day("sale_strt_dt")]
    sold_until: Annotated[date | None, day("sale_end_dt")]
    subscribed_on: Annotated[date | None, day("frst_erlm_dt")]


PRODUCT: Final = Record(ProductInformation, one=True, key=("pdno",))

# --- the market as a whole -----------------------------------------------------------------------------------

# `tr_day_yn` is Y on Saturdays too (observed): `opnd_yn` is the one to go by.
SESSION: Final = Record(
    SessionDay,
    {
        "day": certain_day("bass_dt"),
        "opens": yes_or_no("opnd_yn"),
        "business_day": yes_or_no("bzdy_yn"),
        "trading_day": yes_or_no("tr_day_yn"),
        "settlement_day": yes_or_no("sttl_day_yn"),
    },
    key=("bass_dt",),
    order="day",
    body_fields=("ctx_area_fk", "ctx_area_nk"),
)

InterruptionKind = Literal["static", "dynamic", "both", "unknown"]
_INTERRUPTION_KINDS: Final[dict[str, InterruptionKind]] = {"1": "static", "2": "dynamic", "3": "both"}


def _interruption_kind(code: str) -> str:
    return _INTERRUPTION_KINDS.get(code.strip(), "unknown")


class VolatilityInterruption(msgspec.Struct, frozen=True, kw_only=True):
    """One volatility interruption (VI): a trade at `trigger_price` would be too far from a reference price.

    `released_ns` is None while it lasts. Deviations are from the static and the dynamic reference price.
    """

    symbol: Annotated[str, text("mksc_shrn_iscd")]
    name: Annotated[str, text("hts_kor_isnm")]
    kind: Annotated[InterruptionKind, either(_interruption_kind)("vi_kind_code")]
    triggered_ns: Annotated[int, moment("bsop_date", "cntg_vi_hour")]
    released_ns: Annotated[int | None, end_moment("bsop_date", "vi_cncl_hour")]
    trigger_price: Annotated[float | None, price("vi_prc")]
    static_reference_price: Annotated[float | None, price("vi_stnd_prc")]
    static_deviation_percent: Annotated[float | None, number("vi_dprt")]
    dynamic_reference_price: Annotated[float | None, price("vi_dmc_stnd_prc")]
    dynamic_deviation_percent: Annotated[float | None, number("vi_dmc_dprt")]
    count_today: Annotated[int | None, whole("vi_count")]


INTERRUPTION: Final = Record(VolatilityInterruption, key=("mksc_shrn_iscd",))


class RankedByVolume(msgspec.Struct, frozen=True, kw_only=True):
    """A place in the ranking by today's volume. `rank` counts from 1."""

    rank: Annotated[int | None, whole("data_rank")]
    symbol: Annotated[str, text("mksc_shrn_iscd")]
    name: Annotated[str, text("hts_kor_isnm")]
    price: Annotated[float, amount("stck_prpr")]
    change_percent: Annotated[float, signed("prdy_ctrt", "prdy_vrss_sign")]
    cumulative_volume: Annotated[float, amount("acml_vol")]
    cumulative_value: Annotated[float, amount("acml_tr_pbmn")]
    previous_volume: Annotated[float, amount("prdy_vol")]
    average_volume: Annotated[float, amount("avrg_vol")]
    volume_increase_percent: Annotated[float | None, number("vol_inrt")]
    turnover_percent: Annotated[float | None, number("vol_tnrt")]
    listed_shares: Annotated[int | None, whole("lstn_stcn")]


VOLUME_RANK: Final = Record(RankedByVolume, key=("mksc_shrn_iscd",), index="rank")


class RankedByMarketCap(msgspec.Struct, frozen=True, kw_only=True):
    """A place in the ranking by market capitalisation. `rank` counts from 1."""

    rank: Annotated[int | None, whole("data_rank")]
    symbol: Annotated[str, text("mksc_shrn_iscd")]
    name: Annotated[str, text("hts_kor_isnm")]
    price: Annotated[float, amount("stck_prpr")]
    change_percent: Annotated[float, signed("prdy_ctrt", "prdy_vrss_sign")]
    cumulative_volume: Annotated[float, amount("acml_vol")]
    listed_shares: Annotated[int | None, whole("lstn_stcn")]
    market_cap: Annotated[float | None, hundred_millions("stck_avls")]
    market_share_percent: Annotated[float | None, number("mrkt_whol_avls_rlim")]


MARKET_CAP_RANK: Final = Record(RankedByMarketCap, key=("mksc_shrn_iscd",), index="rank")

# --- ETFs and ETNs: `dprt` is the premium (괴리율), `trc_errt` the tracking error (추적 오차율) ---------------------

# KIS answers for what it does not know with zeros (observed). Before the first trade the previous close stands in.
ETF_QUOTE: Final = Record(
    EtfQuote,
    {
        "symbol": text("@symbol"),
        "price": price("stck_prpr", "stck_prdy_clpr"),
        "open": price("stck_oprc"),
        "high": price("stck_hgpr"),
        "low": price("stck_lwpr"),
        "previous_close": price("stck_prdy_clpr"),
        "upper_limit": price("stck_mxpr"),
        "lower_limit": price("stck_llam"),
        "change_percent": signed("prdy_ctrt", "prdy_vrss_sign"),
        "cumulative_volume": amount("acml_vol"),
        "nav": price("nav"),
        "nav_change": change("nav_prdy_vrss", "nav_prdy_vrss_sign"),
        "nav_change_percent": change("nav_prdy_ctrt", "nav_prdy_vrss_sign"),
        "previous_nav": price("prdy_last_nav"),
        "premium_percent": number("dprt"),
        "tracking_error_percent": number("trc_errt"),
        "tracking_multiple": price("etf_trc_ert_mltp"),
        "net_assets": hundred_millions("etf_ntas_ttam"),
        "listed_shares": whole("lstn_stcn"),
        "circulating_shares": whole("etf_crcl_stcn"),
        "creation_unit_shares": whole("etf_cu_unit_scrt_cnt"),
        "component_count": whole("etf_cnfg_issu_cnt"),
        "year_high": price("stck_dryy_hgpr"),
        "year_high_on": day("dryy_hgpr_date"),
        "year_low": price("stck_dryy_lwpr"),
        "year_low_on": day("dryy_lwpr_date"),
        "foreign_shares": whole("frgn_hldn_qty"),
        "foreign_percent": number("frgn_hldn_qty_rate"),
        "liquidity_provider_percent": number("lp_hldn_rate"),
        "listed_on": day("stck_lstn_date"),
        "matures_on": day("mtrt_date"),
        "currency": text("crcd"),
        "dividend_cycle": text("etf_dvdn_cycl"),
        "classification": text("etf_div_name"),
        "sector": text("etf_rprs_bstp_kor_isnm"),
        "issuer": text("mbcr_name"),
    },
    one=True,
    required="price",
)


class NavComparison(msgspec.Struct, frozen=True, kw_only=True):
    """Price (output1) and NAV (output2) of one ETF now, each with its open, high and low of the day."""

    symbol: Annotated[str, text("@symbol")]
    price: Annotated[float, price("stck_prpr", "stck_prdy_clpr")]
    open: Annotated[float | None, price("stck_oprc")]
    high: Annotated[float | None, price("stck_hgpr")]
    low: Annotated[float | None, price("stck_lwpr")]
    previous_close: Annotated[float | None, price("stck_prdy_clpr")]
    upper_limit: Annotated[float | None, price("stck_mxpr")]
    lower_limit: Annotated[float | None, price("stck_llam")]
    cumulative_volume: Annotated[float, amount("acml_vol")]
    cumulative_value: Annotated[float, amount("acml_tr_pbmn")]
    nav: Annotated[float | None, price("nav")]
    nav_open: Annotated[float | None, price("oprc_nav")]
    nav_high: Annotated[float | None, price("hprc_nav")]
    nav_low: Annotated[float | None, price("lprc_nav")]
    nav_change: Annotated[float | None, change("nav_prdy_vrss", "nav_prdy_vrss_sign")]
    nav_change_percent: Annotated[float | None, change("nav_prdy_ctrt", "nav_prdy_vrss_sign")]
    previous_nav: Annotated[float | None, price("prdy_clpr_nav")]


NAV_COMPARISON: Final = Record(NavComparison, blocks=("output1", "output2"), one=True, required="price")

NAV_DAY: Final = Record(
    NavDay,
    {
        "symbol": text("@symbol"),
        "day": certain_day("stck_bsop_date"),
        "close": amount("stck_clpr"),
        "nav": price("nav"),
        "price_minus_nav": number("nav_vrss_prpr"),
        "premium_percent": number("dprt"),
        "nav_change_percent": change("nav_prdy_ctrt", "nav_prdy_vrss_sign"),
        "volume": amount("acml_vol"),
    },
    key=("stck_bsop_date",),
    order="day",
)


class NavMinute(msgspec.Struct, frozen=True, kw_only=True):
    """An ETF's price and NAV at the end of one period of a day; `volume` is the period's. Rows have no date."""

    symbol: Annotated[str, text("@symbol")]
    time_ns: Annotated[int, moment("@day", "bsop_hour")]
    price: Annotated[float, amount("stck_prpr")]
    nav: Annotated[float | None, price("nav")]
    price_minus_nav: Annotated[float | None, number("nav_vrss_prpr")]
    premium_percent: Annotated[float | None, number("dprt")]
    nav_change_percent: Annotated[float | None, change("nav_prdy_ctrt", "nav_prdy_vrss_sign")]
    volume: Annotated[float, amount("cntg_vol")]
    cumulative_volume: Annotated[float, amount("acml_vol")]


NAV_MINUTE: Final = Record(NavMinute, key=("bsop_hour",), order="time_ns")


class EtfComponent(msgspec.Struct, frozen=True, kw_only=True):
    """One security in an ETF. `valuation` is its worth within one creation unit, `weight_percent` its share."""

    symbol: Annotated[str, text("stck_shrn_iscd")]
    name: Annotated[str, text("hts_kor_isnm")]
    price: Annotated[float | None, price("stck_prpr")]
    market_cap: Annotated[float | None, hundred_millions("hts_avls")]
    valuation: Annotated[float | None, price("etf_vltn_amt")]
    weight_percent: Annotated[float | None, number("etf_cnfg_issu_rlim")]


_COMPONENT: Final = Record(EtfComponent, blocks=("output2",), key=("stck_shrn_iscd",))


class EtfHoldings(msgspec.Struct, frozen=True, kw_only=True):
    """The components of an ETF: the largest (about 30, observed) of `component_count` securities, in KIS's order.

    The reference's labels of output1 are shifted, the field names are right.
    """

    symbol: Annotated[str, text("@symbol")]
    price: Annotated[float | None, price("stck_prpr")]
    nav: Annotated[float | None, price("nav")]
    net_assets: Annotated[float | None, hundred_millions("etf_ntas_ttam")]
    creation_unit_shares: Annotated[int | None, whole("etf_cu_unit_scrt_cnt")]
    component_count: Annotated[int | None, whole("etf_cnfg_issu_cnt")]
    components: Annotated[tuple[EtfComponent, ...], Nested("output2", _COMPONENT)]


ETF_HOLDINGS: Final = Record(
    EtfHoldings, blocks=("output1",), one=True, keep=lambda found: found.price is not None or found.components
)

# --- other countries: what KIS does not know comes as blanks --------------------------------------------------


class OverseasQuote(msgspec.Struct, frozen=True, kw_only=True):
    """A security's price now, its previous close before the first trade. The price means `decimal_places` decimals."""

    exchange: Annotated[str, text("@exchange")]
    symbol: Annotated[str, text("@symbol")]
    price: Annotated[float, price("last", "base")]
    previous_close: Annotated[float | None, price("base")]
    change: Annotated[float, signed("diff", "sign")]
    change_percent: Annotated[float, signed("rate", "sign")]
    previous_volume: Annotated[float, amount("pvol")]
    cumulative_volume: Annotated[float, amount("tvol")]
    cumulative_value: Annotated[float, amount("tamt")]
    decimal_places: Annotated[int | None, whole("zdiv")]


OVERSEAS_QUOTE: Final = Record(OverseasQuote, one=True, required="price")


class OverseasQuoteDetail(msgspec.Struct, frozen=True, kw_only=True):
    """The detailed quote. `fx_rate` is won for one unit of the currency, today's."""

    exchange: Annotated[str, text("@exchange")]
    symbol: Annotated[str, text("@symbol")]
    price: Annotated[float, price("last", "base")]
    open: Annotated[float | None, price("open")]
    high: Annotated[float | None, price("high")]
    low: Annotated[float | None, price("low")]
    previous_close: Annotated[float | None, price("base")]
    upper_limit: Annotated[float | None, price("uplp")]
    lower_limit: Annotated[float | None, price("dnlp")]
    cumulative_volume: Annotated[float, amount("tvol")]
    cumulative_value: Annotated[float, amount("tamt")]
    previous_volume: Annotated[float, amount("pvol")]
    market_cap: Annotated[float | None, price("tomv")]
    listed_shares: Annotated[float | None, price("shar")]
    high_52_weeks: Annotated[float | None, price("h52p")]
    high_52_weeks_on: Annotated[date | None, day("h52d")]
    low_52_weeks: Annotated[float | None, price("l52p")]
    low_52_weeks_on: Annotated[date | None, day("l52d")]
    price_earnings_ratio: Annotated[float | None, price("perx")]
    price_book_ratio: Annotated[float | None, price("pbrx")]
    earnings_per_share: Annotated[float | None, price("epsx")]
    book_value_per_share: Annotated[float | None, price("bpsx")]
    home_price: Annotated[float | None, price("t_xprc")]
    fx_rate: Annotated[float | None, price("t_rate")]
    currency: Annotated[str, text("curr")]
    sector: Annotated[str, text("e_icod")]
    fund_kind: Annotated[str, text("etyp_nm")]


OVERSEAS_QUOTE_DETAIL: Final = Record(OverseasQuoteDetail, one=True, required="price")


class OverseasBar(msgspec.Struct, frozen=True, gc=False):
    """One day of a security as traded; `day` is the exchange's."""

    exchange: Annotated[str, text("@exchange")]
    symbol: Annotated[str, text("@symbol")]
    day: Annotated[date, certain_day("xymd")]
    open: Annotated[float, amount("open")]
    high: Annotated[float, amount("high")]
    low: Annotated[float, amount("low")]
    close: Annotated[float, amount("clos")]
    volume: Annotated[float, amount("tvol")]
    value: Annotated[float, amount("tamt")]


OVERSEAS_BAR: Final = Record(OverseasBar, blocks=("output2",), key=("xymd",), order="day")


class OverseasInstrument(msgspec.Struct, frozen=True, kw_only=True):
    """The basic data of an overseas security. `isin` is the standard number; `tracking_multiple` is of an ETP;
    `replaces` is the product's number before it changed.
    """

    exchange: Annotated[str, text("@exchange")]
    symbol: Annotated[str, text("@symbol")]
    isin: Annotated[str, text("std_pdno")]
    name: Annotated[str, text("prdt_name", "ovrs_item_name")]
    english_name: Annotated[str, text("prdt_eng_name")]
    country: Annotated[str, text("natn_cd")]
    market: Annotated[str, text("tr_mket_cd")]
    currency: Annotated[str, text("tr_crcy_cd")]
    kind: Annotated[str, text("ovrs_stck_dvsn_cd")]
    classification: Annotated[str, text("prdt_clsf_cd")]
    listed: Annotated[bool, yes("lstg_yn")]
    delisted: Annotated[bool, yes("lstg_abol_item_yn")]
    listed_on: Annotated[date | None, day("lstg_dt")]
    delisted_on: Annotated[date | None, day("lstg_abol_dt")]
    listed_shares: Annotated[float | None, price("lstg_stck_num")]
    par_value: Annotated[float | None, price("ovrs_papr")]
    trading_stop: Annotated[str, text("ovrs_stck_tr_stop_dvsn_cd")]
    tracking_multiple: Annotated[float | None, price("etp_chas_erng_rt_dbnb")]
    sedol: Annotated[str, text("sedol_no")]
    bloomberg_ticker: Annotated[str, text("blbg_tckr_text")]
    lei: Annotated[str, text("lei_cd")]
    replaces: Annotated[str, text("chng_bf_pdno")]


OVERSEAS_INSTRUMENT: Final = Record(OverseasInstrument, one=True, key=("std_pdno", "prdt_eng_name"))
