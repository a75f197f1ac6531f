"""Sectors: the eleven of GICS, the words that others have for them, and what a source can say of a security.

A sector is worth as much as its source: so whoever says one says where it is from, in whose words, and how far it can
be believed. Whether that is enough to be kept without asking further is `is_sure`.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Literal, NewType

import msgspec

from observer.errors import DataFileError

Sector = Literal[
    "Energy",
    "Materials",
    "Industrials",
    "Consumer Discretionary",
    "Consumer Staples",
    "Health Care",
    "Financials",
    "Information Technology",
    "Communication Services",
    "Utilities",
    "Real Estate",
]
Region = Literal["US", "HK", "CN", "JP", "VN", "KR"]
SectorSourceName = Literal["kis_code", "finance_database", "yahoo_screener", "yahoo_profile"]
Vocabulary = Literal["gics", "nasdaq", "yahoo"]
SecurityKey = NewType("SecurityKey", tuple[str, str])  # (exchange, symbol), as of a listing

REGIONS: Final[tuple[Region, ...]] = ("US", "HK", "CN", "JP", "VN", "KR")
SOURCES: Final[tuple[SectorSourceName, ...]] = ("kis_code", "finance_database", "yahoo_screener", "yahoo_profile")
EXCHANGES: Final[Mapping[Region, tuple[str, ...]]] = {
    "US": ("NASD", "NYSE", "AMEX"),
    "HK": ("SEHK",),
    "CN": ("SHAA", "SZAA"),
    "JP": ("TKSE",),
    "VN": ("HASE", "VNSE"),
    "KR": ("KOSPI", "KOSDAQ"),
}
SURE: Final = 0.9  # a sector with this confidence is kept; one with less is looked up elsewhere


class SectorName(msgspec.Struct, frozen=True):
    """A sector's standard name, its GICS code, and what it is called in Korean."""

    sector: Sector
    gics_code: int
    korean: str


SECTOR_NAMES: Final[Mapping[Sector, SectorName]] = {
    name.sector: name
    for name in (
        SectorName("Energy", 10, "에너지"),
        SectorName("Materials", 15, "소재"),
        SectorName("Industrials", 20, "산업재"),
        SectorName("Consumer Discretionary", 25, "경기소비재"),
        SectorName("Consumer Staples", 30, "필수소비재"),
        SectorName("Health Care", 35, "헬스케어"),
        SectorName("Financials", 40, "금융"),
        SectorName("Information Technology", 45, "정보기술"),
        SectorName("Communication Services", 50, "커뮤니케이션 서비스"),
        SectorName("Utilities", 55, "유틸리티"),
        SectorName("Real Estate", 60, "부동산"),
    )
}

# Yahoo's are Morningstar's: the same words draw other boundaries (payments, retail, media), so what was said is kept
# beside what we make of it. NASDAQ's "Miscellaneous" is no sector.
VOCABULARIES: Final[Mapping[Vocabulary, Mapping[str, Sector | None]]] = {
    "gics": {name: name for name in SECTOR_NAMES},
    "nasdaq": {
        "Basic Materials": "Materials",
        "Consumer Discretionary": "Consumer Discretionary",
        "Consumer Staples": "Consumer Staples",
        "Energy": "Energy",
        "Finance": "Financials",
        "Health Care": "Health Care",
        "Industrials": "Industrials",
        "Miscellaneous": None,
        "Real Estate": "Real Estate",
        "Technology": "Information Technology",
        "Telecommunications": "Communication Services",
        "Utilities": "Utilities",
    },
    "yahoo": {
        "Basic Materials": "Materials",
        "Communication Services": "Communication Services",
        "Consumer Cyclical": "Consumer Discretionary",
        "Consumer Defensive": "Consumer Staples",
        "Energy": "Energy",
        "Financial Services": "Financials",
        "Healthcare": "Health Care",
        "Industrials": "Industrials",
        "Real Estate": "Real Estate",
        "Technology": "Information Technology",
        "Utilities": "Utilities",
    },
}


class Security(msgspec.Struct, frozen=True, gc=False):
    """A stock whose sector is wanted. `sector_code` is KIS's three-digit one; empty where it has none."""

    region: Region
    exchange: str
    symbol: str
    name: str
    sector_code: str = ""

    @property
    def key(self) -> SecurityKey:
        """What names it: a symbol alone may be listed on two exchanges."""
        return SecurityKey((self.exchange, self.symbol))


class Finding(msgspec.Struct, frozen=True, gc=False):
    """What a source says of a security: None for "I know of no sector", which is an answer too.

    `said` is the source's own word or code; `confidence` is how often such a word of this source is right, from 0 to 1.
    """

    security: Security
    source: SectorSourceName
    sector: Sector | None
    confidence: float
    said: str
    industry: str = ""

    @property
    def is_sure(self) -> bool:
        """Whether this is kept without asking another source."""
        return self.sector is not None and self.confidence >= SURE


def sector_in(vocabulary: Vocabulary, word: str) -> Sector | None:
    """The sector that a word of this vocabulary means; None for a word that names none.

    Raises:
        DataFileError: the vocabulary has no such word.
    """
    words = VOCABULARIES[vocabulary]
    if word not in words:
        raise DataFileError(f"{word!r} is no sector in {vocabulary}'s words; known are {', '.join(words)}")
    return words[word]


def vocabulary_of(words: Iterable[str]) -> Vocabulary:
    """The vocabulary that all of these words are of; of several the one that stands first.

    Raises:
        DataFileError: none has them all.
    """
    said = frozenset(words)
    for vocabulary, known in VOCABULARIES.items():
        if said <= known.keys():
            return vocabulary
    raise DataFileError(f"no vocabulary has all of these sectors: {', '.join(sorted(said))}")


def better(known: Finding | None, found: Finding) -> Finding:
    """The one of two answers about a security that is to be kept: the more confident; a sector before none."""
    if known is None:
        return found
    return max(known, found, key=lambda finding: (finding.sector is not None, finding.confidence))
