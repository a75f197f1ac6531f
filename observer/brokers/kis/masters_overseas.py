"""KIS master files of the exchanges outside Korea -> records. Pure (docs/kis.md#master-files).

One record a line, LF, no header, 24 columns by tabs, cp949. A real record (the fields that look empty are):

    HK 12 HKS 홍콩 00115 HKS00115 균호그룹 GRAND FIELD GP 2 HKD 3 _ 3.800 2000 2000 930 1610 N _ 630 0 1 _ _
"""

import re
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from observer.base.errors import DataFileError
from observer.base.text import plain_text
from observer.brokers.kis.masters import BadLine, lines_of, records_by_line, usual_width

SecurityKind = Literal["index", "stock", "fund", "warrant"]

# KIS's code of the exchange elsewhere in its interface, by the one in its master files. HASE is Hanoi and VNSE Ho Chi
# Minh, as KIS's other calls have it and the rows' own exchange names say (the requirement swaps them).
EXCHANGE_OF: Final[Mapping[str, str]] = {
    "NAS": "NASD",
    "NYS": "NYSE",
    "AMS": "AMEX",
    "HKS": "SEHK",
    "SHS": "SHAA",
    "SHI": "SHAA",
    "SZS": "SZAA",
    "SZI": "SZAA",
    "TSE": "TKSE",
    "HNX": "HASE",
    "HSX": "VNSE",
}
_KINDS: Final[Mapping[str, SecurityKind]] = {"1": "index", "2": "stock", "3": "fund", "4": "warrant"}
COLUMNS: Final = 24
_PRICE_MAX: Final = 1e15  # up to it a double holds every price to the unit
_SYMBOL: Final = re.compile(r"[0-9A-Za-z#.][0-9A-Za-z/.\-#]*", re.ASCII)
_SECTOR_CODE: Final = re.compile(r"[0-9]{3,4}")  # three in every real file, four places in the C header
_FLAGS: Final = {"Y": True, "N": False, "": False}


class AbroadRecord(msgspec.Struct, frozen=True, gc=False):
    """One record with all its columns, in their order.

    `exchange_id` is KIS's number of the exchange and `file_exchange` its code in these files (`NAS`); `stream_symbol`
    is what the real-time key is made of. Prices are in `currency`, sizes in shares; times HMM or HHMM of the exchange's
    own time, as they stand there. `sector_code` has three or four digits, `000` for none, and is empty for an index;
    `fund_kind` is 001 ETF, 002 ETN, 003 ETC, 004 other, 005 and 006 on volatility, empty for what is no fund.
    """

    nation: str
    exchange_id: str
    file_exchange: str
    exchange_name: str
    symbol: str
    stream_symbol: str
    korean_name: str
    english_name: str
    kind: SecurityKind
    currency: str
    decimals: int
    data_type: str
    base_price: float | None
    bid_lot: int | None
    ask_lot: int | None
    opens: str
    closes: str
    is_depositary_receipt: bool
    receipt_nation: str
    sector_code: str
    has_members: bool
    tick_size_type: str
    fund_kind: str
    tick_size_detail: str

    @property
    def exchange(self) -> str:
        """The exchange as KIS's calls name it (`NASD`)."""
        return EXCHANGE_OF[self.file_exchange]


def parse_abroad(file_exchange: str, content: bytes) -> tuple[list[AbroadRecord], list[BadLine]]:
    """All records of an unpacked master file in its order, and the lines that are none.

    Every line is in one of the two lists. A symbol that comes again is a bad line: keys are unique.

    Raises:
        DataFileError: there is no such exchange, or as for `records_by_line`.
    """
    if file_exchange not in EXCHANGE_OF:
        raise DataFileError(f"no master file of {file_exchange!r} abroad; known are {', '.join(EXCHANGE_OF)}")
    width = columns_of(content)
    return records_by_line(content, lambda line: record_of(file_exchange, line.decode("cp949"), width))


def columns_of(content: bytes) -> int:
    """How many columns the records of a file have, `COLUMNS` of them known."""
    return usual_width((line.count(b"\t") + 1 for line in lines_of(content)), COLUMNS)


def record_of(file_exchange: str, line: str, width: int = COLUMNS) -> AbroadRecord:
    """One line's record, without its end; `width` columns, of which the known ones are read. Only the last columns are
    padded; names are stripped for safety, and control characters are taken out of them.

    Raises:
        ValueError: it is none of this exchange.
    """
    columns = line.split("\t")
    if len(columns) != width:
        raise ValueError(f"{len(columns)} columns where a record has {width}")
    (nation, number, code, where, symbol, stream, korean, english, kind, currency, decimals, data_type) = columns[:12]
    (price, bid, ask, opens, closes, receipt, receipt_nation, sector, members, tick, fund, detail) = columns[12:COLUMNS]
    if code != file_exchange:
        raise ValueError(f"a record of {code!r} in the file of {file_exchange}")
    if not _SYMBOL.fullmatch(symbol):
        raise ValueError(f"{symbol!r} is not a symbol")
    if kind not in _KINDS:
        raise ValueError(f"{kind!r} is no security type")
    if sector and not _SECTOR_CODE.fullmatch(sector):
        raise ValueError(f"{sector!r} is no sector code of three or four digits")
    require_plain(stream, nation, number, where, currency, opens, closes, receipt_nation, members, tick, fund, detail)
    return AbroadRecord(
        nation=nation,
        exchange_id=number,
        file_exchange=code,
        exchange_name=where,
        symbol=symbol,
        stream_symbol=stream,
        korean_name=plain_text(korean).strip(),
        english_name=plain_text(english).strip(),
        kind=_KINDS[kind],
        currency=currency,
        decimals=int(decimals),
        data_type=data_type,
        base_price=price_of(price),
        bid_lot=_lot(bid),
        ask_lot=_lot(ask),
        opens=opens,
        closes=closes,
        is_depositary_receipt=_flag(receipt),
        receipt_nation=receipt_nation.strip(),
        sector_code=sector,
        has_members=members == "1",
        tick_size_type=tick,
        fund_kind=fund.strip(),
        tick_size_detail=detail.strip(),
    )


def require_plain(*columns: str) -> None:
    """Raises ValueError when one of them holds a control character."""
    for column in columns:
        if plain_text(column) != column:
            raise ValueError(f"a control character in {column!r}")


def price_of(text: str) -> float | None:
    """A price; None for a blank. Never an infinity or no number, which `float` would read.

    Raises:
        ValueError: it is none.
    """
    if not text:
        return None
    price = float(text)
    if not 0 <= price < _PRICE_MAX:
        raise ValueError(f"{text!r} is no price")
    return price


def _lot(text: str) -> int | None:
    return int(text) if text else None


def _flag(text: str) -> bool:
    """Y is yes; N and blank are no.

    Raises:
        ValueError: anything else, which means that the columns have moved.
    """
    if text not in _FLAGS:
        raise ValueError(f"{text!r} where Y or N is expected")
    return _FLAGS[text]
