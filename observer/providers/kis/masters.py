"""KIS master files of KOSPI, KOSDAQ and KONEX -> listings. Pure (kis-api.md, section 6).

One record a line, LF, fields of fixed width in *bytes*: names hold two-byte cp949 letters, so characters would shift
everything behind them. Short code 9, standard code 12, name 40, then a tail that differs by exchange. A KOSPI record:

    005930   KR7005930003<name, 40 bytes>ST1002700130000 NN5YYY ...
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from observer.errors import DataFileError
from observer.providers.kis.moments import parse_date
from observer.reference.listings import Listing

_KRW_PER_MARKET_CAP_UNIT: Final = 100_000_000  # 시가총액 is in hundred million won
_SHARES_PER_UNIT: Final = 1_000  # 상장주수 is in thousands
_NO_DATE: Final = frozenset({"", "00000000"})
_COMMON_SHARE: Final = frozenset({"", "0"})


class BadLine(msgspec.Struct, frozen=True):
    """A line that is no record: its number from 1, why, and its bytes as they came."""

    number: int
    reason: str
    content: bytes


# Where the fields that we read lie in the tail, as (name, width) in order; names that begin with "_" are passed over.
_Tail = tuple[tuple[str, int], ...]

# From the base price to the listed shares all three exchanges agree.
_COMMON: Final[_Tail] = (
    ("base_price", 9),
    ("_lots", 5 + 5),
    ("suspended", 1),
    ("_liquidation", 1),
    ("administrative", 1),
    ("_warnings", 2 + 1 + 1 + 1),
    ("_actions", 2 + 2 + 2),
    ("_credit", 3 + 1 + 3),
    ("_previous_volume", 12),
    ("_face_value", 12),
    ("listed_on", 8),
    ("listed_shares", 15),
    ("_capital", 21 + 2 + 7),
    ("preferred", 1),
)
_TAILS: Final[Mapping[str, _Tail]] = {
    "KOSPI": (
        ("group", 2),
        ("_indices", 1 + 4 + 4 + 4 + 14),
        ("spac", 1),
        ("_indices_rest", 11),
        *_COMMON,
        ("_overheated", 1 + 1 + 1 + 1),
        ("_accounts", 9 + 9 + 9 + 5 + 9 + 8),
        ("market_cap", 9),
        ("_lending", 3 + 1 + 1 + 1),
    ),
    "KOSDAQ": (
        ("group", 2),
        ("_indices", 1 + 4 + 4 + 4 + 9),
        ("spac", 1),
        ("_indices_rest", 11),
        *_COMMON,
        ("_overheated", 1 + 1 + 1),
        ("_accounts", 9 + 9 + 9 + 5 + 9 + 8),
        ("market_cap", 9),
        ("_lending", 3 + 1 + 1 + 1),
    ),
    "KONEX": (
        ("group", 2),
        *_COMMON,
        ("_overheated", 1 + 1 + 1),
        ("_accounts", 9 + 9 + 9 + 5 + 9 + 8),
        ("market_cap", 9),
        ("_lending", 1 + 1 + 1),
    ),
}
EXCHANGES: Final = tuple(_TAILS)
_NAME_END: Final = 9 + 12 + 40


class _Layout(msgspec.Struct, frozen=True):
    """The slices of one exchange's record, and its length in bytes."""

    slices: dict[str, slice]
    length_bytes: int


def _layout(tail: _Tail) -> _Layout:
    slices = {"symbol": slice(0, 9), "isin": slice(9, 21), "name": slice(21, _NAME_END)}
    start = _NAME_END
    for name, width in tail:
        slices[name] = slice(start, start + width)
        start += width
    return _Layout({name: where for name, where in slices.items() if not name.startswith("_")}, start)


_LAYOUTS: Final = {exchange: _layout(tail) for exchange, tail in _TAILS.items()}


def parse_master(exchange: str, content: bytes) -> tuple[list[Listing], list[BadLine]]:
    """All records of an unpacked master file in its order, and the lines that are none.

    Every line is in one of the two lists. A symbol that comes again is a bad line: keys are unique.

    Raises:
        DataFileError: no such exchange.
    """
    layout = _LAYOUTS.get(exchange)
    if layout is None:
        raise DataFileError(f"no master file layout for {exchange!r}; known are {', '.join(EXCHANGES)}")
    listings: dict[str, Listing] = {}
    bad: list[BadLine] = []
    for number, line in enumerate(_lines(content), start=1):
        try:
            listing = _listing(exchange, layout, line)
        except ValueError as error:
            bad.append(BadLine(number, str(error), line))
            continue
        if listing.symbol in listings:
            bad.append(BadLine(number, f"symbol {listing.symbol} comes a second time", line))
        else:
            listings[listing.symbol] = listing
    return list(listings.values()), bad


def _lines(content: bytes) -> list[bytes]:
    """The lines without their ends; what follows the last LF is a line only when there is something."""
    lines = content.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix(b"\r") for line in lines]


def _listing(exchange: str, layout: _Layout, line: bytes) -> Listing:
    """One line's listing.

    Raises:
        ValueError: (UnicodeDecodeError among them) the line is not a record of this exchange.
    """
    if len(line) != layout.length_bytes:
        raise ValueError(f"{len(line)} bytes where a record has {layout.length_bytes}")
    text = {name: line[where].decode("cp949").strip() for name, where in layout.slices.items()}
    if not text["symbol"] or not text["symbol"].isalnum():
        raise ValueError(f"{text['symbol']!r} is not a symbol")
    return Listing(
        exchange=exchange,
        symbol=text["symbol"],
        name=text["name"],
        isin=text["isin"],
        group=text["group"],
        base_price=_scaled(text["base_price"], 1) or None,
        market_cap_krw=_scaled(text["market_cap"], _KRW_PER_MARKET_CAP_UNIT),
        listed_shares=_scaled(text["listed_shares"], _SHARES_PER_UNIT),
        listed_on=_date(text["listed_on"]),
        suspended=_flag(text["suspended"]),
        administrative=_flag(text["administrative"]),
        preferred=text["preferred"] not in _COMMON_SHARE,
        spac=_flag(text.get("spac", "")),
    )


def _scaled(text: str, unit: int) -> float | None:
    """A whole number of units; None for blanks."""
    return float(int(text) * unit) if text else None


def _date(text: str) -> str | None:
    return None if text in _NO_DATE else parse_date(text).isoformat()


def _flag(text: str) -> bool:
    """Y is yes; N and blank are no.

    Raises:
        ValueError: anything else, which means that the fields have moved.
    """
    if text not in ("Y", "N", ""):
        raise ValueError(f"{text!r} where Y or N is expected")
    return text == "Y"
