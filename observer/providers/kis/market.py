"""The domestic market as a whole: session days, volatility interruptions, rankings. Bodies -> structs -> nouns. Pure.

kis-api.md, section 8: CTCA0903R, FHPST01390000, FHPST01710000, FHPST01740000.
"""

from typing import Final

import msgspec

from observer.providers.domestic import (
    InterruptionKind,
    RankedByMarketCap,
    RankedByVolume,
    SessionDay,
    VolatilityInterruption,
)
from observer.providers.kis.values import (
    Rows,
    amount,
    certain_day,
    hundred_millions,
    number,
    price,
    read_moment,
    rows,
    signed,
    whole,
    yes_or_no,
)

# --- session days --------------------------------------------------------------------------------------------


class SessionRow(msgspec.Struct):
    """One day of CTCA0903R. `tr_day_yn` is Y on Saturdays too (observed): `opnd_yn` is the one to go by."""

    bass_dt: str = ""
    bzdy_yn: str = ""
    tr_day_yn: str = ""
    opnd_yn: str = ""
    sttl_day_yn: str = ""


class SessionsBody(msgspec.Struct):
    """Answer of the holiday call, oldest first; the keys are sent back to get the next page."""

    ctx_area_fk: str = ""
    ctx_area_nk: str = ""
    output: Rows[SessionRow] = None


def sessions_of(body: SessionsBody) -> list[SessionDay]:
    """The days of one page in KIS's order.

    Raises:
        MalformedError: a day without date, or one of which it is not said whether the exchange opens.
    """
    return [_session_day(row) for row in rows(body.output) if row.bass_dt.strip()]


def _session_day(row: SessionRow) -> SessionDay:
    return SessionDay(
        day=certain_day(row.bass_dt),
        opens=yes_or_no(row.opnd_yn),
        business_day=yes_or_no(row.bzdy_yn),
        trading_day=yes_or_no(row.tr_day_yn),
        settlement_day=yes_or_no(row.sttl_day_yn),
    )


# --- volatility interruptions --------------------------------------------------------------------------------

_KINDS: Final[dict[str, InterruptionKind]] = {"1": "static", "2": "dynamic", "3": "both"}


class InterruptionRow(msgspec.Struct):
    """One interruption of FHPST01390000. Its hour of release is blank or 000000 while it lasts."""

    mksc_shrn_iscd: str = ""
    hts_kor_isnm: str = ""
    bsop_date: str = ""
    cntg_vi_hour: str = ""
    vi_cncl_hour: str = ""
    vi_kind_code: str = ""
    vi_prc: str = ""
    vi_stnd_prc: str = ""
    vi_dprt: str = ""
    vi_dmc_stnd_prc: str = ""
    vi_dmc_dprt: str = ""
    vi_count: str = ""


class InterruptionsBody(msgspec.Struct):
    """Answer of the VI status."""

    output: Rows[InterruptionRow] = None


def interruptions_of(body: InterruptionsBody) -> list[VolatilityInterruption]:
    """The interruptions of one page in KIS's order.

    Raises:
        MalformedError: a row that cannot be read.
    """
    return [_interruption(row) for row in rows(body.output) if row.mksc_shrn_iscd.strip()]


def _interruption(row: InterruptionRow) -> VolatilityInterruption:
    released = row.vi_cncl_hour.strip().strip("0")
    return VolatilityInterruption(
        symbol=row.mksc_shrn_iscd.strip(),
        name=row.hts_kor_isnm.strip(),
        kind=_KINDS.get(row.vi_kind_code.strip(), "unknown"),
        triggered_ns=read_moment(row.bsop_date, row.cntg_vi_hour),
        released_ns=read_moment(row.bsop_date, row.vi_cncl_hour) if released else None,
        trigger_price=price(row.vi_prc),
        static_reference_price=price(row.vi_stnd_prc),
        static_deviation_percent=number(row.vi_dprt),
        dynamic_reference_price=price(row.vi_dmc_stnd_prc),
        dynamic_deviation_percent=number(row.vi_dmc_dprt),
        count_today=whole(row.vi_count),
    )


# --- rankings ------------------------------------------------------------------------------------------------


class VolumeRankRow(msgspec.Struct):
    """One place of FHPST01710000."""

    mksc_shrn_iscd: str = ""
    hts_kor_isnm: str = ""
    data_rank: str = ""
    stck_prpr: str = ""
    prdy_vrss_sign: str = ""
    prdy_ctrt: str = ""
    acml_vol: str = ""
    acml_tr_pbmn: str = ""
    prdy_vol: str = ""
    avrg_vol: str = ""
    vol_inrt: str = ""
    vol_tnrt: str = ""
    lstn_stcn: str = ""


class VolumeRankBody(msgspec.Struct):
    """Answer of the ranking by volume."""

    output: Rows[VolumeRankRow] = None


def ranking_by_volume_of(body: VolumeRankBody) -> list[RankedByVolume]:
    """The places in KIS's order, which is by rank; where a rank is blank, the place in the answer stands in.

    Raises:
        MalformedError: a row that cannot be read.
    """
    ranked = [row for row in rows(body.output) if row.mksc_shrn_iscd.strip()]
    return [_ranked_by_volume(row, place) for place, row in enumerate(ranked, start=1)]


def _ranked_by_volume(row: VolumeRankRow, place: int) -> RankedByVolume:
    return RankedByVolume(
        rank=whole(row.data_rank) or place,
        symbol=row.mksc_shrn_iscd.strip(),
        name=row.hts_kor_isnm.strip(),
        price=amount(row.stck_prpr),
        change_percent=signed(row.prdy_ctrt, row.prdy_vrss_sign),
        cumulative_volume=amount(row.acml_vol),
        cumulative_value=amount(row.acml_tr_pbmn),
        previous_volume=amount(row.prdy_vol),
        average_volume=amount(row.avrg_vol),
        volume_increase_percent=number(row.vol_inrt),
        turnover_percent=number(row.vol_tnrt),
        listed_shares=whole(row.lstn_stcn),
    )


class MarketCapRankRow(msgspec.Struct):
    """One place of FHPST01740000. The capitalisation is in hundred million won."""

    mksc_shrn_iscd: str = ""
    hts_kor_isnm: str = ""
    data_rank: str = ""
    stck_prpr: str = ""
    prdy_vrss_sign: str = ""
    prdy_ctrt: str = ""
    acml_vol: str = ""
    lstn_stcn: str = ""
    stck_avls: str = ""
    mrkt_whol_avls_rlim: str = ""


class MarketCapRankBody(msgspec.Struct):
    """Answer of the ranking by market capitalisation."""

    output: Rows[MarketCapRankRow] = None


def ranking_by_market_cap_of(body: MarketCapRankBody) -> list[RankedByMarketCap]:
    """The places in KIS's order, as `ranking_by_volume_of`.

    Raises:
        MalformedError: a row that cannot be read.
    """
    ranked = [row for row in rows(body.output) if row.mksc_shrn_iscd.strip()]
    return [_ranked_by_market_cap(row, place) for place, row in enumerate(ranked, start=1)]


def _ranked_by_market_cap(row: MarketCapRankRow, place: int) -> RankedByMarketCap:
    return RankedByMarketCap(
        rank=whole(row.data_rank) or place,
        symbol=row.mksc_shrn_iscd.strip(),
        name=row.hts_kor_isnm.strip(),
        price=amount(row.stck_prpr),
        change_percent=signed(row.prdy_ctrt, row.prdy_vrss_sign),
        cumulative_volume=amount(row.acml_vol),
        listed_shares=whole(row.lstn_stcn),
        market_cap_krw=hundred_millions(row.stck_avls),
        market_share_percent=number(row.mrkt_whol_avls_rlim),
    )
