"""Who saw a symbol's trading beside the stream: Track A's snapshots, what the broker was asked for, the day's bar."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import Connection, select

from bus.events import DailyBar, Snapshot, SweepCompleted, WatchChanged
from observer.gaps.intervals import ASKED, Interval, Look, witnessed
from observer.store.rows import event_of
from observer.store.tables import EVENT_TABLES


class Witnesses:
    """Of one day; read once what concerns all symbols."""

    def __init__(self, connection: Connection, session_date: str) -> None:
        self._connection = connection
        self._session_date = session_date
        sweeps = EVENT_TABLES[SweepCompleted].c
        of_day = select(sweeps.started_ns, sweeps.completed_ns).where(sweeps.session_date == session_date)
        self._sweeps = [
            (started, completed) for started, completed in connection.execute(of_day.order_by(sweeps.started_ns))
        ]
        self._heard: defaultdict[str, list[int]] = defaultdict(list)
        self._asked: defaultdict[str, list[Look]] = defaultdict(list)
        watches = EVENT_TABLES[WatchChanged]
        told = watches.c.step.in_(["started", "settled"])
        for row in connection.execute(select(watches).where(watches.c.session_date == session_date, told)):
            change = event_of(WatchChanged, row)
            if change.step == "started":
                self._heard[change.symbol].append(change.changed_ns)
            at_ns, volume = change.exchange_time_ns, change.cumulative_volume
            if (change.step == "settled" or change.reason == ASKED) and at_ns is not None and volume is not None:
                self._asked[change.symbol].append(Look(at_ns, volume, at_ns))

    def of(self, symbol: str, times: Sequence[Interval]) -> Sequence[Interval]:
        """The symbol's times in the stream with what was seen of them."""
        looks = [*self._asked[symbol], *self._snapshots(symbol)]
        at_most = self._volume_of_day(symbol)
        return [witnessed(interval, self._heard[symbol], looks, at_most) for interval in times]

    def _snapshots(self, symbol: str) -> list[Look]:
        table = EVENT_TABLES[Snapshot].c
        wanted = select(table.receive_time_ns, table.cumulative_volume).where(
            table.symbol == symbol, table.session_date == self._session_date
        )
        return [
            Look(received_ns, volume, self._began_ns(received_ns))
            for received_ns, volume in self._connection.execute(wanted)
        ]

    def _began_ns(self, received_ns: int) -> int | None:
        """When the sweep began that saw this; None of one that was not completed."""
        number = bisect_right(self._sweeps, received_ns, key=lambda sweep: sweep[0]) - 1
        started_ns, completed_ns = self._sweeps[number] if number >= 0 else (0, -1)
        return started_ns if received_ns <= completed_ns else None

    def _volume_of_day(self, symbol: str) -> float | None:
        table = EVENT_TABLES[DailyBar].c
        wanted = select(table.volume).where(table.symbol == symbol, table.session_date == self._session_date)
        latest: float | None = self._connection.scalar(
            wanted.order_by(table.stream.desc(), table.sequence.desc()).limit(1)
        )
        return latest
