"""The projection of listings' values: the day's base price and market capitalisation of those that are there.

A value of a listing that no file stated changes nothing, nor does one older than what is there.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, update

from bus.events import Event, ListingValued
from observer.store.fund_projection import Projection
from observer.store.rows import Row, event_of
from observer.store.tables import LISTINGS


def _project_values(connection: Connection, rows: Sequence[Row]) -> None:
    events = [event_of(ListingValued, row) for row in rows]
    connection.execute(
        _SET_VALUES,
        [
            {
                "of_exchange": event.exchange,
                "of_symbol": event.symbol,
                "at_ns": event.valued_ns,
                "price": event.base_price,
                "capitalisation": event.market_cap_krw,
            }
            for event in events
        ],
    )


_SET_VALUES: Final = (
    update(LISTINGS)
    .where(
        LISTINGS.c.exchange == bindparam("of_exchange"),
        LISTINGS.c.symbol == bindparam("of_symbol"),
        LISTINGS.c.valued_ns <= bindparam("at_ns"),
    )
    .values(valued_ns=bindparam("at_ns"), base_price=bindparam("price"), market_cap_krw=bindparam("capitalisation"))
)

LISTING_VALUES: Final[Mapping[type[Event], Projection]] = {ListingValued: _project_values}
