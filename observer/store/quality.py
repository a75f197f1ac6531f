"""Queries of the quality of a day: the inputs of reconciliation, its volume observations, and the quality reports."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence

import msgspec
from sqlalchemy import Connection, and_, func, select

from bus.events import (
    DailyBar,
    GapDetected,
    MinuteBarRecovered,
    QualityJudged,
    Snapshot,
    SweepCompleted,
    Trade,
    TradesConflated,
    WatchChanged,
    WatchLearned,
    WatchSettled,
    WatchStarted,
)
from observer.base.lines import stock_of
from observer.gaps.intervals import Interval, VolumeObservation, with_observed
from observer.gaps.reconciliation import AUCTION_OVER_AFTER_NS, Piece, StockQuality, SymbolDay, stock_qualities
from observer.store.decisions import acknowledged_times
from observer.store.gaps import GapStory, gap_stories, unresolved_cuts
from observer.store.session import DatabaseReader, events_in
from observer.store.slots import day_bounds, stream_times
from observer.store.tables import EVENT_TABLES
from observer.store.trades import trades_of


class QualityReader(DatabaseReader):
    """Reads the quality of days."""

    def quality(self, session_date: str, symbol: str | None = None) -> Sequence[QualityJudged]:
        """The day's stored quality reports by symbol; empty before its reconciliation."""
        with self._asking() as connection:
            return judged(connection, session_date, symbol)

    def symbol_days(
        self, session_date: str, now_ns: int, session: Interval, symbols: Collection[str] | None = None
    ) -> Iterator[SymbolDay]:
        """The inputs of `observer.gaps.reconciliation` by symbol, for each symbol that had a slot on that day, or for
        these of them. `session` is the day's, from the open to the close.
        """
        with self._asking() as connection:
            yield from symbol_days(connection, session_date, now_ns, session, symbols)

    def day_volumes(self, session_date: str, session: Interval, symbols: Iterable[str]) -> dict[str, float]:
        """The volumes of the whole session of these symbols, as far as they are known."""
        with self._asking() as connection:
            observations = VolumeObservations(connection, session_date, session)
            found = ((symbol, observations.of_day(symbol)) for symbol in symbols)
            return {symbol: volume for symbol, volume in found if volume is not None}

    def by_stock(self, session_date: str, reports: Sequence[QualityJudged]) -> Sequence[StockQuality]:
        """The quality by stock from these reports on lines, and from the day's volumes of the lines without one."""
        with self._asking() as connection:
            return stock_qualities(reports, _daily_volumes(connection, session_date) if reports else {})

    def judged_trades(self, symbol: str, session_date: str) -> tuple[QualityJudged | None, Sequence[Trade]]:
        """A symbol's trades of one day by cumulative volume, with the completeness; None before the reconciliation."""
        with self._asking() as connection:
            reports = judged(connection, session_date, symbol)
            return (reports[0] if reports else None), trades_of(connection, symbol, session_date)


def symbol_days(
    connection: Connection, session_date: str, now_ns: int, session: Interval, symbols: Collection[str] | None = None
) -> Iterator[SymbolDay]:
    """By symbol, all that is needed to judge the day of each symbol that had a slot, or of these of them."""
    gaps: dict[str, list[GapStory]] = {}
    for story in gap_stories(connection, EVENT_TABLES[GapDetected].c.session_date == session_date):
        gaps.setdefault(story.gap.symbol, []).append(story)
    with_slot = stream_times(connection, session_date, now_ns)
    streamed = acknowledged_times(connection, session_date, now_ns)
    cuts = unresolved_cuts(connection, session_date)
    observations = VolumeObservations(connection, session_date, session)
    for symbol in sorted(with_slot):
        if symbols is None or symbol in symbols:
            times, volume = observations.around(symbol, with_slot[symbol])
            day = _symbol_day(connection, session_date, symbol, times, gaps.get(symbol, []))
            yield msgspec.structs.replace(
                day,
                unresolved_cuts=cuts.get(symbol, 0),
                streamed=streamed.get(symbol, ()),
                session=session,
                day_volume=volume,
            )


def judged(connection: Connection, session_date: str, symbol: str | None = None) -> list[QualityJudged]:
    """The stored quality reports of a day by symbol; the latest of several."""
    order = "judged_ns stream sequence"
    reports = events_in(connection, QualityJudged, session_date=session_date, symbol=symbol, order=order)
    last_of_each = {each.symbol: each for each in reports}
    return [last_of_each[name] for name in sorted(last_of_each)]


def _daily_volumes(connection: Connection, session_date: str) -> dict[str, dict[str, float]]:
    """The day's volumes by stock and line: of each line's newest daily bar, without one of its last snapshot. Volumes
    never fall, so that is the highest.
    """
    bars, seen = EVENT_TABLES[DailyBar].c, EVENT_TABLES[Snapshot].c
    swept = select(seen.symbol, func.max(seen.cumulative_volume)).where(seen.session_date == session_date)
    official = select(bars.symbol, bars.volume).where(bars.session_date == session_date)
    found: dict[str, float] = {}
    for wanted in (swept.group_by(seen.symbol), official.order_by(bars.stream, bars.sequence)):
        found |= {symbol: float(volume) for symbol, volume in connection.execute(wanted)}
    by_stock: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for symbol, volume in sorted(found.items()):
        by_stock[stock_of(symbol)][symbol] = volume
    return by_stock


def _symbol_day(
    connection: Connection, session_date: str, symbol: str, times: Sequence[Interval], gaps: Sequence[GapStory]
) -> SymbolDay:
    from_ns, to_ns = day_bounds(session_date)
    of_day = EVENT_TABLES[MinuteBarRecovered].c.minute_start_ns.between(from_ns, to_ns - 1)
    return SymbolDay(
        provider=_provider(connection, session_date, symbol, gaps),
        symbol=symbol,
        session_date=session_date,
        intervals=times,
        pieces=_pieces(connection, session_date, symbol),
        bars=events_in(connection, MinuteBarRecovered, of_day, symbol=symbol) if gaps else [],
        gaps=[story.gap for story in gaps],
        closed_gaps=frozenset(story.gap.gap_id for story in gaps if not story.is_open),
    )


def _provider(connection: Connection, session_date: str, symbol: str, gaps: Sequence[GapStory]) -> str:
    """The provider of the stream, which slot events do not name; empty for a day without stream data."""
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


class VolumeObservations:
    """The volume observations of one day; reads sweeps and watches once, and snapshots by symbol."""

    def __init__(self, connection: Connection, session_date: str, session: Interval) -> None:
        self._connection = connection
        self._session_date = session_date
        self._closed_ns = session.to_ns + AUCTION_OVER_AFTER_NS
        sweeps = EVENT_TABLES[SweepCompleted].c
        of_day = select(sweeps.started_ns, sweeps.completed_ns).where(sweeps.session_date == session_date)
        self._sweeps = [
            (started, completed) for started, completed in connection.execute(of_day.order_by(sweeps.started_ns))
        ]
        self._received: defaultdict[str, list[int]] = defaultdict(list)
        self._asked: defaultdict[str, list[VolumeObservation]] = defaultdict(list)
        for changed in events_in(connection, WatchChanged, session_date=session_date):
            self._take(changed)

    def _take(self, changed: WatchChanged) -> None:
        change = changed.change
        if isinstance(change, WatchStarted | WatchLearned):
            self._received[changed.symbol].append(changed.changed_ns)
        if isinstance(change, WatchLearned | WatchSettled):
            seen = change.known if isinstance(change, WatchLearned) else change.reached
            self._asked[changed.symbol].append(
                VolumeObservation(seen.exchange_time_ns, seen.cumulative_volume, seen.exchange_time_ns)
            )

    def around(self, symbol: str, times: Sequence[Interval]) -> tuple[Sequence[Interval], float | None]:
        """The symbol's times with a slot, with its volume observations; and the volume of the whole session."""
        observations, at_most = self._all(symbol), self._daily_bar(symbol)
        received = self._received[symbol]
        observed = [with_observed(interval, received, observations, at_most) for interval in times]
        return observed, self._of_session(observations, at_most)

    def of_day(self, symbol: str) -> float | None:
        """The volume of the whole session: of the first observation requested after it, else of the daily bar; None
        without both.
        """
        return self._of_session(self._all(symbol), self._daily_bar(symbol))

    def _of_session(self, observations: Iterable[VolumeObservation], daily_bar: float | None) -> float | None:
        after = [(at_ns, each.volume) for each in observations if (at_ns := each.began_ns or 0) >= self._closed_ns]
        return min(after)[1] if after else daily_bar  # later ones may count the venue's next sessions, too

    def _all(self, symbol: str) -> list[VolumeObservation]:
        return [*self._asked[symbol], *self._snapshots(symbol)]

    def _snapshots(self, symbol: str) -> list[VolumeObservation]:
        table = EVENT_TABLES[Snapshot].c
        of_symbol = and_(table.symbol == symbol, table.session_date == self._session_date)
        wanted = select(table.receive_time_ns, table.cumulative_volume).where(of_symbol)
        return [
            VolumeObservation(received_ns, volume, self._began_ns(received_ns))
            for received_ns, volume in self._connection.execute(wanted)
        ]

    def _began_ns(self, received_ns: int) -> int | None:
        """The start of the sweep that made this observation; None for an unfinished sweep."""
        number = bisect_right(self._sweeps, received_ns, key=lambda sweep: sweep[0]) - 1
        started_ns, completed_ns = self._sweeps[number] if number >= 0 else (0, -1)
        return started_ns if received_ns <= completed_ns else None

    def _daily_bar(self, symbol: str) -> float | None:
        table = EVENT_TABLES[DailyBar].c
        wanted = select(table.volume).where(table.symbol == symbol, table.session_date == self._session_date)
        latest: float | None = self._connection.scalar(
            wanted.order_by(table.stream.desc(), table.sequence.desc()).limit(1)
        )
        return latest
