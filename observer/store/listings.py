"""Queries of listings and master files: tradable securities, the lifetime of a symbol, and checks of the files."""

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import Select, Table, and_, case, func, or_, select, union

from bus.events import ListingChanged, MasterFileChecked, SectorAssigned, UniverseMember
from observer.reference.listings.model import NOT_TRADED, NOT_TRADED_GROUPS, Listing, Tradable
from observer.store.lines import distinct_values
from observer.store.session import DatabaseReader
from observer.store.tables import ETFS, EVENT_TABLES, LISTINGS

_CHANGES: Final = EVENT_TABLES[ListingChanged]
_CHECKS: Final = EVENT_TABLES[MasterFileChecked]
_ETFS_EXCHANGE: Final = "KOSPI"  # where all Korean ETFs and ETNs are listed


class Counts(msgspec.Struct, frozen=True):
    """Counts of one exchange: listed now, ever listed, the time of the first listing, and the present listings with a
    name and a currency.
    """

    exchange: str
    active: int
    inactive: int
    first_seen_ns: int
    complete: int


class ListingReader(DatabaseReader):
    """Reads listings."""

    def tradable(self, exchange: str) -> Sequence[Tradable] | None:
        """The tradable securities of an exchange, by symbol: listed now, not suspended, of a tradable kind. None
        without any stored listing of the exchange. Asks no broker.
        """
        columns = (LISTINGS.c[name] for name in Tradable.__struct_fields__)
        of_exchange = LISTINGS.c.exchange == exchange
        wanted = select(*columns).where(
            of_exchange,
            LISTINGS.c.active.is_(True),
            LISTINGS.c.suspended.is_(False),
            LISTINGS.c.security_type.not_in(NOT_TRADED),
            LISTINGS.c.group.not_in(NOT_TRADED_GROUPS),
        )
        with self._asking() as connection:
            found = [Tradable(*row) for row in connection.execute(wanted.order_by(LISTINGS.c.symbol))]
            if not found and connection.execute(select(LISTINGS.c.symbol).where(of_exchange).limit(1)).first() is None:
                return None
            return found

    def symbols_reported(self, exchange: str) -> Sequence[str]:
        """The symbols of an exchange from sources other than its master file: universes, sectors, and the list of
        Korean ETFs. Sorted.
        """
        members, sectors = EVENT_TABLES[UniverseMember], EVENT_TABLES[SectorAssigned]
        asked = [_symbols_of(table, exchange) for table in (members, sectors)]
        if exchange == _ETFS_EXCHANGE:
            asked.append(select(ETFS.c.symbol).where(ETFS.c.active.is_(True)))
        with self._asking() as connection:
            return sorted(connection.scalars(union(*asked)))

    def listing(self, exchange: str, symbol: str) -> Listing | None:
        """A listing in its last known state; None for an unknown listing."""
        columns = (LISTINGS.c[name] for name in Listing.__struct_fields__)
        wanted = select(*columns).where(LISTINGS.c.exchange == exchange, LISTINGS.c.symbol == symbol)
        return next((Listing(*row) for row in self._rows(wanted)), None)

    def listings(self, exchange: str) -> Sequence[Listing]:
        """The current listings of an exchange, by symbol."""
        return list(self.active_listings(exchange).values())

    def counts(self) -> Sequence[Counts]:
        """The counts of every exchange with listings, by its name."""
        active = func.sum(case((LISTINGS.c.active, 1), else_=0))
        is_named = or_(LISTINGS.c.name != "", LISTINGS.c.english_name != "")
        complete = func.sum(case((and_(LISTINGS.c.active, is_named, LISTINGS.c.currency != ""), 1), else_=0))
        wanted = select(
            LISTINGS.c.exchange, active, func.count() - active, func.min(LISTINGS.c.first_seen_ns), complete
        ).group_by(LISTINGS.c.exchange)
        return [Counts(*row) for row in self._rows(wanted.order_by(LISTINGS.c.exchange))]

    def checks(self, since_ns: int, exchange: str | None = None) -> Sequence[MasterFileChecked]:
        """The checks of master files since then, newest first, of one exchange or of all."""
        wanted = select(_CHECKS).where(_CHECKS.c.checked_ns >= since_ns)
        if exchange is not None:
            wanted = wanted.where(_CHECKS.c.exchange == exchange)
        newest_first = (_CHECKS.c.checked_ns.desc(), _CHECKS.c.exchange, _CHECKS.c.sequence.desc())
        return self._events(MasterFileChecked, wanted.order_by(*newest_first))

    def last_checks(self) -> Sequence[MasterFileChecked]:
        """The last check of each exchange's file, by its name."""
        exchanges = distinct_values(_CHECKS.c.exchange)
        last = (
            select(func.max(_CHECKS.c.checked_ns)).where(_CHECKS.c.exchange == exchanges.c.value).correlate(exchanges)
        )
        newest = select(exchanges.c.value, last.scalar_subquery().label("checked_ns")).subquery()
        is_last = and_(_CHECKS.c.exchange == newest.c.value, _CHECKS.c.checked_ns == newest.c.checked_ns)
        in_order = (
            select(_CHECKS).join(newest, is_last).order_by(_CHECKS.c.exchange, _CHECKS.c.stream, _CHECKS.c.sequence)
        )
        return list({each.exchange: each for each in self._events(MasterFileChecked, in_order)}.values())

    def new_listings(self, since_ns: int) -> Sequence[ListingChanged]:
        """Listings that appeared since then, oldest first; those of an exchange's first file are initial, not new."""
        since = _CHANGES.c.changed_ns >= since_ns
        return self._stored(ListingChanged, since, change="new", order="changed_ns exchange symbol")

    def active_listings(self, exchange: str) -> dict[str, Listing]:
        """The current listings of the exchange, by symbol."""
        return self._by_symbol(exchange, active=True)

    def inactive_listings(self, exchange: str) -> dict[str, Listing]:
        """The former listings of the exchange, by symbol, in their last known state."""
        return self._by_symbol(exchange, active=False)

    def _by_symbol(self, exchange: str, *, active: bool) -> dict[str, Listing]:
        columns = (LISTINGS.c[name] for name in Listing.__struct_fields__)
        wanted = select(*columns).where(LISTINGS.c.exchange == exchange, LISTINGS.c.active.is_(active))
        found = (Listing(*row) for row in self._rows(wanted.order_by(LISTINGS.c.symbol)))
        return {listing.symbol: listing for listing in found}


def _symbols_of(table: Table, exchange: str) -> Select[tuple[str]]:
    """The distinct symbols of an exchange in a table with an index of exchange and symbol."""
    found = distinct_values(table.c.symbol, table.c.exchange == exchange)
    return select(found.c.value).where(found.c.value.is_not(None))
