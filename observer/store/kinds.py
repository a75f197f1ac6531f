"""The kinds of data: event tables whose rows belong to a day, their order, and which of them the lake can take over."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Select, Table, case, func, or_, select

from observer.base.errors import StoreError
from observer.store.slots import day_bounds
from observer.store.tables import EVENT_TABLES, row_table

_DAY: Final = "session_date"
_GAPS: Final = "gaps"
_OF_GAP: Final = "gap_id"
_TABLES: Final = {table.name: table for table in EVENT_TABLES.values()}


class Kind(msgspec.Struct, frozen=True):
    """A table whose rows belong to a day.

    `order` are the columns that order the rows of one symbol. `day` is the column that gives the row's day:
    `session_date`, a time whose local date is the day, or `gap_id`, by which the row belongs to the day of its gap.
    """

    name: str
    order: tuple[str, ...]
    day: str = _DAY

    @property
    def table(self) -> Table:
        return _TABLES[self.name]

    @property
    def is_dated(self) -> bool:
        """Whether a column gives the row's day, or the day of its gap, as a date."""
        return self.day in (_DAY, _OF_GAP)

    @property
    def rows(self) -> Table:
        """The table that has a row for each row of the kind, by position."""
        return row_table(self.table)


def _by_time(name: str, time: str) -> Kind:
    """A kind without a date: the day follows from the time column."""
    return Kind(name, (time,), time)


_ALL: Final = (
    # Many trades have one exchange time; their order is that of the day's volume.
    Kind("trades", ("exchange_time_ns", "cumulative_volume")),
    Kind("conflated_trades", ("from_ns",)),
    Kind("recovered_minute_bars", ("minute_start_ns",)),
    Kind("fetched_minute_bars", ("minute_start_ns",)),
    Kind("bar_fetches", ("received_ns",)),
    Kind("bar_checks", ("checked_ns",)),
    Kind("order_books", ("receive_time_ns",)),
    Kind("expected_prices", ("receive_time_ns",)),
    _by_time("market_states", "receive_time_ns"),
    _by_time("navs", "receive_time_ns"),
    Kind("snapshots", ("receive_time_ns",)),
    Kind("sweeps", ("started_ns",)),
    Kind("volume_rises", ("receive_time_ns",)),
    Kind("attentions", ("started_ns",)),
    Kind("daily_bars", ()),
    _by_time("sampling_changes", "changed_ns"),
    Kind("universes", ("built_ns",)),
    Kind("universe_members", ("rank",)),
    Kind("venue_eligibility", ("observed_ns",)),
    Kind("share_adjustments", ()),
    Kind("context_syncs", ("synced_ns",)),
    _by_time("triggers", "fired_ns"),
    _by_time("trigger_ends", "ended_ns"),
    _by_time("slot_assignments", "assigned_ns"),
    _by_time("slot_extensions", "extended_ns"),
    _by_time("slot_releases", "released_ns"),
    _by_time("slot_overflows", "overflowed_ns"),
    _by_time("churn_guard_changes", "changed_ns"),
    Kind("selection_steps", ("advanced_ns",)),
    Kind("watch_changes", ("changed_ns",)),
    Kind("gap_openings", ("from_ns",)),
    Kind("empty_gaps", ("from_ns",)),
    Kind(_GAPS, ("from_ns",)),
    Kind("gap_recoveries", ("recovered_ns",), _OF_GAP),
    Kind("gap_losses", ("decided_ns",), _OF_GAP),
    Kind("gap_times", ("measured_ns",)),
    Kind("reconciliations", ("from_ns",)),
    Kind("quality", ("judged_ns",)),
    _by_time("connections", "changed_ns"),
    Kind("phases", ("changed_ns",)),
    Kind("etf_lists", ("listed_ns",)),
    Kind("etf_values", ("valued_ns",)),
    Kind("etf_nav_days", ("received_ns",)),
    Kind("etf_measures", ("measured_ns",)),
    Kind("etf_ranges", ("found_ns",)),
    Kind("etf_jobs", ("ended_ns",)),
    Kind("tape_pages", ("fetched_ns",)),
    Kind("tape_progress", ("progressed_ns",)),
    Kind("tape_reports", ("judged_ns",)),
)

KINDS: Final[Mapping[str, Kind]] = {kind.name: kind for kind in _ALL}
"""The kinds by name, the name of their table."""

REMOVABLE: Final = frozenset(
    {"trades", "conflated_trades", "order_books", "expected_prices", "navs", "snapshots", "volume_rises"}
    | {"fetched_minute_bars", "tape_pages"}
)
"""The kinds of many rows. Their rows of an old sealed day may be removed from the database; those of the other kinds,
which say what happened on a day, stay there.
"""

ANNOUNCING: Final = ("bar_fetches", "gap_recoveries", "gap_losses")
"""The kinds whose rows state that rows of their day, which may be long past, came with them or in front of them."""


def kind_named(name: str) -> Kind:
    """The kind with this name.

    Raises:
        StoreError: there is no such kind.
    """
    if name not in KINDS:
        raise StoreError(f"there is no kind of data {name!r}: give one of {', '.join(KINDS)}")
    return KINDS[name]


def is_of_day(kind: Kind, session_date: str) -> ColumnElement[bool]:
    """The condition of a day's rows in the kind's table."""
    return is_of_days(kind, [session_date])


def is_of_days(kind: Kind, session_dates: Sequence[str]) -> ColumnElement[bool]:
    """The condition of some days' rows in the kind's table; at least one day."""
    column = kind.table.c[kind.day]
    if kind.day == _DAY:
        return _is_one_of(column, session_dates)
    if kind.day == _OF_GAP:
        gaps = _TABLES[_GAPS].c
        return column.in_(select(gaps.gap_id).where(_is_one_of(gaps.session_date, session_dates)))
    return or_(*((column >= since_ns) & (column < until_ns) for since_ns, until_ns in _times_of(session_dates)))


def _is_one_of(column: ColumnElement[Any], values: Sequence[str]) -> ColumnElement[bool]:
    return column == values[0] if len(values) == 1 else column.in_(values)


def _times_of(session_dates: Sequence[str]) -> Iterator[tuple[int, int]]:
    """The times [from, to) of the days; one span of days that follow each other."""
    span: tuple[int, int] | None = None
    for since_ns, until_ns in sorted(map(day_bounds, session_dates)):
        if span is not None and since_ns > span[1]:
            yield span
            span = None
        span = (since_ns if span is None else span[0], until_ns)
    if span is not None:
        yield span


def counts_by_day(kind: Kind, days: Sequence[str]) -> Select[str, int]:
    """The statement of the number of rows of each of these days that has any; the kind is dated (`Kind.is_dated`)."""
    table = kind.table
    if kind.day == _DAY:
        dates = table.c.session_date
        return select(dates, func.count()).where(dates.in_(days)).group_by(dates)
    of_gap = _TABLES[_GAPS].c
    gaps = select(of_gap.gap_id, of_gap.session_date).where(of_gap.session_date.in_(days)).distinct().subquery()
    joined = table.join(gaps, gaps.c.gap_id == table.c.gap_id)
    return select(gaps.c.session_date, func.count()).select_from(joined).group_by(gaps.c.session_date)


def is_of_day_unindexed(kind: Kind, session_date: str) -> ColumnElement[bool]:
    """The same condition as one that no index serves: a statement that names positions is to search the primary key,
    an index of days would find the whole day each time.
    """
    return case((is_of_day(kind, session_date), 1), else_=0) == 1
