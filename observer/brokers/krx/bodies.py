"""KRX's answers about ETFs -> entries and days. Pure.

Two clients: the data call MDCSTAT04601 of data.krx.co.kr, whose texts have commas, and the Open API's etf_bydd_trd. One
row of the first, which has no date because it is always today's list:

    {"ISU_CD":"KR7152100004","ISU_SRT_CD":"152100","ISU_ABBRV":"PLUS 200","LIST_DD":"2012/01/10",
     "ETF_TOT_FEE":"0.017000","IDX_CALC_INST_NM2":"일반","LIST_SHRS":"18,600,000",...}
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from functools import partial
from math import isfinite, nan
from typing import Any, Final

import msgspec

from bus.events import EtfNavDay
from observer.base.errors import (
    BadRequestError,
    LoggedOutError,
    MaintenanceError,
    MalformedError,
    PasswordExpiredError,
    ProviderError,
    RateExceededError,
    SessionTakenError,
)
from observer.base.text import NAME_LENGTH_MAX, plain_text
from observer.brokers.bodies import decode
from observer.reference.etf.model import EtfEntry, leverage_of
from observer.reference.listings.model import ETF_GROUP

PROVIDER: Final = "krx"
_LOGGED_OUT: Final = b"LOGOUT"

_KNOWN_STATUSES: Final[dict[int, type[ProviderError]]] = {429: RateExceededError}


def refusal(status: int, body: bytes, call: str) -> ProviderError | None:
    """The error that an answer is, None for a success. `LOGOUT` is plain text, with HTTP 400 or another status."""
    if body.strip() == _LOGGED_OUT:
        return LoggedOutError(f"{call}: KRX says LOGOUT: no session, or it was ended", call=call, code="LOGOUT")
    if status == 200:
        return None
    remedy = " (the key is refused, or has no right to this service: apply at KRX)" if status in (401, 403) else ""
    error = _KNOWN_STATUSES.get(status) or (MaintenanceError if status >= 500 else BadRequestError)
    return error(f"{call}: HTTP {status}{remedy}", call=call, code=f"HTTP {status}")


# --- login ---------------------------------------------------------------------------------------------------


class _LoginAnswer(msgspec.Struct):
    error_code: str = msgspec.field(name="_error_code", default="")
    error_message: str = msgspec.field(name="_error_message", default="")


def login_refusal(body: bytes, call: str) -> ProviderError | None:
    """Why the login failed; None for a success.

    Raises:
        MalformedError: it is no answer to a login.
    """
    answer = decode(body, _LoginAnswer, call)
    code = answer.error_code
    match code:
        case "CD001":
            return None
        case "CD011":
            remedy = "log out there, or set [etf.krx] take_over_session, which throws that session out"
            return SessionTakenError(f"{call}: logged in at KRX elsewhere; {remedy}", call=call, code=code)
        case "CD010":
            remedy = "change it at data.krx.co.kr (KRX asks for that every three months) and in the keys file"
            return PasswordExpiredError(f"{call}: the password at KRX has expired; {remedy}", call=call, code=code)
    return BadRequestError(f"{call}: KRX refused the login ({code or 'no code'})", call=call, code=code)


# --- the data call -------------------------------------------------------------------------------------------

# Attribute of an entry, how it is read, field of a row; of MDCSTAT04601 and of etf_bydd_trd, one ETF on one day.
_DATA_TABLE: Final = """
    symbol                 symbol    ISU_SRT_CD
    name                   text      ISU_ABBRV
    isin                   text      ISU_CD
    full_name              text      ISU_NM
    english_name           text      ISU_ENG_NM
    issuer                 text      COM_ABBRV
    index_name             text      ETF_OBJ_IDX_NM
    index_provider         text      IDX_CALC_INST_NM1
    region                 text      IDX_MKT_CLSS_NM
    asset_class            text      IDX_ASST_CLSS_NM
    replication            text      ETF_REPLICA_METHD_TP_CD
    tax_type               text      TAX_TP_CD
    leverage               leverage  IDX_CALC_INST_NM2
    expense_ratio_percent  number    ETF_TOT_FEE
    listed_shares          number    LIST_SHRS
    creation_unit_shares   number    CU_QTY
    listed_on              day       LIST_DD
"""
_OPEN_TABLE: Final = """
    symbol         symbol  ISU_CD
    name           text    ISU_NM
    index_name     text    IDX_IND_NM
    listed_shares  number  LIST_SHRS
"""

_Row = Mapping[str, object]


class _DataBody(msgspec.Struct):
    output: list[dict[str, object]]


class _OpenBody(msgspec.Struct):
    OutBlock_1: list[dict[str, object]]


def data_entries(body: bytes, call: str) -> list[EtfEntry]:
    """The ETFs of the data call, in KRX's order.

    Raises:
        MalformedError: it is no such answer, or a field cannot be read.
    """
    return [_entry(row, _DATA_TABLE, call) for row in decode(body, _DataBody, call).output]


def _entry(row: _Row, table: str, call: str) -> EtfEntry:
    """Both clients give ETFs only; ETNs have calls of their own."""
    fields = (line.split() for line in table.strip().splitlines())
    found: dict[str, Any] = {attribute: _value(row, rule, name, call) for attribute, rule, name in fields}
    return EtfEntry(group=ETF_GROUP, **found)


# --- the Open API --------------------------------------------------------------------------------------------


def open_entries(body: bytes, call: str) -> list[EtfEntry]:
    """The ETFs of a day's answer.

    Raises:
        MalformedError: it is no such answer, or a field cannot be read.
    """
    return [_entry(row, _OPEN_TABLE, call) for row in decode(body, _OpenBody, call).OutBlock_1]


def open_days(body: bytes, received_ns: int, call: str) -> Sequence[EtfNavDay]:
    """Close, NAV and the index's close of every ETF on that day; an ETF that has no close is left out.

    Raises:
        MalformedError: see `open_entries`.
    """
    days = []
    for row in decode(body, _OpenBody, call).OutBlock_1:
        names = ("TDD_CLSPRC", "NAV", "OBJ_STKPRC_IDX", "ACC_TRDVOL")
        close, nav, index_close, volume = (_value(row, "number", name, call) for name in names)
        symbol, day = _value(row, "symbol", "ISU_CD", call), _value(row, "compact_day", "BAS_DD", call)
        if close and day is not None:
            premium = 100 * (close - nav) / nav if nav else None
            found = EtfNavDay(
                PROVIDER, symbol, day, received_ns, close, nav or None, premium, volume or 0.0, index_close
            )
            days.append(found)
    return days


# --- fields --------------------------------------------------------------------------------------------------


def _value(row: _Row, rule: str, name: str, call: str) -> Any:
    """A field of a row; None for nothing. The symbol and the day of etf_bydd_trd are in every row."""
    if name not in row and rule in ("symbol", "compact_day"):
        raise MalformedError(f"{call}: a row without {name}", call=call)
    text = row.get(name, "")
    try:
        if not isinstance(text, str):
            raise ValueError(f"{name} is no text")  # noqa: TRY301, TRY004 - as the rules do
        return _RULES[rule](text)
    except ValueError as error:
        raise MalformedError(f"{call}: {error}", call=call) from None


def _text(text: str) -> str | None:
    if len(text) > NAME_LENGTH_MAX:
        raise ValueError(f"a text of {len(text):,} letters")
    return plain_text(text).strip() or None


def _number(text: str) -> float | None:
    """A number with commas; None for a blank or a dash."""
    plain = text.replace(",", "").strip()
    if plain in ("", "-"):
        return None
    try:
        value = float(plain)
    except ValueError:
        value = nan
    if not isfinite(value):
        raise ValueError(f"{text!r} is no number")
    return value


def _day(form: str, text: str) -> str | None:
    if not text.strip():
        return None
    try:
        found: date = datetime.strptime(text.strip(), form).date()  # noqa: DTZ007 - a day of the exchange
    except ValueError:
        raise ValueError(f"{text!r} is no day") from None
    return found.isoformat()


_RULES: Final[Mapping[str, Callable[[str], object]]] = {
    "symbol": lambda text: _text(text) or "",
    "text": _text,
    "number": _number,
    "leverage": lambda text: leverage_of(text.strip()),
    "day": partial(_day, "%Y/%m/%d"),
    "compact_day": partial(_day, "%Y%m%d"),
}
