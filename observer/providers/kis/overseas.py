"""Securities of other countries: quotes, daily bars, registered facts. Bodies -> structs -> nouns. Pure.

kis-api.md, section 8: HHDFS00000300, HHDFS76200200, HHDFS76240000, CTPF1702R. What KIS does not know comes as blanks.
"""

import msgspec

from observer.providers.kis.values import (
    Rows,
    amount,
    certain_day,
    day,
    only_row,
    price,
    rows,
    signed,
    whole,
    yes,
)
from observer.providers.overseas import OverseasBar, OverseasInstrument, OverseasQuote, OverseasQuoteDetail

# --- quotes --------------------------------------------------------------------------------------------------


class OverseasQuoteRow(msgspec.Struct):
    """The output of HHDFS00000300."""

    zdiv: str = ""
    base: str = ""
    pvol: str = ""
    last: str = ""
    sign: str = ""
    diff: str = ""
    rate: str = ""
    tvol: str = ""
    tamt: str = ""


class OverseasQuoteBody(msgspec.Struct):
    """Answer of the overseas quote."""

    output: Rows[OverseasQuoteRow] = None


def overseas_quote_of(body: OverseasQuoteBody, exchange: str, symbol: str) -> OverseasQuote | None:
    """The price now, the previous close before the first trade; None when the answer has neither.

    Raises:
        MalformedError: a field that cannot be read.
    """
    row = only_row(body.output)
    current = None if row is None else price(row.last) or price(row.base)
    if row is None or current is None:
        return None
    return OverseasQuote(
        exchange=exchange,
        symbol=symbol,
        price=current,
        previous_close=price(row.base),
        change=signed(row.diff, row.sign),
        change_percent=signed(row.rate, row.sign),
        previous_volume=amount(row.pvol),
        cumulative_volume=amount(row.tvol),
        cumulative_value=amount(row.tamt),
        decimal_places=whole(row.zdiv),
    )


class OverseasDetailRow(msgspec.Struct):
    """The output of HHDFS76200200."""

    pvol: str = ""
    open: str = ""
    high: str = ""
    low: str = ""
    last: str = ""
    base: str = ""
    tomv: str = ""
    uplp: str = ""
    dnlp: str = ""
    h52p: str = ""
    h52d: str = ""
    l52p: str = ""
    l52d: str = ""
    perx: str = ""
    pbrx: str = ""
    epsx: str = ""
    bpsx: str = ""
    shar: str = ""
    curr: str = ""
    t_xprc: str = ""
    t_rate: str = ""
    e_icod: str = ""
    tvol: str = ""
    tamt: str = ""
    etyp_nm: str = ""


class OverseasDetailBody(msgspec.Struct):
    """Answer of the detailed overseas quote."""

    output: Rows[OverseasDetailRow] = None


def overseas_quote_detail_of(body: OverseasDetailBody, exchange: str, symbol: str) -> OverseasQuoteDetail | None:
    """The detailed quote; None as for `overseas_quote_of`.

    Raises:
        MalformedError: a field that cannot be read.
    """
    row = only_row(body.output)
    current = None if row is None else price(row.last) or price(row.base)
    if row is None or current is None:
        return None
    return OverseasQuoteDetail(
        exchange=exchange,
        symbol=symbol,
        price=current,
        open=price(row.open),
        high=price(row.high),
        low=price(row.low),
        previous_close=price(row.base),
        upper_limit=price(row.uplp),
        lower_limit=price(row.dnlp),
        cumulative_volume=amount(row.tvol),
        cumulative_value=amount(row.tamt),
        previous_volume=amount(row.pvol),
        market_cap=price(row.tomv),
        listed_shares=price(row.shar),
        high_52_weeks=price(row.h52p),
        high_52_weeks_on=day(row.h52d),
        low_52_weeks=price(row.l52p),
        low_52_weeks_on=day(row.l52d),
        price_earnings_ratio=price(row.perx),
        price_book_ratio=price(row.pbrx),
        earnings_per_share=price(row.epsx),
        book_value_per_share=price(row.bpsx),
        price_krw=price(row.t_xprc),
        fx_rate=price(row.t_rate),
        currency=row.curr.strip(),
        sector=row.e_icod.strip(),
        fund_kind=row.etyp_nm.strip(),
    )


# --- daily bars ----------------------------------------------------------------------------------------------


class OverseasBarRow(msgspec.Struct):
    """One day of HHDFS76240000."""

    xymd: str = ""
    clos: str = ""
    open: str = ""
    high: str = ""
    low: str = ""
    tvol: str = ""
    tamt: str = ""


class OverseasBarsBody(msgspec.Struct):
    """Answer of the overseas daily bars, newest first."""

    output2: Rows[OverseasBarRow] = None


def overseas_bars_of(body: OverseasBarsBody, exchange: str, symbol: str) -> list[OverseasBar]:
    """The days, oldest first.

    Raises:
        MalformedError: a row that cannot be read.
    """
    bars = [_overseas_bar(row, exchange, symbol) for row in rows(body.output2) if row.xymd.strip()]
    return sorted(bars, key=lambda bar: bar.day)


def _overseas_bar(row: OverseasBarRow, exchange: str, symbol: str) -> OverseasBar:
    return OverseasBar(
        exchange=exchange,
        symbol=symbol,
        day=certain_day(row.xymd),
        open=amount(row.open),
        high=amount(row.high),
        low=amount(row.low),
        close=amount(row.clos),
        volume=amount(row.tvol),
        value=amount(row.tamt),
    )


# --- registered facts ----------------------------------------------------------------------------------------


class OverseasInstrumentRow(msgspec.Struct):
    """The output of CTPF1702R. It does not name the symbol; `std_pdno` is the ISIN."""

    std_pdno: str = ""
    prdt_name: str = ""
    ovrs_item_name: str = ""
    prdt_eng_name: str = ""
    natn_cd: str = ""
    tr_mket_cd: str = ""
    tr_crcy_cd: str = ""
    ovrs_stck_dvsn_cd: str = ""
    prdt_clsf_cd: str = ""
    lstg_yn: str = ""
    lstg_abol_item_yn: str = ""
    lstg_dt: str = ""
    lstg_abol_dt: str = ""
    lstg_stck_num: str = ""
    ovrs_papr: str = ""
    ovrs_stck_tr_stop_dvsn_cd: str = ""
    etp_chas_erng_rt_dbnb: str = ""
    sedol_no: str = ""
    blbg_tckr_text: str = ""
    lei_cd: str = ""
    chng_bf_pdno: str = ""


class OverseasInstrumentBody(msgspec.Struct):
    """Answer of the overseas product information."""

    output: Rows[OverseasInstrumentRow] = None


def overseas_instrument_of(body: OverseasInstrumentBody, exchange: str, symbol: str) -> OverseasInstrument | None:
    """The registered facts; None when the answer has neither a standard number nor a name.

    Raises:
        MalformedError: a field that cannot be read.
    """
    row = only_row(body.output)
    if row is None or not (row.std_pdno.strip() or row.prdt_eng_name.strip()):
        return None
    return OverseasInstrument(
        exchange=exchange,
        symbol=symbol,
        isin=row.std_pdno.strip(),
        name=row.prdt_name.strip() or row.ovrs_item_name.strip(),
        english_name=row.prdt_eng_name.strip(),
        country=row.natn_cd.strip(),
        market=row.tr_mket_cd.strip(),
        currency=row.tr_crcy_cd.strip(),
        kind=row.ovrs_stck_dvsn_cd.strip(),
        classification=row.prdt_clsf_cd.strip(),
        listed=yes(row.lstg_yn),
        delisted=yes(row.lstg_abol_item_yn),
        listed_on=day(row.lstg_dt),
        delisted_on=day(row.lstg_abol_dt),
        listed_shares=price(row.lstg_stck_num),
        par_value=price(row.ovrs_papr),
        trading_stop=row.ovrs_stck_tr_stop_dvsn_cd.strip(),
        tracking_multiple=price(row.etp_chas_erng_rt_dbnb),
        sedol=row.sedol_no.strip(),
        bloomberg_ticker=row.blbg_tckr_text.strip(),
        lei=row.lei_cd.strip(),
        replaces=row.chng_bf_pdno.strip(),
    )
