"""The lake: how fast a day is sealed beside pyarrow alone, its bytes, and questions beside the same in DuckDB by hand.

A made-up day is put into each database and sealed from there; further days are written into the same lake by its own
writer of files. Every figure is a median of rounds in which ours and the other one take turns.
"""

import asyncio
import importlib.util
import shutil
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from bus.delivery import Delivered
from bus.events import Event, SlotAssigned, UniverseBuilt, UniverseMember
from observer.archive.day import sealed_day, version_path, write_manifest
from observer.archive.parquet import GROUP_ROWS, as_in_file, file_options, read_file, write_file
from observer.archive.repair import publish
from observer.archive.sealing import seal_days
from observer.archive.whole import file_sha256
from observer.base.clock import RealClock
from observer.base.files import sync_path
from observer.base.local_time import local_ns, use_zone
from observer.brokers.broker import DEFAULT_BROKER
from observer.calendar.venues import venue_of_market
from observer.research.opening import open_store
from observer.store.writer import StoreWriter
from tests.bench.child import BenchError
from tests.bench.held import HELD_STREAM, HELD_UID, load
from tests.bench.lake_questions import Question, questions
from tests.bench.machine import Machine, this_machine
from tests.bench.market_day import sweeps_of_day, symbols_of_market, trades_of_day
from tests.bench.path import ReportProgress
from tests.bench.scratch import scratch_database

_MARKET: Final = "kr_stocks"
_DAY: Final = date(2026, 11, 18)
_EARLIER_SHARE: Final = 4  # an earlier day has so many times fewer trades
_SEED: Final = 7
_ROWS_AT_ONCE: Final = 65_536
_REPORTED_ROWS: Final = 500_000


class Sealing(msgspec.Struct, frozen=True):
    """A day sealed from one database: seconds, and how many times as long as pyarrow takes for the same table."""

    database: str
    seconds: float
    ratio_to_pyarrow: float
    rounds_s: Sequence[float]


class Answer(msgspec.Struct, frozen=True):
    """The time of a question by the research API, by hand in DuckDB, and in ArcticDB (None: not asked)."""

    question: str
    goal_ms: float
    rows: int
    ms: float
    duckdb_ms: float
    ratio_to_duckdb: float
    arcticdb_ms: float | None


class LakeResult(msgspec.Struct, frozen=True):
    """The result of `python -m tests.bench lake`. `all_trades` are those of all days."""

    machine: Machine
    trades: int
    symbols: int
    days: int
    all_trades: int
    pyarrow_s: float
    sealings: Sequence[Sealing]
    bytes_per_trade: float
    arcticdb_bytes_per_trade: float | None
    answers: Sequence[Answer]


async def measure_lake(
    folder: Path,
    trades: int,
    symbols: int,
    days: int,
    rounds: int,
    server: str | None,
    report: ReportProgress,
    *,
    peers: bool,
) -> LakeResult:
    """Measure in `folder`, and in a schema of its own on the server, if there is one.

    Raises:
        BenchError: our rows are not those of the query by hand.
        StoreError: the server does not answer.
    """
    use_zone(venue_of_market(_MARKET).zone)
    return await asyncio.to_thread(_measured, folder, trades, symbols, days, rounds, server, report, peers)


def _measured(
    folder: Path,
    trades: int,
    symbols: int,
    days: int,
    rounds: int,
    server: str | None,
    report: ReportProgress,
    peers: bool,
) -> LakeResult:
    names = symbols_of_market(symbols)
    report(f"making {trades:,} trades")
    made = trades_of_day(names, trades, _DAY, _SEED, HELD_STREAM)
    spans: dict[str, list[float]] = {}
    pyarrow_s: list[float] = []
    lake = folder / "lake"
    for name, place in {"SQLite": None, **({"PostgreSQL": server} if server else {})}.items():
        with scratch_database(folder / "database", place) as url:
            _fill(url, made, names, partial(_report_of, report, name))
            for number in range(1, rounds + 1):
                shutil.rmtree(lake, ignore_errors=True)
                step = f"{name}, round {number}/{rounds}"
                spans.setdefault(name, []).append(_sealed_s(lake, url, step, report))
                report(f"{step}: writing the same by pyarrow")
                pyarrow_s.append(_by_pyarrow(lake, folder / "alone.parquet"))
    alone_s = statistics.median(pyarrow_s)
    all_trades, dates = trades, [_DAY]
    for number in range(1, days):
        report(f"writing day {number + 1}/{days}")
        day = _DAY - timedelta(days=number)
        rows = trades_of_day(names, max(1, trades // _EARLIER_SHARE), day, _SEED + number, HELD_STREAM)
        _add_day(lake, day, rows)
        dates.append(day)
        all_trades += rows.num_rows
    sealed = sealed_day(lake, _MARKET, _DAY.isoformat())
    newest = sealed.newest("trades") if sealed is not None else None
    assert newest is not None, "it was sealed above"
    arctic = _Arctic(folder / "arctic", made, names[0]) if peers else None
    with open_store(lake) as store:
        of_days = [day.isoformat() for day in sorted(dates)]
        asked = questions(store, lake, _MARKET, names[0], of_days, venue_of_market(_MARKET).zone_name)
        answers = [_answer(each, rounds, report, arctic if number == 0 else None) for number, each in enumerate(asked)]
    return LakeResult(
        machine=this_machine(folder),
        trades=trades,
        symbols=symbols,
        days=days,
        all_trades=all_trades,
        pyarrow_s=alone_s,
        sealings=[
            Sealing(name, statistics.median(found), statistics.median(found) / alone_s, found)
            for name, found in spans.items()
        ],
        bytes_per_trade=newest.size_bytes / newest.rows,
        arcticdb_bytes_per_trade=arctic.bytes_per_trade if arctic is not None else None,
        answers=answers,
    )


def _report_of(report: ReportProgress, database: str, text: str) -> None:
    report(f"{database}: {text}")


def _sealed_s(lake: Path, url: str, step: str, report: ReportProgress) -> float:
    """The seconds in which the day is sealed."""

    def progress(_day: str, kind: str, rows: int) -> None:
        report(f"{step}: sealing {rows:,} rows of {kind}")

    began_s = time.perf_counter()
    list(seal_days(lake, url, _MARKET, [_DAY.isoformat()], RealClock().now_ns, threading.Event(), progress))
    return time.perf_counter() - began_s


def _fill(url: str, trades: pa.Table, symbols: Sequence[str], report: ReportProgress) -> None:
    sweeps = sweeps_of_day(trades, symbols, _DAY, HELD_STREAM)

    def portions() -> Iterator[tuple[str, pa.Table]]:
        arrived = trades.sort_by("sequence")
        for first in range(0, arrived.num_rows, _REPORTED_ROWS):
            report(f"putting trades there, {first:,} of {arrived.num_rows:,}")
            yield "trades", arrived.slice(first, _REPORTED_ROWS)
        yield "snapshots", sweeps.sort_by("sequence")
        report("making the indexes")

    load(url, portions())
    day, at_ns = _DAY.isoformat(), local_ns(_DAY, 9)
    events: list[Event] = [UniverseBuilt(DEFAULT_BROKER, _MARKET, day, day, at_ns, len(symbols), len(symbols), 0.0)]
    for rank, symbol in enumerate(symbols, 1):
        listed = (DEFAULT_BROKER, _MARKET, day, rank, symbol, symbol, "KOSPI", 1e12, 1e4, None, None)
        events.append(UniverseMember(*listed))
        events.append(SlotAssigned(f"main:{rank:03}", symbol, at_ns, "volume_surge", 1.0, "free_slot", None))
    writer = StoreWriter(url)
    writer.open()
    try:
        writer.commit([Delivered("bench", "2e" * 16, 1, events)])
    finally:
        writer.close()


def _by_pyarrow(lake: Path, path: Path) -> float:
    """The seconds in which pyarrow writes the sealed day's trades, which are in memory, with the same options."""
    sealed = version_path(lake, "trades", _MARKET, _DAY.isoformat(), 1)
    table = pa.Table.from_batches(list(read_file(sealed)))
    began_s = time.perf_counter()
    pq.write_table(table, path, row_group_size=GROUP_ROWS, **file_options(table.schema))
    sync_path(path)
    return time.perf_counter() - began_s


def _add_day(lake: Path, day: date, trades: pa.Table) -> None:
    """Seal another day with these trades and the last day's other rows."""
    last = sealed_day(lake, _MARKET, _DAY.isoformat())
    assert last is not None, "it is sealed first"
    kinds = {}
    for kind, (version, *_) in last.kinds.items():
        path = version_path(lake, kind, _MARKET, day.isoformat(), 1)
        others = read_file(version_path(lake, kind, _MARKET, last.session_date, 1))
        rows = as_in_file(trades.to_batches(_ROWS_AT_ONCE), kind) if kind == "trades" else others
        uids = {each.stream: each.uid for each in version.streams} | {HELD_STREAM: HELD_UID}
        written = write_file(path, kind, rows, {}, uids)
        assert written is not None, "each kind has rows"
        changed = msgspec.structs.replace(
            version,
            rows=written.rows,
            digest=written.digest,
            size_bytes=written.size_bytes,
            streams=written.streams,
            file_sha256=file_sha256(path),
        )
        kinds[kind] = (changed,)
    added = msgspec.structs.replace(last, session_date=day.isoformat(), kinds=kinds)
    write_manifest(lake, added)
    publish(lake, added)


def _answer(question: Question, rounds: int, report: ReportProgress, arctic: "_Arctic | None") -> Answer:
    spans: dict[str, list[float]] = {"ours": [], "duckdb": [], "arcticdb": []}
    rows: dict[str, int] = {}
    asked: dict[str, Callable[[], int]] = {"ours": question.ours, "duckdb": question.by_hand}
    if arctic is not None:
        asked["arcticdb"] = arctic.read
    for number in range(1, rounds + 2):
        report(f"{question.name}, round {number}/{rounds + 1}")
        for name, ask in asked.items():
            began_s = time.perf_counter()
            rows[name] = ask()
            if number > 1:  # the first one finds the libraries' own preparations undone
                spans[name].append((time.perf_counter() - began_s) * 1e3)
    if len(set(rows.values())) > 1:
        raise BenchError(f"{question.name}: the numbers of rows differ: {rows}")
    ours, duckdb = statistics.median(spans["ours"]), statistics.median(spans["duckdb"])
    peer = statistics.median(spans["arcticdb"]) if arctic is not None else None
    return Answer(question.name, question.goal_ms, rows["ours"], ours, duckdb, ours / duckdb, peer)


class _Arctic:
    """The day's trades in ArcticDB, a symbol each, with the columns of a user's frame."""

    def __init__(self, folder: Path, trades: pa.Table, symbol: str) -> None:
        if importlib.util.find_spec("arcticdb") is None:
            raise BenchError("arcticdb is not installed: `pip install arcticdb`, or leave --peers out")
        import arcticdb
        import pyarrow.compute as pc

        self._library = arcticdb.Arctic(f"lmdb://{folder}").get_library("trades", create_if_missing=True)
        self._symbol = symbol
        dropped = ["symbol", "session_date", "gap_id", "stream", "sequence"]
        for name in trades["symbol"].unique().to_pylist():
            frame = trades.filter(pc.field("symbol") == name).drop_columns(dropped).to_pandas()
            frame.index = frame.pop("exchange_time_ns").astype("datetime64[ns]")
            self._library.write(name, frame)
        used = sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
        self.bytes_per_trade = used / trades.num_rows

    def read(self) -> int:
        """Read the symbol's day; the number of its rows."""
        return len(self._library.read(self._symbol).data)


def table(result: LakeResult) -> "list[Sequence[str]]":
    """The table of the result: title and headers first."""
    title = f"{result.trades:,} trades of {result.symbols} symbols; {result.days} days with {result.all_trades:,}"
    lines: list[Sequence[str]] = [(title, "", "ours", "goal", "bare", "of bare", "ArcticDB")]
    for each in result.sealings:
        of_bare = (f"{result.pyarrow_s:.1f}", f"{each.ratio_to_pyarrow:.2f}")
        lines.append((f"sealed from {each.database}, s (bare: pyarrow)", f"{each.seconds:.1f}", "60", *of_bare, ""))
    peer = "" if result.arcticdb_bytes_per_trade is None else f"{result.arcticdb_bytes_per_trade:.1f}"
    lines.append(("bytes a trade", f"{result.bytes_per_trade:.1f}", "12", "", "", peer))
    lines += [
        (
            f"{answer.question}, ms (bare: DuckDB)",
            f"{answer.ms:.1f}",
            f"{answer.goal_ms:,.0f}",
            f"{answer.duckdb_ms:.1f}",
            f"{answer.ratio_to_duckdb:.2f}",
            "" if answer.arcticdb_ms is None else f"{answer.arcticdb_ms:.1f}",
        )
        for answer in result.answers
    ]
    return lines
