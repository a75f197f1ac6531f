"""The projections of the writer: the current listings and ETFs, updated in the transaction of their facts.

A fact changes only the columns that it states: a list of ETFs leaves values and measures alone. A value of an unknown
listing or ETF changes nothing, nor does a fact that is older than the row (the late rest of an earlier stream).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import asdict
from sqlalchemy import BindParameter, Connection, Update, bindparam, or_, update
from sqlalchemy.dialects import postgresql, sqlite

from bus.events import EtfListed, EtfMeasured, EtfRangeFound, EtfValued, Event, Fact, ListingChanged, ListingValued
from observer.reference.etf.model import Etf
from observer.store.rows import Row, Value, document_text, event_of, listing_row
from observer.store.tables import ETFS, LISTINGS

_LISTED: Final = tuple(name for name in EtfListed.__struct_fields__ if name in Etf.__struct_fields__)
_VALUED: Final = (
    "price",
    "nav",
    "premium_percent",
    "aum",
    "net_assets",
    "stated_tracking_error_percent",
    "component_count",
)
_MEASURED: Final = EtfMeasured.__struct_fields__[3:]
_FOUND: Final = ("highest_close_52w", "lowest_close_52w")

Projection = Callable[[Connection, Sequence[Row]], None]


def _project_lists(connection: Connection, rows: Sequence[Row]) -> None:
    events = [event_of(EtfListed, row) for row in rows]
    connection.execute(_LIST_UPSERTS[connection.dialect.name], [_list_row(event) for event in events])


def _list_row(event: EtfListed) -> dict[str, Value]:
    state: dict[str, Value] = {name: getattr(event, name) for name in _LISTED}
    state["sources"] = document_text(event.sources)
    return {
        **state,
        "active": event.change != "removed",
        "first_seen_ns": event.listed_ns,
        "first_seen_as": event.change,
    }


def _list_upsert(statement: sqlite.Insert | postgresql.Insert) -> sqlite.Insert | postgresql.Insert:
    columns = (*_LISTED, "active", "first_seen_ns", "first_seen_as")
    kept = ("symbol", "first_seen_ns", "first_seen_as")
    return statement.values({name: bindparam(name) for name in columns}).on_conflict_do_update(
        index_elements=["symbol"],
        set_={name: statement.excluded[name] for name in columns if name not in kept},
        where=statement.excluded["listed_ns"] >= ETFS.c.listed_ns,
    )


_LIST_UPSERTS: Final = {
    "sqlite": _list_upsert(sqlite.insert(ETFS)),
    "postgresql": _list_upsert(postgresql.insert(ETFS)),
}


def _update_of(moment: str, names: Sequence[str]) -> Update:
    """Set these columns of the ETF unless the row is newer. Names of parameters differ from those of columns."""
    known_ns = ETFS.c[moment]
    is_newer = or_(known_ns.is_(None), known_ns <= bindparam(f"new_{moment}"))
    values: dict[str, BindParameter[Any]] = {name: bindparam(f"new_{name}") for name in (moment, *names)}
    return update(ETFS).where(ETFS.c.symbol == bindparam("of_symbol"), is_newer).values(values)


def _updating(event_type: type[Fact], moment: str, names: Sequence[str]) -> Projection:
    statement = _update_of(moment, names)

    def project(connection: Connection, rows: Sequence[Row]) -> None:
        events = [event_of(event_type, row) for row in rows]
        connection.execute(
            statement,
            [
                {"of_symbol": fields["symbol"], **{f"new_{name}": fields[name] for name in (moment, *names)}}
                for fields in map(asdict, events)
            ],
        )

    return project


# --- listings -----------------------------------------------------------------------------------------------


def _project_listings(connection: Connection, rows: Sequence[Row]) -> None:
    """Apply the changes to the listings. The time of first sight stays. A change older than the row (a late rest of an
    earlier stream) changes nothing.
    """
    names = LISTINGS.columns.keys()
    events = [event_of(ListingChanged, row) for row in rows]
    upsert = _LISTING_UPSERTS[connection.dialect.name]
    connection.execute(upsert, [dict(zip(names, listing_row(event), strict=True)) for event in events])


def _listing_upsert(statement: sqlite.Insert | postgresql.Insert) -> sqlite.Insert | postgresql.Insert:
    key = ("exchange", "symbol")
    kept = (*key, "first_seen_ns", "first_seen_as")
    return statement.on_conflict_do_update(
        index_elements=key,
        set_={column.name: statement.excluded[column.name] for column in LISTINGS.columns if column.name not in kept},
        where=statement.excluded.changed_ns >= LISTINGS.c.changed_ns,
    )


_LISTING_UPSERTS: Final = {
    "sqlite": _listing_upsert(sqlite.insert(LISTINGS)),
    "postgresql": _listing_upsert(postgresql.insert(LISTINGS)),
}


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
                "capitalisation": event.market_cap,
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
    .values(valued_ns=bindparam("at_ns"), base_price=bindparam("price"), market_cap=bindparam("capitalisation"))
)

# In this order, whatever came first: what is known of a listing or an ETF needs it to be there.
PROJECTIONS: Final[Mapping[type[Event], Projection]] = {
    ListingChanged: _project_listings,
    ListingValued: _project_values,
    EtfListed: _project_lists,
    EtfValued: _updating(EtfValued, "valued_ns", _VALUED),
    EtfMeasured: _updating(EtfMeasured, "measured_ns", _MEASURED),
    EtfRangeFound: _updating(EtfRangeFound, "found_ns", _FOUND),
}
