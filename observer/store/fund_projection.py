"""The projection of facts about funds: one row a fund, each kind of fact keeping its own columns.

A list sets what lists know and leaves values and measures alone; a value of a fund that no list had changes nothing. A
fact that is older than what is there (the late rest of an earlier stream) changes nothing either.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import BindParameter, Connection, Update, bindparam, or_, update
from sqlalchemy.dialects import postgresql, sqlite

from bus.events import Event, Fact, FundListed, FundMeasured, FundRangeFound, FundValued
from observer.reference.etf import Fund
from observer.store.rows import Row, Value, event_of
from observer.store.tables import FUNDS

_LISTED: Final = tuple(name for name in FundListed.__struct_fields__ if name in Fund.__struct_fields__)
_VALUED: Final = (
    "price",
    "nav",
    "premium_percent",
    "aum_krw",
    "net_assets_krw",
    "stated_tracking_error_percent",
    "component_count",
)
_MEASURED: Final = FundMeasured.__struct_fields__[3:]
_FOUND: Final = ("highest_close_52w", "lowest_close_52w")

Projection = Callable[[Connection, Sequence[Row]], None]


def _project_lists(connection: Connection, rows: Sequence[Row]) -> None:
    events = [event_of(FundListed, row) for row in rows]
    connection.execute(_LIST_UPSERTS[connection.dialect.name], [_list_row(event) for event in events])


def _list_row(event: FundListed) -> dict[str, Value]:
    state: dict[str, Value] = {name: getattr(event, name) for name in _LISTED}
    return {**state, "active": event.change != "removed", "first_seen_ns": event.listed_ns}


def _list_upsert(statement: sqlite.Insert | postgresql.Insert) -> sqlite.Insert | postgresql.Insert:
    columns = (*_LISTED, "active", "first_seen_ns")
    kept = ("symbol", "first_seen_ns")
    return statement.values({name: bindparam(name) for name in columns}).on_conflict_do_update(
        index_elements=["symbol"],
        set_={name: statement.excluded[name] for name in columns if name not in kept},
        where=statement.excluded["listed_ns"] >= FUNDS.c.listed_ns,
    )


_LIST_UPSERTS: Final = {
    "sqlite": _list_upsert(sqlite.insert(FUNDS)),
    "postgresql": _list_upsert(postgresql.insert(FUNDS)),
}


def _update_of(moment: str, names: Sequence[str]) -> Update:
    """Set these columns of the fund unless what is there is newer. Names of parameters differ from those of columns."""
    known_ns = FUNDS.c[moment]
    is_newer = or_(known_ns.is_(None), known_ns <= bindparam(f"new_{moment}"))
    values: dict[str, BindParameter[Any]] = {name: bindparam(f"new_{name}") for name in (moment, *names)}
    return update(FUNDS).where(FUNDS.c.symbol == bindparam("of_symbol"), is_newer).values(values)


def _updating(event_type: type[Fact], moment: str, names: Sequence[str]) -> Projection:
    statement = _update_of(moment, names)

    def project(connection: Connection, rows: Sequence[Row]) -> None:
        events = [event_of(event_type, row) for row in rows]
        connection.execute(
            statement,
            [
                {"of_symbol": event.symbol, **{f"new_{name}": getattr(event, name) for name in (moment, *names)}}  # type: ignore[attr-defined]
                for event in events
            ],
        )

    return project


FUND_PROJECTIONS: Final[Mapping[type[Event], Projection]] = {
    FundListed: _project_lists,
    FundValued: _updating(FundValued, "valued_ns", _VALUED),
    FundMeasured: _updating(FundMeasured, "measured_ns", _MEASURED),
    FundRangeFound: _updating(FundRangeFound, "found_ns", _FOUND),
}
"""What each kind of fact about funds does to `funds`; the rows are never none."""
