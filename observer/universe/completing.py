"""What a master file leaves out of a listing and a quote or a multiplication can tell. Pure."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from observer.providers.interfaces import Quote
from observer.reference.listings import Listing


def without_price(listings: Iterable[Listing]) -> Sequence[str]:
    """The symbols whose base price the files do not have: whom to ask for."""
    return [listing.symbol for listing in listings if listing.base_price is None]


def completed(listings: Iterable[Listing], quotes: Iterable[Quote]) -> Sequence[Listing]:
    """The listings with what was missing: a base price from the symbol's quote, a capitalisation from the listed shares
    at the base price. What the files do have stays, and what nobody tells stays unknown.
    """
    closes = {quote.symbol: quote.previous_close for quote in quotes}
    return [_completed(listing, closes) for listing in listings]


def _completed(listing: Listing, closes: Mapping[str, float | None]) -> Listing:
    price, cap = listing.base_price, listing.market_cap_krw
    if price is not None and cap is not None:
        return listing
    if price is None:
        price = closes.get(listing.symbol)
    if cap is None and price is not None and listing.listed_shares is not None:
        cap = price * listing.listed_shares
    return msgspec.structs.replace(listing, base_price=price, market_cap_krw=cap)
