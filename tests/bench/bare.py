"""The bare limit: the database's own library alone, without bus and second process.

SQLite takes rows by executemany, PostgreSQL by COPY as its driver writes rows. The rows are those that are stored, with
the numbers of their groups.
"""

import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import astuple

from observer.store.engine import open_writer
from observer.store.tables import TRADE_ROWS
from observer.store.trade_groups import TradeGroups
from observer.store.transaction import transaction
from tests.bench.trades import lots

if TYPE_CHECKING:
    from sqlalchemy import Engine

_TABLE: Final = TRADE_ROWS.name

_Rows = Sequence[tuple[Any, ...]]


class BareRound(msgspec.Struct, frozen=True):
    """One measurement of the bare limit."""

    events_per_s: float
    cpu_us_per_event: float


def measure_bare(url: str, events: int, commit_events: int) -> BareRound:
    """How many trades a second the library makes durable in the database of this URL, with its schema and the settings
    of the real writer, in transactions of `commit_events`.

    The rows are made beforehand, lot by lot; only the database's time counts.
    """
    engine = open_writer(url)
    connection = engine.raw_connection()
    try:
        driver: Any = connection.driver_connection
        store = _executemany(driver) if isinstance(driver, sqlite3.Connection) else _copy(driver)
        span_s, cpu_s = _insert_all(engine, store, _new_stream(driver), events, commit_events)
        driver.commit()
    finally:
        connection.close()
        engine.dispose()
    return BareRound(events / span_s, cpu_s / events * 1e6)


def _insert_all(
    engine: "Engine", store: Callable[[_Rows], None], stream: int, events: int, commit_events: int
) -> tuple[float, float]:
    """The seconds of the transactions, by the clock and of this process's processor time."""
    span_s, cpu_s, sequence = 0.0, 0.0, 0
    groups = TradeGroups()
    for lot in lots(events, commit_events):
        with transaction(engine) as ahead:  # makes the lot's groups
            whole = [(stream, number, *astuple(trade)) for number, trade in enumerate(lot, sequence + 1)]
            rows = groups.packed(ahead, whole)
        sequence += len(rows)
        began_s, cpu_began_s = time.perf_counter(), time.thread_time()
        store(rows)
        span_s += time.perf_counter() - began_s
        cpu_s += time.thread_time() - cpu_began_s
    return span_s, cpu_s


def _new_stream(driver: Any) -> int:
    """The number of a new stream: the rows stand behind all others, as those of a process that starts now."""
    new = "SELECT coalesce(max(id), 0) + 1, 'bare ' || (coalesce(max(id), 0) + 1), 'bare', 0, 0 FROM streams"
    driver.execute(f"INSERT INTO streams {new}")
    driver.commit()
    [(stream,)] = driver.execute("SELECT max(id) FROM streams").fetchall()
    return int(stream)


def _executemany(driver: sqlite3.Connection) -> Callable[[_Rows], None]:
    columns = len(driver.execute(f"PRAGMA table_info({_TABLE})").fetchall())
    statement = f"INSERT INTO {_TABLE} VALUES ({', '.join('?' * columns)})"

    def store(rows: _Rows) -> None:
        driver.execute("BEGIN IMMEDIATE")
        driver.executemany(statement, rows)
        driver.execute("COMMIT")

    return store


def _copy(driver: Any) -> Callable[[_Rows], None]:
    def store(rows: _Rows) -> None:
        with driver.cursor() as cursor, cursor.copy(f"COPY {_TABLE} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        driver.commit()

    return store
