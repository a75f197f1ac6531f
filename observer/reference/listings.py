"""A listing: one security on one exchange, as a master file states it."""

from typing import Final

import msgspec


class Listing(msgspec.Struct, frozen=True, gc=False):
    """One record of a master file in our words. The key of a listing is (exchange, symbol).

    `group` is the Korean exchange's security group code (KIS 그룹코드: ST stock, EF ETF, EN ETN, RT REIT, ...);
    `base_price` the day's reference price in the currency (기준가), `market_cap_krw` the previous day's (시가총액),
    `listed_shares` whole shares (상장주수), `listed_on` an ISO date (상장일자).

    Abroad the file tells no group, shares and flags, but an `english_name`, a `security_type` (index, stock, fund,
    warrant), a `sector_code` of three digits (000 for none), the `realtime_symbol` of which a stream's key is made, and
    an `etp_kind` (001 ETF, 002 ETN, ...). What a file does not tell is empty, None or False.
    """

    exchange: str
    symbol: str
    name: str
    isin: str
    group: str
    base_price: float | None
    market_cap_krw: float | None
    listed_shares: float | None
    listed_on: str | None
    suspended: bool
    administrative: bool
    preferred: bool
    spac: bool
    english_name: str = ""
    currency: str = "KRW"
    sector_code: str = ""
    security_type: str = ""
    realtime_symbol: str = ""
    etp_kind: str = ""


# What a file states anew each day, so that it differs in most listings. It changes the state of a listing and is kept
# as its value of that day; but where nothing else differs the listing has not changed, and its history gets no row.
VALUES: Final = ("base_price", "market_cap_krw")
