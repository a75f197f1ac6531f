"""Counts: of all rows and event streams, and of one day (the table at the end of a demo)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, case, distinct, func, select

from bus.events import (
    TAPE,
    Fact,
    GapDetected,
    GapRecovered,
    GapUnrecoverable,
    InputQuarantined,
    MasterFileChecked,
    PhaseChanged,
    ProcessChanged,
    SlotAssigned,
    SlotOverflowed,
    SlotReleased,
    Snapshot,
    SweepCompleted,
    TapePage,
    Trade,
    TriggerFired,
    UniverseBuilt,
)
from observer.store.day_rows import is_of_day
from observer.store.kinds import BY_EVENT
from observer.store.lines import lines_of
from observer.store.removal import SealedRows, count_left
from observer.store.session import DatabaseReader, events_in
from observer.store.slots import day_bounds
from observer.store.tables import (
    DATABASE_EPOCHS,
    DELIVERY_LOSSES,
    EVENT_TABLES,
    OWNER,
    QUARANTINE,
    ROW_TABLES,
    STREAMS,
    TRADE_GROUPS,
    TRADE_ROWS,
)

# Each day of a running system has a row in one of these.
_PROCESSES: Final = EVENT_TABLES[ProcessChanged].c
_PHASES: Final = EVENT_TABLES[PhaseChanged].c
_SWEEPS: Final = EVENT_TABLES[SweepCompleted].c
_NEWEST: Final = (
    select(func.max(_PROCESSES.changed_ns)),
    *(
        select(func.max(moment)).where(day == select(func.max(day)).scalar_subquery())
        for moment, day in (
            (_PHASES.changed_ns, _PHASES.session_date),
            (_SWEEPS.completed_ns, _SWEEPS.session_date),
        )
    ),
)

_UNGROUPED: Final = (
    select(func.count())
    .select_from(TRADE_ROWS)
    .where(~select(1).where(TRADE_GROUPS.c.id == TRADE_ROWS.c.group_id).correlate(TRADE_ROWS).exists())
)


class DaySummary(msgspec.Struct, frozen=True):
    """Counts of one session date; what carries a time instead of a date counts for its Korean calendar day.

    `universe` is the sum over the markets. `slots_replaced` are those of `slots_allocated` that pushed a symbol out.
    Gaps count by their id, each once. `listings_new` and `listings_removed` leave out each exchange's first import,
    where everything is new. `quarantined_inputs` could not be read when they came from outside; `quarantined_events`
    could not be stored, and count for the whole database, as nothing in them can be trusted to be a date.
    """

    session_date: str
    universe: int
    sweeps: int
    snapshots: int
    trades: int
    recovered_trades: int
    triggers: Mapping[str, int]
    slots_allocated: int
    slots_replaced: int
    slots_released: int
    slots_overflow: int
    gaps_found: int
    gaps_recovered: int
    gaps_recovered_as_bars: int
    gaps_unrecoverable: int
    listings_new: int
    listings_removed: int
    quarantined_inputs: int
    quarantined_events: int


class SweptVolume(msgspec.Struct, frozen=True):
    """What a venue's swept lines traded on a day, by the exchange's own figures: shares, and their value in the venue's
    currency. `outside_*` is the part outside the regular session, as exact as a sweep near its begin and its end.
    """

    shares: float = 0.0
    value: float = 0.0
    outside_shares: float = 0.0
    outside_value: float = 0.0


class StreamPosition(msgspec.Struct, frozen=True):
    """One stream: how far it is committed, and how many of its events came more than once (and were dropped)."""

    uid: str
    producer: str
    high_water_mark: int
    duplicates: int


class RowsAndMarks(msgspec.Struct, frozen=True):
    """The rows in the database, the rows that only sealed days have, and the sum that the event streams' marks less the
    lost numbers give. `ungrouped` are those of the rows that no query of trades sees: their group is not there.
    """

    rows: int
    removed: int
    expected: int
    ungrouped: int = 0


class SummaryReader(DatabaseReader):
    """Reads counts of the database and of its days."""

    def row_counts(self) -> dict[str, int]:
        """The number of rows of every table of events, and of the quarantine, by the table's name."""
        tables = {EVENT_TABLES[event_type].name: table for event_type, table in ROW_TABLES.items()}
        tables[QUARANTINE.name] = QUARANTINE
        with self._asking() as connection:
            return {name: _count(connection, select(func.count()).select_from(each)) for name, each in tables.items()}

    def total_rows(self) -> int:
        """Events that are stored, in their tables or in quarantine."""
        return sum(self.row_counts().values())

    def rows_and_marks(self, sealed: Callable[[], Sequence[SealedRows]] = tuple) -> RowsAndMarks:
        """The number of rows, and what the event streams' marks say, at one moment. `sealed` gives the rows that the
        database need not have; it is asked after that moment, since a removal is allowed before it begins.
        """
        tables = (*ROW_TABLES.values(), QUARANTINE)
        lost = DELIVERY_LOSSES.c.last_sequence - DELIVERY_LOSSES.c.first_sequence + 1
        with self._asking() as connection:
            found = connection.execute(select(STREAMS.c.uid, STREAMS.c.high_water_mark)).all()
            marks = {row.uid: int(row.high_water_mark) for row in found}
            losses = int(connection.scalar(select(func.coalesce(func.sum(lost), 0))) or 0)
            rows = sum(_count(connection, select(func.count()).select_from(table)) for table in tables)
            delivered = [each for each in sealed() if marks.get(each.uid, 0) >= each.last]
            removed = sum(each.rows - count_left(connection, each) for each in delivered)
            ungrouped = _count(connection, _UNGROUPED)
        return RowsAndMarks(rows, removed, sum(marks.values()) - losses, ungrouped)

    def quarantined(self) -> int:
        """Events in quarantine."""
        return int(self._scalar(select(func.count()).select_from(QUARANTINE)))

    def epochs(self) -> Sequence[str]:
        """The reasons of the database's epochs, the first being its creation (`bus.delivery`)."""
        return self._scalars(select(DATABASE_EPOCHS.c.reason).order_by(DATABASE_EPOCHS.c.id))

    def created_ns(self) -> int | None:
        """The time at which the database was made, in market time; None for a database without an owner."""
        found: int | None = self._scalar(select(OWNER.c.created_ns))
        return found

    def newest_ns(self) -> int | None:
        """The market time of about the newest event, by the tables of few rows; None without any."""
        with self._asking() as connection:
            return max(filter(None, map(connection.scalar, _NEWEST)), default=None)

    def committed_events(self) -> int:
        """The number of all events that were ever committed, by their streams."""
        return int(self._scalar(select(func.coalesce(func.sum(STREAMS.c.high_water_mark), 0))))

    def streams(self) -> Sequence[StreamPosition]:
        """Every stream that ever delivered, in the order of their first commits."""
        columns = (STREAMS.c[name] for name in StreamPosition.__struct_fields__)
        return [StreamPosition(*row) for row in self._rows(select(*columns).order_by(STREAMS.c.id))]

    def day_summary(self, session_date: str) -> DaySummary:
        with self._asking() as connection:
            return summarise_day(connection, session_date)

    def swept_volume(self, session_date: str, venue: str, regular_ns: tuple[int, int]) -> SweptVolume:
        """What a venue's lines traded on the day by their snapshots. The regular session's trades are those of the
        snapshots received from its begin until the next session's begin (UTC ns).
        """
        seen = EVENT_TABLES[Snapshot].c
        of_lines = (
            select(
                *(
                    func.max(case((seen.receive_time_ns < moment_ns, column), else_=0.0)).label(f"{name}_{number}")
                    for number, moment_ns in enumerate(regular_ns)
                    for name, column in (("shares", seen.cumulative_volume), ("value", seen.cumulative_value))
                ),
                func.max(seen.cumulative_volume).label("shares"),
                func.max(seen.cumulative_value).label("value"),
            )
            .where(seen.session_date == session_date, seen.venue == venue)
            .group_by(seen.symbol)
            .subquery()
            .c
        )
        shares, value = of_lines.shares, of_lines.value
        sums = (
            shares,
            value,
            shares - of_lines.shares_1 + of_lines.shares_0,
            value - of_lines.value_1 + of_lines.value_0,
        )
        [row] = self._rows(select(*(func.coalesce(func.sum(each), 0.0) for each in sums)))
        return SweptVolume(*map(float, row))


def _count(connection: Connection, statement: Select[int]) -> int:
    return int(connection.execute(statement).scalar_one())


def summarise_day(connection: Connection, session_date: str) -> DaySummary:
    def count(kind: type[Fact], *conditions: ColumnElement[bool], each: str = "") -> int:
        """The day's rows of a kind under these conditions; with `each` the different values of a column."""
        table = EVENT_TABLES[kind]
        what = func.count(distinct(table.c[each])) if each else func.count()
        return _count(connection, select(what).select_from(table).where(_is_of_day(kind, session_date), *conditions))

    assigned, released = EVENT_TABLES[SlotAssigned].c, EVENT_TABLES[SlotReleased].c
    trades = EVENT_TABLES[Trade].c
    gaps = EVENT_TABLES[GapDetected].c
    with_gap = connection.scalars(select(gaps.symbol).where(gaps.session_date == session_date).distinct()).all()
    is_recovered = (trades.symbol.in_(with_gap), trades.gap_id.is_not(None), trades.gap_id != TAPE)
    recovered = count(Trade, *is_recovered)
    fetched = select(func.coalesce(func.sum(EVENT_TABLES[TapePage].c.stored), 0))
    of_tape = _count(connection, fetched.where(_is_of_day(TapePage, session_date)))
    new, removed = _listing_changes(connection, session_date)
    return DaySummary(
        session_date=session_date,
        universe=_universe(connection, session_date),
        sweeps=count(SweepCompleted),
        snapshots=count(Snapshot),
        trades=count(Trade, trades.symbol.in_(lines_of(connection, EVENT_TABLES[Trade]))) - recovered - of_tape,
        recovered_trades=recovered,
        triggers=_triggers(connection, session_date),
        slots_allocated=count(SlotAssigned),
        slots_replaced=count(SlotAssigned, assigned.replaced.is_not(None)),
        slots_released=count(SlotReleased, released.replaced_by.is_(None)),
        slots_overflow=count(SlotOverflowed),
        gaps_found=count(GapDetected, each="gap_id"),
        gaps_recovered=count(GapRecovered, each="gap_id"),
        gaps_recovered_as_bars=count(GapRecovered, EVENT_TABLES[GapRecovered].c.source == "minute_bars", each="gap_id"),
        gaps_unrecoverable=count(GapUnrecoverable, each="gap_id"),
        listings_new=new,
        listings_removed=removed,
        quarantined_inputs=count(InputQuarantined),
        quarantined_events=_count(connection, select(func.count()).select_from(QUARANTINE)),
    )


def _is_of_day(kind: type[Fact], session_date: str) -> ColumnElement[bool]:
    """The condition of a day's rows; what belongs to no day counts by the time at which it happened."""
    moment = _MOMENTS.get(kind)
    if moment is None:
        return is_of_day(BY_EVENT[kind], session_date)
    from_ns, to_ns = day_bounds(session_date)
    return EVENT_TABLES[kind].c[moment].between(from_ns, to_ns - 1)


_MOMENTS: Final[Mapping[type[Fact], str]] = {InputQuarantined: "quarantined_ns", MasterFileChecked: "checked_ns"}


def _universe(connection: Connection, session_date: str) -> int:
    """The number of symbols in the last build of each market."""
    builds = events_in(connection, UniverseBuilt, session_date=session_date, order="built_ns stream sequence")
    return sum({each.market: each.symbols for each in builds}.values())


def _triggers(connection: Connection, session_date: str) -> dict[str, int]:
    """Triggers fired, by kind."""
    fired = EVENT_TABLES[TriggerFired].c
    wanted = select(fired.kind, func.count().label("fired")).where(_is_of_day(TriggerFired, session_date))
    return {row.kind: row.fired for row in connection.execute(wanted.group_by(fired.kind).order_by(fired.kind))}


def _listing_changes(connection: Connection, session_date: str) -> tuple[int, int]:
    """Appeared and vanished listings, by the checks that applied the changes. Initial listings did not appear."""
    checks = EVENT_TABLES[MasterFileChecked].c
    sums = (func.coalesce(func.sum(column), 0) for column in (checks.new, checks.removed))
    wanted = select(*sums).where(checks.outcome == "updated", _is_of_day(MasterFileChecked, session_date))
    new, removed = connection.execute(wanted).one()
    return int(new), int(removed)
