"""The processor time of a small commit, beside the same statements run by sqlite3 alone.

The statements are recorded as the writer gives them to the driver, with their values, and then run again in the same
order on a copy of the same database. Writer and driver take turns, so that a slow spell of the machine affects both.
Garbage is collected as in the writer's process.
"""

import gc
import shutil
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec
from sqlalchemy import event

from bus.delivery import Delivered
from observer.store.engine import migrate, open_writer
from observer.store.writer import StoreWriter
from tests.bench.machine import Machine, this_machine
from tests.bench.path import ReportProgress
from tests.bench.trades import SYMBOLS, trade
from workers.core_writer import COLLECT_AFTER_OBJECTS

_STREAM: Final = "5" * 32
_GROUPS: Final = 2 * len(SYMBOLS)  # of all trades, by symbol and side

_Call = tuple[str, str, Sequence[Any]]
"""A cursor's method, the statement and its values."""


class SizeResult(msgspec.Struct, frozen=True):
    """Microseconds of processor time a commit of so many trades: medians of the rounds."""

    trades: int
    writer_us: float
    bare_us: float
    ratio_to_bare: float
    rounds: Sequence[tuple[float, float]]


class CommitResult(msgspec.Struct, frozen=True):
    """The writer's commits beside those of the driver alone."""

    machine: Machine
    commits: int
    sizes: Sequence[SizeResult]


async def measure_commit(
    folder: Path, sizes: Sequence[int], commits: int, rounds: int, report: ReportProgress
) -> CommitResult:
    """Measure so many commits of each size in each round; `folder` is left with the databases."""
    threshold = gc.get_threshold()
    gc.set_threshold(COLLECT_AFTER_OBJECTS)
    try:
        found = [_of_size(folder, size, commits, rounds, report) for size in sizes]
    finally:
        gc.set_threshold(*threshold)
    return CommitResult(this_machine(folder), commits, found)


def _of_size(folder: Path, size: int, commits: int, rounds: int, report: ReportProgress) -> SizeResult:
    empty, database = folder / f"empty-{size}.db", folder / f"{size}.db"
    migrate(f"sqlite:///{empty}")
    trades = [trade(number) for number in range(1, _GROUPS + size * commits + 1)]
    firsts = range(_GROUPS, len(trades), size)
    parts = [Delivered("track-b", _STREAM, 1, trades[:_GROUPS])]
    parts += [Delivered("track-b", _STREAM, first + 1, trades[first : first + size]) for first in firsts]
    recorder = _Recorder()
    shutil.copy(empty, database)
    _commit_all(database, parts, recorder)
    found: list[tuple[float, float]] = []
    for number in range(1, rounds + 1):
        report(f"commits of {size}, round {number}/{rounds}")
        shutil.copy(empty, database)
        writer_s = _commit_all(database, parts)
        shutil.copy(empty, database)
        found.append((writer_s / commits * 1e6, _run_again(database, recorder) / commits * 1e6))
    writer_us, bare_us = (median(side) for side in zip(*found, strict=True))
    return SizeResult(size, writer_us, bare_us, median(one / other for one, other in found), found)


def _commit_all(database: Path, parts: Sequence[Delivered], recorder: "_Recorder | None" = None) -> float:
    """Commit each part by itself; the seconds of processor time of all but the first one, which makes the groups."""
    writer = StoreWriter(f"sqlite:///{database}")
    if recorder is not None:
        event.listen(writer._engine, "do_connect", recorder.connecting)
    writer.open()
    try:
        if recorder is not None:
            recorder.calls.clear()
        writer.commit(parts[:1])
        if recorder is not None:
            recorder.first = len(recorder.calls)
        began_s = time.thread_time()
        for part in parts[1:]:
            writer.commit([part])
        return time.thread_time() - began_s
    finally:
        writer.close()


def _run_again(database: Path, recorder: "_Recorder") -> float:
    engine = open_writer(f"sqlite:///{database}")
    pooled = engine.raw_connection()
    try:
        cursor: Any = pooled.cursor()
        calls = [(getattr(cursor, method), statement, values) for method, statement, values in recorder.calls]
        for number, (execute, statement, values) in enumerate(calls):
            if number == recorder.first:
                began_s = time.thread_time()
            execute(statement, values)
            cursor.fetchall()
        return time.thread_time() - began_s
    finally:
        pooled.close()
        engine.dispose()


class _Recorder:
    """Records what a connection gives to SQLite."""

    def __init__(self) -> None:
        self.calls: list[_Call] = []
        self.first = 0  # of the calls that count

    def connecting(self, _dialect: object, _entry: object, _arguments: object, named: dict[str, Any]) -> None:
        """Have the driver make connections that are recorded."""
        calls = self.calls

        class Cursor(sqlite3.Cursor):
            def execute(self, statement: str, values: Any = ()) -> "Cursor":
                calls.append(("execute", statement, values))
                return super().execute(statement, values)

            def executemany(self, statement: str, values: Any) -> "Cursor":
                calls.append(("executemany", statement, values := list(values)))
                return super().executemany(statement, values)

        class Connection(sqlite3.Connection):
            def cursor(self, factory: Any = Cursor) -> Any:
                return super().cursor(factory)

            def execute(self, statement: str, values: Any = ()) -> sqlite3.Cursor:
                found: sqlite3.Cursor = self.cursor().execute(statement, values)
                return found

            def executemany(self, statement: str, values: Any) -> sqlite3.Cursor:
                found: sqlite3.Cursor = self.cursor().executemany(statement, values)
                return found

            def commit(self) -> None:
                if self.in_transaction:
                    calls.append(("execute", "COMMIT", ()))
                super().commit()

        named["factory"] = Connection
