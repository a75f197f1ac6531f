"""A database with days to seal, and what its rows are by the database's own library alone."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from bus.delivery import Delivered
from bus.events import Event, SweepCompleted, UniverseBuilt
from observer.store.writer import StoreWriter
from tests.builders import trade
from tests.store.migrated import make_database

DAY, NEXT_DAY = "2026-11-18", "2026-11-19"
MARKET = "krx"
STREAM = "5" * 32


def day_of(session_date: str = DAY, symbols: int = 3, each: int = 20, market: str = MARKET) -> list[Event]:
    """A day with a universe, a sweep, and `each` trades of each symbol in the order in which they came."""
    return [
        UniverseBuilt("kis", market, session_date, "2026-11-17", 1, symbols, symbols, 0.0),
        SweepCompleted("kis", session_date, 1, 2, 3, symbols, symbols, 1),
        *(
            trade(number, symbol=f"{symbol * 10:06}", session_date=session_date, price=float(1_000 + number % 7))
            for number in range(1, each + 1)
            for symbol in range(symbols, 0, -1)
        ),
    ]


def make_stored(folder: Path, *events: Event) -> str:
    """The URL of a new SQLite database with these events."""
    url = f"sqlite:///{folder / 'observer.sqlite3'}"
    make_database(url)
    append(url, *events)
    return url


def append(url: str, *events: Event) -> None:
    """Store more events at the end of the stream."""
    writer = StoreWriter(url)
    writer.open()
    mark = writer.high_water_marks([STREAM])[STREAM]
    writer.commit([Delivered("track-b", STREAM, mark + 1, list(events))])
    writer.close()


def database_rows(url: str, kind: str, session_date: str, columns: Sequence[str]) -> list[tuple[object, ...]]:
    """The rows of a day by position, read with the database's own library."""
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    statement = f"SELECT {', '.join(columns)} FROM {kind} WHERE session_date = ? ORDER BY stream, sequence"
    rows = connection.execute(statement, (session_date,)).fetchall()
    connection.close()
    return rows


def lake_rows(paths: Sequence[Path], columns: Sequence[str]) -> list[tuple[object, ...]]:
    """The rows of files by position."""
    tables = [pq.ParquetFile(path).read(list(columns)).to_pylist() for path in paths]
    rows = [tuple(row[name] for name in columns) for table in tables for row in table]
    place = [list(columns).index(name) for name in ("stream", "sequence")]
    return sorted(rows, key=lambda row: [row[each] for each in place])  # type: ignore[type-var]
