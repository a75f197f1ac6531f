"""KRX's answers about ETFs -> entries and days. Pure.

Two clients: the data call MDCSTAT04601 of data.krx.co.kr, whose texts have commas, and the Open API's etf_bydd_trd. One
row of the first, which has no date because it is always today's list:

    {"ISU_CD":"KR7152100004","ISU_SRT_CD":"152100","ISU_ABBRV":"PLUS 200","LIST_DD":"2012/01/10",
     "ETF_TOT_FEE":"0.017000","IDX_CALC_INST_NM2":"일반","LIST_SHRS":"18,600,000",...}
"""

from collections.abc import Sequence
from datetime import date, datetime
from math import isfinite, nan
from typing import Final, TypeVar

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
Body = TypeVar("Body")

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


class _DataRow(msgspec.Struct, kw_only=True):
    """A row of MDCSTAT04601, every field of it."""

    ISU_CD: str = ""
    ISU_SRT_CD: str
    ISU_NM: str = ""
    ISU_ABBRV: str = ""
    ISU_ENG_NM: str = ""
    LIST_DD: str = ""
    ETF_OBJ_IDX_NM: str = ""
    IDX_CALC_INST_NM1: str = ""
    IDX_CALC_INST_NM2: str = ""
    ETF_REPLICA_METHD_TP_CD: str = ""
    IDX_MKT_CLSS_NM: str = ""
    IDX_ASST_CLSS_NM: str = ""
    LIST_SHRS: str = ""
    COM_ABBRV: str = ""
    CU_QTY: str = ""
    ETF_TOT_FEE: str = ""
    TAX_TP_CD: str = ""


class _DataBody(msgspec.Struct):
    output: list[_DataRow]


def data_entries(body: bytes, call: str) -> list[EtfEntry]:
    """The ETFs of the data call, in KRX's order.

    Raises:
        MalformedError: it is no such answer, or a field cannot be read.
    """
    return [_data_entry(row, call) for row in decode(body, _DataBody, call).output]


def _data_entry(row: _DataRow, call: str) -> EtfEntry:
    return EtfEntry(
        symbol=_text(row.ISU_SRT_CD, call) or "",
        name=_text(row.ISU_ABBRV, call),
        group=ETF_GROUP,  # both clients give ETFs only; ETNs have calls of their own
        isin=_text(row.ISU_CD, call),
        full_name=_text(row.ISU_NM, call),
        english_name=_text(row.ISU_ENG_NM, call),
        issuer=_text(row.COM_ABBRV, call),
        index_name=_text(row.ETF_OBJ_IDX_NM, call),
        index_provider=_text(row.IDX_CALC_INST_NM1, call),
        region=_text(row.IDX_MKT_CLSS_NM, call),
        asset_class=_text(row.IDX_ASST_CLSS_NM, call),
        replication=_text(row.ETF_REPLICA_METHD_TP_CD, call),
        tax_type=_text(row.TAX_TP_CD, call),
        leverage=leverage_of(row.IDX_CALC_INST_NM2.strip()),
        expense_ratio_percent=_number(row.ETF_TOT_FEE, call),
        listed_shares=_number(row.LIST_SHRS, call),
        creation_unit_shares=_number(row.CU_QTY, call),
        listed_on=_day(row.LIST_DD, "%Y/%m/%d", call),
    )


# --- the Open API --------------------------------------------------------------------------------------------


class _OpenRow(msgspec.Struct, kw_only=True):
    """A row of etf_bydd_trd: one ETF on one day, with the fields that the parser reads."""

    BAS_DD: str
    ISU_CD: str
    ISU_NM: str = ""
    TDD_CLSPRC: str = ""
    NAV: str = ""
    ACC_TRDVOL: str = ""
    LIST_SHRS: str = ""
    IDX_IND_NM: str = ""
    OBJ_STKPRC_IDX: str = ""


class _OpenBody(msgspec.Struct):
    OutBlock_1: list[_OpenRow]


def open_entries(body: bytes, call: str) -> list[EtfEntry]:
    """The ETFs of a day's answer.

    Raises:
        MalformedError: it is no such answer, or a field cannot be read.
    """
    return [
        EtfEntry(
            symbol=_text(row.ISU_CD, call) or "",
            name=_text(row.ISU_NM, call),
            group=ETF_GROUP,
            index_name=_text(row.IDX_IND_NM, call),
            listed_shares=_number(row.LIST_SHRS, call),
        )
        for row in decode(body, _OpenBody, call).OutBlock_1
    ]


def open_days(body: bytes, received_ns: int, call: str) -> Sequence[EtfNavDay]:
    """Close, NAV and the index's close of every ETF on that day; an ETF that has no close is left out.

    Raises:
        MalformedError: see `open_entries`.
    """
    days = []
    for row in decode(body, _OpenBody, call).OutBlock_1:
        close, nav = _number(row.TDD_CLSPRC, call), _number(row.NAV, call)
        day = _day(row.BAS_DD, "%Y%m%d", call)
        if not close or day is None:
            continue
        symbol = _text(row.ISU_CD, call) or ""
        premium = 100 * (close - nav) / nav if nav else None
        index_close, volume = _number(row.OBJ_STKPRC_IDX, call), _number(row.ACC_TRDVOL, call) or 0.0
        days.append(EtfNavDay(PROVIDER, symbol, day, received_ns, close, nav or None, premium, volume, index_close))
    return days


# --- fields --------------------------------------------------------------------------------------------------


def _text(text: str, call: str) -> str | None:
    if len(text) > NAME_LENGTH_MAX:
        raise MalformedError(f"{call}: a text of {len(text):,} letters", call=call)
    return plain_text(text).strip() or None


def _number(text: str, call: str) -> float | None:
    """A number with commas; None for a blank or a dash."""
    plain = text.replace(",", "").strip()
    if plain in ("", "-"):
        return None
    try:
        value = float(plain)
    except ValueError:
        value = nan
    if not isfinite(value):
        raise MalformedError(f"{call}: {text!r} is no number", call=call)
    return value


def _day(text: str, form: str, call: str) -> str | None:
    if not text.strip():
        return None
    try:
        found: date = datetime.strptime(text.strip(), form).date()  # noqa: DTZ007 - a day of the exchange
    except ValueError:
        raise MalformedError(f"{call}: {text!r} is no day", call=call) from None
    return found.isoformat()
