"""Made-up listings of the exchanges outside Korea, as records of their master files. Pure; chance is passed in.

`<exchange>mst.cod.zip` holds one file named in upper case (`NASMST.COD`): cp949, no header, 24 columns by tabs
(kis-api.md section 6). A real record:
US 22 NAS 나스닥 AACB NASAACB (Korean name) (English name) 2 USD 4 _ 10.0400 1 1 930 1600 N _ 000 0 0 _ _
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import msgspec

from observer.simulator.instruments import ChanceSource

if TYPE_CHECKING:
    from random import Random

_ENCODING: Final = "cp949"
_ROWS_PER_EXCHANGE: Final = 60
_INDEX, _STOCK, _FUND = "1", "2", "3"
_FUND_SHARE: Final = 0.2
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
    indices: bool = False


FOREIGN_EXCHANGES: Final = (
    ForeignExchange("US", "22", "NAS", "나스닥", "USD", 4, "1", "930", "1600", 0),
    ForeignExchange("US", "21", "NYS", "뉴욕", "USD", 4, "1", "930", "1600", 0),
    ForeignExchange("US", "23", "AMS", "아멕스", "USD", 4, "1", "930", "1600", 0),
    ForeignExchange("CN", "16", "SHS", "상해", "CNY", 3, "100", "930", "1500", 6),
    ForeignExchange("CN", "116", "SHI", "상해지수", "CNY", 3, "0", "930", "1500", 6, indices=True),
    ForeignExchange("CN", "17", "SZS", "심천", "CNY", 3, "100", "930", "1500", 6),
    ForeignExchange("CN", "117", "SZI", "심천지수", "CNY", 3, "0", "930", "1500", 6, indices=True),
    ForeignExchange("JP", "6", "TSE", "도쿄", "JPY", 1, "100", "900", "1530", 4),
    ForeignExchange("HK", "12", "HKS", "홍콩", "HKD", 3, "500", "930", "1610", 5),
    ForeignExchange("VN", "71", "HNX", "하노이", "VND", 0, "100", "900", "1500", 0),
    ForeignExchange("VN", "70", "HSX", "호치민", "VND", 0, "100", "915", "1500", 0),
)


def foreign_file_name(exchange: ForeignExchange) -> str:
    """The name of an exchange's file as the address has it, without `.zip`; inside the zip it is in upper case."""
    return f"{exchange.code.lower()}mst.cod"


def made_up_foreign_contents(chance: ChanceSource) -> dict[str, bytes]:
    """Unpacked master files of all exchanges, by file name."""
    return {
        foreign_file_name(exchange): b"".join(_records(exchange, chance(f"foreign/{exchange.code}")))
        for exchange in FOREIGN_EXCHANGES
    }


def _records(exchange: ForeignExchange, generator: Random) -> Iterator[bytes]:
    for serial in sorted(generator.sample(range(1, 9_000), _ROWS_PER_EXCHANGE)):
        kind = _INDEX if exchange.indices else _FUND if generator.random() < _FUND_SHARE else _STOCK
        yield ("\t".join(_columns(exchange, serial, kind, generator)) + "\n").encode(_ENCODING)


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
        *("001" if kind == _FUND else _BLANK, _BLANK),
    )


def _lettered(serial: int) -> str:
    """A number below 17,576 as three letters."""
    base = len(_LETTERS)
    return "".join(_LETTERS[serial // base**power % base] for power in (2, 1, 0))
