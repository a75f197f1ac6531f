"""Questions to the database, answered with frozen structs: events as they were published, or small records.

Reading never waits for the writer and never makes it wait. Each question sees one state of the database: all of a
commit, or nothing of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy import Connection, Select, and_, exists, func, select

from bus.events import (
    ConnectionChanged,
    DailyBar,
    Event,
    Fact,
    GapDetected,
    GapRecovered,
    GapUnrecoverable,
    MinuteBarRecovered,
    QualityJudged,
    SlotAssigned,
    Snapshot,
    SweepCompleted,
    Trade,
    TradesConflated,
    TriggerFired,
    UniverseBuilt,
    UniverseMember,
)
from observer.gaps.intervals import Interval
from observer.gaps.reconciliation import SymbolDay
from observer.reference.listings import Listing
from observer.selection.profile import MeanVolume
from observer.store.asking import DatabaseReader
from observer.store.continuity import (
    GapStory,
    SlotChange,
    day_bounds,
    gap_stories,
    judged,
    open_slots,
    recovered_rows,
    slot_changes,
    stream_hours,
    stream_times,
    symbol_days,
    trades_of,
    triggers_fired,
)
from observer.store.decisions import decision_events, place_events, place_state_events, wishes_before
from observer.store.earlier import Adjustments, share_adjustments, swept_sessions, trade_volumes, volumes_by_time
from observer.store.rows import event_of
from observer.store.summary import DaySummary, summarise_day
from observer.store.tables import EVENT_TABLES, LISTINGS, QUARANTINE, STREAMS
from observer.store.universes import Universe, in_force, last_build, members_of

_ROWS_AT_ONCE: Final = 2_000  # what an iterator holds in memory

FactT = TypeVar("FactT", bound=Fact)


class StreamPosition(msgspec.Struct, frozen=True):
    """One stream: how far it is committed, and how many of its events came more than once (and were dropped)."""

    uid: str
    producer: str
    high_water_mark: int
    duplicates: int


class TradeMark(msgspec.Struct, frozen=True):
    """Where the stream of a symbol's trades stood with the last one that is stored."""

    symbol: str
    cumulative_volume: float
    cumulative_trades: int | None
    exchange_time_ns: int


class StoreReader(DatabaseReader):
    """What is stored of events, days and universes."""

    # --- what was delivered ---

    def row_counts(self) -> dict[str, int]:
        """The number of rows of every table of events, and of the quarantine, by the table's name."""
        tables = (*EVENT_TABLES.values(), QUARANTINE)
        with self._asking() as connection:
            return {table.name: _count(connection, select(func.count()).select_from(table)) for table in tables}

    def total_rows(self) -> int:
        """Events that are stored, in their tables or in quarantine: the sum of all high-water marks, always."""
        return sum(self.row_counts().values())

    def streams(self) -> Sequence[StreamPosition]:
        """Every stream that ever delivered, in the order of their first commits."""
        columns = (STREAMS.c[name] for name in StreamPosition.__struct_fields__)
        with self._asking() as connection:
            return [StreamPosition(*row) for row in connection.execute(select(*columns).order_by(STREAMS.c.id))]

    # --- the market ---

    def trades(self, session_date: str) -> Iterator[Trade]:
        """All trades of a day, streamed and recovered, by symbol and cumulative volume. Reads the whole table, and as
        long as it is being read SQLite's log cannot be folded into the file: finish it, or close it.
        """
        table = EVENT_TABLES[Trade]
        wanted = select(table).where(table.c.session_date == session_date)
        with self._asking() as connection:
            in_portions = connection.execution_options(yield_per=_ROWS_AT_ONCE)
            for row in in_portions.execute(wanted.order_by(table.c.symbol, table.c.cumulative_volume)):
                yield event_of(Trade, row)

    def duplicate_trades(self) -> int:
        """Trades that are stored more than once (each surplus row counts): the same symbol, day and cumulative volume,
        streamed or recovered. Zero, unless something is wrong. Reads the whole index.
        """
        table = EVENT_TABLES[Trade]
        name = (table.c.symbol, table.c.session_date, table.c.cumulative_volume)
        doubled = select((func.count() - 1).label("rows")).select_from(table).group_by(*name).having(func.count() > 1)
        surplus = doubled.subquery()
        with self._asking() as connection:
            return _count(connection, select(func.coalesce(func.sum(surplus.c.rows), 0)))

    def last_marks(self, session_date: str, symbols: Sequence[str]) -> dict[str, TradeMark]:
        """Where the stream stood for each of the symbols that have a streamed trade on that day, kept or conflated.
        Recovered trades do not count: they lie before one that was streamed.
        """
        trades, rows = EVENT_TABLES[Trade].c, EVENT_TABLES[TradesConflated].c
        marks = {}
        with self._asking() as connection:
            for symbol in symbols:
                streamed = (
                    select(trades.symbol, trades.cumulative_volume, trades.cumulative_trades, trades.exchange_time_ns)
                    .where(trades.symbol == symbol, trades.session_date == session_date, trades.gap_id.is_(None))
                    .order_by(trades.cumulative_volume.desc())
                    .limit(1)
                )
                conflated = (
                    select(rows.symbol, rows.cumulative_volume, rows.cumulative_trades, rows.to_ns)
                    .where(rows.symbol == symbol, rows.session_date == session_date)
                    .order_by(rows.cumulative_volume.desc())
                    .limit(1)
                )
                found = [row for wanted in (streamed, conflated) if (row := connection.execute(wanted).first())]
                if found:
                    marks[symbol] = TradeMark(*max(found, key=lambda row: float(row.cumulative_volume)))
        return marks

    def snapshots(self, session_date: str, from_ns: int, to_ns: int) -> Sequence[Snapshot]:
        """The day's snapshots received in [from, to), oldest first."""
        table = EVENT_TABLES[Snapshot]
        received = table.c.receive_time_ns
        wanted = select(table).where(table.c.session_date == session_date, received >= from_ns, received < to_ns)
        return self._events(Snapshot, wanted.order_by(received, table.c.stream, table.c.sequence))

    def completed_sweeps(self, session_date: str) -> frozenset[int]:
        """The numbers of the day's sweeps that were completed."""
        columns = EVENT_TABLES[SweepCompleted].c
        with self._asking() as connection:
            numbers = connection.scalars(select(columns.sweep).where(columns.session_date == session_date))
            return frozenset(numbers)

    def daily_bars(self, last: int, symbol: str | None = None) -> dict[str, list[DailyBar]]:
        """The last so many daily bars of one symbol, or of all, oldest first. Of a day that was fetched twice the later
        row counts.
        """
        table = EVENT_TABLES[DailyBar]
        newest = func.dense_rank().over(partition_by=table.c.symbol, order_by=table.c.session_date.desc())
        ranked = select(table, newest.label("newest"))
        if symbol is not None:
            ranked = ranked.where(table.c.symbol == symbol)
        found = ranked.subquery()
        wanted = select(*(found.c[column.name] for column in table.columns)).where(found.c.newest <= last)
        by_day = (found.c.symbol, found.c.session_date, found.c.stream, found.c.sequence)
        bars: dict[str, dict[str, DailyBar]] = {}
        for bar in self._events(DailyBar, wanted.order_by(*by_day)):
            bars.setdefault(bar.symbol, {})[bar.session_date] = bar
        return {name: list(days.values()) for name, days in bars.items()}

    def closes(self, session_date: str) -> dict[str, float]:
        """The closes of a session by symbol, as its daily bars have them."""
        table = EVENT_TABLES[DailyBar]
        wanted = select(table.c.symbol, table.c.close).where(table.c.session_date == session_date)
        with self._asking() as connection:
            rows = connection.execute(wanted.order_by(table.c.stream, table.c.sequence))
            return {row.symbol: row.close for row in rows}

    # --- what exists ---

    def active_listings(self, exchange: str) -> dict[str, Listing]:
        """What is listed on the exchange now, by symbol."""
        return self._listings(exchange, active=True)

    def inactive_listings(self, exchange: str) -> dict[str, Listing]:
        """What was listed there once and is not now, by symbol, as it was last seen."""
        return self._listings(exchange, active=False)

    def _listings(self, exchange: str, *, active: bool) -> dict[str, Listing]:
        columns = (LISTINGS.c[name] for name in Listing.__struct_fields__)
        wanted = select(*columns).where(LISTINGS.c.exchange == exchange, LISTINGS.c.active.is_(active))
        with self._asking() as connection:
            rows = connection.execute(wanted.order_by(LISTINGS.c.symbol))
            return {listing.symbol: listing for listing in (Listing(*row) for row in rows)}

    def universe(self, session_date: str, market: str, built_ns: int | None = None) -> Sequence[UniverseMember]:
        """The members of the day's universe by rank; empty when it was not built. Of several builds the last counts, or
        the one of that time.

        A build's members and its `UniverseBuilt` are published together, the members first: they are neighbours in
        their stream, and that is how a rebuilt universe is told from the one before it.
        """
        with self._asking() as connection:
            built = connection.execute(last_build(session_date, market, built_ns)).first()
            return members_of(connection, built).members if built else []

    def universe_built(self, session_date: str, market: str) -> UniverseBuilt | None:
        """That the day's universe was built, the last time; None when it was not."""
        with self._asking() as connection:
            built = connection.execute(last_build(session_date, market)).first()
            return event_of(UniverseBuilt, built) if built else None

    def universe_in_force(self, session_date: str, market: str, fixed_ns: int) -> Universe | None:
        """The universe that a day goes by, which is fixed at a moment of it and stays for the day (requirement 004,
        Universe Update Policy): the last one that was built by then, of this day or of the latest before it. Where none
        was, the first one that was built afterwards; None while there is none at all.
        """
        with self._asking() as connection:
            found = (connection.execute(build).first() for build in in_force(session_date, market, fixed_ns))
            return next((members_of(connection, built) for built in found if built is not None), None)

    def earlier_days(
        self, session_date: str, days: int, universe: str
    ) -> tuple[Sequence[MeanVolume], Mapping[str, float]]:
        """Of the last so many sessions before this one: each symbol's mean volume by time of day, and the mean volume
        of its trades, both in the shares that the universe of the session `universe` knew of.
        """
        with self._asking() as connection:
            sessions = swept_sessions(connection, session_date, days)
            since = min(sessions, default=session_date)
            adjustments = share_adjustments(connection, since, known_until=universe)
            volumes = volumes_by_time(connection, sessions, adjustments)
            return volumes, trade_volumes(connection, sessions, adjustments)

    def share_adjustments(self, since: str, known_until: str) -> Adjustments:
        """By symbol the changes of shares on that session or later of which the universe of `known_until` knew."""
        with self._asking() as connection:
            return share_adjustments(connection, since, known_until)

    # --- what mattered, what was missed ---

    def decision_events(self, session_date: str) -> Iterator[Event]:
        """What Track B decided on a day, and what it decided it from, in the order of its streams."""
        with self._asking() as connection:
            yield from decision_events(connection, session_date)

    def place_events(self, session_date: str) -> Sequence[Event]:
        """What of it tells of places and wishes."""
        with self._asking() as connection:
            return list(place_events(connection, session_date))

    def wishes_before(self, session_date: str) -> Sequence[str]:
        """The symbols that stood pinned at the end of the last day before, in the order of asking."""
        with self._asking() as connection:
            return wishes_before(connection, session_date)

    def place_state_events(self, session_date: str) -> Sequence[Event]:
        """What of it tells of the states of places: who was given them, and what the broker acknowledged."""
        with self._asking() as connection:
            return list(place_state_events(connection, session_date))

    def open_slots(self, since_ns: int = 0, until_ns: int | None = None) -> Sequence[SlotAssigned]:
        """The assignments of [since, until) that stand at its end: of each slot the last one, unless the slot was
        released again. Without `until` those that stand now.
        """
        with self._asking() as connection:
            return open_slots(connection, since_ns, until_ns)

    def last_assignment_ns(self, before_ns: int) -> int | None:
        """When the last place before that time was given; None for never."""
        columns = EVENT_TABLES[SlotAssigned].c
        with self._asking() as connection:
            found: int | None = connection.scalar(
                select(func.max(columns.assigned_ns)).where(columns.assigned_ns < before_ns)
            )
        return found

    def latest_connections(self, since_ns: int) -> dict[str, ConnectionChanged]:
        """By account: the last change of its stream since that time."""
        table = EVENT_TABLES[ConnectionChanged]
        wanted = select(table).where(table.c.changed_ns >= since_ns)
        changes = self._events(ConnectionChanged, wanted.order_by(table.c.changed_ns, table.c.stream, table.c.sequence))
        return {change.account: change for change in changes}

    def open_gaps(self, since_session_date: str) -> Sequence[GapDetected]:
        """The gaps of that day and later ones, in order of detection, that were neither recovered nor given up. A gap
        that was found twice (again after a restart) is one gap.
        """
        gaps = EVENT_TABLES[GapDetected]
        decisions = [EVENT_TABLES[kind] for kind in (GapRecovered, GapUnrecoverable)]
        undecided = and_(*(~exists().where(table.c.gap_id == gaps.c.gap_id) for table in decisions))
        wanted = select(gaps).where(gaps.c.session_date >= since_session_date, undecided)
        found = self._events(GapDetected, wanted.order_by(gaps.c.detected_ns.desc()))
        first_of_each = {gap.gap_id: gap for gap in found}
        return sorted(first_of_each.values(), key=lambda gap: (gap.detected_ns, gap.gap_id))

    def gaps(self, session_date: str, symbol: str | None = None) -> Sequence[GapStory]:
        """A day's gaps in order of detection, of one symbol or of all, with what became of them."""
        columns = EVENT_TABLES[GapDetected].c
        of_symbol = [] if symbol is None else [columns.symbol == symbol]
        with self._asking() as connection:
            return gap_stories(connection, columns.session_date == session_date, *of_symbol)

    def gap(self, gap_id: str) -> GapStory | None:
        """One gap by its id."""
        with self._asking() as connection:
            return next(iter(gap_stories(connection, EVENT_TABLES[GapDetected].c.gap_id == gap_id)), None)

    def recovered_rows(self, gap: GapDetected) -> Sequence[Trade | MinuteBarRecovered]:
        """What is stored of a gap's recovery: trades by cumulative volume, then minute bars by time."""
        with self._asking() as connection:
            return recovered_rows(connection, gap)

    def slot_history(self, session_date: str, symbol: str | None = None) -> Sequence[SlotChange]:
        """A day's assignments, releases and refusals of places, in the order in which they were decided."""
        with self._asking() as connection:
            return slot_changes(connection, *day_bounds(session_date), symbol)

    def triggers_fired(self, session_date: str, symbol: str) -> Sequence[TriggerFired]:
        """When which conditions of a symbol began to hold on a day."""
        with self._asking() as connection:
            return triggers_fired(connection, session_date, symbol)

    def quality(self, session_date: str, symbol: str | None = None) -> Sequence[QualityJudged]:
        """The stored verdicts on a day's data by symbol; empty for a day that was not judged yet."""
        with self._asking() as connection:
            return judged(connection, session_date, symbol)

    def stream_times(self, session_date: str, now_ns: int) -> Mapping[str, Sequence[Interval]]:
        """When each symbol had a place in the stream on that day."""
        with self._asking() as connection:
            return stream_times(connection, session_date, now_ns)

    def stream_hours(self, session_date: str, now_ns: int) -> Interval | None:
        """When there were places to be had on that day; None when there never were."""
        with self._asking() as connection:
            return stream_hours(connection, session_date, now_ns)

    def symbol_days(self, session_date: str, now_ns: int) -> Iterator[SymbolDay]:
        """What `observer.gaps.reconciliation` judges, by symbol: of each that had a place in the stream on that day."""
        with self._asking() as connection:
            yield from symbol_days(connection, session_date, now_ns)

    def judged_trades(self, symbol: str, session_date: str) -> tuple[QualityJudged | None, Sequence[Trade]]:
        """A symbol's trades of one day by cumulative volume, and how complete they are; None: not judged yet."""
        with self._asking() as connection:
            verdicts = judged(connection, session_date, symbol)
            return (verdicts[0] if verdicts else None), trades_of(connection, symbol, session_date)

    def day_summary(self, session_date: str) -> DaySummary:
        """The counts of one day."""
        with self._asking() as connection:
            return summarise_day(connection, session_date)

    def _events(self, event_type: type[FactT], statement: Select[*tuple[Any, ...]]) -> list[FactT]:
        with self._asking() as connection:
            return [event_of(event_type, row) for row in connection.execute(statement)]


def _count(connection: Connection, statement: Select[int]) -> int:
    return int(connection.execute(statement).scalar_one())
