"""KIS master files of KOSPI, KOSDAQ and KONEX -> listings. Pure (docs/kis.md#master-files).

One record a line, LF, fields of fixed width in *bytes*: names hold two-byte cp949 letters, so characters would shift
everything behind them. Short code 9, standard code 12, name 40, then a tail that differs by exchange. KIS appends new
fields at five days' notice: the fields known here are read, and what is behind them is named (`usual_width`). A KOSPI
record:

    005930   KR7005930003<name, 40 bytes>ST1002700130000 NN5YYY ...
"""

import io
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache, partial
from typing import Final, Protocol, TypeVar

import msgspec

from observer.base.errors import DataFileError
from observer.base.text import plain_text
from observer.brokers.kis.times import parse_date
from observer.reference.listings.model import Listing

_KRW_PER_MARKET_CAP_UNIT: Final = 100_000_000  # 시가총액 is in hundred million won
_SHARES_PER_UNIT: Final = 1_000  # 상장주수 is in thousands
_NO_DATE: Final = frozenset({b"", b"00000000"})
_COMMON_SHARE: Final = frozenset({b" ", b"0"})
LINE_BYTES_MAX: Final = 4_096  # the longest real record has 300
BAD_LINES_MAX: Final = 100  # no real file has one
RECORDS_MAX: Final = 100_000  # the largest real file has a tenth of it
_FLAGS: Final = {b"Y": True, b"N": False, b" ": False, b"": False}


class _Record(Protocol):
    @property
    def symbol(self) -> str: ...


RecordT = TypeVar("RecordT", bound=_Record)


class BadLine(msgspec.Struct, frozen=True):
    """A line that is no record: its number from 1, why, and its bytes as they came."""

    number: int
    reason: str
    content: bytes


# Where the fields that we read lie in the tail, as (name, width) in order; names that begin with "_" are passed over.
# The others are the same ones in the same order in all three: what an exchange does not have is of no width.
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
_SECTORS: Final[_Tail] = (("sector_large", 4), ("sector_medium", 4), ("sector_small", 4))
_TAILS: Final[Mapping[str, _Tail]] = {
    "KOSPI": (
        ("group", 2),
        ("_size", 1),
        *_SECTORS,
        ("_indices", 14),
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
        ("_size", 1),
        *_SECTORS,
        ("_indices", 9),
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
        *((name, 0) for name, _ in _SECTORS),
        ("spac", 0),
        *_COMMON,
        ("_overheated", 1 + 1 + 1),
        ("_accounts", 9 + 9 + 9 + 5 + 9 + 8),
        ("market_cap", 9),
        ("_lending", 1 + 1 + 1),
    ),
}
EXCHANGES: Final = tuple(_TAILS)
_HEAD: Final[_Tail] = (("symbol", 9), ("isin", 12), ("name", 40))


def _layout(tail: _Tail) -> struct.Struct:
    """Unpacks the fields that are read out of a record of exactly its length."""
    widths = "".join(f"{width}{'x' if name.startswith('_') else 's'}" for name, width in (*_HEAD, *tail))
    return struct.Struct(widths)


_LAYOUTS: Final = {exchange: _layout(tail) for exchange, tail in _TAILS.items()}


def parse_master(exchange: str, content: bytes) -> tuple[list[Listing], list[BadLine]]:
    """All records of an unpacked master file in its order, and the lines that are none.

    Every line is in one of the two lists. A symbol that comes again is a bad line: keys are unique.

    Raises:
        DataFileError: no such exchange, or as for `records_by_line`.
    """
    layout = _LAYOUTS.get(exchange)
    if layout is None:
        raise DataFileError(f"no master file layout for {exchange!r}; known are {', '.join(EXCHANGES)}")
    width = usual_width(map(len, lines_of(content)), layout.size)
    return records_by_line(content, partial(_listing, exchange, layout, width))


def record_bytes(exchange: str) -> int:
    """The length of a record of one of `EXCHANGES` as far as its fields are known."""
    return _LAYOUTS[exchange].size


def usual_width(widths: Iterable[int], known: int) -> int:
    """The width of a file's records, in bytes or columns: that of most lines where it is more than the known one, else
    the known one. A line that alone is longer is damaged, and no sign of a new field; twice the known width are two
    records in a line.
    """
    lines = Counter(widths)
    [(width, count)] = lines.most_common(1) or [(known, 0)]
    return max(width, known) if 2 * count > lines.total() and width < 2 * known else known


def records_by_line(content: bytes, read: Callable[[bytes], RecordT]) -> tuple[list[RecordT], list[BadLine]]:
    """The record of each line, and the lines for which `read` raises a ValueError or whose symbol came before.

    Raises:
        DataFileError: too many lines are no records, or there are too many records.
    """
    records: dict[str, RecordT] = {}
    bad: list[BadLine] = []
    for number, line in enumerate(lines_of(content), start=1):
        try:
            if len(line) > LINE_BYTES_MAX:
                raise ValueError(f"{len(line):,} bytes are too many for a record")  # noqa: TRY301 - as `read` does
            record = read(line)
        except ValueError as error:  # UnicodeDecodeError among them
            add_bad_line(bad, number, str(error), line)
            continue
        if records.setdefault(record.symbol, record) is not record:
            add_bad_line(bad, number, f"symbol {record.symbol} comes a second time", line)
        require_few(len(records))
    return list(records.values()), bad


def lines_of(content: bytes) -> Iterator[bytes]:
    """The lines without their ends; what follows the last LF is a line only when there is something."""
    for line in io.BytesIO(content):
        yield line.removesuffix(b"\n").removesuffix(b"\r")


def add_bad_line(bad: list[BadLine], number: int, reason: str, line: bytes) -> None:
    """Add a line that is no record; only the beginning of a long one is kept.

    Raises:
        DataFileError: there were too many before: it is no master file.
    """
    if len(bad) >= BAD_LINES_MAX:
        first = bad[0]
        raise DataFileError(
            f"more than {BAD_LINES_MAX} lines are no records, first line {first.number}: {first.reason}"
        )
    bad.append(BadLine(number, reason, line[:LINE_BYTES_MAX]))


def require_few(records: int) -> None:
    """Raises DataFileError for more records than any exchange has."""
    if records > RECORDS_MAX:
        raise DataFileError(f"more than {RECORDS_MAX:,} records: no exchange has so many")


def _listing(exchange: str, layout: struct.Struct, width: int, line: bytes) -> Listing:
    """One line's listing. Of the file's `width` bytes those of the layout are read.

    Raises:
        ValueError: (UnicodeDecodeError among them) the line is not a record of this exchange.
    """
    if len(line) != width:
        raise ValueError(f"{len(line)} bytes where a record has {width}")
    (symbol, isin, name, group, large, medium, small, *tail) = layout.unpack_from(line)
    (spac, base_price, suspended, administrative, listed_on, listed_shares, preferred, market_cap) = tail
    symbol = symbol.strip()
    if not symbol.isalnum():
        raise ValueError(f"{symbol.decode('ascii', 'backslashreplace')!r} is not a symbol")
    return Listing(
        exchange,
        symbol.decode("ascii"),
        _words(name),
        _words(isin),
        _words(group),
        _scaled(base_price, 1) or None,
        _scaled(market_cap, _KRW_PER_MARKET_CAP_UNIT),
        _scaled(listed_shares, _SHARES_PER_UNIT),
        _date(listed_on),
        _flag(suspended),
        _flag(administrative),
        preferred not in _COMMON_SHARE,
        _flag(spac),
        currency="KRW",
        sector_code=_sector(large, medium, small),
    )


def _words(text: bytes) -> str:
    return plain_text(text.decode("cp949")).strip()


def _scaled(text: bytes, unit: int) -> float | None:
    """A whole number of units; None for blanks."""
    return None if text.isspace() else float(int(text) * unit)


@lru_cache(maxsize=4096)
def _sector(*codes: bytes) -> str:
    """The finest class of the exchange's own (대, 중, 소분류) that is reported; empty when none is."""
    reported = [_words(code) for code in codes]
    return next((code for code in reversed(reported) if code.strip("0")), "")


@lru_cache(maxsize=16_384)  # days of listing: some thousands in all files together
def _date(text: bytes) -> str | None:
    stripped = text.strip()
    return None if stripped in _NO_DATE else parse_date(stripped.decode("cp949")).isoformat()


def _flag(text: bytes) -> bool:
    """Y is yes; N and blank are no.

    Raises:
        ValueError: anything else, which means that the fields have moved.
    """
    if text not in _FLAGS:
        raise ValueError(f"{text.decode('cp949', 'backslashreplace')!r} where Y or N is expected")
    return _FLAGS[text]
