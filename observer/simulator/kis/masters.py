"""Records of master files, by bytes: KOSPI, KOSDAQ and KONEX in both directions, made-up ones outside Korea. Pure.

Korean: encoding cp949, each record ends with LF. Short code 9 bytes, standard code 12, name 40, then the tail: 227
bytes in KOSPI (288 in all and the LF), 221 in KOSDAQ (282 and the LF). Slices are of bytes, since a Korean letter takes
two. The provider states the layout a second time on purpose.

Outside Korea: `<exchange>mst.cod.zip` holds one file named in upper case (`NASMST.COD`): cp949, no header, 24 columns
by tabs (docs/kis.md#master-files). A real record:
US 22 NAS 나스닥 AACB NASAACB (Korean name) (English name) 2 USD 4 _ 10.0400 1 1 930 1600 N _ 000 0 0 _ _
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Final

import msgspec

from observer.simulator.market.instruments import Exchange, Instrument, RngSource

if TYPE_CHECKING:
    from random import Random


ENCODING: Final = "cp949"
_SECTOR_NAME_BYTES: Final = 40
_SECTORS_PER_MARKET: Final = 20


def _layout(text: str) -> tuple[tuple[str, int], ...]:
    """Names of fields, each with its width behind it where that is not one byte."""
    widths: dict[str, int] = {}
    for word in text.split():
        name, _, width = word.partition(":")
        widths[name] = int(width or 1)
    return tuple(widths.items())


_HEAD: Final = _layout("symbol:9 isin:12 name:40")
_CLASSES: Final = _layout("group:2 size_class sector_large:4 sector_medium:4 sector_small:4")
_KOSPI_FLAGS: Final = _layout("""
    manufacturing low_liquidity governance_index kospi200_sector kospi100 kospi50 krx etp elw_issued krx100
    krx_automobile krx_semiconductor krx_bio krx_bank spac krx_energy_chemical krx_steel overheated krx_media_telecom
    krx_construction removed krx_securities krx_shipping krx_insurance krx_transport sri
""")
_KOSDAQ_FLAGS: Final = _layout("""
    venture low_liquidity krx etp krx100 krx_automobile krx_semiconductor krx_bio krx_bank spac krx_energy_chemical
    krx_steel overheated krx_media_telecom krx_construction attention krx_securities krx_shipping krx_insurance
    krx_transport kosdaq150
""")
_TRADING: Final = _layout("""
    base_price:9 lot:5 lot_after_hours:5 suspended settlement_trading administrative warning:2 warning_notice
    unfaithful_disclosure backdoor_listing ex_rights:2 par_change:2 capital_increase:2 margin_rate:3 credit
    credit_days:3 previous_volume:12 par_value:12 listed_on:8 listed_shares:15 capital:21 settlement_month:2
    offer_price:7 preferred short_overheated abnormal_rise krx300
""")
_FINANCE: Final = _layout("""
    sales:9 operating_profit:9 ordinary_profit:9 net_income:5 roe:9 as_of:8 market_cap:9 group_company:3
    credit_exhausted collateral_loan stock_loan
""")
_PAR_SPLIT: Final = "01"  # 액면변경: 00 none, 01 split, 02 consolidation
LAYOUTS: Final[dict[Exchange, tuple[tuple[str, int], ...]]] = {
    "KOSPI": (*_HEAD, *_CLASSES, *_KOSPI_FLAGS, *_TRADING, ("kospi", 1), *_FINANCE),
    "KOSDAQ": (*_HEAD, *_CLASSES, *_KOSDAQ_FLAGS, *_TRADING, *_FINANCE),
    # KONEX: 245 bytes, no classes and no flags, no group company.
    "KONEX": (*_HEAD, ("group", 2), *_TRADING, *(field for field in _FINANCE if field[0] != "group_company")),
}
# Fields that hold numbers or codes of zeros where a record says nothing; the other one-byte ones are flags, N.
_ZEROS: Final = frozenset(name for name, width in (*_CLASSES, *_TRADING, *_FINANCE) if width > 1) | {
    "size_class",
    "etp",
    "overheated",
}


def record_width(exchange: Exchange) -> int:
    """Bytes of a record without its LF: 288, 282 or 245."""
    return sum(width for _, width in LAYOUTS[exchange])


def record_of(instrument: Instrument) -> bytes:
    """The record of a listing, LF included. Raises ValueError when a value does not fit its field."""
    values = _values(instrument)
    return b"".join(_field(name, width, values) for name, width in LAYOUTS[instrument.exchange]) + b"\n"


def instruments_of(content: bytes, exchange: Exchange) -> Iterator[Instrument]:
    """The listings of an unpacked master file, in its order.

    Raises:
        ValueError: a record has another length, or a number cannot be read.
    """
    layout = LAYOUTS[exchange]
    ends = tuple(accumulate(width for _, width in layout))
    slices = {name: slice(end - width, end) for (name, width), end in zip(layout, ends, strict=True)}
    for number, record in enumerate(content.splitlines(), start=1):
        if len(record) != ends[-1]:
            raise ValueError(f"{exchange} master file, record {number}: {len(record)} bytes instead of {ends[-1]}")
        yield _instrument(record, slices, exchange)


def file_of(instruments: Iterable[Instrument]) -> bytes:
    """An unpacked master file."""
    return b"".join(map(record_of, instruments))


def made_up_sector_codes() -> bytes:
    """An unpacked file of sector codes: of both markets a few, each 45 bytes (market 1, code 4, name 40) and its LF."""
    return b"".join(
        f"{market}{code:04}".encode() + f"모의업종{code}".encode(ENCODING).ljust(_SECTOR_NAME_BYTES) + b"\n"
        for market in (0, 1)
        for code in range(1, _SECTORS_PER_MARKET + 1)
    )


def _instrument(record: bytes, slices: Mapping[str, slice], exchange: Exchange) -> Instrument:
    def text(name: str) -> str:
        return record[slices[name]].decode(ENCODING).strip()

    def number(name: str) -> int:
        return int(record[slices[name]].strip() or b"0")

    return Instrument(
        symbol=text("symbol"),
        isin=text("isin"),
        name=text("name"),
        exchange=exchange,
        group=text("group"),
        base_price=number("base_price"),
        market_cap_100m=number("market_cap"),
        listed_shares_thousands=number("listed_shares"),
        previous_volume=number("previous_volume"),
        listed_on=text("listed_on"),
        suspended=text("suspended") == "Y",
        settlement_trading=text("settlement_trading") == "Y",
        administrative=text("administrative") == "Y",
        preferred=text("preferred") not in ("", "0"),
        spac="spac" in slices and text("spac") == "Y",
        split=text("par_change") == _PAR_SPLIT,
    )


def _values(instrument: Instrument) -> dict[str, str]:
    """The fields that a made-up record says something in; the others are zeros, N or blanks."""
    return {
        "symbol": instrument.symbol,
        "isin": instrument.isin,
        "name": instrument.name,
        "group": instrument.group,
        "spac": _flag(instrument.spac),
        "base_price": str(instrument.base_price),
        "lot": "1",
        "lot_after_hours": "1",
        "suspended": _flag(instrument.suspended),
        "settlement_trading": _flag(instrument.settlement_trading),
        "administrative": _flag(instrument.administrative),
        "previous_volume": str(instrument.previous_volume),
        "listed_on": instrument.listed_on,
        "listed_shares": str(instrument.listed_shares_thousands),
        "settlement_month": "12",
        "par_change": _PAR_SPLIT if instrument.split else "00",
        "preferred": "1" if instrument.preferred else "0",
        "as_of": "",
        "market_cap": str(instrument.market_cap_100m),
        "group_company": "",
    }


def _flag(value: bool) -> str:
    return "Y" if value else "N"


def _field(name: str, width: int, values: Mapping[str, str]) -> bytes:
    """One field: texts are padded with blanks on the right, numbers with zeros on the left."""
    content = values.get(name, "0" if name in _ZEROS else "N").encode(ENCODING)
    if len(content) > width:
        raise ValueError(f"{name} does not fit {width} bytes: {values.get(name)!r}")
    return content.rjust(width, b"0") if name in _ZEROS else content.ljust(width)


_ROWS_PER_EXCHANGE: Final = 60
_INDEX, _STOCK, _ETF = "1", "2", "3"
_ETF_SHARE: Final = 0.2
_NO_SECTOR: Final = "000"
_SECTORS: Final = ("120", "220", "230", "530", "630", "720")
_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_BLANK: Final = "   "


class ForeignExchange(msgspec.Struct, frozen=True):
    """What all records of one exchange share; `code` in lower case is how its file is named.

    `opens` and `closes` are HMM or HHMM of the exchange's own time; `tickers` in digits has so many, 0: letters.
    """

    nation: str
    number: str
    code: str
    name: str
    currency: str
    decimals: int
    lot: str
    opens: str
    closes: str
    ticker_digits: int

    @property
    def indices(self) -> bool:
        """Whether its file has indices alone, which have no lots."""
        return self.lot == "0"


def _foreign(line: str) -> ForeignExchange:
    nation, number, code, name, currency, decimals, lot, opens, closes, digits = line.split()
    return ForeignExchange(nation, number, code, name, currency, int(decimals), lot, opens, closes, int(digits))


FOREIGN_EXCHANGES: Final = tuple(
    _foreign(line)
    for line in """
    US   22  NAS  나스닥    USD  4    1  930  1600  0
    US   21  NYS  뉴욕      USD  4    1  930  1600  0
    US   23  AMS  아멕스    USD  4    1  930  1600  0
    CN   16  SHS  상해      CNY  3  100  930  1500  6
    CN  116  SHI  상해지수  CNY  3    0  930  1500  6
    CN   17  SZS  심천      CNY  3  100  930  1500  6
    CN  117  SZI  심천지수  CNY  3    0  930  1500  6
    JP    6  TSE  도쿄      JPY  1  100  900  1530  4
    HK   12  HKS  홍콩      HKD  3  500  930  1610  5
    VN   71  HNX  하노이    VND  0  100  900  1500  0
    VN   70  HSX  호치민    VND  0  100  915  1500  0
    """.strip().splitlines()
)


def foreign_file_name(exchange: ForeignExchange) -> str:
    """The name of an exchange's file as the address has it, without `.zip`; inside the zip it is in upper case."""
    return f"{exchange.code.lower()}mst.cod"


def made_up_foreign_contents(rng: RngSource) -> dict[str, bytes]:
    """Unpacked master files of all exchanges, by file name."""
    return {
        foreign_file_name(exchange): b"".join(_records(exchange, rng(f"foreign/{exchange.code}")))
        for exchange in FOREIGN_EXCHANGES
    }


def _records(exchange: ForeignExchange, generator: Random) -> Iterator[bytes]:
    for serial in sorted(generator.sample(range(1, 9_000), _ROWS_PER_EXCHANGE)):
        kind = _INDEX if exchange.indices else _ETF if generator.random() < _ETF_SHARE else _STOCK
        yield ("\t".join(_columns(exchange, serial, kind, generator)) + "\n").encode(ENCODING)


def _columns(exchange: ForeignExchange, serial: int, kind: str, generator: Random) -> tuple[str, ...]:
    symbol = f"{serial:0{exchange.ticker_digits}d}" if exchange.ticker_digits else _lettered(serial)
    price = math.exp(generator.uniform(math.log(2), math.log(900))) * (100 if exchange.decimals <= 1 else 1)
    sector = generator.choice((_NO_SECTOR, *_SECTORS)) if kind == _STOCK else _NO_SECTOR
    return (
        *(exchange.nation, exchange.number, exchange.code, exchange.name),
        *(symbol, f"{exchange.code}{symbol}", f"모의 {symbol}", f"SIMULATED {symbol}"),
        *(kind, exchange.currency, str(exchange.decimals), "", f"{price:.{exchange.decimals}f}"),
        *(exchange.lot, exchange.lot, exchange.opens, exchange.closes, "N", ""),
        *("" if kind == _INDEX else sector, "1" if kind == _INDEX else "0", "0"),
        *("001" if kind == _ETF else _BLANK, _BLANK),
    )


def _lettered(serial: int) -> str:
    """A number below 17,576 as three letters."""
    base = len(_LETTERS)
    return "".join(_LETTERS[serial // base**power % base] for power in (2, 1, 0))
