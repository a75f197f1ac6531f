"""Sectors: the eleven of GICS, the names that other vocabularies use for them, and the findings of sources.

The worth of a sector depends on its source. A finding therefore names its source, the vocabulary, and a confidence.
`is_sure` decides whether the finding is kept without asking another source.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Final, Literal, NewType, Protocol, get_args

import msgspec

from observer.base.errors import DataFileError
from observer.reference.listings.model import traded_in

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
SectorSourceName = Literal["sector_code", "finance_database", "yahoo_screener", "yahoo_profile"]
Vocabulary = Literal["gics", "nasdaq", "yahoo"]
SecurityKey = NewType("SecurityKey", tuple[str, str])  # (exchange, symbol), as of a listing

REGIONS: Final[tuple[Region, ...]] = get_args(Region)
SOURCES: Final[tuple[SectorSourceName, ...]] = get_args(SectorSourceName)
EXCHANGES: Final[Mapping[Region, Sequence[str]]] = {
    region: ("KOSPI", "KOSDAQ") if region == "KR" else traded_in(region) for region in REGIONS
}
SURE: Final = 0.9  # a sector with this confidence is kept; one with less is looked up elsewhere


class SectorName(msgspec.Struct, frozen=True):
    """A sector's standard name, its GICS code, and its Korean name."""

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

# Yahoo's are Morningstar's: the same words draw other boundaries (payments, retail, media), so the source's word
# is kept beside our sector. NASDAQ's "Miscellaneous" is no sector.
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
    """A stock that needs a sector. `sector_code` is the broker's three-digit one; empty where it has none."""

    region: Region
    exchange: str
    symbol: str
    name: str
    sector_code: str = ""

    @property
    def key(self) -> SecurityKey:
        """Its exchange and symbol: one symbol may be listed on two exchanges."""
        return SecurityKey((self.exchange, self.symbol))


class Finding(msgspec.Struct, frozen=True, gc=False):
    """A source's answer for a security; a sector of None means that the source knows no sector, which is an answer too.

    `said` is the source's own word or code; `confidence` is the share of correct findings with such a word, from 0 to
    1.
    """

    security: Security
    source: SectorSourceName
    sector: Sector | None
    confidence: float
    said: str
    industry: str = ""

    @property
    def is_sure(self) -> bool:
        """Whether this finding is kept without asking another source."""
        return self.sector is not None and self.confidence >= SURE


class SectorSource(Protocol):
    """A source of sectors."""

    @property
    def name(self) -> SectorSourceName:
        """The name of the source in its findings."""
        ...

    def findings(self, region: Region, wanted: Sequence[Security]) -> AsyncIterator[Sequence[Finding]]:
        """The findings for the wanted securities, in portions, each as soon as it is known.

        A security without an answer is absent; a security that the source looked up and does not know comes without a
        sector.

        Raises:
            ProviderError: it does not answer; what came until then stands.
            DataFileError: its file cannot be read.
        """
        ...


def sector_in(vocabulary: Vocabulary, word: str) -> Sector | None:
    """The sector of a word of this vocabulary; None for a word without a sector.

    Raises:
        DataFileError: the vocabulary has no such word.
    """
    words = VOCABULARIES[vocabulary]
    if word not in words:
        raise DataFileError(f"{word!r} is no sector in {vocabulary}'s words; known are {', '.join(words)}")
    return words[word]


def vocabulary_of(words: Iterable[str]) -> Vocabulary:
    """The first vocabulary that contains all of these words.

    Raises:
        DataFileError: none has them all.
    """
    said = frozenset(words)
    for vocabulary, known in VOCABULARIES.items():
        if said <= known.keys():
            return vocabulary
    raise DataFileError(f"no vocabulary has all of these sectors: {', '.join(sorted(said))}")


def better(known: Finding | None, found: Finding) -> Finding:
    """The better of two findings for a security: the more confident; a sector before none."""
    if known is None:
        return found
    return max(known, found, key=lambda finding: (finding.sector is not None, finding.confidence))
