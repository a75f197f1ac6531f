"""A listing: one security on one exchange, as a master file states it."""

import msgspec


class Listing(msgspec.Struct, frozen=True, gc=False):
    """One record of a master file in our words. The key of a listing is (exchange, symbol).

    `group` is the exchange's security group code (KIS 그룹코드: ST stock, EF ETF, EN ETN, RT REIT, ...);
    `base_price` the day's reference price in won (기준가), `market_cap_krw` the previous day's (시가총액),
    `listed_shares` whole shares (상장주수), `listed_on` an ISO date (상장일자).
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
