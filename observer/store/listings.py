"""Questions about listings and master files: who can be traded, what became of a symbol, how the looks went."""

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import func, or_, select, union

from bus.events import ListingChanged, MasterFileApproved, MasterFileChecked, SectorAssigned, UniverseMember
from observer.reference.listings import Listing
from observer.reference.tradable import NOT_TRADED, NOT_TRADED_GROUPS, Tradable
from observer.store.asking import DatabaseReader
from observer.store.rows import event_of
from observer.store.tables import EVENT_TABLES, FUNDS, LISTINGS

_CHANGES: Final = EVENT_TABLES[ListingChanged]
_CHECKS: Final = EVENT_TABLES[MasterFileChecked]
_APPROVALS: Final = EVENT_TABLES[MasterFileApproved]
_FUNDS_EXCHANGE: Final = "KOSPI"  # where all Korean ETFs and ETNs are listed


class Counts(msgspec.Struct, frozen=True):
    """Of one exchange: how many are listed now, were once, and when the first was seen."""

    exchange: str
    active: int
    inactive: int
    first_seen_ns: int


class ListingReader(DatabaseReader):
    """What is stored of listings."""

    def tradable(self, exchange: str) -> Sequence[Tradable] | None:
        """What can be traded on an exchange, by symbol: listed now, not suspended, of a kind that is traded. None when
        no listing of it was ever seen. No broker is asked.
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

    def symbols_told_of(self, exchange: str) -> Sequence[str]:
        """The symbols of an exchange that something else than its master file told us of: universes, sectors, and the
        list of Korean funds. In their order.
        """
        members, sectors = EVENT_TABLES[UniverseMember], EVENT_TABLES[SectorAssigned]
        asked = [select(table.c.symbol).where(table.c.exchange == exchange) for table in (members, sectors)]
        if exchange == _FUNDS_EXCHANGE:
            asked.append(select(FUNDS.c.symbol).where(FUNDS.c.active.is_(True)))
        with self._asking() as connection:
            return sorted(connection.scalars(union(*asked)))

    def listing(self, exchange: str, symbol: str) -> Listing | None:
        """One listing as it was last seen; None when it never was."""
        columns = (LISTINGS.c[name] for name in Listing.__struct_fields__)
        wanted = select(*columns).where(LISTINGS.c.exchange == exchange, LISTINGS.c.symbol == symbol)
        with self._asking() as connection:
            row = connection.execute(wanted).first()
            return Listing(*row) if row else None

    def listings(self, exchange: str) -> Sequence[Listing]:
        """What is listed on an exchange now, by symbol."""
        columns = (LISTINGS.c[name] for name in Listing.__struct_fields__)
        wanted = select(*columns).where(LISTINGS.c.exchange == exchange, LISTINGS.c.active.is_(True))
        with self._asking() as connection:
            return [Listing(*row) for row in connection.execute(wanted.order_by(LISTINGS.c.symbol))]

    def counts(self) -> Sequence[Counts]:
        """Of every exchange that has listings, by its name."""
        active = func.sum(LISTINGS.c.active.cast(_CHECKS.c.records.type))
        wanted = select(
            LISTINGS.c.exchange, active, func.count() - active, func.min(LISTINGS.c.first_seen_ns)
        ).group_by(LISTINGS.c.exchange)
        with self._asking() as connection:
            return [Counts(*row) for row in connection.execute(wanted.order_by(LISTINGS.c.exchange))]

    def checks(self, since_ns: int, exchange: str | None = None) -> Sequence[MasterFileChecked]:
        """The looks at master files since then, newest first, of one exchange or of all."""
        wanted = select(_CHECKS).where(_CHECKS.c.checked_ns >= since_ns)
        if exchange is not None:
            wanted = wanted.where(_CHECKS.c.exchange == exchange)
        with self._asking() as connection:
            newest_first = (_CHECKS.c.checked_ns.desc(), _CHECKS.c.exchange, _CHECKS.c.sequence.desc())
            rows = connection.execute(wanted.order_by(*newest_first))
            return [event_of(MasterFileChecked, row) for row in rows]

    def last_checks(self) -> Sequence[MasterFileChecked]:
        """The last look at each exchange's file, by its name."""
        newest = func.row_number().over(
            partition_by=_CHECKS.c.exchange,
            order_by=(_CHECKS.c.checked_ns.desc(), _CHECKS.c.stream.desc(), _CHECKS.c.sequence.desc()),
        )
        ranked = select(_CHECKS, newest.label("newest")).subquery()
        fields = (ranked.c[column.name] for column in _CHECKS.columns)
        with self._asking() as connection:
            rows = connection.execute(select(*fields).where(ranked.c.newest == 1).order_by(ranked.c.exchange))
            return [event_of(MasterFileChecked, row) for row in rows]

    def approvals(self) -> Sequence[MasterFileApproved]:
        """What persons approved, oldest first."""
        with self._asking() as connection:
            rows = connection.execute(select(_APPROVALS).order_by(_APPROVALS.c.approved_ns))
            return [event_of(MasterFileApproved, row) for row in rows]

    def lifetime(self, symbol: str, exchange: str | None = None) -> Sequence[ListingChanged]:
        """All that became of a symbol, oldest first; of others with the same ISIN on the same exchange too, which are
        the same security under another symbol.
        """
        of_symbol = _CHANGES.c.symbol == symbol
        if exchange is not None:
            of_symbol &= _CHANGES.c.exchange == exchange
        with self._asking() as connection:
            names = connection.execute(
                select(_CHANGES.c.exchange, _CHANGES.c.isin).where(of_symbol, _CHANGES.c.isin != "").distinct()
            ).all()
            same = [(_CHANGES.c.exchange == where) & (_CHANGES.c.isin == isin) for where, isin in names]
            wanted = select(_CHANGES).where(or_(of_symbol, *same))
            rows = connection.execute(wanted.order_by(_CHANGES.c.changed_ns, _CHANGES.c.stream, _CHANGES.c.sequence))
            return [event_of(ListingChanged, row) for row in rows]

    def new_listings(self, since_ns: int) -> Sequence[ListingChanged]:
        """What was new since then, oldest first; not those of an exchange's first file, which all are."""
        first = select(_CHANGES.c.exchange, func.min(_CHANGES.c.changed_ns).label("first_ns")).group_by(
            _CHANGES.c.exchange
        )
        imported = first.subquery()
        wanted = (
            select(_CHANGES)
            .join(imported, imported.c.exchange == _CHANGES.c.exchange)
            .where(
                _CHANGES.c.change == "new",
                _CHANGES.c.changed_ns >= since_ns,
                _CHANGES.c.changed_ns > imported.c.first_ns,
            )
        )
        with self._asking() as connection:
            rows = connection.execute(wanted.order_by(_CHANGES.c.changed_ns, _CHANGES.c.exchange, _CHANGES.c.symbol))
            return [event_of(ListingChanged, row) for row in rows]
