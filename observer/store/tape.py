"""Queries of the tape: its pages, progress and reports, and what of a line's day is stored trade by trade."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from sqlalchemy import func, or_, select, union_all

from bus.events import (
    MinuteBarRecovered,
    SelectionAdvanced,
    SlotsClosed,
    TapeJudged,
    TapePage,
    TapeProgressed,
    Trade,
    TradesConflated,
    UniverseEvaluated,
)
from observer.gaps.intervals import VOLUME_NOISE
from observer.store.lines import lines_of
from observer.store.session import DatabaseReader
from observer.store.slots import day_bounds
from observer.store.tables import EVENT_TABLES

_STEPS_AT_ONCE: Final = 500  # of a day's steps, newest first: a sweep's evaluation is among so many


class HeldSpan(msgspec.Struct, frozen=True):
    """Stored trades of a line without a gap: the volumes before the first and after the last, and their times."""

    after_volume: float
    upto_volume: float
    from_ns: int
    to_ns: int


class TapeReader(DatabaseReader):
    """Reads what the tape is made of, and what it brought."""

    def tape_pages(self, session_date: str, symbol: str | None = None) -> Sequence[TapePage]:
        """The day's pages, of one line or of all, in the order in which they came."""
        table = EVENT_TABLES[TapePage]
        of_line = [] if symbol is None else [table.c.symbol == symbol]
        wanted = select(table).where(table.c.session_date == session_date, *of_line)
        return self._events(TapePage, wanted.order_by(table.c.stream, table.c.sequence))

    def tape_progress(self, session_date: str) -> TapeProgressed | None:
        """The day's latest progress; None where the tape never ran."""
        table = EVENT_TABLES[TapeProgressed]
        wanted = select(table).where(table.c.session_date == session_date)
        found = self._events(TapeProgressed, wanted.order_by(table.c.progressed_ns.desc()).limit(1))
        return next(iter(found), None)

    def tape_reports(self, session_date: str, symbol: str | None = None) -> Mapping[str, TapeJudged]:
        """The last report on each line of the day, or on one of them."""
        table = EVENT_TABLES[TapeJudged]
        of_line = [] if symbol is None else [table.c.symbol == symbol]
        wanted = select(table).where(table.c.session_date == session_date, *of_line)
        return {each.symbol: each for each in self._events(TapeJudged, wanted.order_by(table.c.judged_ns))}

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

    def evaluated_until_ns(self, session_date: str) -> int:
        """Until when Track B has evaluated the day's snapshots (UTC ns): the end of the last sweep that it took in; the
        end of the day when its slots are closed; 0 before that.
        """
        table = EVENT_TABLES[SelectionAdvanced]
        of_day = table.c.session_date == session_date
        newest = select(table).where(of_day).order_by(table.c.advanced_ns.desc()).limit(_STEPS_AT_ONCE)
        for step in self._events(SelectionAdvanced, newest):
            if isinstance(step.step, SlotsClosed):
                return day_bounds(session_date)[1]
            if isinstance(step.step, UniverseEvaluated):
                return step.step.completed_ns
        return 0

    def lines_with_minute_bars(self, session_date: str) -> frozenset[str]:
        """The lines that have minute bars of the day in the place of trades."""
        bars = EVENT_TABLES[MinuteBarRecovered].c
        from_ns, to_ns = day_bounds(session_date)
        of_day = (bars.minute_start_ns >= from_ns, bars.minute_start_ns < to_ns)
        with self._asking() as connection:
            of_lines = bars.symbol.in_(lines_of(connection, EVENT_TABLES[MinuteBarRecovered]))
            return frozenset(connection.scalars(select(bars.symbol).distinct().where(of_lines, *of_day)))
