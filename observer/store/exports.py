"""The ledgers' files, made from committed rows only: none is ever read back, and each can be made again.

`Ledgers.catch_up` continues after the last exported row of each stream. It writes that position after the files, so a
kill leaves files that are behind, perhaps with a torn last line, but never a position ahead of its files: at its first
access in a process a file is written whole, under another name until it is complete.

`LedgerExport` writes them after the commits, beside the thread that commits, which never waits for this.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import threading
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy import Connection, select

from bus.events import GapDetected, GapRecovered, SlotOverflowed, kind_of
from observer.alerts.process import Alerts
from observer.errors import StoreError
from observer.files import read_file, replace_file, replacing, to_disk
from observer.local_time import local_datetime
from observer.store.engine import open_reader, require_current_schema, store_errors
from observer.store.gaps import GapStory, gap_stories, recovered_rows
from observer.store.ledgers import overflow_line, overflow_path, recovery_folder, recovery_lines, recovery_path
from observer.store.rows import Position, event_of, position_of
from observer.store.slots import day_bounds
from observer.store.tables import EVENT_TABLES, STREAMS
from observer.units import NS_PER_S

EXPORTED_KINDS: Final = frozenset({kind_of(SlotOverflowed), kind_of(GapRecovered)})
"""The kinds of events that the ledgers export."""

logger = logging.getLogger(__name__)

POLL_S: Final = 1.0  # machine seconds between checks at whether there is something to write
CHECK_ANYWAY_S: Final = 60.0  # a commit with an unknown outcome sets no flag
_PORTION: Final = 50_000  # events of a stream that one transaction reads
_NAMED_STREAMS: Final = 3  # of each producer; a process that starts has a stream more
_IDS_AT_ONCE: Final = 500
_ROWS_AT_ONCE: Final = 2_000

_Key = tuple[int, Position]  # the order of a day's overflow: by time, then by position


def ledgers_folder(data: str) -> Path:
    """The folder of all ledgers in the data folder of a system (requirement 004: `data/observer/`)."""
    return Path(data) / "observer"


class _Position(msgspec.Struct, frozen=True):
    """How far the files are: the exported number of each stream that is likely to grow, by its random id. All other
    streams up to the id `through` are exported as far as they were committed; `settled` is the digest of their marks.
    """

    streams: dict[str, int] = {}
    through: int = 0
    settled: str = ""


class _Stream(msgspec.Struct, frozen=True):
    """An event stream as the database has it."""

    uid: str
    id: int
    mark: int
    producer: str


class _Written(msgspec.Struct, frozen=True):
    """A file of overflow as this process left it."""

    last: _Key
    size_bytes: int


class Ledgers:
    """The ledgers of one database in one folder; used by one thread at a time.

    Args:
        url: the database.
        folder: of all ledgers; made when there is something to write.
        provider: whose overflow it is: the events do not name it.
        market: the instance's, which the folders of recoveries name.

    Raises:
        StoreError: the database is not there, or has another schema than this code.
    """

    def __init__(self, url: str, folder: Path, provider: str, market: str) -> None:
        self._engine = open_reader(url)
        require_current_schema(self._engine)
        self._folder = folder
        self._provider = provider
        self._market = market
        self._overflows: dict[Path, _Written] = {}
        self._exported: Mapping[str, int] = {}  # by this process; the position in its file is shorter

    def close(self) -> None:
        """Give the connection back."""
        self._engine.dispose()

    def catch_up(self) -> None:
        """Write the rows that any process committed since the last call.

        Raises:
            OSError: a file cannot be written.
            StoreError: the database does not answer, or what says how far the files are is not ours.
        """
        with self._locked():
            position, is_done = self._read_position(), False
            while not is_done:
                reached, is_done = self._write_portion(position)
                if reached != position:
                    _write(self._position_path, msgspec.json.encode(reached))
                position = reached

    def rebuild(self, session_date: str) -> Sequence[Path]:
        """Rebuild the files of one day, and remove recoveries that the database does not have; return the files. Those
        of recoveries whose rows left the database for the lake stay as they are.

        Raises:
            OSError, StoreError: as for `catch_up`.
        """
        with self._locked(), store_errors(self._engine), self._engine.connect() as connection:
            overflow = self._write_overflow(connection, session_date)
            stories = gap_stories(connection, EVENT_TABLES[GapDetected].c.session_date == session_date)
            recoveries, left = self._write_recoveries(connection, stories)
            folders = {
                self._folder / recovery_folder(self._provider, self._market, session_date),
                *(path.parent for path in recoveries),
            }
            for folder in folders:
                for stale in {*folder.glob("recovery_*.jsonl")}.difference(recoveries, left):
                    stale.unlink()
        return [*([overflow] if overflow else []), *recoveries]

    # --- what is new ---

    @property
    def _position_path(self) -> Path:
        return self._folder / "system" / "exports.json"

    def _read_position(self) -> _Position:
        try:
            return msgspec.json.decode(read_file(self._position_path), type=_Position)
        except FileNotFoundError:
            return _Position()
        except (ValueError, RecursionError) as error:
            text = f"{self._position_path}: {error}; remove it, and all ledgers are made anew"
            raise StoreError(text) from error

    def _write_portion(self, position: _Position) -> tuple[_Position, bool]:
        """Export one portion of each stream; return the new position, and whether nothing is left."""
        overflows: list[tuple[_Key, SlotOverflowed]] = []
        gap_ids: list[str] = []
        with store_errors(self._engine), self._engine.connect() as connection:
            columns = (STREAMS.c.uid, STREAMS.c.id, STREAMS.c.high_water_mark, STREAMS.c.producer)
            streams = [_Stream(*row) for row in connection.execute(select(*columns).order_by(STREAMS.c.id))]
            done = self._done(position, streams)
            reached = dict(done)
            for row in streams:
                if row.mark > (after := done[row.uid]):
                    reached[row.uid] = upto = min(row.mark, after + _PORTION)
                    overflows += _overflows(connection, row.id, after, upto)
                    gap_ids += _closed_gaps(connection, row.id, after, upto)
            if reached == done:
                return position, True
            self._add_overflows(connection, sorted(overflows, key=lambda each: each[0]))
            self._add_recoveries(connection, gap_ids)
        self._exported = reached
        is_done = all(reached[row.uid] >= row.mark for row in streams)
        named = _newest(streams) | {row.uid for row in streams if reached[row.uid] != row.mark}
        through = streams[-1].id
        named_numbers = {row.uid: reached[row.uid] for row in streams if row.uid in named}
        return _Position(named_numbers, through, _settled(streams, named, through)), is_done

    def _done(self, position: _Position, streams: Sequence[_Stream]) -> dict[str, int]:
        """The exported number of each stream. Where a stream grew that was not likely to (an old outbox is delivered),
        or the database went back, all that the position does not name are exported again, from what this process
        knows: that makes the same files.
        """
        is_settled = _settled(streams, position.streams.keys(), position.through) == position.settled
        done = {row.uid: row.mark if is_settled else self._exported.get(row.uid, 0) for row in streams}
        done |= {row.uid: 0 for row in streams if row.id > position.through}
        return {uid: position.streams.get(uid, number) for uid, number in done.items()}

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Exclude other processes: a rebuild beside a running writer would lose rows that are appended meanwhile."""
        path = self._folder / "system" / "exports.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    # --- overflow ---

    def _add_overflows(self, connection: Connection, overflows: Sequence[tuple[_Key, SlotOverflowed]]) -> None:
        by_day: dict[str, list[tuple[_Key, SlotOverflowed]]] = {}
        for key, overflow in overflows:
            day = local_datetime(overflow.overflowed_ns).date().isoformat()
            by_day.setdefault(day, []).append((key, overflow))
        for session_date, new in by_day.items():
            path = self._folder / overflow_path(self._provider, session_date)
            written = self._overflows.get(path)
            if written is not None and new[0][0] > written.last and _size_of(path) == written.size_bytes:
                self._append(path, new)
            else:
                self._write_overflow(connection, session_date)

    def _append(self, path: Path, new: Sequence[tuple[_Key, SlotOverflowed]]) -> None:
        with path.open("ab") as file:
            file.write(b"".join(overflow_line(overflow) for _key, overflow in new))
            to_disk(file)
            self._overflows[path] = _Written(new[-1][0], file.tell())

    def _write_overflow(self, connection: Connection, session_date: str) -> Path | None:
        """Write the whole file of a day; None, and no file, for a day without refusals."""
        path = self._folder / overflow_path(self._provider, session_date)
        path.parent.mkdir(parents=True, exist_ok=True)
        last: _Key | None = None
        with replacing(path) as file:
            for key, overflow in _overflows_of(connection, session_date):
                file.write(overflow_line(overflow))
                last = key
            size_bytes = file.tell()
        if last is None:
            path.unlink()
            return None
        self._overflows[path] = _Written(last, size_bytes)
        return path

    # --- recoveries ---

    def _add_recoveries(self, connection: Connection, gap_ids: Sequence[str]) -> None:
        """Write the file of each of these gaps, whole."""
        gaps = EVENT_TABLES[GapDetected].c
        for start in range(0, len(gap_ids), _IDS_AT_ONCE):
            new = gap_stories(connection, gaps.gap_id.in_(gap_ids[start : start + _IDS_AT_ONCE]))
            for session_date in sorted({story.gap.session_date for story in new}):
                of_day = [story.gap for story in new if story.gap.session_date == session_date]
                seconds = [gap.from_ns // NS_PER_S for gap in of_day]
                beside = gap_stories(
                    connection,
                    gaps.session_date == session_date,
                    gaps.symbol.in_({gap.symbol for gap in of_day}),
                    gaps.from_ns.between(min(seconds) * NS_PER_S, (max(seconds) + 1) * NS_PER_S - 1),
                )
                paths = {recovery_path(self._market, gap) for gap in of_day}
                self._write_recoveries(
                    connection, [story for story in beside if recovery_path(self._market, story.gap) in paths]
                )

    def _write_recoveries(
        self, connection: Connection, stories: Iterable[GapStory]
    ) -> tuple[Sequence[Path], Sequence[Path]]:
        """Write the files of these gaps; return them, and those that are left as they are: of gaps whose rows left the
        database for the lake.
        """
        contents: dict[str, bytes] = {}
        removed: set[str] = set()
        for story in stories:
            if story.recovered is not None:
                rows = recovered_rows(connection, story.gap)
                name = recovery_path(self._market, story.gap)
                contents[name] = contents.get(name, b"") + recovery_lines(story.gap, story.recovered, rows)
                removed |= {name} if story.recovered.rows and not rows else set()
        kept = contents.keys() - removed
        written = {self._folder / name: content for name, content in contents.items() if content and name in kept}
        for path, content in written.items():
            _write(path, content)
        return list(written), [self._folder / name for name in removed]


def _newest(streams: Sequence[_Stream]) -> set[str]:
    """The newest streams of each producer: those that still grow."""
    by_producer: dict[str, list[str]] = {}
    for row in streams:
        by_producer.setdefault(row.producer, []).append(row.uid)
    return {uid for uids in by_producer.values() for uid in uids[-_NAMED_STREAMS:]}


def _settled(streams: Sequence[_Stream], named: Collection[str], through: int) -> str:
    """The digest of the marks of the streams up to this id that are not named."""
    lines = [f"{row.uid} {row.mark}" for row in streams if row.id <= through and row.uid not in named]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


# --- rows ----------------------------------------------------------------------------------------------------


def _overflows(connection: Connection, stream: int, after: int, upto: int) -> list[tuple[_Key, SlotOverflowed]]:
    table = EVENT_TABLES[SlotOverflowed]
    wanted = select(table).where(table.c.stream == stream, table.c.sequence > after, table.c.sequence <= upto)
    return [
        ((row.overflowed_ns, position_of(row)), event_of(SlotOverflowed, row)) for row in connection.execute(wanted)
    ]


def _overflows_of(connection: Connection, session_date: str) -> Iterator[tuple[_Key, SlotOverflowed]]:
    table = EVENT_TABLES[SlotOverflowed]
    from_ns, to_ns = day_bounds(session_date)
    moment = table.c.overflowed_ns
    wanted = select(table).where(moment >= from_ns, moment < to_ns)
    in_order = wanted.order_by(moment, table.c.stream, table.c.sequence)
    for row in connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(in_order):
        yield (row.overflowed_ns, position_of(row)), event_of(SlotOverflowed, row)


def _closed_gaps(connection: Connection, stream: int, after: int, upto: int) -> Sequence[str]:
    columns = EVENT_TABLES[GapRecovered].c
    wanted = select(columns.gap_id).where(columns.stream == stream, columns.sequence > after, columns.sequence <= upto)
    return connection.scalars(wanted).all()


# --- files ---------------------------------------------------------------------------------------------------


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content)


def _size_of(path: Path) -> int | None:
    return path.stat().st_size if path.exists() else None


class LedgerExport:
    """Exports this system's ledgers; the writer's thread only sets a flag here."""

    def __init__(self, ledgers: Ledgers, alerts: Alerts) -> None:
        self._ledgers = ledgers
        self._alerts = alerts
        self._news = threading.Event()
        self._news.set()  # an earlier process may have left something

    def count_from_thread(self, rows_by_kind: Mapping[str, int]) -> None:
        """Report so many committed rows."""
        if not EXPORTED_KINDS.isdisjoint(rows_by_kind):
            self._news.set()

    @contextlib.asynccontextmanager
    async def until_the_end(self) -> AsyncIterator[None]:
        """At the end of the block, export the rows committed in it, if the files can be written."""
        try:
            yield
        finally:
            if self._news.is_set():
                await asyncio.to_thread(self._catch_up)
            self._ledgers.close()

    async def run(self) -> None:
        """Export until cancelled; report a failure, and retry."""
        waited_s = 0.0
        while True:
            if self._news.is_set() or waited_s >= CHECK_ANYWAY_S:
                waited_s = 0.0
                failed = await asyncio.to_thread(self._catch_up)
                if failed is not None:
                    text = f"the ledgers of overflow and recovery cannot be written: {failed}"
                    self._alerts.report("ledgers", "warning", text)
                else:
                    self._alerts.resolve("ledgers", "the ledgers of overflow and recovery are written")
            await asyncio.sleep(POLL_S)
            waited_s += POLL_S

    def _catch_up(self) -> str | None:
        """The reason of a failure; None after success."""
        self._news.clear()
        try:
            self._ledgers.catch_up()
        except (OSError, StoreError) as error:
            logger.error("cannot write the ledgers: %s", error)
            self._news.set()
            return str(error)
        return None
