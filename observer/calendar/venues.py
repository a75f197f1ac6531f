"""Trading venues as data: what a market's local time and currency are. A broker's folder names its venue.

A venue's zone has a fixed offset here: none of these has daylight saving time. One that has brings its own `tzinfo`.
"""

from datetime import tzinfo
from typing import Final

import msgspec

from observer.base.local_time import KOREA


class TradingVenue(msgspec.Struct, frozen=True, kw_only=True):
    """A venue on which a market is traded.

    `market` is the name of what is collected there (`[instance] market`), `calendar` the name of the venue's sessions
    in exchange_calendars (empty: it never closes), `currency` the ISO 4217 code of its prices, `zone` its local time.
    """

    name: str
    market: str
    calendar: str
    currency: str
    zone: tzinfo
    zone_name: str


KRX: Final = TradingVenue(
    name="KRX",
    market="kr_stocks",  # the requirement's name of KOSPI and KOSDAQ
    calendar="XKRX",
    currency="KRW",
    zone=KOREA,
    zone_name="Asia/Seoul",
)

VENUES: Final = (KRX,)


def venue_of_market(market: str) -> TradingVenue:
    """The venue of a market; of an unknown market the first one."""
    return next((venue for venue in VENUES if venue.market == market), VENUES[0])


def currency_of(market: str) -> str:
    """The currency of a market's prices; empty for an unknown market."""
    return next((venue.currency for venue in VENUES if venue.market == market), "")
