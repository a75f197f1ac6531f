"""KIS response bodies -> structs -> our nouns, and KIS's refusals -> our errors. Pure (kis-api.md, sections 2, 3, 8).

Every value is a string, may be blank, and may be padded; an `output` that is documented as a list can be one object.
The envelope: `{"rt_cd":"0","msg_cd":"MCA00000","msg1":"...","output":[...]}`. A struct names only what is read.
"""

from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Final, TypeVar

import msgspec

from observer.errors import (
    BadRequestError,
    MaintenanceError,
    MalformedError,
    ProviderError,
    RateExceededError,
    TokenExpiredError,
    TokenThrottledError,
)
from observer.providers.interfaces import Bar, PastTrade, Quote
from observer.providers.kis.moments import NS_PER_S, midnight_ns, moment_ns

Row = TypeVar("Row")

_TOKEN_NS: Final = 24 * 3600 * NS_PER_S  # the documented life of a token

_ERRORS: Final[dict[str, type[ProviderError]]] = {
    "EGW00201": RateExceededError,
    "EGW00121": TokenExpiredError,
    "EGW00123": TokenExpiredError,
    "EGW00133": TokenThrottledError,
    "EGW00002": MaintenanceError,
    "EGW00300": MaintenanceError,
    "EGW00301": MaintenanceError,
    "EGW00302": MaintenanceError,
}


class _Envelope(msgspec.Struct):
    rt_cd: str = ""
    msg_cd: str = ""
    msg1: str = ""
    error_code: str = ""
    error_description: str = ""


_envelope_decoder = msgspec.json.Decoder(_Envelope)


def classify(status: int, body: bytes) -> ProviderError | None:
    """The error that an answer is, None for a success; the code in the body decides before the HTTP status.

    A body of HTTP 200 that cannot be read is no matter of this function: whoever decodes it will notice.
    """
    envelope = _read_envelope(body)
    code = envelope.msg_cd or envelope.error_code
    text = (envelope.msg1 or envelope.error_description).strip() or f"HTTP {status}"
    failed = status != 200 or envelope.rt_cd.strip() not in ("", "0") or bool(envelope.error_code)
    if not failed:
        return None
    error_type = _ERRORS.get(code) or _error_of_status(status)
    return error_type(f"{code} {text}".strip(), code=code or f"HTTP {status}")


def _read_envelope(body: bytes) -> _Envelope:
    """The envelope; an empty one when the body is not JSON of that shape (a gateway's HTML page, say)."""
    try:
        return _envelope_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Envelope()


def _error_of_status(status: int) -> type[ProviderError]:
    if status == 401:
        return TokenExpiredError
    if status == 429:
        return RateExceededError
    return MaintenanceError if status >= 500 else BadRequestError


# --- tokens --------------------------------------------------------------------------------------------------


class TokenBody(msgspec.Struct):
    """`POST /oauth2/tokenP`; the end of life is Korean local time without an offset."""

    access_token: str
    expires_in: int = 86_400
    access_token_token_expired: str = ""


class ApprovalBody(msgspec.Struct):
    """`POST /oauth2/Approval`."""

    approval_key: str


class IssuedToken(msgspec.Struct, frozen=True):
    """A token and its life. `issued_ns` is when KIS made it, which can be hours before it was asked for."""

    access_token: str
    issued_ns: int
    expires_ns: int

    def __repr__(self) -> str:
        """Shows the life, never the token."""
        return f"IssuedToken(issued_ns={self.issued_ns}, expires_ns={self.expires_ns})"

    __str__ = __repr__


def issued_token(body: TokenBody, now_ns: int) -> IssuedToken:
    """The token of an answer received at `now_ns`; without a readable end of life, `expires_in` counts from now.

    Raises:
        MalformedError: the token is blank.
    """
    if not body.access_token.strip():
        raise MalformedError("the answer to the token call holds no token")
    try:
        date, hour = body.access_token_token_expired.strip().split(" ")
        expires_ns = moment_ns(date.replace("-", ""), hour.replace(":", ""))
    except ValueError:
        expires_ns = now_ns + body.expires_in * NS_PER_S
    return IssuedToken(body.access_token.strip(), min(now_ns, expires_ns - _TOKEN_NS), expires_ns)


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

    output: list[QuoteRow] | QuoteRow | None = None


def quotes_of(body: QuotesBody) -> list[Quote]:
    """The quotes of the symbols that KIS knows.

    KIS repeats the reference price as the price before the first trade of the day; where even that is blank, the
    previous close or the base price stands in, and a symbol that has none of the three is left out as unknown.

    Raises:
        MalformedError: a field that is no number.
    """
    quotes = [_quote(row) for row in _rows(body.output) if row.inter_shrn_iscd.strip()]
    return [quote for quote in quotes if quote is not None]


def _quote(row: QuoteRow) -> Quote | None:
    previous_close = _price(row.inter2_prdy_clpr)
    price = _price(row.inter2_prpr) or previous_close or _price(row.inter2_sdpr)
    if price is None:
        return None
    return Quote(
        symbol=row.inter_shrn_iscd.strip(),
        price=price,
        open=_price(row.inter2_oprc),
        high=_price(row.inter2_hgpr),
        low=_price(row.inter2_lwpr),
        previous_close=previous_close,
        upper_limit=_price(row.inter2_mxpr),
        lower_limit=_price(row.inter2_llam),
        bid=_price(row.inter2_bidp),
        ask=_price(row.inter2_askp),
        cumulative_volume=_amount(row.acml_vol),
        cumulative_value=_amount(row.acml_tr_pbmn),
    )


# --- bars ----------------------------------------------------------------------------------------------------


class DailyRow(msgspec.Struct):
    """One day of FHKST03010100. KIS fills up short answers with empty rows."""

    stck_bsop_date: str = ""
    stck_oprc: str = ""
    stck_hgpr: str = ""
    stck_lwpr: str = ""
    stck_clpr: str = ""
    acml_vol: str = ""
    acml_tr_pbmn: str = ""


class DailyBody(msgspec.Struct):
    """Answer of the daily bars, newest first."""

    output2: list[DailyRow] | DailyRow | None = None


def daily_bars_of(body: DailyBody, symbol: str) -> list[Bar]:
    """The daily bars, oldest first; `value` is the day's.

    Raises:
        MalformedError: a row that cannot be read.
    """
    bars = [_daily_bar(row, symbol) for row in _rows(body.output2) if row.stck_bsop_date.strip()]
    return sorted(bars, key=lambda bar: bar.start_ns)


def _daily_bar(row: DailyRow, symbol: str) -> Bar:
    return Bar(
        symbol=symbol,
        start_ns=_read_moment(row.stck_bsop_date),
        open=_amount(row.stck_oprc),
        high=_amount(row.stck_hgpr),
        low=_amount(row.stck_lwpr),
        close=_amount(row.stck_clpr),
        volume=_amount(row.acml_vol),
        value=_amount(row.acml_tr_pbmn),
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

    output2: list[MinuteRow] | MinuteRow | None = None


def minute_bars_of(body: MinuteBody, symbol: str) -> list[Bar]:
    """The minute bars in KIS's order; `value` is still the *day's* value after the minute, see `with_own_values`.

    Raises:
        MalformedError: a row that cannot be read.
    """
    return [_minute_bar(row, symbol) for row in _rows(body.output2) if row.stck_cntg_hour.strip()]


def _minute_bar(row: MinuteRow, symbol: str) -> Bar:
    return Bar(
        symbol=symbol,
        start_ns=_read_moment(row.stck_bsop_date, row.stck_cntg_hour),
        open=_amount(row.stck_oprc),
        high=_amount(row.stck_hgpr),
        low=_amount(row.stck_lwpr),
        close=_amount(row.stck_prpr),
        volume=_amount(row.cntg_vol),
        value=_amount(row.acml_tr_pbmn),
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

    output2: list[ConclusionRow] | ConclusionRow | None = None


def past_trades_of(body: ConclusionsBody, symbol: str, date_text: str) -> list[PastTrade]:
    """The trades of one page in KIS's order; rows name no date, so the day is given.

    Raises:
        MalformedError: a row that cannot be read.
    """
    return [_past_trade(row, symbol, date_text) for row in _rows(body.output2) if row.stck_cntg_hour.strip()]


def _past_trade(row: ConclusionRow, symbol: str, date_text: str) -> PastTrade:
    return PastTrade(
        symbol=symbol,
        exchange_time_ns=_read_moment(date_text, row.stck_cntg_hour),
        price=_amount(row.stck_pbpr or row.stck_prpr),
        volume=_amount(row.cnqn),
        cumulative_volume=_amount(row.acml_vol),
        bid=_price(row.bidp),
        ask=_price(row.askp),
    )


# --- values --------------------------------------------------------------------------------------------------


def _rows(output: list[Row] | Row | None) -> Iterable[Row]:
    """The rows of an output that may be a list, one object, or missing."""
    if output is None:
        return ()
    return output if isinstance(output, list) else (output,)


def _amount(text: str) -> float:
    """A number; blank is zero.

    Raises:
        MalformedError: neither.
    """
    stripped = text.strip()
    try:
        amount = float(stripped) if stripped else 0.0
    except ValueError as error:
        raise MalformedError(f"{text!r} is not a number") from error
    if not isfinite(amount):
        raise MalformedError(f"{text!r} is not a number")
    return amount


def _price(text: str) -> float | None:
    """A price; KIS writes 0 or blank where there is none."""
    return _amount(text) or None


def _read_moment(date_text: str, hour_text: str | None = None) -> int:
    """UTC nanoseconds of a row's date, and time where it has one.

    Raises:
        MalformedError: they are not a date or a time.
    """
    try:
        if hour_text is None:
            return midnight_ns(date_text.strip())
        return moment_ns(date_text.strip(), hour_text.strip())
    except ValueError as error:
        raise MalformedError(str(error)) from error
