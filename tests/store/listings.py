"""A builder of listing changes."""

import msgspec

from bus.events import ListingChanged


def listing_changed(**changes: object) -> ListingChanged:
    """A new listing on KOSPI; what a test is about is given by name."""
    base = ListingChanged(
        provider="kis",
        exchange="KOSPI",
        symbol="005930",
        change="new",
        changed_ns=1,
        name="삼성전자",
        isin="KR7005930003",
        group="ST",
        base_price=70_000.0,
        market_cap=4.2e14,
        currency="KRW",
        listed_shares=5_969_782_550.0,
        listed_on="1975-06-11",
        suspended=False,
        administrative=False,
        preferred=False,
        spac=False,
    )
    return msgspec.structs.replace(base, **changes)
