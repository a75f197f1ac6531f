"""The bare limit: sqlite3 alone, without bus and second process."""

import sqlite3
import time
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import astuple

from observer.bench.trades import lots
from observer.store.engine import migrate, open_writer

TRADES_TABLE: Final = "trades"
_STREAM: Final = 1


class BareRound(msgspec.Struct, frozen=True):
    """One measurement of the bare limit."""

    events_per_s: float
    cpu_us_per_event: float


def measure_bare(folder: Path, events: int, commit_events: int) -> BareRound:
    """How many trades a second sqlite3's executemany makes durable in an empty database in `folder`, with the schema
    and the settings of the real writer, in transactions of `commit_events`.

    The rows are made beforehand, lot by lot; only the database's time counts.
    """
    url = f"sqlite:///{folder / 'bare.db'}"
    migrate(url)
    engine = open_writer(url)
    connection = engine.raw_connection()
    try:
        driver_connection = connection.driver_connection
        assert isinstance(driver_connection, sqlite3.Connection)
        span_s, cpu_s = _insert_all(driver_connection, events, commit_events)
    finally:
        connection.close()
        engine.dispose()
    return BareRound(events / span_s, cpu_s / events * 1e6)


def _insert_all(connection: sqlite3.Connection, events: int, commit_events: int) -> tuple[float, float]:
    """The seconds of the transactions, by the clock and of the processor."""
    columns = len(connection.execute(f"PRAGMA table_info({TRADES_TABLE})").fetchall())
    statement = f"INSERT INTO {TRADES_TABLE} VALUES ({', '.join('?' * columns)})"  # noqa: S608 - only a constant in it
    span_s, cpu_s, sequence = 0.0, 0.0, 0
    for lot in lots(events, commit_events):
        rows = [(_STREAM, number, *astuple(trade)) for number, trade in enumerate(lot, sequence + 1)]
        sequence += len(rows)
        began_s, cpu_began_s = time.perf_counter(), time.thread_time()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(statement, rows)
        connection.execute("COMMIT")
        span_s += time.perf_counter() - began_s
        cpu_s += time.thread_time() - cpu_began_s
    return span_s, cpu_s
