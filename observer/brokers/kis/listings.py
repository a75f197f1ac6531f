"""Every master file of KIS -> listings, by the name of its exchange. Pure (docs/kis.md#master-files).

One record a line, LF. In Korea fields are of fixed width in *bytes*: names hold two-byte cp949 letters, so characters
would shift everything behind them. Abroad there are 24 columns by tabs, no header, cp949. The file of sector codes has
the indices of KOSPI and KOSDAQ sectors by market and code. KIS appends new fields at five days' notice: the fields
known here are read, and what is behind them is named (`usual_width`). A record of each:

    005930   KR7005930003<name, 40 bytes>ST1002700130000 NN5YYY ...
    HK 12 HKS 홍콩 00115 HKS00115 균호그룹 GRAND FIELD GP 2 HKD 3 _ 3.800 2000 2000 930 1610 N _ 630 0 1 _ _
    00005<name, 40 bytes>
"""

import io
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache, partial
from typing import Any, Final

import msgspec

from observer.base.errors import DataFileError
from observer.base.text import plain_text
from observer.brokers.kis.times import parse_date
from observer.reference.listings.model import SECTOR_CODES, Listing, UnreadableLine

LINE_BYTES_MAX: Final = 4_096  # the longest real record has 300
BAD_LINES_MAX: Final = 100  # no real file has one
RECORDS_MAX: Final = 100_000  # the largest real file has a tenth of it
_FLAGS: Final = {"Y": True, "N": False, " ": False, "": False}


Parsed = tuple[list[Listing], list[UnreadableLine]]


class _File(msgspec.Struct, frozen=True):
    """A kind of file: the name, the width of its known records in bytes or columns, and what reads one of them (raises
    ValueError, UnicodeDecodeError among them, for a line that is none).
    """

    name: str
    known: int
    unit: str
    width_of: Callable[[bytes], int]
    listing: Callable[[bytes], Listing]

    def width(self, content: bytes) -> int:
        return usual_width(map(self.width_of, lines_of(content)), self.known)

    def read(self, width: int, line: bytes) -> Listing:
        """The listing of a line of this width, of which the known part is read."""
        if len(line) > LINE_BYTES_MAX:
            raise ValueError(f"{len(line):,} bytes are too many for a record")
        if (found := self.width_of(line)) != width:
            raise ValueError(f"{found} {self.unit.split()[0]} where a record has {width}")
        return self.listing(line)


def file_name(exchange: str) -> str:
    """The name of an exchange's unpacked file, as in its address.

    Raises:
        DataFileError: KIS has none of that name.
    """
    return _file_of(exchange).name


def parse_listings(exchange: str, content: bytes) -> Parsed:
    """All records of an exchange's unpacked file in its order, and the lines that are none.

    Every line is in one of the two lists. A symbol that comes again is a bad line: keys are unique.

    Raises:
        DataFileError: no such exchange, too many lines that are no records, or too many records.
    """
    file = _file_of(exchange)
    width, listings, bad = file.width(content), dict[str, Listing](), list[UnreadableLine]()
    for number, line in enumerate(lines_of(content), start=1):
        try:
            listing = file.read(width, line)
            if listings.setdefault(listing.symbol, listing) is not listing:
                raise ValueError(f"symbol {listing.symbol} comes a second time")  # noqa: TRY301 - as `read` does
        except ValueError as error:
            if len(bad) >= BAD_LINES_MAX:
                first = f"first line {bad[0].number}: {bad[0].reason}"
                raise DataFileError(f"more than {BAD_LINES_MAX} lines are no records, {first}") from None
            bad.append(UnreadableLine(number, str(error), line[:LINE_BYTES_MAX]))
        if len(listings) > RECORDS_MAX:
            raise DataFileError(f"more than {RECORDS_MAX:,} records: no exchange has so many")
    return list(listings.values()), bad


def unknown_tail(exchange: str, content: bytes) -> str:
    """What the records of an exchange's unpacked file have behind the fields known here, in words; empty for nothing.
    `parse_listings` passes over it.
    """
    file = _file_of(exchange)
    width = file.width(content)
    return "" if width == file.known else f"{width} {file.unit}, of which {file.known} are known"


def usual_width(widths: Iterable[int], known: int) -> int:
    """The width of a file's records, in bytes or columns: that of most lines where it is more than the known one, else
    the known one. A line that alone is longer is damaged, and no sign of a new field; twice the known width are two
    records in a line.
    """
    lines = Counter(widths)
    [(width, count)] = lines.most_common(1) or [(known, 0)]
    return max(width, known) if 2 * count > lines.total() and width < 2 * known else known


def lines_of(content: bytes) -> Iterator[bytes]:
    """The lines without their ends; what follows the last LF is a line only when there is something."""
    for line in io.BytesIO(content):
        yield line.removesuffix(b"\n").removesuffix(b"\r")


def _words(text: bytes) -> str:
    return plain_text(text.decode("cp949")).strip()


def _flag(text: str) -> bool:
    """Y is yes; N and blank are no.

    Raises:
        ValueError: anything else, which means that the fields have moved.
    """
    if text not in _FLAGS:
        raise ValueError(f"{text!r} where Y or N is expected")
    return _FLAGS[text]


# --- Korea -------------------------------------------------------------------------------------------------------

# Fields and their widths; names that begin with "_" are passed over. The others are the same ones in the same order in
# all three files: what an exchange does not have is of no width.
_FIELDS: Final = """
    symbol 9  isin 12  name 40  group 2
    _size {size}  sector_large {sector}  sector_medium {sector}  sector_small {sector}
    _indices {indices}  spac {spac}  _indices_rest {rest}
    base_price 9  _lots 10  suspended 1  _liquidation 1  administrative 1  _warnings 5  _actions 6  _credit 7
    _previous_volume 12  _face_value 12  listed_on 8  listed_shares 15  _capital 30  preferred 1
    _overheated {overheated}  _accounts 49  market_cap 9  _lending {lending}
"""
_KRW_PER_MARKET_CAP_UNIT: Final = 100_000_000  # 시가총액 is in hundred million won
_SHARES_PER_UNIT: Final = 1_000  # 상장주수 is in thousands
_NO_DATE: Final = frozenset({b"", b"00000000"})
_COMMON_SHARE: Final = frozenset({b" ", b"0"})


def _layout(**widths: int) -> struct.Struct:
    """Unpacks the fields that are read out of a record of exactly its length."""
    words = _FIELDS.format(**widths).split()
    pairs = zip(words[::2], words[1::2], strict=True)
    return struct.Struct("".join(f"{width}{'x' if name.startswith('_') else 's'}" for name, width in pairs))


_KOSPI: Final = _layout(size=1, sector=4, indices=14, spac=1, rest=11, overheated=4, lending=6)
_KOSDAQ: Final = _layout(size=1, sector=4, indices=9, spac=1, rest=11, overheated=3, lending=6)
_KONEX: Final = _layout(size=0, sector=0, indices=0, spac=0, rest=0, overheated=3, lending=3)


def _listing_in_korea(exchange: str, layout: struct.Struct, line: bytes) -> Listing:
    (symbol, isin, name, group, large, medium, small, spac, base_price, *rest) = layout.unpack_from(line)
    (suspended, administrative, listed_on, listed_shares, preferred, market_cap) = rest
    symbol = symbol.strip()
    if not symbol.isalnum():
        raise ValueError(f"{symbol.decode('ascii', 'backslashreplace')!r} is not a symbol")
    return Listing(
        exchange=exchange,
        symbol=symbol.decode("ascii"),
        name=_words(name),
        isin=_words(isin),
        group=_words(group),
        base_price=_scaled(base_price, 1) or None,
        market_cap=_scaled(market_cap, _KRW_PER_MARKET_CAP_UNIT),
        listed_shares=_scaled(listed_shares, _SHARES_PER_UNIT),
        listed_on=_date(listed_on),
        suspended=_flag(suspended.decode("cp949")),
        administrative=_flag(administrative.decode("cp949")),
        preferred=preferred not in _COMMON_SHARE,
        spac=_flag(spac.decode("cp949")),
        currency="KRW",
        sector_code=_sector(large, medium, small),
    )


def _scaled(text: bytes, unit: int) -> float | None:
    """A whole number of units; None for blanks."""
    return None if text.isspace() else float(int(text) * unit)


@lru_cache(maxsize=4096)
def _sector(*codes: bytes) -> str:
    """The finest class of the exchange's own (대, 중, 소분류) that is reported; empty when none is."""
    return next((code for code in map(_words, reversed(codes)) if code.strip("0")), "")


@lru_cache(maxsize=16_384)  # days of listing: some thousands in all files together
def _date(text: bytes) -> str | None:
    stripped = text.strip()
    return None if stripped in _NO_DATE else parse_date(stripped.decode("cp949")).isoformat()


# --- what reports less -------------------------------------------------------------------------------------------

_LACKING: Final[Mapping[str, Any]] = {
    "isin": "",
    "group": "",
    "market_cap": None,
    "listed_shares": None,
    "listed_on": None,
    "suspended": False,
    "administrative": False,
    "preferred": False,
    "spac": False,
}
_SECTOR_BYTES: Final = 45
_SECTOR_CODE_BYTES: Final = 5


def _listing_of_sector(line: bytes) -> Listing:
    """One sector as the index that it is: its symbol is the market's digit and the code's four."""
    code = line[:_SECTOR_CODE_BYTES]
    if not code.isalnum():
        raise ValueError(f"{code.decode('ascii', 'backslashreplace')!r} is not a sector code")
    return Listing(
        exchange=SECTOR_CODES,
        symbol=code.decode("ascii"),
        name=_words(line[_SECTOR_CODE_BYTES:_SECTOR_BYTES]),
        base_price=None,
        currency="KRW",
        sector_code=code[1:].decode("ascii"),
        security_type="index",
        **_LACKING,
    )


_COLUMNS: Final = 24
_VARIABLE_COLUMNS: Final = 13  # behind them is what many records of a file share
_PRICE_MAX: Final = 1e15  # up to it a double holds every price to the unit
_KINDS: Final[Mapping[str, str]] = {"1": "index", "2": "stock", "3": "fund", "4": "warrant"}
_SYMBOL: Final = re.compile(r"[0-9A-Za-z#.][0-9A-Za-z/.\-#]*", re.ASCII)
_SECTOR_CODE: Final = re.compile(r"[0-9]{3,4}")  # three in every real file, four places in the C header


def _listing_abroad(exchange: str, code: str, line: bytes) -> Listing:
    """`exchange` is our name of the file, `code` KIS's. Only the last columns are padded; names are stripped for
    safety, and control characters are taken out of them.
    """
    columns = line.decode("cp949").split("\t", _VARIABLE_COLUMNS)
    (nation, number, of_file, where, symbol, stream, korean, english, kind, currency, decimals, data, price, rest) = (
        columns
    )
    if not _SYMBOL.fullmatch(symbol):
        raise ValueError(f"{symbol!r} is not a symbol")
    _require_plain(stream)
    if of_file != code:
        raise ValueError(f"a record of {of_file!r} in the file of {code}")
    return Listing(
        exchange=exchange,
        symbol=symbol,
        name=plain_text(korean).strip(),
        base_price=_price(price) or None,
        english_name=plain_text(english).strip(),
        realtime_symbol=stream,
        **_shared((nation, number, where, data), kind, currency, decimals, rest),
        **_LACKING,
    )


@lru_cache(maxsize=4096)
def _shared(others: tuple[str, ...], kind: str, currency: str, decimals: str, rest: str) -> Mapping[str, Any]:
    """What many records have in common, read once for all of them. In `rest`: lots, opening and closing time of the
    exchange's own time as they stand there (HMM or HHMM), flag of a depositary receipt and its nation, sector code,
    members, kind of tick, kind of fund (001 ETF, 002 ETN, 003 ETC, 004 other, 005 and 006 on volatility), tick detail.
    """
    bid, ask, opens, closes, receipt, nation, sector, members, tick, fund, detail = rest.split("\t")[:11]
    if kind not in _KINDS:
        raise ValueError(f"{kind!r} is no security type")
    if sector and not _SECTOR_CODE.fullmatch(sector):
        raise ValueError(f"{sector!r} is no sector code of three or four digits")
    _require_plain(*others, currency, opens, closes, nation, members, tick, fund, detail)
    for text in (decimals, bid or "0", ask or "0"):
        int(text)
    _flag(receipt)
    return {"currency": currency, "sector_code": sector, "security_type": _KINDS[kind], "etp_kind": fund.strip()}


def _require_plain(*columns: str) -> None:
    """Raises ValueError when one of them holds a control character."""
    for column in columns:
        if plain_text(column) != column:
            raise ValueError(f"a control character in {column!r}")


def _price(text: str) -> float | None:
    """A price; None for a blank. Never an infinity or no number, which `float` would read."""
    if not text:
        return None
    price = float(text)
    if not 0 <= price < _PRICE_MAX:
        raise ValueError(f"{text!r} is no price")
    return price


# --- the files ---------------------------------------------------------------------------------------------------

# Our name of an exchange -> its code in the file. HASE is Hanoi and VNSE Ho Chi Minh, as KIS's other calls have it and
# the rows' own exchange names say (the requirement swaps them).
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
# The files of what NXT trades have records as those of the exchange where the stock is listed.
_IN_KOREA: Final = {"KOSPI": _KOSPI, "KOSDAQ": _KOSDAQ, "KONEX": _KONEX, "NXT_KOSPI": _KOSPI, "NXT_KOSDAQ": _KOSDAQ}
_FILES: Final[dict[str, _File]] = {
    SECTOR_CODES: _File("idxcode.mst", _SECTOR_BYTES, "bytes a record", len, _listing_of_sector)
}
for _exchange, _known in _IN_KOREA.items():
    _read = partial(_listing_in_korea, _exchange.removeprefix("NXT_"), _known)
    _FILES[_exchange] = _File(f"{_exchange.lower()}_code.mst", _known.size, "bytes a record", len, _read)
for _exchange, _code in _ABROAD.items():
    _read = partial(_listing_abroad, _exchange, _code)
    _FILES[_exchange] = _File(f"{_code.lower()}mst.cod", _COLUMNS, "columns", lambda line: line.count(b"\t") + 1, _read)


def _file_of(exchange: str) -> _File:
    if exchange not in _FILES:
        raise DataFileError(f"no master file of {exchange!r}; known are {', '.join(_FILES)}")
    return _FILES[exchange]
