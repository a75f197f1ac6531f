"""Queries of sectors: the current assignment of each stock, and the last rounds."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, func, or_, select

from bus.events import EnrichmentCompleted, SectorAssigned
from observer.reference.listings.model import STOCK_GROUP
from observer.reference.sectors.model import EXCHANGES, Region, Security
from observer.store.lines import distinct_values
from observer.store.rows import event_of
from observer.store.session import DatabaseReader
from observer.store.tables import EVENT_TABLES, LISTINGS

_ASSIGNED: Final = EVENT_TABLES[SectorAssigned]
_COMPLETED: Final = EVENT_TABLES[EnrichmentCompleted]
_STOCK: Final = or_(LISTINGS.c.security_type == "stock", LISTINGS.c.group == STOCK_GROUP)  # abroad, and in Korea


class SectorReader(DatabaseReader):
    """Reads sectors."""

    def stocks(self, region: Region) -> Sequence[Security]:
        """The stocks that are listed in a region now, by exchange and symbol."""
        columns = LISTINGS.c
        named = (columns.exchange, columns.symbol, columns.name, columns.english_name, columns.sector_code)
        wanted = select(*named).where(columns.active.is_(True), columns.exchange.in_(EXCHANGES[region]), _STOCK)
        return [
            Security(region, row.exchange, row.symbol, row.english_name or row.name, row.sector_code)
            for row in self._rows(wanted.order_by(columns.exchange, columns.symbol))
        ]

    def assignments(self, region: str) -> Sequence[SectorAssigned]:
        """The last assignment of each stock of a region, by exchange and symbol; those without a sector too."""
        with self._asking() as connection:
            exchanges = connection.scalars(select(distinct_values(_ASSIGNED.c.exchange).c.value)).all()
            of_any = _ASSIGNED.c.exchange.in_(exchanges)
            rows = connection.execute(_last_of_each(and_(of_any, _ASSIGNED.c.region == region)))
            return [event_of(SectorAssigned, row) for row in rows]

    def assignment(self, exchange: str, symbol: str) -> SectorAssigned | None:
        """The assignment of one stock; None before the first look-up."""
        wanted = and_(_ASSIGNED.c.exchange == exchange, _ASSIGNED.c.symbol == symbol)
        return next(iter(self._events(SectorAssigned, _last_of_each(wanted))), None)

    def last_rounds(self) -> Sequence[EnrichmentCompleted]:
        """The last completed round of each region, by its name."""
        columns = _COMPLETED.c
        regions = distinct_values(columns.region)
        last = select(func.max(columns.completed_ns)).where(columns.region == regions.c.value).correlate(regions)
        newest = select(regions.c.value, last.scalar_subquery().label("completed_ns")).subquery()
        is_last = and_(columns.region == newest.c.value, columns.completed_ns == newest.c.completed_ns)
        last_of_each = select(_COMPLETED).join(newest, is_last).order_by(columns.region)
        return list({each.region: each for each in self._events(EnrichmentCompleted, last_of_each)}.values())


def _last_of_each(wanted: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    """The newest of the wanted rows of each stock. Of two rows of the same moment, the later delivery."""
    columns = _ASSIGNED.c
    newest = func.row_number().over(
        partition_by=(columns.exchange, columns.symbol),
        order_by=(columns.assigned_ns.desc(), columns.stream.desc(), columns.sequence.desc()),
    )
    ranked = select(_ASSIGNED, newest.label("newest")).where(wanted).subquery()
    fields = (ranked.c[column.name] for column in _ASSIGNED.columns)
    return select(*fields).where(ranked.c.newest == 1).order_by(ranked.c.exchange, ranked.c.symbol)
