"""How Yahoo names a security of an exchange. Pure (suffixes and codes as yfinance has them).

FinanceDatabase uses the same names. Who has none there is None: Hanoi is not covered.
"""

import re
from collections.abc import Mapping
from typing import Final

from observer.reference.sectors.model import Region, Security

_SUFFIXES: Final[Mapping[str, str]] = {
    "NASD": "",
    "NYSE": "",
    "AMEX": "",
    "SEHK": ".HK",
    "SHAA": ".SS",
    "SZAA": ".SZ",
    "TKSE": ".T",
    "VNSE": ".VN",
    "KOSPI": ".KS",
    "KOSDAQ": ".KQ",
}
_HONG_KONG_DIGITS: Final = 4
_AMERICAN: Final = frozenset({"NASD", "NYSE", "AMEX"})
# The broker writes a letter behind a stroke (also seen: a dot) for a class of shares and for a preferred series alike
# (`BRK/B`, `PSA/R`); Yahoo distinguishes them (`BRK-B`, `PSA-PR`). The name shows the kind: a preferred share
# has a rate, or is called preferred or a depositary share.
_WITH_LETTERS: Final = re.compile(r"(?P<company>[A-Z0-9]+)[/.](?P<letters>[A-Z]*)")
_PREFERRED: Final = re.compile(r"%|\bPFD\b|\bDEP(?:OSITARY)? SHS?\b")

# The exchanges of a region as the screener names them. NASDAQ has three tiers; the Arca (PCX) and Cboe (BTS) listings
# are in the broker's AMEX file.
SCREENED_EXCHANGES: Final[Mapping[Region, tuple[str, ...]]] = {
    "US": ("NMS", "NGM", "NCM", "NYQ", "ASE", "PCX", "BTS"),
    "HK": ("HKG",),
    "CN": ("SHH", "SHZ"),
    "JP": ("JPX",),
    "VN": ("VSE",),
    "KR": ("KSC", "KOE"),
}


def yahoo_symbol(security: Security) -> str | None:
    """Yahoo's symbol of a security; None where Yahoo does not cover its exchange.

    Hong Kong's five digits become four (`00700` -> `0700.HK`), unless the first counts (`80700.HK`); a US class of
    shares has a dash (`BRK/B` -> `BRK-B`), a preferred series a P too (`PSA/R` -> `PSA-PR`).
    """
    suffix = _SUFFIXES.get(security.exchange)
    if suffix is None:
        return None
    symbol = security.symbol
    if security.exchange == "SEHK" and symbol.isdigit():
        symbol = symbol.lstrip("0").rjust(_HONG_KONG_DIGITS, "0")
    elif security.exchange in _AMERICAN:
        symbol = _american(symbol, security.name.upper())
    return symbol + suffix


def _american(symbol: str, name: str) -> str:
    parts = _WITH_LETTERS.fullmatch(symbol)
    if parts is None:
        return symbol
    letters = parts["letters"]
    is_series = len(letters) <= 1 and _PREFERRED.search(name)
    return f"{parts['company']}-P{letters}" if is_series else f"{parts['company']}-{letters}"
