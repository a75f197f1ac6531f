"""The kind of an instrument, from what its master file states. Pure."""

from typing import Final, Literal, get_args

from bus.events import ListingChanged
from observer.reference.listings.model import ETF_GROUP, ETN_GROUP, FOREIGN_ETF_GROUP, STOCK_GROUP

InstrumentKind = Literal["stock", "etf", "etn", "index", "warrant", "other"]
KINDS: Final[tuple[str, ...]] = get_args(InstrumentKind)
_GROUPS: Final = {STOCK_GROUP: "stock", ETF_GROUP: "etf", FOREIGN_ETF_GROUP: "etf", ETN_GROUP: "etn"}
_ABROAD: Final = {"001": "etf", "002": "etn"}  # `etp_kind` of files abroad


def kind_of(listing: ListingChanged) -> InstrumentKind:
    """The kind of an instrument: of the Korean exchange's group, or of what files abroad state."""
    if listing.group:
        found = _GROUPS.get(listing.group, "other")
    elif listing.etp_kind in _ABROAD:
        found = _ABROAD[listing.etp_kind]
    else:
        found = listing.security_type if listing.security_type in KINDS else "other"
    return found  # type: ignore[return-value]  # one of `KINDS`
