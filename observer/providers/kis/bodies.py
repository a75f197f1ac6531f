"""KIS's quotes, bars and past trades: response bodies -> structs -> our nouns. Pure (kis-api.md, section 8).

A struct names only what is read. What is read otherwise has its own file: `symbols`, `market`, `funds`, `overseas`.
"""

from collections.abc import Sequence

import msgspec

from observer.providers.interfaces import Bar, PastTrade, Quote
from observer.providers.kis.values import Rows, amount, price, read_moment, rows, signed

# --- quotes --------------------------------------------------------------------------------------------------


class QuoteRow(msgspec.Struct):
    """One symbol of the multi quote (FHKST11300006)."""

    inter_shrn_iscd: str = ""
    inter2_prpr: str = ""
    inter2_oprc: str = ""
    inter2_hgpr: str = ""
    inter2_lwpr: str = ""
    inter2_llam: str = ""
    inter2_mxpr: str = ""
    inter2_askp: str = ""
    inter2_bidp: str = ""
    inter2_prdy_clpr: str = ""
    inter2_sdpr: str = ""
    acml_vol: str = ""
    acml_tr_pbmn: str = ""


class QuotesBody(msgspec.Struct):
    """Answer of the multi quote; one row may come as an object."""

    output: Rows[QuoteRow] = None


def quotes_of(body: QuotesBody) -> list[Quote]:
    """The quotes of the symbols that KIS knows.

    KIS repeats the reference price as the price before the first trade of the day; where even that is blank, the
    previous close or the base price stands in, and a symbol that has none of the three is left out as unknown.

    Raises:
        MalformedError: a field that is no number.
    """
    quotes = [_quote(row) for row in rows(body.output) if row.inter_shrn_iscd.strip()]
    return [quote for quote in quotes if quote is not None]


def _quote(row: QuoteRow) -> Quote | None:
    previous_close = price(row.inter2_prdy_clpr)
    current = price(row.inter2_prpr) or previous_close or price(row.inter2_sdpr)
    if current is None:
        return None
    return Quote(
        symbol=row.inter_shrn_iscd.strip(),
        price=current,
        open=price(row.inter2_oprc),
        high=price(row.inter2_hgpr),
        low=price(row.inter2_lwpr),
        previous_close=previous_close,
        upper_limit=price(row.inter2_mxpr),
        lower_limit=price(row.inter2_llam),
        bid=price(row.inter2_bidp),
        ask=price(row.inter2_askp),
        cumulative_volume=amount(row.acml_vol),
        cumulative_value=amount(row.acml_tr_pbmn),
    )


# --- bars ----------------------------------------------------------------------------------------------------


class DailyRow(msgspec.Struct):
    """One day of FHKST03010100. KIS fills up short answers with empty rows.

    `prdy_vrss` is the change against the day's base price, also where that is not the close before it: rows that were
    seen as traded are 2,860 won, then 1,859 won with a change of +429, at a base of 1,430.
    """

    stck_bsop_date: str = ""
    stck_oprc: str = ""
    stck_hgpr: str = ""
    stck_lwpr: str = ""
    stck_clpr: str = ""
    acml_vol: str = ""
    acml_tr_pbmn: str = ""
    prdy_vrss: str = ""
    prdy_vrss_sign: str = ""


class DailyBody(msgspec.Struct):
    """Answer of the daily bars, newest first."""

    output2: Rows[DailyRow] = None


def daily_bars_of(body: DailyBody, symbol: str) -> list[Bar]:
    """The daily bars, oldest first; `value` is the day's.

    Raises:
        MalformedError: a row that cannot be read.
    """
    bars = [_daily_bar(row, symbol) for row in rows(body.output2) if row.stck_bsop_date.strip()]
    return sorted(bars, key=lambda bar: bar.start_ns)


def _daily_bar(row: DailyRow, symbol: str) -> Bar:
    close = amount(row.stck_clpr)
    base = close - signed(row.prdy_vrss, row.prdy_vrss_sign) if row.prdy_vrss.strip() else None
    return Bar(
        symbol=symbol,
        start_ns=read_moment(row.stck_bsop_date),
        open=amount(row.stck_oprc),
        high=amount(row.stck_hgpr),
        low=amount(row.stck_lwpr),
        close=close,
        volume=amount(row.acml_vol),
        value=amount(row.acml_tr_pbmn),
        base_price=base,
    )


class MinuteRow(msgspec.Struct):
    """One minute of FHKST03010200; `acml_tr_pbmn` is the day's value after it."""

    stck_bsop_date: str = ""
    stck_cntg_hour: str = ""
    stck_oprc: str = ""
    stck_hgpr: str = ""
    stck_lwpr: str = ""
    stck_prpr: str = ""
    cntg_vol: str = ""
    acml_tr_pbmn: str = ""


class MinuteBody(msgspec.Struct):
    """Answer of the minute bars, newest first."""

    output2: Rows[MinuteRow] = None


def minute_bars_of(body: MinuteBody, symbol: str) -> list[Bar]:
    """The minute bars in KIS's order; `value` is still the *day's* value after the minute, see `with_own_values`.

    Raises:
        MalformedError: a row that cannot be read.
    """
    return [_minute_bar(row, symbol) for row in rows(body.output2) if row.stck_cntg_hour.strip()]


def _minute_bar(row: MinuteRow, symbol: str) -> Bar:
    return Bar(
        symbol=symbol,
        start_ns=read_moment(row.stck_bsop_date, row.stck_cntg_hour),
        open=amount(row.stck_oprc),
        high=amount(row.stck_hgpr),
        low=amount(row.stck_lwpr),
        close=amount(row.stck_prpr),
        volume=amount(row.cntg_vol),
        value=amount(row.acml_tr_pbmn),
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


# --- time and sales ------------------------------------------------------------------------------------------


class ConclusionRow(msgspec.Struct):
    """One trade of FHPST01060000. The price is labelled `stck_pbpr`; some answers say `stck_prpr`."""

    stck_cntg_hour: str = ""
    stck_pbpr: str = ""
    stck_prpr: str = ""
    askp: str = ""
    bidp: str = ""
    cnqn: str = ""
    acml_vol: str = ""


class ConclusionsBody(msgspec.Struct):
    """Answer of time-and-sales, newest first."""

    output2: Rows[ConclusionRow] = None


def past_trades_of(body: ConclusionsBody, symbol: str, date_text: str) -> list[PastTrade]:
    """The trades of one page in KIS's order; rows name no date, so the day is given.

    Raises:
        MalformedError: a row that cannot be read.
    """
    return [_past_trade(row, symbol, date_text) for row in rows(body.output2) if row.stck_cntg_hour.strip()]


def _past_trade(row: ConclusionRow, symbol: str, date_text: str) -> PastTrade:
    return PastTrade(
        symbol=symbol,
        exchange_time_ns=read_moment(date_text, row.stck_cntg_hour),
        price=amount(row.stck_pbpr or row.stck_prpr),
        volume=amount(row.cnqn),
        cumulative_volume=amount(row.acml_vol),
        bid=price(row.bidp),
        ask=price(row.askp),
    )
