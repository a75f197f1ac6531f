"""A database with days to seal, and what its rows are by the database's own library alone."""

import sqlite3
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pyarrow.parquet as pq

from bus.delivery import Delivered
from bus.events import Document, Event, SweepCompleted, UniverseBuilt
from observer.archive.lake.layout import sealed_days
from observer.archive.lake.removal import Removal
from observer.archive.lake.sealing import seal_days
from observer.base.local_time import local_ns
from observer.store.kinds import KINDS, TABLE_NAMES
from observer.store.writer import StoreWriter
from tests.builders import trade
from tests.folders import as_made
from tests.store.migrated import make_database

DAY, NEXT_DAY = "2026-11-18", "2026-11-19"
MARKET = "krx"
STREAM = "5" * 32


def day_of(session_date: str = DAY, symbols: int = 3, each: int = 20, market: str = MARKET) -> list[Event]:
    """A day with a universe, a sweep without answers, and `each` trades of each symbol in their order."""
    return [
        UniverseBuilt("kis", market, session_date, "2026-11-17", 1, symbols, symbols, 0.0),
        SweepCompleted("kis", session_date, 1, 2, 3, symbols, 0, 1),
        *(
            trade(number, symbol=f"{symbol * 10:06}", session_date=session_date, price=float(1_000 + number % 7))
            for number in range(1, each + 1)
            for symbol in range(symbols, 0, -1)
        ),
    ]


def make_stored(folder: Path, *events: Event) -> str:
    """The URL of a new SQLite database with these events."""
    url = url_in(folder)
    make_database(url)
    append(url, *events)
    return url


def url_in(folder: Path) -> str:
    return f"sqlite:///{folder / 'observer.sqlite3'}"


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
    rows: list[tuple[Any, ...]] = [tuple(row[name] for name in columns) for table in tables for row in table]
    place = [list(columns).index(name) for name in ("stream", "sequence")]
    return sorted(rows, key=lambda row: [row[each] for each in place])


@contextmanager
def removing(url: str) -> Iterator[StoreWriter]:
    """The writer of the database, which alone removes rows."""
    writer = StoreWriter(url)
    writer.open()
    try:
        yield writer
    finally:
        writer.close()


def remove_sealed(url: str, lake: Path) -> int:
    """Remove what the manifests allow, as the core writer does; return the number of steps."""
    steps = 0
    with removing(url) as writer:
        removal = Removal(writer)
        removal.add([rows for day in sealed_days(lake) for rows in day.removable_rows()])
        while removal.step_from_thread():
            steps += 1
    return steps


def two_sealed_days() -> tuple[Path, str]:
    """A lake with a day of 60 trades and one of 5, and its database, as they are behind the first sealing."""
    folder = as_made(_make_sealed)
    return folder / "lake", url_in(folder)


def first_day_removed() -> tuple[Path, str]:
    """As `two_sealed_days`; the rows of the first day have left the database."""
    folder = as_made(_make_removed)
    return folder / "lake", url_in(folder)


def _make_sealed(folder: Path, *remove: str) -> None:
    url = make_stored(folder, *day_of(), *day_of(NEXT_DAY, symbols=1, each=5))
    list(seal_days(folder / "lake", url, MARKET, [DAY, NEXT_DAY], lambda: 1, threading.Event(), remove=remove))


def _make_removed(folder: Path) -> None:
    _make_sealed(folder, DAY)
    remove_sealed(url_in(folder), folder / "lake")


def of_every_kind(session_date: str, symbol: str, number: int, kinds: Collection[str] = KINDS.keys()) -> list[Event]:
    """One event of each of these kinds on a day; `number` makes it another one than the others."""
    types = {name: event_type for event_type, name in TABLE_NAMES.items()}
    return [made_of(types[kind], session_date, symbol, number) for kind in KINDS if kind in kinds]


def made_of(event_type: type[Any], session_date: str, symbol: str, number: int) -> Event:
    """An event of this type with these values where it has such fields, and made-up ones in all others."""
    named = {"session_date": session_date, "symbol": symbol, "market": MARKET, "gap_id": f"gap-{session_date}"}
    at_ns = local_ns(date.fromisoformat(session_date), 10) + number * 1_000_003
    values: dict[str, Any] = {}
    for name, hint in get_type_hints(event_type).items():
        if name in event_type.__struct_fields__:
            values[name] = named.get(name, at_ns if name.endswith("_ns") else _value_of(hint, number))
    made: Event = event_type(**values)
    return made


def _value_of(hint: Any, number: int) -> object:
    alternatives = get_args(hint) if get_origin(hint) in (UnionType, Union) else (hint,)
    if NoneType in alternatives:
        return None
    first = alternatives[0]
    if get_origin(first) is Literal:
        return get_args(first)[0]
    if (container := get_origin(first)) in (tuple, dict):
        return container()
    if isinstance(first, type) and issubclass(first, Document):
        return first(**{name: _value_of(each, number) for name, each in get_type_hints(first).items()})
    plain = {int: number, float: float(number), bool: False, str: f"x{number}", bytes: f"x{number}".encode()}
    return plain[get_args(first)[0] if get_origin(first) is Annotated else first]
