"""Completes fields that a master file leaves out, from quotes or by multiplication. Pure."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from observer.listings.model import Listing
from observer.providers.broker import Quote


def without_price(listings: Iterable[Listing]) -> Sequence[str]:
    """The symbols without a base price in the files: those to request a quote for."""
    return [listing.symbol for listing in listings if listing.base_price is None]


def completed(listings: Iterable[Listing], quotes: Iterable[Quote]) -> Sequence[Listing]:
    """The listings with missing values filled in: a base price from the symbol's quote, a capitalisation from the
    listed shares at the base price. Values of the files stay; other missing values stay unknown.
    """
    closes = {quote.symbol: quote.previous_close for quote in quotes}
    return [_completed(listing, closes) for listing in listings]


def _completed(listing: Listing, closes: Mapping[str, float | None]) -> Listing:
    price, cap = listing.base_price, listing.market_cap
    if price is not None and cap is not None:
        return listing
    if price is None:
        price = closes.get(listing.symbol)
    if cap is None and price is not None and listing.listed_shares is not None:
        cap = price * listing.listed_shares
    return msgspec.structs.replace(listing, base_price=price, market_cap=cap)
