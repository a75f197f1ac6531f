"""The data of one ETF. Pure.

Two things are kept apart that the requirement confuses: the *premium* (괴리율) is the distance of the price from the
net asset value (NAV), the *tracking error* (추적오차) the deviation of the NAV's returns from the index's.
"""

import re
from typing import Final

import msgspec


class EtfEntry(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of one ETF from one source, or merged from all. None is "not reported"; `symbol` is the key.

    `group` is the exchange's security group: EF for an ETF, EN for an ETN. `leverage` is the target multiple of the
    index's return; `expense_ratio_percent` is percent a year (0.15 is 0.15 %); shares are whole; `listed_on` is an ISO
    date.
    """

    symbol: str
    name: str | None = None
    group: str | None = None
    isin: str | None = None
    full_name: str | None = None
    english_name: str | None = None
    issuer: str | None = None
    index_name: str | None = None
    index_provider: str | None = None
    region: str | None = None
    asset_class: str | None = None
    replication: str | None = None
    tax_type: str | None = None
    leverage: float | None = None
    expense_ratio_percent: float | None = None
    listed_shares: float | None = None
    creation_unit_shares: float | None = None
    listed_on: str | None = None


class Etf(msgspec.Struct, frozen=True, kw_only=True):
    """All data of one ETF: its state in the last list, its last value, its last measures, its last range.

    Unknown fields are None. `active` is false after the ETF left the list; times are UTC nanoseconds. `first_seen_as`
    is the change of its first list: "initial" in the first list of all, or "new".
    """

    symbol: str
    name: str
    group: str
    isin: str | None
    full_name: str | None
    english_name: str | None
    issuer: str | None
    index_name: str | None
    index_provider: str | None
    region: str | None
    asset_class: str | None
    replication: str | None
    tax_type: str | None
    leverage: float | None
    expense_ratio_percent: float | None
    listed_shares: float | None
    creation_unit_shares: float | None
    listed_on: str | None
    sources: dict[str, str]
    active: bool
    first_seen_ns: int
    first_seen_as: str
    listed_ns: int
    valued_ns: int | None = None
    price: float | None = None
    nav: float | None = None
    premium_percent: float | None = None
    aum: float | None = None
    net_assets: float | None = None
    stated_tracking_error_percent: float | None = None
    component_count: int | None = None
    measured_ns: int | None = None
    nav_days: int | None = None
    premium_20d_percent: float | None = None
    premium_60d_percent: float | None = None
    premium_120d_percent: float | None = None
    premium_250d_percent: float | None = None
    tracking_error_20d_percent: float | None = None
    tracking_error_60d_percent: float | None = None
    tracking_error_120d_percent: float | None = None
    tracking_error_250d_percent: float | None = None
    found_ns: int | None = None
    highest_close_52w: float | None = None
    lowest_close_52w: float | None = None


_PLAIN: Final = "일반"
_LEVERAGED: Final = "레버리지"
_INVERSE: Final = "인버스"
_USUAL_LEVERAGE: Final = 2.0  # what a Korean ETF that only says "레버리지" has; more is not admitted
_MULTIPLE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(?:[xX×]|배)|\(\s*[-+]?(\d+(?:\.\d+)?)\s*[xX]?\s*\)")
_BESIDE_WORD: Final = re.compile(
    rf"\d+(?:\.\d+)?\s*[xX]\s*(?:{_LEVERAGED}|{_INVERSE})|(?:{_LEVERAGED}|{_INVERSE})\s*\d+(?:\.\d+)?\s*[xX]"
)
_ALONE: Final = re.compile(r"(?<![A-Za-z0-9.])(-?\d+(?:\.\d+)?)[xX](?![A-Za-z0-9])")
_WORDS_ONLY: Final = re.compile(rf"(?:{_PLAIN}|{_LEVERAGED}|{_INVERSE}|[-+\d.()\sxX×배])*")


def leverage_of(words: str) -> float | None:
    """The multiple in a source's own words, negative for an inverse ETF; None for unknown words.

    "일반" is 1, a bare "인버스" -1, a bare "레버리지" 2.
    """
    kinds = [kind for kind in (_PLAIN, _LEVERAGED, _INVERSE) if kind in words]
    if len(kinds) != 1 or not _WORDS_ONLY.fullmatch(words):
        return None
    return _signed(kinds[0], words, _USUAL_LEVERAGE if kinds[0] == _LEVERAGED else 1.0) or None


def leverage_of_name(name: str) -> float:
    """The multiple in an ETF's name, beside the word or alone with its sign ("미래에셋 -2X 홍콩H 선물 ETN(H)"); 1 for a
    name without leverage.
    """
    kind = next((kind for kind in (_INVERSE, _LEVERAGED) if kind in name), _PLAIN)
    if kind == _PLAIN:
        alone = _ALONE.search(name)
        return (float(alone[1]) if alone else 0.0) or 1.0
    beside = _BESIDE_WORD.search(name)
    usual = _USUAL_LEVERAGE if _LEVERAGED in name else 1.0  # both words: "N2 인버스 레버리지 금 선물 ETN(H)"
    return _signed(kind, beside[0] if beside else "", usual) or 1.0


def _signed(kind: str, text: str, usual: float) -> float:
    found = _MULTIPLE.search(text)
    multiple = float(found[1] or found[2]) if found else usual
    return -multiple if kind == _INVERSE else multiple
