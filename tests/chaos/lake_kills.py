"""Random SIGKILLs of the processes that seal and remove: `python -m tests.chaos.lake_kills --kills 100 --seed 1`.

Late rows of every kind arrive before each life of a process. One life seals and allows the removal of the first day's
rows, another removes them as the core writer does. Now and then the database is replaced by an older copy of itself,
and the streams are delivered again in another order, under other numbers. After each kill `tests.chaos.lake_judge`
reads what an engine would read. After each tenth kill both processes run to their end, and the glob, the catalogue and
the database must have every row that was ever stored.

Half of the kills wait until a sealing reads a kind's rows as it reads those of a large day: by columns, unsorted, in
lots that are kept in files (`observer.store.scan`), here from few rows on. The process that reads SQLite for it must
end with it.

A third life copies the lake to the folder beside the packages, and the first day's rows are removed only when that has
them in files of its own. After each kill the copy is judged as the lake is. Before such a life its files are made links
to the lake's, as an earlier Observer made them: a whole backup leaves none.

With `--target` the third life publishes the lake at a real S3 server instead, and the first day's rows are removed only
when the target has them. After each kill all its objects are read with another library: what a manifest there names is
whole, and each stored row is in the database or in the newest version at the target.
"""

import argparse
import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil
import pyarrow as pa
import pytest
from sqlalchemy import Connection

from bus.delivery import Delivered
from bus.events import Event
from observer.archive.copies import kinds_apart
from observer.archive.copying import copy_lake, publish_days
from observer.archive.day import SealedDay, sealed_days
from observer.archive.removal import Removal
from observer.archive.sealing import seal_days
from observer.archive.target import FolderTarget, Target
from observer.store.kinds import KINDS, REMOVABLE
from observer.store.removal import SealedRows
from observer.store.scan import read_spans
from observer.store.writer import StoreWriter
from tests.archive.object_stores import S3Server, fetch, s3_server, store_at
from tests.archive.stored import DAY, MARKET, NEXT_DAY, of_every_kind
from tests.chaos.lake_judge import LakeJudge, Seen
from tests.store.migrated import make_database

DAYS: Final = (DAY, NEXT_DAY)
WHOLE_EACH: Final = 10  # kills
RESTORED_EACH: Final = 5  # kills
LATE_ROWS_MAX: Final = 60
BATCH_ROWS: Final = 20  # of a removal: many batches, so many edges to be killed at
FIRST_ROWS: Final = 40  # of each kind and day
# A kind of a day is scanned from so many rows on, and sorted in lots of so many.
SCANNED_ROWS_MIN: Final = 20
LOT_ROWS: Final = 16
BY_COLUMNS: Final = "trades"  # only these are read by columns: to start a process for each kind takes too long
KILLED_WHILE_SCANNING: Final = 0.5  # of the kills, and all until there is one
HELD_POLL_S: Final = 0.01
HELD_AT: Final = (0, 1)  # an aimed kill holds a scan in front of one of these batches
READER_ENDS_S: Final = 30.0
SCANNING: Final = ("seal", "publish")
NEW_STREAM: Final = 0.2  # how often late rows come in a stream of their own

_Act = Callable[[], None]


class Ended(msgspec.Struct):
    """What a campaign saw: kills by what was killed, those of them amid the scan of a kind's rows, lives that ended
    before their kill, scans in all lives, and what the judge read.
    """

    killed: dict[str, int] = {}
    killed_scanning: int = 0
    scans: int = 0
    finished: int = 0
    restored: int = 0
    wholes: int = 0
    rows: int = 0
    versions: int = 0
    hot: int = 0
    seen: Seen = msgspec.field(default_factory=Seen)

    @property
    def kills(self) -> int:
        return sum(self.killed.values())


class Campaign:
    """One lake, one database that grows, shrinks and is restored, and processes that are killed; and an S3 server, if
    there is one.
    """

    def __init__(
        self, folder: Path, seed: int, kinds: Sequence[str] = tuple(KINDS), server: S3Server | None = None
    ) -> None:
        self._server = server
        self._url = "" if server is None else server.make_bucket("killed-lakes")
        self._fetched = folder / "fetched"
        self._folder = folder
        self._lake = folder / "lake"
        self._kinds = kinds
        self._rng = random.Random(seed)
        self._number = 0
        self._delivered: list[tuple[str, int, list[Event]]] = []
        self._marks: dict[str, int] = {}
        self._database, self._truth = folder / "observer.sqlite3", folder / "truth.sqlite3"
        self._copies: list[Path] = []
        for path in (self._database, self._truth):
            make_database(f"sqlite:///{path}")
        self._scans = _Scans()
        self._copied = FolderTarget(folder / "copied")
        self._copy_judge = LakeJudge(
            self._copied.folder, self._database, self._truth, kinds, DAYS, removed_by=self._lake
        )
        self._judge = LakeJudge(self._lake, self._database, self._truth, kinds, DAYS)
        self._target_judge = LakeJudge(self._fetched, self._database, self._truth, kinds, DAYS, removed_by=self._lake)
        self.ended = Ended(seen=self._judge.seen)
        self._copy()
        for day in DAYS:
            self._append([event for _ in range(FIRST_ROWS) for event in self._of_every_kind(day)])

    def run(self, kills: int) -> Ended:
        """Kill so often, judge after each; raises AssertionError at the first thing that is wrong."""
        acts: dict[str, _Act] = {"seal": self._seal}
        if self._server is not None:
            acts["publish"] = self._publish
        else:
            acts["back up"] = self._back_up
        acts["remove"] = self._remove
        longest_s = {name: self._to_the_end(act) for name, act in acts.items()}
        while self.ended.kills < kills:
            self._append_late()
            is_first = not self.ended.killed_scanning
            name = "seal" if is_first else self._rng.choice(list(acts))
            is_aimed = name in SCANNING and (is_first or self._rng.random() < KILLED_WHILE_SCANNING)
            if name == "back up":
                self._link_copies()
            if self._is_killed(acts[name], self._rng.uniform(0, longest_s[name] * 1.1), is_aimed=is_aimed):
                self.ended.killed[name] = self.ended.killed.get(name, 0) + 1
            else:
                self.ended.finished += 1
            self._judge.after_kill()
            self._judge_target()
            if self.ended.kills % RESTORED_EACH == 0:
                self._restore()
                self._judge.after_kill()
            if self.ended.kills % WHOLE_EACH == 0:
                self._whole(acts)
        self._whole(acts)
        return self.ended

    # --- events ---

    def _of_every_kind(self, day: str) -> list[Event]:
        self._number += 1
        symbol = f"{self._rng.randint(1, 5) * 10:06}"
        return of_every_kind(day, symbol, self._number, self._kinds)

    def _append_late(self) -> None:
        """Some rows of either day, in a commit of their own; sometimes none."""
        count = self._rng.choice((0, 1, self._rng.randint(2, LATE_ROWS_MAX)))
        late = [self._rng.choice(self._of_every_kind(self._rng.choice(DAYS))) for _ in range(count)]
        if late:
            self._append(late)

    def _append(self, events: list[Event]) -> None:
        is_new = not self._marks or self._rng.random() < NEW_STREAM
        stream = uuid.UUID(int=self._rng.getrandbits(128)).hex if is_new else self._rng.choice(list(self._marks))
        first = self._marks.get(stream, 0) + 1
        for path in (self._truth, self._database):
            _deliver(path, [(stream, first, events)])
        self._delivered.append((stream, first, events))
        self._marks[stream] = first + len(events) - 1
        self._judge.committed(stream, self._marks[stream])
        self._target_judge.committed(stream, self._marks[stream])
        self._copy_judge.committed(stream, self._marks[stream])

    # --- lives ---

    def _seal(self) -> None:
        found = sealed_days(self._lake) if self._server is None else []
        ready = [day.session_date for day in found if REMOVABLE & day.kinds.keys() <= self._apart(day)]
        self._seal_days([day for day in ready if day in DAYS[:1]], self._copied)

    def _apart(self, day: SealedDay) -> set[str]:
        return kinds_apart(self._lake, self._copied.folder, day)

    def _back_up(self) -> None:
        """As the core writer has it done each night."""
        problems = copy_lake(self._lake, self._copied, threading.Event()).problems
        assert not problems, problems

    def _links(self) -> list[str]:
        """The files of the copy that are the lake's own."""
        names = [path.relative_to(self._copied.folder).as_posix() for path in self._copied.folder.rglob("*.parquet")]
        return [name for name in names if (self._lake / name).samefile(self._copied.folder / name)]

    def _link_copies(self) -> None:
        for path in self._copied.folder.rglob("*.parquet"):
            path.unlink()
            path.hardlink_to(self._lake / path.relative_to(self._copied.folder))

    def _seal_days(self, remove: Sequence[str] = (), target: Target | None = None) -> None:
        url = f"sqlite:///{self._database}"
        stop = threading.Event()
        with self._scans.of_few_rows():
            for _ in seal_days(self._lake, url, MARKET, DAYS, time.monotonic_ns, stop, remove=remove, target=target):
                pass

    def _publish(self) -> None:
        """As the lake's process does it: what is sealed, then the removal of rows, then what that changed."""
        assert self._server is not None
        store = store_at(self._url, self._server.endpoint)
        self._seal_days()
        list(publish_days(self._lake, store, MARKET, threading.Event()))
        self._seal_days(DAYS[:1], store)
        list(publish_days(self._lake, store, MARKET, threading.Event()))

    def _judge_target(self) -> None:
        if self._server is None:
            self._copy_judge.after_kill()
        else:
            shutil.rmtree(self._fetched, ignore_errors=True)
            fetch(self._server, self._url, self._fetched)
            self._target_judge.after_kill()

    def _remove(self) -> None:
        writer = StoreWriter(f"sqlite:///{self._database}")
        writer.open()
        removal = Removal(_InSmallBatches(writer))
        published_only = self._server is not None
        days = sealed_days(self._lake)
        rows = [(day, rows) for day in days for rows in day.removable_rows(published_only=published_only)]
        removal.add([each for day, each in rows if published_only or each.kind in self._apart(day)])
        while removal.step_from_thread():
            pass
        writer.close()

    def _is_killed(self, act: _Act, after_s: float, *, is_aimed: bool) -> bool:
        """Start a process, and kill it after so many seconds, or if `is_aimed` amid its first scan, which waits for
        the kill; False if it had ended by then, as one without a scan does.
        """
        with self._scans.held_at(self._rng.choice(HELD_AT) if is_aimed else None):
            process = _started(act)
        process.join(0 if is_aimed and self._scans.is_held(process) else None if is_aimed else after_s)
        if process.exitcode is None:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join()
        is_killed = process.exitcode == -signal.SIGKILL
        assert is_killed or process.exitcode == 0, f"a process failed with status {process.exitcode}"
        self._count_scans(is_killed=is_killed)
        return is_killed

    def _count_scans(self, *, is_killed: bool) -> None:
        begun, is_amid = self._scans.taken()
        self.ended.scans += begun
        self.ended.killed_scanning += is_killed and is_amid
        readers = [each for each in psutil.process_iter() if self._is_reader(each)]
        _, left = psutil.wait_procs(readers, READER_ENDS_S)
        assert not any(map(self._is_reader, left)), f"{left} outlived the sealing that it read for"

    def _is_reader(self, process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            return "observer.store.column_process" in words and str(self._database) in words[-1]
        return False

    def _to_the_end(self, act: _Act) -> float:
        """Let a process run to its end; return how long that took."""
        began_s = time.monotonic()
        process = _started(act)
        process.join()
        assert process.exitcode == 0, f"a process failed with status {process.exitcode}"
        self._count_scans(is_killed=False)
        return time.monotonic() - began_s

    def _whole(self, acts: dict[str, _Act]) -> None:
        for act in (*acts.values(), *acts.values()):  # rows are removed once a copy has what was sealed
            self._to_the_end(act)
        assert not self._links(), "each link has become a copy"
        self.ended.rows = self._judge.whole()
        if self._server is not None:
            self._judge_target()
            assert self._target_judge.whole_files() == self.ended.rows
        self.ended.hot = self._judge.hot_rows(DAYS[0], sorted(REMOVABLE.intersection(self._kinds)))
        assert self.ended.hot == 0, "all of the first day's rows are sealed, so none is left"
        self.ended.versions = max(found[-1].version for day in sealed_days(self._lake) for found in day.kinds.values())
        self.ended.wholes += 1

    def _restore(self) -> None:
        """Put a copy of the database from an earlier moment in its place, and deliver again what it lacks, the streams
        in another order; then copy it for the next time.
        """
        for path in self._folder.glob("observer.sqlite3-*"):
            path.unlink()
        shutil.copy(self._rng.choice(self._copies), self._database)
        marks = _marks_in(self._database)
        streams = list(dict.fromkeys(stream for stream, _, _ in self._delivered))
        self._rng.shuffle(streams)
        for wanted in streams:
            of_stream = [each for each in self._delivered if each[0] == wanted and each[1] > marks.get(wanted, 0)]
            _deliver(self._database, of_stream)
        self.ended.restored += 1
        self._copy()

    def _copy(self) -> None:
        copy = self._folder / f"copy-{len(self._copies)}.sqlite3"
        with (
            contextlib.closing(sqlite3.connect(self._database)) as source,
            contextlib.closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
        self._copies.append(copy)


class _Scans:
    """Has the sealings of forked processes scan days of few rows, and takes note of each scan in a pipe, which a kill
    leaves as it is.
    """

    def __init__(self) -> None:
        self._reader, self._writer = multiprocessing.get_context("fork").Pipe(duplex=False)
        self._held_at: int | None = None
        self._holding = multiprocessing.get_context("fork").Event()

    @contextlib.contextmanager
    def held_at(self, batch: int | None) -> Generator[None]:
        """The first scan of processes that are started now waits for ever in front of this batch, or at its end."""
        self._held_at = batch
        yield
        self._held_at = None

    @contextlib.contextmanager
    def of_few_rows(self) -> Generator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("observer.store.scan.SPREAD_MAX", sys.maxsize)  # rows of all kinds and days are mixed here
            patch.setattr("observer.store.sealing.ROWS_MIN", SCANNED_ROWS_MIN)
            patch.setattr("observer.store.sealing.read_spans", self._read_spans)
            yield

    def _read_spans(self, connection: Connection, kind: str, *others: Any) -> Generator[pa.RecordBatch]:
        self._writer.send("begun")
        columns_min = 1 if kind == BY_COLUMNS else sys.maxsize
        found = read_spans(connection, kind, *others, lot_rows=LOT_ROWS, columns_min=columns_min)
        for number, batch in enumerate(found):
            self._hold(number)
            yield batch
        if self._held_at is not None:
            self._hold(self._held_at)
        self._writer.send("ended")

    def _hold(self, batch: int) -> None:
        if batch == self._held_at:
            self._holding.set()
            threading.Event().wait()

    def is_held(self, process: multiprocessing.process.BaseProcess) -> bool:
        """Wait until a scan of the process is held; False if it ends without one."""
        while not self._holding.wait(HELD_POLL_S):
            if process.exitcode is not None:
                break
        is_held = self._holding.is_set()
        self._holding.clear()
        return is_held

    def taken(self) -> tuple[int, bool]:
        """How many scans began since it was asked last, and whether the last one did not end."""
        notes = []
        while self._reader.poll():
            notes.append(self._reader.recv())
        return notes.count("begun"), notes[-1:] == ["begun"]


class _InSmallBatches:
    """The writer, which removes few rows at a time."""

    def __init__(self, writer: StoreWriter) -> None:
        self._writer = writer

    def remove(self, sealed: SealedRows, after: int) -> int | None:
        return self._writer.remove(sealed, after, BATCH_ROWS)


def _started(act: _Act) -> multiprocessing.process.BaseProcess:
    """A fork: a fresh interpreter would take longer to import the libraries than to seal."""
    process = multiprocessing.get_context("fork").Process(target=act)
    process.start()
    return process


def _deliver(database: Path, batches: Sequence[tuple[str, int, list[Event]]]) -> None:
    writer = StoreWriter(f"sqlite:///{database}")
    writer.open()
    for stream, first, events in batches:
        writer.commit([Delivered("track-b", stream, first, events)])
    writer.close()


def _marks_in(database: Path) -> dict[str, int]:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return dict(connection.execute("SELECT uid, high_water_mark FROM streams"))


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", action="store_true", help="Publish at an S3 server, too.")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    options = parser.parse_args(arguments)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lake"))
        server = stack.enter_context(s3_server()) if options.target else None
        ended = Campaign(Path(folder), options.seed, options.kinds, server).run(options.kills)
    sys.stdout.write(f"{msgspec.json.encode(ended).decode()}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
