"""Queries of a database that has grown, as a table: `python -m tests.store.held URL --trades 10000000`.

Fills an empty database with sessions of trades, snapshots, bars, universes and slots by executemany or COPY, beside the
writer, and measures the queries of the product on the last session. The last session has a million trades; the others
share the rest.
"""

import argparse
import sqlite3
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, timedelta
from typing import Any, Final

from sqlalchemy import Engine, insert
from sqlalchemy.dialects import sqlite

from bus.delivery import Delivered
from bus.events import (
    AlertRaised,
    AlertResolved,
    ConnectionChanged,
    DailyBar,
    EtfValued,
    Event,
    PhaseChanged,
    SlotAssigned,
    Snapshot,
    SweepCompleted,
    Trade,
    UniverseBuilt,
    UniverseMember,
)
from observer.base.local_time import local_ns
from observer.base.units import NS_PER_DAY, NS_PER_S
from observer.gaps.intervals import Interval
from observer.store.alerts import AlertReader
from observer.store.engine import migrate, open_writer
from observer.store.etf import EtfReader
from observer.store.rows import Row, group_rows
from observer.store.statistics import refresh_statistics
from observer.store.tables import ROW_TABLES, STREAMS, TRADE_GROUPS
from observer.store.trade_groups import TradeGroups
from observer.store.transaction import Transactions

LAST: Final = date(2026, 11, 18)
LAST_TRADES: Final = 1_000_000
LINES: Final = 2_600
SWEEPS: Final = 40
ROUNDS: Final = 3
PORTION: Final = 50_000


def sessions(days: int) -> list[date]:
    """So many weekdays up to the last session."""
    found = [LAST]
    while len(found) < days:
        before = found[-1] - timedelta(days=1)
        found.append(before - timedelta(days=max(0, before.weekday() - 4)))
    return found[::-1]


def line(number: int) -> str:
    return f"{number * 10:06d}"


def trades_of(day: date, count: int, slots: int) -> Iterator[Trade]:
    """The session's trades in the order of their receipt; the slots' lines take turns."""
    opened_ns, text = local_ns(day, 9), day.isoformat()
    step_ns = 6 * 3600 * NS_PER_S // count
    for number in range(count):
        turn, index = divmod(number, slots)
        at_ns = opened_ns + number * step_ns
        price = 70_000.0 + 100.0 * (number % 300)
        side = "buy" if number % 2 else "sell"
        yield Trade(
            "kis", line(index), text, at_ns // NS_PER_S * NS_PER_S, at_ns, price, float(1 + number % 90),
            10.0 * (turn + 1), turn + 1, side, price - 100.0, price, None, False, "regular", "KRX",
        )  # fmt: skip


def facts_of(day: date, slots: int) -> Iterator[Event]:
    """What the session has beside trades."""
    text, opened_ns = day.isoformat(), local_ns(day, 9)
    yield PhaseChanged(text, opened_ns, "IDLE", "FULL_OPERATION")
    yield PhaseChanged(text, opened_ns + 6 * 3600 * NS_PER_S, "FULL_OPERATION", "TRACK_A_CLOSING")
    for sweep in range(SWEEPS):
        at_ns = opened_ns + sweep * 600 * NS_PER_S
        yield SweepCompleted("kis", text, sweep + 1, at_ns, at_ns + 90 * NS_PER_S, LINES, LINES, LINES)
        yield ConnectionChanged("kis", "main", at_ns, "connected", "", 41)
        yield AlertRaised(at_ns, "warning", "track-b", "late", None, f"late-{sweep % 5}")
        yield AlertResolved(at_ns + 1, "track-b", f"late-{sweep % 5}", 1, "over")
        for number in range(LINES):
            volume = 100.0 * (sweep + 1) * (1 + number % 7)
            prices = (70_000.0, 69_000.0, 71_000.0, 68_000.0, 69_500.0, None, None, 69_900.0, 70_000.0)
            received_ns = at_ns + number * 30_000_000
            yield Snapshot("kis", line(number), text, sweep + 1, received_ns, *prices, volume, 1e9, "KRX", "regular")
    for number in range(LINES):
        yield DailyBar("kis", line(number), text, 1.0, 2.0, 0.5, 1.0, 4_000.0, 1e9, "broker", "KRX")
        if number < 700:
            yield EtfValued("kis", line(number), text, opened_ns, 1.0, 1.0, 0.1, 1.0, 1.0, 1.0, 0.1, 10)
    for number in range(LINES):
        yield UniverseMember("kis", "KR", text, number + 1, line(number), "x", "KOSPI", 1e12, 5_000.0, None, None)
    yield UniverseBuilt("kis", "KR", text, text, opened_ns, LINES, 9, 4_000.0)
    for number in range(slots):
        yield SlotAssigned(f"main:{number:03}", line(number), opened_ns, "volume_surge", 1.0, "free_slot", None)


def portions(events: Iterable[Event]) -> Iterator[list[Event]]:
    found: list[Event] = []
    for event in events:
        found.append(event)
        if len(found) == PORTION:
            yield found
            found = []
    if found:
        yield found


class Filler:
    """Inserts events as the rows of one stream a session, each with its mark."""

    def __init__(self, url: str) -> None:
        migrate(url)
        self._engine: Engine = open_writer(url)
        self._raw: Any = self._engine.raw_connection()
        self._driver: Any = self._raw.driver_connection
        if self._engine.dialect.name == "sqlite":
            self._driver.execute("PRAGMA synchronous=OFF")
        self._statements = {
            table.name: str(insert(table).compile(dialect=sqlite.dialect())) for table in ROW_TABLES.values()
        }
        self._groups = TradeGroups()

    def fill(self, stream: int, events: Iterable[Event]) -> None:
        sequence = 0
        for portion in portions(events):
            group = group_rows([Delivered("bench", "x", sequence + 1, portion)], {"x": stream})
            sequence += len(portion)
            rows_by_type = dict(group.rows)
            if trades := rows_by_type.get(Trade):
                with Transactions(self._engine).begin() as begun:
                    rows_by_type[Trade] = self._groups.packed(begun, trades)
            self._begin()
            for event_type, rows in rows_by_type.items():
                self._insert(ROW_TABLES[event_type].name, rows)
            self._end()
        self._mark(stream, sequence)

    def copy(self, of_stream: int, stream: int, day: date, days: int) -> None:
        """Insert a stream's rows again, as another stream's, so many days later."""
        [(groups,)] = self._driver.execute("SELECT coalesce(max(id), 0) FROM trade_groups").fetchall()
        self._begin()
        for table in (TRADE_GROUPS, *ROW_TABLES.values()):
            columns = [_later(name, stream, day, days * NS_PER_DAY, groups) for name in table.columns.keys()]  # noqa: SIM118 - not a dict
            self._driver.execute(
                f"INSERT INTO {table.name} SELECT {', '.join(columns)} FROM {table.name} WHERE stream = {of_stream}"
            )
        self._end()
        self._mark(stream, 10**9)

    def _mark(self, stream: int, sequence: int) -> None:
        self._begin()
        values = (stream, f"{stream:032x}", "bench", sequence, 0)
        marks = ", ".join(repr(value) for value in values)
        self._driver.execute(f"INSERT INTO {STREAMS.name} VALUES ({marks})")
        self._end()

    def close(self) -> None:
        self._raw.close()
        self._engine.dispose()

    def _begin(self) -> None:
        if isinstance(self._driver, sqlite3.Connection):
            self._driver.execute("BEGIN IMMEDIATE")

    def _end(self) -> None:
        self._driver.commit()

    def _insert(self, table: str, rows: Sequence[Row]) -> None:
        if isinstance(self._driver, sqlite3.Connection):
            self._driver.executemany(self._statements[table], rows)
            return
        with self._driver.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)


def _later(column: str, stream: int, day: date, later_ns: int, groups: int) -> str:
    """The expression that copies a column to a later session."""
    if column == "stream":
        return str(stream)
    if column == "session_date":
        return f"'{day}'"
    if column in ("id", "group_id"):
        return f"{column} + {groups}"
    return f"{column} + {later_ns}" if column.endswith("_ns") else f'"{column}"'


def fill(url: str, trades: int, days: int, slots: int) -> None:
    """Fill an empty database: the first session row by row, the others but the last one's trades as its copies."""
    filler, found = Filler(url), sessions(days)
    earlier = max(0, trades - LAST_TRADES) // (days - 1)
    first = found[0]
    filler.fill(2, facts_of(first, slots))
    filler.fill(3, trades_of(first, earlier, slots))
    for number, day in enumerate(found[1:], 2):
        filler.copy(2, 2 * number, day, (day - first) // timedelta(days=1))
        if day == LAST:
            filler.fill(2 * number + 1, trades_of(day, min(trades, LAST_TRADES), slots))
        else:
            filler.copy(3, 2 * number + 1, day, (day - first) // timedelta(days=1))
        sys.stderr.write(f"{day}\n")
    filler.close()


def questions(reader: EtfReader, alerts: AlertReader) -> dict[str, Callable[[], object]]:
    """The queries of the product, by name."""
    day, next_day = LAST.isoformat(), (LAST + timedelta(days=1)).isoformat()
    session = Interval(local_ns(LAST, 9), local_ns(LAST, 15))
    now_ns = local_ns(LAST, 20)
    return {
        "trades of the day, all symbols": lambda: deque(reader.trades(day), maxlen=0),
        "trades of one symbol": lambda: reader.judged_trades(line(1), day),
        "duplicates of the day": lambda: reader.duplicate_trades(day),
        "quality inputs, all symbols": lambda: deque(reader.symbol_days(day, now_ns, session), maxlen=0),
        "start of Track B": lambda: reader.earlier_days(next_day, 20, next_day),
        "day summary": lambda: reader.day_summary(day),
        "daily bars, 20 of all": lambda: reader.daily_bars(20),
        "closes": lambda: reader.closes(day),
        "universe": lambda: reader.universe(day, "KR"),
        "symbols of an exchange": lambda: reader.symbols_reported("KOSPI"),
        "connections": lambda: reader.latest_connections(session.from_ns),
        "phases": lambda: reader.stream_hours(day, now_ns),
        "values of ETFs since": lambda: reader.valued_since(session.from_ns),
        "alerts of the day": lambda: alerts.alerts(session.from_ns, session.to_ns),
        "best quote": lambda: reader.best_quote(line(1), session.to_ns),
    }


def measure(url: str) -> None:
    """Print the median and the processor's seconds of each query."""
    with EtfReader(url) as reader, AlertReader(url) as alerts:
        for name, ask in questions(reader, alerts).items():
            spans_s, cpu_s = [], []
            for _ in range(ROUNDS):
                began_s, cpu_began_s = time.perf_counter(), time.process_time()
                ask()
                spans_s.append(time.perf_counter() - began_s)
                cpu_s.append(time.process_time() - cpu_began_s)
                if spans_s[-1] > 20:
                    break
            print(f"{name:34} {statistics.median(spans_s):9.3f} s {min(cpu_s):9.3f} s cpu", flush=True)  # noqa: T201


def store_profiles(url: str) -> float:
    """Store the volume profiles as the product would; return the seconds."""
    next_day = (LAST + timedelta(days=1)).isoformat()
    began_s = time.perf_counter()
    filler = Filler(url)
    with EtfReader(url) as reader:
        for number, session_date in enumerate(reader.sessions_without_profile(next_day, 20)):
            filler.fill(1_001 + number, reader.volume_profiles(session_date, 20, 1))
    filler.close()
    return time.perf_counter() - began_s


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--trades", type=int, default=0, help="fill with so many trades first")
    parser.add_argument("--days", type=int, default=50)
    parser.add_argument("--slots", type=int, default=115)
    asked = parser.parse_args()
    if asked.trades:
        fill(asked.url, asked.trades, asked.days, asked.slots)
        print(f"volume profiles computed in {store_profiles(asked.url):.2f} s")  # noqa: T201
        print(f"statistics: the longest table {refresh_statistics(asked.url):.2f} s")  # noqa: T201
    measure(asked.url)


if __name__ == "__main__":
    main()
