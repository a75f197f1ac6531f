"""How whole a day's data is: what was in the stream when, what came, what was missed, and what became of that."""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Final

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, func, select

from bus.events import (
    GapDetected,
    GapRecovered,
    GapUnrecoverable,
    MinuteBarRecovered,
    PhaseChanged,
    QualityJudged,
    SlotAssigned,
    SlotOverflowed,
    SlotReleased,
    Trade,
    TradesConflated,
    TriggerFired,
)
from observer.clock import kst_ns
from observer.gaps.intervals import Interval, intervals
from observer.gaps.reconciliation import Piece, SymbolDay
from observer.gaps.volumes import VOLUME_NOISE
from observer.store.rows import Place, event_of, place_of, slots_in_use
from observer.store.tables import EVENT_TABLES
from observer.store.witnesses import Witnesses

# The phases in which Track B streams, and has stopped (observer.schedule.phases).
_STREAM_BEGINS: Final = "FULL_OPERATION"
_STREAM_ENDS: Final = "TRACK_A_CLOSING"
_FOR_EVER_NS: Final = 2**63 - 1
_ONE_DAY: Final = timedelta(days=1)
_MINUTE_NS: Final = 60_000_000_000

SlotChange = SlotAssigned | SlotReleased | SlotOverflowed


class GapStory(msgspec.Struct, frozen=True):
    """A gap and what became of it: recovered, given up, or neither yet (both None)."""

    gap: GapDetected
    recovered: GapRecovered | None
    unrecoverable: GapUnrecoverable | None

    @property
    def is_open(self) -> bool:
        """Whether there is no outcome yet."""
        return self.recovered is None and self.unrecoverable is None

    @property
    def closed_ns(self) -> int | None:
        """When the last outcome was decided."""
        moments = [
            *([self.recovered.recovered_ns] if self.recovered else []),
            *([self.unrecoverable.decided_ns] if self.unrecoverable else []),
        ]
        return max(moments, default=None)


def gap_stories(connection: Connection, *conditions: ColumnElement[bool]) -> list[GapStory]:
    """The gaps of these conditions (over the table of gaps) in order of detection, each once, with the last outcome."""
    gaps = EVENT_TABLES[GapDetected]
    newest_first = select(gaps).where(*conditions).order_by(gaps.c.detected_ns.desc(), gaps.c.sequence.desc())
    found = {row.gap_id: event_of(GapDetected, row) for row in connection.execute(newest_first)}
    recoveries, losses = EVENT_TABLES[GapRecovered], EVENT_TABLES[GapUnrecoverable]
    ids = select(gaps.c.gap_id).where(*conditions)
    recovered = connection.execute(
        select(recoveries).where(recoveries.c.gap_id.in_(ids)).order_by(recoveries.c.recovered_ns)
    )
    recovered_of = {row.gap_id: event_of(GapRecovered, row) for row in recovered}
    lost = connection.execute(select(losses).where(losses.c.gap_id.in_(ids)).order_by(losses.c.decided_ns))
    lost_of = {row.gap_id: event_of(GapUnrecoverable, row) for row in lost}
    stories = [GapStory(gap, recovered_of.get(gap.gap_id), lost_of.get(gap.gap_id)) for gap in found.values()]
    return sorted(stories, key=lambda story: (story.gap.detected_ns, story.gap.gap_id))


def recovered_rows(connection: Connection, gap: GapDetected) -> list[Trade | MinuteBarRecovered]:
    """What was recovered for a gap: its trades by cumulative volume, then its minute bars by time."""
    trades, bars = EVENT_TABLES[Trade], EVENT_TABLES[MinuteBarRecovered]
    one_by_one = (
        select(trades)
        .where(trades.c.symbol == gap.symbol, trades.c.session_date == gap.session_date)
        .where(trades.c.cumulative_volume.between(gap.after_volume, gap.before_volume + VOLUME_NOISE))
        .where(trades.c.gap_id == gap.gap_id)
    )
    by_minute = (
        select(bars)
        .where(bars.c.symbol == gap.symbol, bars.c.gap_id == gap.gap_id)
        .where(bars.c.minute_start_ns.between(gap.from_ns - _MINUTE_NS, gap.to_ns))
    )
    found: list[Trade | MinuteBarRecovered] = [
        event_of(Trade, row) for row in connection.execute(one_by_one.order_by(trades.c.cumulative_volume))
    ]
    minutes = connection.execute(by_minute.order_by(bars.c.minute_start_ns))
    return found + [event_of(MinuteBarRecovered, row) for row in minutes]


def slot_changes(connection: Connection, from_ns: int, to_ns: int, symbol: str | None = None) -> list[SlotChange]:
    """Assignments, releases and refusals in [from, to), in the order in which they were decided."""
    found: list[tuple[int, Place, SlotChange]] = []
    kinds: tuple[tuple[type[SlotAssigned | SlotReleased | SlotOverflowed], str], ...] = (
        (SlotAssigned, "assigned_ns"),
        (SlotReleased, "released_ns"),
        (SlotOverflowed, "overflowed_ns"),
    )
    for kind, moment in kinds:
        table = EVENT_TABLES[kind]
        wanted = select(table).where(table.c[moment] >= from_ns, table.c[moment] < to_ns)
        if symbol is not None:
            wanted = wanted.where(table.c.symbol == symbol)
        for row in connection.execute(wanted):
            change = event_of(kind, row)
            found.append((_moment_of(change), place_of(row), change))
    return [change for _moment_ns, _place, change in sorted(found, key=lambda item: item[:2])]


def open_slots(connection: Connection, since_ns: int, until_ns: int | None) -> Sequence[SlotAssigned]:
    """Who has a place by the assignments and releases of [since, until), or since."""
    assigned, released = EVENT_TABLES[SlotAssigned], EVENT_TABLES[SlotReleased]
    within = [
        column.between(since_ns, _FOR_EVER_NS if until_ns is None else until_ns - 1)
        for column in (assigned.c.assigned_ns, released.c.released_ns)
    ]
    return slots_in_use(
        connection.execute(select(assigned).where(within[0])).all(),
        connection.execute(select(released).where(within[1])).all(),
    )


def triggers_fired(connection: Connection, session_date: str, symbol: str) -> list[TriggerFired]:
    """When which conditions of a symbol began to hold on a day, in that order."""
    table = EVENT_TABLES[TriggerFired]
    from_ns, to_ns = day_bounds(session_date)
    wanted = select(table).where(table.c.symbol == symbol, table.c.fired_ns >= from_ns, table.c.fired_ns < to_ns)
    in_order = wanted.order_by(table.c.fired_ns, table.c.stream, table.c.sequence)
    return [event_of(TriggerFired, row) for row in connection.execute(in_order)]


def _moment_of(change: SlotChange) -> int:
    match change:
        case SlotAssigned():
            return change.assigned_ns
        case SlotReleased():
            return change.released_ns
        case SlotOverflowed():
            return change.overflowed_ns


def symbol_days(connection: Connection, session_date: str, now_ns: int) -> Iterator[SymbolDay]:
    """By symbol, all that is needed to judge the day of each symbol that had a place in the stream."""
    gaps: dict[str, list[GapStory]] = {}
    for story in gap_stories(connection, EVENT_TABLES[GapDetected].c.session_date == session_date):
        gaps.setdefault(story.gap.symbol, []).append(story)
    in_stream = stream_times(connection, session_date, now_ns)
    witnesses = Witnesses(connection, session_date)
    for symbol in sorted(in_stream):
        times = witnesses.of(symbol, in_stream[symbol])
        yield _symbol_day(connection, session_date, symbol, times, gaps.get(symbol, []))


def stream_times(connection: Connection, session_date: str, now_ns: int) -> dict[str, list[Interval]]:
    """By symbol, when it had a place in the stream on that day."""
    from_ns, to_ns = day_bounds(session_date)
    changes = [change for change in slot_changes(connection, from_ns, to_ns) if not isinstance(change, SlotOverflowed)]
    ended_ns = _phase_began_ns(connection, session_date, _STREAM_ENDS)
    is_over = ended_ns is not None or now_ns >= to_ns
    return intervals(changes, min(now_ns, to_ns) if ended_ns is None else ended_ns, is_over=is_over)


def stream_hours(connection: Connection, session_date: str, now_ns: int) -> Interval | None:
    """When there were places to be had on that day, by its phases; None when there never were."""
    began_ns = _phase_began_ns(connection, session_date, _STREAM_BEGINS)
    ended_ns = _phase_began_ns(connection, session_date, _STREAM_ENDS)
    until_ns = min(now_ns, day_bounds(session_date)[1]) if ended_ns is None else ended_ns
    return None if began_ns is None else Interval(began_ns, max(began_ns, until_ns))


def judged(connection: Connection, session_date: str, symbol: str | None = None) -> list[QualityJudged]:
    """The stored verdicts of a day by symbol; of a day that was judged twice the later one counts."""
    table = EVENT_TABLES[QualityJudged]
    wanted = select(table).where(table.c.session_date == session_date)
    if symbol is not None:
        wanted = wanted.where(table.c.symbol == symbol)
    in_order = connection.execute(wanted.order_by(table.c.judged_ns, table.c.stream, table.c.sequence))
    last_of_each = {row.symbol: event_of(QualityJudged, row) for row in in_order}
    return [last_of_each[name] for name in sorted(last_of_each)]


def trades_of(connection: Connection, symbol: str, session_date: str) -> list[Trade]:
    """A symbol's trades of one day, streamed and recovered, by cumulative volume."""
    table = EVENT_TABLES[Trade]
    wanted = select(table).where(table.c.symbol == symbol, table.c.session_date == session_date)
    return [event_of(Trade, row) for row in connection.execute(wanted.order_by(table.c.cumulative_volume))]


def day_bounds(session_date: str) -> tuple[int, int]:
    """The Korean calendar day as [from, to) in UTC nanoseconds."""
    day = date.fromisoformat(session_date)
    return kst_ns(day), kst_ns(day + _ONE_DAY)


def _phase_began_ns(connection: Connection, session_date: str, phase: str) -> int | None:
    phases = EVENT_TABLES[PhaseChanged].c
    began = select(func.min(phases.changed_ns)).where(phases.session_date == session_date, phases.current == phase)
    found: int | None = connection.scalar(began)
    return found


def _symbol_day(
    connection: Connection, session_date: str, symbol: str, times: Sequence[Interval], gaps: Sequence[GapStory]
) -> SymbolDay:
    bars = EVENT_TABLES[MinuteBarRecovered]
    from_ns, to_ns = day_bounds(session_date)
    minute = bars.c.minute_start_ns
    wanted = select(bars).where(bars.c.symbol == symbol, minute >= from_ns, minute < to_ns)
    return SymbolDay(
        provider=_provider(connection, session_date, symbol, gaps),
        symbol=symbol,
        session_date=session_date,
        intervals=times,
        pieces=_pieces(connection, session_date, symbol),
        bars=[event_of(MinuteBarRecovered, row) for row in connection.execute(wanted)] if gaps else [],
        gaps=[story.gap for story in gaps],
        closed_gaps=frozenset(story.gap.gap_id for story in gaps if not story.is_open),
    )


def _provider(connection: Connection, session_date: str, symbol: str, gaps: Sequence[GapStory]) -> str:
    """Whose stream it was: events of places do not name it. Empty when nothing came at all."""
    if gaps:
        return gaps[0].gap.provider
    for kind in (Trade, TradesConflated):
        columns = EVENT_TABLES[kind].c
        of_symbol = and_(columns.symbol == symbol, columns.session_date == session_date)
        found: str | None = connection.scalar(select(columns.provider).where(of_symbol).limit(1))
        if found is not None:
            return found
    return ""


def _pieces(connection: Connection, session_date: str, symbol: str) -> list[Piece]:
    trades, rows = EVENT_TABLES[Trade].c, EVENT_TABLES[TradesConflated].c
    kept = select(trades.receive_time_ns, trades.volume, trades.cumulative_volume, trades.gap_id).where(
        trades.symbol == symbol, trades.session_date == session_date
    )
    conflated = select(rows.receive_time_ns, rows.volume, rows.cumulative_volume).where(
        rows.symbol == symbol, rows.session_date == session_date
    )
    pieces = [
        Piece(received_ns, volume, total, False, gap_id)
        for received_ns, volume, total, gap_id in connection.execute(kept)
    ]
    return pieces + [Piece(*row, True) for row in connection.execute(conflated)]
