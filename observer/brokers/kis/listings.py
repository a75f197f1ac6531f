"""Every master file of KIS -> listings, by the name of its exchange. Pure (docs/kis.md#master-files).

Files of a national exchange in Korea are of fixed width, those abroad have tabs; the file of sector codes (45 bytes a
record) has the indices of KOSPI and KOSDAQ sectors by market and code:

    00005<name, 40 bytes>
"""

import io
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

from observer.base.errors import DataFileError
from observer.base.text import plain_text
from observer.brokers.kis import masters
from observer.brokers.kis.masters import (
    LINE_BYTES_MAX,
    BadLine,
    add_bad_line,
    lines_of,
    records_by_line,
    require_few,
    usual_width,
)
from observer.brokers.kis.masters_overseas import (
    COLUMNS,
    AbroadRecord,
    columns_of,
    parse_abroad,
    price_of,
    record_of,
    require_plain,
)
from observer.reference.listings.model import SECTOR_CODES, Listing

# Our name of an exchange -> its code in the file.
_ABROAD: Final[Mapping[str, str]] = {
    "NASD": "NAS",
    "NYSE": "NYS",
    "AMEX": "AMS",
    "SEHK": "HKS",
    "SHAA": "SHS",
    "SHI": "SHI",
    "SZAA": "SZS",
    "SZI": "SZI",
    "TKSE": "TSE",
    "HASE": "HNX",
    "VNSE": "HSX",
}
# The files of what NXT trades: records as those of the exchange where the stock is listed.
_LISTED_AT: Final[Mapping[str, str]] = {"NXT_KOSPI": "KOSPI", "NXT_KOSDAQ": "KOSDAQ"}
_FILES: Final[Mapping[str, str]] = {
    "KOSPI": "kospi_code.mst",
    "KOSDAQ": "kosdaq_code.mst",
    "KONEX": "konex_code.mst",
    SECTOR_CODES: "idxcode.mst",
    **{name: f"{name.lower()}_code.mst" for name in _LISTED_AT},
    **{exchange: f"{code.lower()}mst.cod" for exchange, code in _ABROAD.items()},
}
_SECTOR_BYTES: Final = 45
_SECTOR_CODE_BYTES: Final = 5
_VARIABLE_COLUMNS: Final = 13  # behind them is what many records of a file share
_NO_CODES: Final = ("", "")  # ISIN and group
_NOT_REPORTED: Final = (None, None, None, False, False, False, False)  # market cap to SPAC

Parsed = tuple[list[Listing], list[BadLine]]


def file_name(exchange: str) -> str:
    """The name of an exchange's unpacked file, as in its address.

    Raises:
        DataFileError: KIS has none of that name.
    """
    if exchange not in _FILES:
        raise DataFileError(f"no master file of {exchange!r}; known are {', '.join(_FILES)}")
    return _FILES[exchange]


def parse_listings(exchange: str, content: bytes) -> Parsed:
    """All records of an exchange's unpacked file in its order, and the lines that are none.

    Every line is in one of the two lists. A symbol that comes again is a bad line: keys are unique.

    Raises:
        DataFileError: no such exchange, too many lines that are no records, or too many records.
    """
    if exchange in _ABROAD:
        return _parse_tabs(exchange, _ABROAD[exchange], content)
    if exchange == SECTOR_CODES:
        return records_by_line(
            content, partial(_sector_listing, usual_width(map(len, lines_of(content)), _SECTOR_BYTES))
        )
    return masters.parse_master(_LISTED_AT.get(exchange, exchange), content)


def unknown_tail(exchange: str, content: bytes) -> str:
    """What the records of an exchange's unpacked file have behind the fields known here, in words; empty for nothing.
    `parse_listings` passes over it.
    """
    if exchange in _ABROAD:
        columns = columns_of(content)
        return "" if columns == COLUMNS else f"{columns} columns, of which {COLUMNS} are known"
    known = _SECTOR_BYTES if exchange == SECTOR_CODES else masters.record_bytes(_LISTED_AT.get(exchange, exchange))
    width = usual_width(map(len, lines_of(content)), known)
    return "" if width == known else f"{width} bytes a record, of which {known} are known"


def listing_abroad(exchange: str, record: AbroadRecord) -> Listing:
    """The listing that a record states; `exchange` is our name of where it stands (SHI and SZI for the indices)."""
    return Listing(
        *(exchange, record.symbol, record.korean_name, *_NO_CODES, record.base_price or None, *_NOT_REPORTED),
        *(record.english_name, record.currency, record.sector_code, record.kind),
        *(record.stream_symbol, record.fund_kind),
    )


def _parse_tabs(exchange: str, code: str, content: bytes) -> Parsed:
    """As `parse_abroad`, several times as quick: what many records have in common is read once for all of them, and of
    the others only names and price. A line that is not quite like one before goes the whole way.
    """
    try:
        text = content.decode("cp949")
    except UnicodeDecodeError:
        records, bad = parse_abroad(code, content)
        return [listing_abroad(exchange, record) for record in records], bad
    shared: dict[tuple[str, ...], AbroadRecord] = {}
    listings: dict[str, Listing] = {}
    bad = []
    width = columns_of(content)
    for number, line in enumerate(_text_lines(text), start=1):
        try:
            listing = _tab_listing(exchange, code, line, width, shared)
        except ValueError as error:
            add_bad_line(bad, number, str(error), line.encode("cp949"))
            continue
        if listings.setdefault(listing.symbol, listing) is not listing:
            add_bad_line(bad, number, f"symbol {listing.symbol} comes a second time", line.encode("cp949"))
        require_few(len(listings))
    return list(listings.values()), bad


def _tab_listing(
    exchange: str, code: str, line: str, width: int, shared: dict[tuple[str, ...], AbroadRecord]
) -> Listing:
    """One line's listing, of `width` columns. `shared` are records by all that is in them but symbols, names and price.

    Raises:
        ValueError: it is none of this file.
    """
    if len(line) > LINE_BYTES_MAX // 2 and (size := len(line.encode("cp949"))) > LINE_BYTES_MAX:
        raise ValueError(f"{size:,} bytes are too many for a record")
    columns = line.split("\t", _VARIABLE_COLUMNS)
    if len(columns) <= _VARIABLE_COLUMNS:
        return listing_abroad(exchange, record_of(code, line, width))
    nation, number, where, name, symbol, stream, korean, english, kind, currency, decimals, data, price, rest = columns
    key = (nation, number, where, name, kind, currency, decimals, data, rest)
    like = shared.get(key)
    if like is None or not symbol.isalnum() or not symbol.isascii():
        shared[key] = record = record_of(code, line, width)
        return listing_abroad(exchange, record)
    require_plain(stream)
    return Listing(
        exchange,
        symbol,
        plain_text(korean).strip(),
        "",
        "",
        price_of(price) or None,
        None,
        None,
        None,
        False,
        False,
        False,
        False,
        plain_text(english).strip(),
        like.currency,
        like.sector_code,
        like.kind,
        stream,
        like.fund_kind,
    )


def _text_lines(text: str) -> Iterator[str]:
    """As `masters.lines_of`."""
    for line in io.StringIO(text, newline="\n"):
        yield line.removesuffix("\n").removesuffix("\r")


def _sector_listing(width: int, line: bytes) -> Listing:
    """One sector as the index that it is: its symbol is the market's digit and the code's four.

    Raises:
        ValueError: it is no record.
    """
    if len(line) != width:
        raise ValueError(f"{len(line)} bytes where a record has {width}")
    code = line[:_SECTOR_CODE_BYTES]
    if not code.isalnum():
        raise ValueError(f"{code.decode('ascii', 'backslashreplace')!r} is not a sector code")
    name = plain_text(line[_SECTOR_CODE_BYTES:_SECTOR_BYTES].decode("cp949")).strip()
    return Listing(
        *(SECTOR_CODES, code.decode("ascii"), name, *_NO_CODES, None, *_NOT_REPORTED),
        currency="KRW",
        sector_code=code[1:].decode("ascii"),
        security_type="index",
    )
