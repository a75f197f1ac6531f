"""Queries of the tape: its pages, progress and reports, and what of a line's day is stored trade by trade."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Final, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, tuple_, union_all

from bus.events import (
    Event,
    MinuteBarRecovered,
    SelectionAdvanced,
    SlotAssigned,
    SlotReleased,
    SlotsClosed,
    TapeJudged,
    TapePage,
    TapeProgressed,
    Trade,
    TradesConflated,
    UniverseEvaluated,
    WatchChanged,
    WatchResumed,
    WatchSettled,
    WatchStarted,
    WatchStopped,
)
from observer.gaps.intervals import VOLUME_NOISE
from observer.store.decisions import events_between
from observer.store.lines import lines_of
from observer.store.rows import Position, event_of, position_of
from observer.store.session import DatabaseReader, rows_of
from observer.store.slots import day_bounds
from observer.store.tables import EVENT_TABLES, STREAMS

_STEPS_AT_ONCE: Final = 500  # of a day's steps, newest first: a sweep's evaluation is among so many
_CHANGES: Final[Sequence[type[SlotAssigned | SlotReleased | WatchChanged]]] = (SlotAssigned, SlotReleased, WatchChanged)
_WATCHES: Final = (WatchStarted, WatchStopped, WatchSettled, WatchResumed)  # the last: a new process's first event
_PAGES_AT_ONCE: Final = 2_000  # of a day's some 500,000: what a reader holds in memory


class PageMark(NamedTuple):
    """The place of a page in the order of `tape_part`: the line, the stream's number, the number in the stream."""

    symbol: str
    stream: int
    sequence: int


class Decided(msgspec.Struct, frozen=True):
    """Track B's decisions of a day, as far as they are read.

    The streamed lines, in order, each change with the number of its event stream (each process has its own). The time
    up to which Track B has evaluated the day's volumes (UTC ns; 0: no sweep evaluated). The time at which it closed the
    day's slots, None before. The number of steps that were read. By event stream (random id), the number up to which
    the stream was read. Everything that Track B published before one of these events is stored, streamed trades
    included.
    """

    changes: Sequence[tuple[int, SlotAssigned | SlotReleased | WatchChanged]]
    evaluated_ns: int
    closed_ns: int | None
    steps: int
    upto: Mapping[str, int]


class HeldSpan(msgspec.Struct, frozen=True):
    """Stored trades of a line without a gap: the volumes before the first and after the last, and their times."""

    after_volume: float
    upto_volume: float
    from_ns: int
    to_ns: int


class TapeReader(DatabaseReader):
    """Reads the tape's inputs and its results."""

    def tape_pages(self, session_date: str, symbol: str | None = None) -> Iterator[TapePage]:
        """The day's pages, of one line or of all, by line, in the order in which they came; read in parts."""
        after: PageMark | None = None
        while True:
            pages, after = self.tape_part(session_date, symbol, after)
            yield from pages
            if after is None:
                return

    def tape_part(
        self, session_date: str, symbol: str | None = None, after: PageMark | None = None
    ) -> tuple[Sequence[TapePage], PageMark | None]:
        """The next pages after `after` in the order of `tape_pages` (None: the first pages), and the position of the
        part after them (None: there is no further part).
        """
        columns = EVENT_TABLES[TapePage].c
        place = (columns.symbol, columns.stream, columns.sequence)
        behind = () if after is None else (tuple_(*place) > after,)
        wanted = rows_of(TapePage, *behind, session_date=session_date, symbol=symbol, order="symbol stream sequence")
        rows = self._rows(wanted.limit(_PAGES_AT_ONCE))
        pages = [event_of(TapePage, row) for row in rows]
        is_last = len(rows) < _PAGES_AT_ONCE
        return pages, None if is_last else PageMark(pages[-1].symbol, *position_of(rows[-1]))

    def tape_progress(self, session_date: str) -> TapeProgressed | None:
        """The day's latest progress; None where the tape never ran."""
        newest = EVENT_TABLES[TapeProgressed].c.progressed_ns.desc()
        of_day = rows_of(TapeProgressed, session_date=session_date)
        return next(iter(self._events(TapeProgressed, of_day.order_by(newest).limit(1))), None)

    def tape_reports(self, session_date: str, symbol: str | None = None) -> Mapping[str, TapeJudged]:
        """The last report on each line of the day, or on one line."""
        found = self._stored(TapeJudged, session_date=session_date, symbol=symbol, order="judged_ns")
        return {each.symbol: each for each in found}

    def held_spans(self, symbol: str, session_date: str) -> Sequence[HeldSpan]:
        """The line's stored trades of the day, conflated ones included, as spans without a gap between two trades, by
        volume.
        """
        trades, conflated = EVENT_TABLES[Trade].c, EVENT_TABLES[TradesConflated].c
        at_ns = trades.exchange_time_ns
        stored = union_all(
            *(
                select(
                    each.cumulative_volume.label("upto"),
                    (each.cumulative_volume - each.volume).label("begin"),
                    from_ns.label("at_ns"),
                    to_ns.label("upto_ns"),
                ).where(each.symbol == symbol, each.session_date == session_date)
                for each, from_ns, to_ns in ((trades, at_ns, at_ns), (conflated, conflated.from_ns, conflated.to_ns))
            )
        ).subquery()
        by_volume = stored.c.upto
        rows = select(
            stored.c.begin,
            stored.c.at_ns,
            func.lag(by_volume).over(order_by=by_volume).label("before"),
            func.lag(stored.c.upto_ns).over(order_by=by_volume).label("before_ns"),
        ).subquery()
        begins = select(rows).where(or_(rows.c.before.is_(None), rows.c.begin > rows.c.before + VOLUME_NOISE))
        last = select(by_volume, stored.c.upto_ns).order_by(by_volume.desc()).limit(1)
        with self._asking() as connection:
            found = connection.execute(begins.order_by(rows.c.begin)).all()
            end = connection.execute(last).first()
        if end is None:
            return ()
        ends = [*((row.before, row.before_ns) for row in found[1:]), tuple(end)]
        return [
            HeldSpan(float(row.begin), float(upto), int(row.at_ns), int(upto_ns))
            for row, (upto, upto_ns) in zip(found, ends, strict=True)
        ]

    def decided(self, session_date: str, since: Mapping[str, int] | None = None) -> Decided:
        """What Track B decided of the day; with `since` (`Decided.upto` of an earlier answer) what is stored since."""
        columns = (STREAMS.c.id, STREAMS.c.uid, STREAMS.c.high_water_mark)
        with self._asking() as connection:
            streams = connection.execute(select(*columns).order_by(STREAMS.c.id)).all()
            if since is None:
                upto = {uid: mark for _, uid, mark in streams}
                return _decided(connection, session_date, {number: mark for number, _, mark in streams}, upto)
            # A database that went back has lower marks until the same events are there again.
            upto = {**since, **{uid: max(mark, since.get(uid, 0)) for _, uid, mark in streams}}
            new = [(stream, since.get(uid, 0) + 1, mark + 1) for stream, uid, mark in streams]
            return _decided_since(connection, session_date, [each for each in new if each[1] < each[2]], upto)

    def is_behind(self, upto: Mapping[str, int]) -> bool:
        """Whether the database lacks events of these (`Decided.upto`): it went back, and does not have them again."""
        marks = {row.uid: row.high_water_mark for row in self._rows(select(STREAMS))}
        return any(marks.get(uid, 0) < number for uid, number in upto.items())

    def lines_with_minute_bars(self, session_date: str) -> frozenset[str]:
        """The lines that have minute bars of the day in the place of trades."""
        bars = EVENT_TABLES[MinuteBarRecovered].c
        from_ns, to_ns = day_bounds(session_date)
        of_day = (bars.minute_start_ns >= from_ns, bars.minute_start_ns < to_ns)
        with self._asking() as connection:
            of_lines = bars.symbol.in_(lines_of(connection, EVENT_TABLES[MinuteBarRecovered]))
            return frozenset(connection.scalars(select(bars.symbol).distinct().where(of_lines, *of_day)))


def _decided(connection: Connection, session_date: str, marks: Mapping[int, int], upto: Mapping[str, int]) -> Decided:
    """Read the whole day up to these numbers of the streams. The bound is needed as each query may see more than the
    query before it.
    """
    found: list[tuple[Position, SlotAssigned | SlotReleased | WatchChanged]] = []
    for kind in _CHANGES:
        rows_of_day = connection.execute(select(EVENT_TABLES[kind]).where(_is_of(kind, session_date)))
        found += [(position_of(row), event_of(kind, row)) for row in rows_of_day]
    in_order = sorted(found, key=itemgetter(0))
    changes = [(stream, change) for (stream, sequence), change in in_order if sequence <= marks.get(stream, 0)]
    table = EVENT_TABLES[SelectionAdvanced]
    # By position, not by time: an unfinished day is closed at the time of its stop, which can be before its last step.
    newest = (table.c.stream.desc(), table.c.sequence.desc())
    wanted = rows_of(SelectionAdvanced, session_date=session_date).order_by(*newest).limit(_STEPS_AT_ONCE)
    rows = [(row, *position_of(row)) for row in connection.execute(wanted)]
    steps = [event_of(SelectionAdvanced, row) for row, stream, sequence in rows if sequence <= marks.get(stream, 0)]
    return _found(changes, steps, upto)


def _is_of(kind: type[Event], session_date: str) -> ColumnElement[bool]:
    columns, (from_ns, to_ns) = EVENT_TABLES[kind].c, day_bounds(session_date)
    if kind is WatchChanged:
        return columns.session_date == session_date
    at_ns = columns.assigned_ns if kind is SlotAssigned else columns.released_ns
    return and_(at_ns >= from_ns, at_ns < to_ns)


def _decided_since(
    connection: Connection, session_date: str, new: Iterable[tuple[int, int, int]], upto: Mapping[str, int]
) -> Decided:
    """The day's decisions within these ranges: stream, first number, number behind the last."""
    from_ns, to_ns = day_bounds(session_date)
    changes: list[tuple[int, SlotAssigned | SlotReleased | WatchChanged]] = []
    steps: list[SelectionAdvanced] = []
    for stream, begin, end in new:
        for each in events_between(connection, (*_CHANGES, SelectionAdvanced), stream, begin, end):
            match each:
                case SelectionAdvanced(session_date=day) if day == session_date:
                    steps.append(each)
                case WatchChanged(session_date=day) if day == session_date:
                    changes.append((stream, each))
                case SlotAssigned(assigned_ns=at_ns) | SlotReleased(released_ns=at_ns) if from_ns <= at_ns < to_ns:
                    changes.append((stream, each))
    return _found(changes, steps, upto)


def _found(
    changes: Sequence[tuple[int, SlotAssigned | SlotReleased | WatchChanged]],
    steps: Sequence[SelectionAdvanced],
    upto: Mapping[str, int],
) -> Decided:
    begun_or_ended = [
        each for each in changes if not isinstance(each[1], WatchChanged) or isinstance(each[1].change, _WATCHES)
    ]
    evaluated = (each.step.completed_ns for each in steps if isinstance(each.step, UniverseEvaluated))
    closed = (each.advanced_ns for each in steps if isinstance(each.step, SlotsClosed))
    return Decided(begun_or_ended, max(evaluated, default=0), max(closed, default=None), len(steps), upto)
