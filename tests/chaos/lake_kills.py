"""Random SIGKILLs of the process that seals: `python -m tests.chaos.lake_kills --kills 100 --seed 1`.

Late rows arrive before each life of the process. After each kill a judge that shares no code with the lake reads what
an engine would read: the glob's files, and the versions that the manifests name. After each tenth kill the process runs
to its end, and the glob, the catalogue and the database must have the same rows by digest.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog

from bus.delivery import Delivered
from observer.lake.sealing import seal_days
from observer.store.digest import digest_of_rows
from observer.store.writer import StoreWriter
from tests.builders import trade
from tests.lake.stored import DAY, MARKET, NEXT_DAY, STREAM, day_of, make_stored

DAYS = (DAY, NEXT_DAY)
WHOLE_EACH = 10  # kills
LATE_ROWS_MAX = 200
PATTERN = "kind=trades/market=*/session_date={day}/part-0.parquet"
COLUMNS = (
    *("stream", "sequence", "provider", "symbol", "exchange_time_ns", "receive_time_ns", "price", "volume"),
    *("cumulative_volume", "cumulative_trades", "side", "bid", "ask", "gap_id", "session", "venue"),
)

Rows = list[tuple[object, ...]]


class Ended(msgspec.Struct):
    """What a campaign saw: `finished` lives ended before their kill; `found` are files that were read after kills."""

    kills: int = 0
    finished: int = 0
    wholes: int = 0
    found: int = 0
    rows: int = 0
    versions: int = 0


class Campaign:
    """One lake, one database that grows, and a process that is killed."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.lake = folder / "lake"
        self.rng = random.Random(seed)
        self.ended = Ended()
        self._number = 1_000
        self.url = make_stored(folder, *(event for day in DAYS for event in day_of(day, each=200)))
        self._commits = {self._last()}

    def run(self, kills: int) -> Ended:
        """Kill so often, judge after each; raises AssertionError at the first thing that is wrong."""
        longest_s = self._whole_run()
        while self.ended.kills < kills:
            self._append_late()
            if self._killed(self.rng.uniform(0, longest_s * 1.1)):
                self.ended.kills += 1
            else:
                self.ended.finished += 1
            self._judge_after_kill()
            if self.ended.kills % WHOLE_EACH == 0:
                self._whole_run()
                self._judge_whole()
        self._whole_run()
        self._judge_whole()
        return self.ended

    # --- what happens ---

    def _append_late(self) -> None:
        """Some trades of either day, in a commit of their own; sometimes none."""
        count = self.rng.choice((0, 1, self.rng.randint(2, LATE_ROWS_MAX)))
        late = []
        for _ in range(count):
            self._number += 1
            symbol = f"{self.rng.randint(1, 5) * 10:06}"
            late.append(trade(self._number, symbol=symbol, session_date=self.rng.choice(DAYS)))
        if late:
            writer = StoreWriter(self.url)
            writer.open()
            writer.commit([Delivered("track-b", STREAM, writer.high_water_marks([STREAM])[STREAM] + 1, late)])
            writer.close()
            self._commits.add(self._last())

    def _killed(self, after_s: float) -> bool:
        """Start the process, and kill it after so many seconds; False if it had ended by then."""
        process = self._started()
        process.join(after_s)
        if process.exitcode is not None:
            assert process.exitcode == 0, f"the sealing failed with status {process.exitcode}"
            return False
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        return process.exitcode == -signal.SIGKILL

    def _whole_run(self) -> float:
        """Let the process run to its end; return how long that took."""
        began_s = time.monotonic()
        process = self._started()
        process.join()
        assert process.exitcode == 0, f"the sealing failed with status {process.exitcode}"
        self.ended.wholes += 1
        return time.monotonic() - began_s

    def _started(self) -> multiprocessing.process.BaseProcess:
        """A fork: a fresh interpreter would take longer to import the libraries than to seal."""
        process = multiprocessing.get_context("fork").Process(target=seal_once, args=(self.lake, self.url))
        process.start()
        return process

    # --- the judge ---

    def _judge_after_kill(self) -> None:
        """Whatever is visible is whole, and has the database's rows as they were at one of its commits."""
        for day in DAYS:
            paths = sorted(self.lake.glob(PATTERN.format(day=day)))
            assert len(paths) <= 1, paths
            for path in [*paths, *self._named_by_manifests(day)]:
                self.ended.found += 1
                rows = file_rows(path)
                assert any(rows == self._database_rows(day, mark) for mark in self._commits), (
                    f"{path}: {len(rows)} rows"
                )

    def _named_by_manifests(self, day: str) -> Iterator[Path]:
        manifest = self.lake / f"_days/market={MARKET}/{day}.json"
        if manifest.exists():
            for version in json.loads(manifest.read_text())["kinds"].get("trades", []):
                folder = self.lake / f"_versions/kind=trades/market={MARKET}/session_date={day}"
                yield folder / f"{version['version']}.parquet"

    def _judge_whole(self) -> None:
        """Glob, catalogue and database have the same rows by digest, and nothing unfinished lies about."""
        versions = 0
        of_database = [row for day in DAYS for row in self._database_rows(day, self._last())]
        of_glob = [row for path in self.lake.glob(PATTERN.format(day="*")) for row in file_rows(path)]
        expected = digest_of_rows(of_database)  # type: ignore[arg-type]
        assert digest_of_rows(of_glob) == expected  # type: ignore[arg-type]
        assert digest_of_rows(self._catalogue_rows()) == expected  # type: ignore[arg-type]
        assert not list((self.lake / "_staging").iterdir())
        for day in DAYS:
            named = set(self._named_by_manifests(day))
            folder = self.lake / f"_versions/kind=trades/market={MARKET}/session_date={day}"
            assert set(folder.iterdir()) == named
            versions += len(named)
        self.ended.rows, self.ended.versions = expected.rows, versions

    def _catalogue_rows(self) -> Rows:
        catalogue = SqlCatalog("observer", uri=f"sqlite:///{self.lake}/_catalogue/catalogue.sqlite3")
        found = catalogue.load_table("observer.trades").scan(selected_fields=COLUMNS).to_arrow()
        catalogue.close()
        return [tuple(row[name] for name in COLUMNS) for row in found.to_pylist()]

    def _database_rows(self, day: str, mark: int) -> Rows:
        statement = (
            f"SELECT {', '.join(COLUMNS)} FROM trades WHERE session_date = ? AND sequence <= ? ORDER BY sequence"
        )
        with contextlib.closing(sqlite3.connect(self.url.removeprefix("sqlite:///"))) as connection:
            return connection.execute(statement, (day, mark)).fetchall()

    def _last(self) -> int:
        with contextlib.closing(sqlite3.connect(self.url.removeprefix("sqlite:///"))) as connection:
            return int(connection.execute("SELECT high_water_mark FROM streams").fetchone()[0])


def seal_once(lake: Path, url: str) -> None:
    """What the killed process does."""
    for _ in seal_days(lake, url, MARKET, DAYS, time.monotonic_ns, threading.Event()):
        pass


def file_rows(path: Path) -> Rows:
    """The rows of a file by sequence; raises if it is not whole."""
    with pq.ParquetFile(path) as file:
        found = file.read(list(COLUMNS), use_threads=False).to_pylist()
    return sorted((tuple(row[name] for name in COLUMNS) for row in found), key=lambda row: int(str(row[1])))


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="lake") as folder:
        ended = Campaign(Path(folder), options.seed).run(options.kills)
    sys.stdout.write(f"{msgspec.json.encode(ended).decode()}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
