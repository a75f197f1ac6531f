"""Queries of gaps and their outcomes."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from sqlalchemy import ColumnElement, Connection, exists, func, select

from bus.events import (
    GapDetected,
    GapEmpty,
    GapMeasure,
    GapOpened,
    GapRecovered,
    GapTimesMeasured,
    GapUnrecoverable,
    MinuteBarRecovered,
    Reached,
    Trade,
    WatchChanged,
    WatchObserved,
)
from observer.gaps.intervals import VOLUME_NOISE
from observer.gaps.recovery import name_of
from observer.store.session import DatabaseReader, events_in
from observer.store.tables import EVENT_TABLES

_MINUTE_NS: Final = 60_000_000_000


class GapStory(msgspec.Struct, frozen=True):
    """A gap and its outcome: recovered, given up, or open (both None)."""

    gap: GapDetected
    recovered: GapRecovered | None
    unrecoverable: GapUnrecoverable | None

    @property
    def is_open(self) -> bool:
        return self.recovered is None and self.unrecoverable is None

    @property
    def closed_ns(self) -> int | None:
        """The time of the last outcome."""
        moments = [
            *([self.recovered.recovered_ns] if self.recovered else []),
            *([self.unrecoverable.decided_ns] if self.unrecoverable else []),
        ]
        return max(moments, default=None)


class OpeningStory(msgspec.Struct, frozen=True):
    """A cut that proved no missing volume: closed as empty, given up, or not yet resolved (both None)."""

    opened: GapOpened
    empty: GapEmpty | None
    unrecoverable: GapUnrecoverable | None

    @property
    def is_open(self) -> bool:
        """Whether the volume that the cut missed is not known yet."""
        return self.empty is None and self.unrecoverable is None


class GapReader(DatabaseReader):
    """Reads gaps and their recoveries."""

    def openings(self, session_date: str, symbol: str | None = None) -> Sequence[OpeningStory]:
        """A day's cuts of one symbol or of all, in order, without the cuts that became proved gaps (see `gaps`)."""
        columns = EVENT_TABLES[GapOpened].c
        of_symbol = [] if symbol is None else [columns.symbol == symbol]
        return self._openings(columns.session_date == session_date, *of_symbol)

    def cut_ids(self, session_date: str) -> frozenset[str]:
        columns = EVENT_TABLES[GapOpened].c
        return frozenset(self._scalars(select(columns.gap_id).where(columns.session_date == session_date)))

    def opening(self, gap_id: str) -> OpeningStory | None:
        """A cut without a proved loss, by its id."""
        return next(iter(self._openings(EVENT_TABLES[GapOpened].c.gap_id == gap_id)), None)

    def _openings(self, *conditions: ColumnElement[bool]) -> Sequence[OpeningStory]:
        opened, gaps = EVENT_TABLES[GapOpened], EVENT_TABLES[GapDetected]
        empties, losses = EVENT_TABLES[GapEmpty], EVENT_TABLES[GapUnrecoverable]
        ids = select(opened.c.gap_id).where(*conditions)
        unproved = select(opened).where(*conditions, ~exists().where(gaps.c.gap_id == opened.c.gap_id))
        found = {event.gap_id: event for event in self._events(GapOpened, unproved.order_by(opened.c.opened_ns))}
        of_empties = self._events(GapEmpty, select(empties).where(empties.c.gap_id.in_(ids)))
        of_losses = self._events(GapUnrecoverable, select(losses).where(losses.c.gap_id.in_(ids)))
        empty, lost = {each.gap_id: each for each in of_empties}, {each.gap_id: each for each in of_losses}
        return [OpeningStory(each, empty.get(gap_id), lost.get(gap_id)) for gap_id, each in found.items()]

    def last_accounts(self, session_date: str) -> dict[str, Reached]:
        """By symbol, the last volume of the exchange that accounted for a streamed symbol on that day."""
        changes = self._stored(WatchChanged, session_date=session_date, order="changed_ns")
        return {each.symbol: each.change.reached for each in changes if isinstance(each.change, WatchObserved)}

    def gap_times(self, session_date: str) -> dict[GapMeasure, GapTimesMeasured]:
        """The last figures of a day's detection and recovery, by measure."""
        table = EVENT_TABLES[GapTimesMeasured]
        wanted = select(table).where(table.c.session_date == session_date).order_by(table.c.measured_ns)
        return {each.measure: each for each in self._events(GapTimesMeasured, wanted)}

    def open_gaps(self, since_session_date: str) -> Sequence[GapDetected]:
        """The open gaps of that day and later ones, in order of detection: neither recovered nor given up. A gap that
        was detected twice (again after a restart) is one gap.
        """
        gaps = EVENT_TABLES[GapDetected].c
        decided = [EVENT_TABLES[kind].c.gap_id for kind in (GapRecovered, GapUnrecoverable)]
        undecided = [~exists().where(gap_id == gaps.gap_id) for gap_id in decided]
        found = self._stored(GapDetected, gaps.session_date >= since_session_date, *undecided, order="detected_ns")
        first_of_each = {gap.gap_id: gap for gap in reversed(found)}
        return sorted(first_of_each.values(), key=lambda gap: (gap.detected_ns, gap.gap_id))

    def gaps(self, session_date: str, symbol: str | None = None) -> Sequence[GapStory]:
        """A day's gaps in order of detection, of one symbol or of all, with their outcomes."""
        columns = EVENT_TABLES[GapDetected].c
        of_symbol = [] if symbol is None else [columns.symbol == symbol]
        with self._asking() as connection:
            return gap_stories(connection, columns.session_date == session_date, *of_symbol)

    def gap(self, gap_id: str) -> GapStory | None:
        with self._asking() as connection:
            return next(iter(gap_stories(connection, EVENT_TABLES[GapDetected].c.gap_id == gap_id)), None)

    def gap_ids(self, session_date: str, part: str) -> Sequence[str]:
        """The ids of a day's gaps that have this part, each once, sorted; those of cuts, too."""
        found: set[str] = set()
        with self._asking() as connection:
            for kind in (GapDetected, GapOpened):
                columns = EVENT_TABLES[kind].c
                wanted = select(columns.gap_id).distinct().where(columns.session_date == session_date)
                found.update(connection.scalars(wanted.where(columns.gap_id.contains(part, autoescape=True))))
        return sorted(found)

    def recovered_rows(self, gap: GapDetected) -> Sequence[Trade | MinuteBarRecovered]:
        """The rows of a gap's recovery: trades by cumulative volume, then minute bars by time."""
        with self._asking() as connection:
            return recovered_rows(connection, gap)

    def stored_names(self, gap: GapDetected) -> Mapping[tuple[str, float], str | None]:
        """The names of the rows that are stored of a gap, each with its `gap_id`: of all trades in its volumes, by any
        process, and of the minute bars of its recovery.
        """
        trades = EVENT_TABLES[Trade].c
        wanted = select(trades.cumulative_volume, trades.gap_id).where(
            trades.symbol == gap.symbol,
            trades.session_date == gap.session_date,
            trades.cumulative_volume > gap.after_volume,
            trades.cumulative_volume <= gap.before_volume + VOLUME_NOISE,
        )
        with self._asking() as connection:
            stored = {("trade", volume): gap_id for volume, gap_id in connection.execute(wanted)}
            return stored | {name_of(row): gap.gap_id for row in recovered_rows(connection, gap)}


def unresolved_cuts(connection: Connection, session_date: str) -> dict[str, int]:
    """By symbol, the day's cuts that are neither a proved gap nor an empty one."""
    opened = EVENT_TABLES[GapOpened].c
    resolved = [EVENT_TABLES[kind].c.gap_id for kind in (GapDetected, GapEmpty)]
    unresolved = [~exists().where(gap_id == opened.gap_id) for gap_id in resolved]
    wanted = select(opened.symbol, func.count(opened.gap_id.distinct()).label("cuts")).where(
        opened.session_date == session_date, *unresolved
    )
    return {row.symbol: row.cuts for row in connection.execute(wanted.group_by(opened.symbol))}


def gap_stories(connection: Connection, *conditions: ColumnElement[bool]) -> list[GapStory]:
    """The gaps of these conditions (over the table of gaps) in order of detection, each once, with the last outcome."""
    in_order = events_in(connection, GapDetected, *conditions, order="detected_ns sequence")
    found = {gap.gap_id: gap for gap in reversed(in_order)}
    ids = select(EVENT_TABLES[GapDetected].c.gap_id).where(*conditions)
    recovered, lost = (EVENT_TABLES[kind].c.gap_id.in_(ids) for kind in (GapRecovered, GapUnrecoverable))
    recovered_of = {each.gap_id: each for each in events_in(connection, GapRecovered, recovered, order="recovered_ns")}
    lost_of = {each.gap_id: each for each in events_in(connection, GapUnrecoverable, lost, order="decided_ns")}
    stories = [GapStory(gap, recovered_of.get(gap.gap_id), lost_of.get(gap.gap_id)) for gap in found.values()]
    return sorted(stories, key=lambda story: (story.gap.detected_ns, story.gap.gap_id))


def recovered_rows(connection: Connection, gap: GapDetected) -> list[Trade | MinuteBarRecovered]:
    """The recovered rows of a gap: its trades by cumulative volume, then its minute bars by time."""
    volume, minute = EVENT_TABLES[Trade].c.cumulative_volume, EVENT_TABLES[MinuteBarRecovered].c.minute_start_ns
    of_gap = {"symbol": gap.symbol, "gap_id": gap.gap_id}
    trades = events_in(
        connection,
        Trade,
        volume.between(gap.after_volume, gap.before_volume + VOLUME_NOISE),
        session_date=gap.session_date,
        order="cumulative_volume",
        **of_gap,
    )
    within = minute.between(gap.from_ns - _MINUTE_NS, gap.to_ns)
    return [*trades, *events_in(connection, MinuteBarRecovered, within, order="minute_start_ns", **of_gap)]
