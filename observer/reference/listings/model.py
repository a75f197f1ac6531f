"""A listing: one security on one exchange, from a master file."""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from observer.base.errors import ConfigError, DataFileError, ProviderError


class Listing(msgspec.Struct, frozen=True, gc=False):
    """One record of a master file, independent of its broker. The key of a listing is (exchange, symbol).

    `group` is the Korean exchange's security group code (ST stock, EF ETF, EN ETN, RT REIT, ...); `base_price` the
    day's reference price in the currency (기준가), `market_cap` the previous day's (시가총액), `listed_shares` whole
    shares (상장주수), `listed_on` an ISO date (상장일자).

    Files abroad lack group, shares and flags. They have an `english_name`, a `security_type` (index, stock, fund,
    warrant), a `sector_code` of three digits (000 for none), the `realtime_symbol` that is part of a subscription's
    key, and an `etp_kind` (001 ETF, 002 ETN, ...). Missing values are empty, None or False.
    """

    exchange: str
    symbol: str
    name: str
    isin: str
    group: str
    base_price: float | None
    market_cap: float | None
    listed_shares: float | None
    listed_on: str | None
    suspended: bool
    administrative: bool
    preferred: bool
    spac: bool
    english_name: str = ""
    currency: str = ""
    sector_code: str = ""
    security_type: str = ""
    realtime_symbol: str = ""
    etp_kind: str = ""


class UnreadableLine(msgspec.Struct, frozen=True):
    """A line of a file that is no record: its number from 1, why, and its bytes as they came."""

    number: int
    reason: str
    content: bytes


# What a file states anew each day, so that it differs in most listings. It changes the state of a listing and is kept
# as its value of that day; but where nothing else differs the listing has not changed, and its history gets no row.
VALUES: Final = ("base_price", "market_cap")


# The national exchanges of Korea, and a broker's file of sector codes, whose records are the indices of the sectors.
KOREA: Final = ("KOSPI", "KOSDAQ", "KONEX")
SECTOR_CODES: Final = "IDXCODE"

# Each exchange has a file of its own, and two of China's have one more for their indices. HASE is Hanoi, VNSE Ho Chi
# Minh City, as brokers have it (the requirement swaps them).
REGIONS: Final[Mapping[str, Sequence[str]]] = {
    "KR": (*KOREA, SECTOR_CODES),
    "US": ("NASD", "NYSE", "AMEX"),
    "HK": ("SEHK",),
    "CN": ("SHAA", "SHI", "SZAA", "SZI"),
    "JP": ("TKSE",),
    "VN": ("HASE", "VNSE"),
}
INDEX_FILES: Final = (SECTOR_CODES, "SHI", "SZI")  # nothing in them can be traded
EXCHANGES: Final = tuple(exchange for exchanges in REGIONS.values() for exchange in exchanges)

# International names of exchanges that differ from the names above.
NAMES: Final[Mapping[str, str]] = {
    "NASD": "NASDAQ",
    "SEHK": "HKEX",
    "SHAA": "SSE",
    "SHI": "SSE indices",
    "SZAA": "SZSE",
    "SZI": "SZSE indices",
    "TKSE": "TSE",
    "HASE": "HNX",
    "VNSE": "HOSE",
}


def traded_in(region: str) -> Sequence[str]:
    """The exchanges of one of `REGIONS` on which something is traded."""
    return [exchange for exchange in REGIONS[region] if exchange not in INDEX_FILES]


def region_of(exchange: str) -> str:
    """The region of one of `EXCHANGES`."""
    return next(region for region, exchanges in REGIONS.items() if exchange in exchanges)


NOT_TRADED: Final = ("index", "warrant")  # kinds of securities

# Security groups of the Korean exchange (그룹코드). Not traded are warrants on other securities (ELW), and warrants and
# rights to subscribe (신주인수권증권, 증서).
STOCK_GROUP: Final = "ST"
ETF_GROUP: Final = "EF"
FOREIGN_ETF_GROUP: Final = "FE"
ETN_GROUP: Final = "EN"
BENEFICIARY_CERTIFICATE_GROUP: Final = "BC"
NOT_TRADED_GROUPS: Final = ("EW", "SW", "SR")


class Tradable(msgspec.Struct, frozen=True, gc=False):
    """A tradable security: the fields of a `Listing` that a market scan needs."""

    exchange: str
    symbol: str
    name: str
    english_name: str
    currency: str
    security_type: str
    group: str = ""
    sector_code: str = ""
    realtime_symbol: str = ""


class SecuritySource(Protocol):
    """A broker that answers about one security."""

    async def security(self, exchange: str, symbol: str) -> Tradable | None:
        """The security; None when it is unknown, delisted, suspended, or of a kind that is not traded.

        Raises:
            ProviderError: the broker did not answer, or refused.
        """
        ...


class TradableSource(Protocol):
    """A source of an exchange's tradable securities."""

    @property
    def name(self) -> str:
        """The source's name in its answers."""
        ...

    async def tradable(self, exchange: str) -> Sequence[Tradable] | None:
        """The exchange's tradable securities by symbol; None when the source does not know the exchange.

        Raises:
            ConfigError, DataFileError, ProviderError: the source cannot be asked; the text has the reason.
        """
        ...


class TradableAnswer(msgspec.Struct, frozen=True):
    """One exchange's tradable securities and their source; without an answer `source` is empty, `reason` has the
    reason.
    """

    exchange: str
    source: str
    reason: str
    securities: Sequence[Tradable]


async def first_answer(exchange: str, sources: Sequence[TradableSource]) -> TradableAnswer:
    """The answer of the first source that knows the exchange. A missing answer is an answer too, so that one exchange
    does not end a scan.
    """
    reasons = []
    for source in sources:
        try:
            found = await source.tradable(exchange)
        except (ConfigError, DataFileError, ProviderError) as error:
            reasons.append(f"{source.name}: {error}")
            continue
        if found is not None:
            return TradableAnswer(exchange, source.name, "; ".join(reasons), found)
        reasons.append(f"{source.name}: knows nothing of it")
    return TradableAnswer(exchange, "", "; ".join(reasons), ())
