"""The ledgers' files, made from committed rows only. No file is ever read back, and each can be made again.

`Ledgers.catch_up` continues after the last exported row of each stream. The position is written after the files, so a
kill leaves files that are behind, perhaps with a torn last line, but never a position ahead of its files: the first
access of a process writes a file whole, under another name until it is complete. Each start of a process is a stream:
the few positions that changed lately are in a file of their own, `exports.json`, which is written each time.

`LedgerExport` writes the files after the commits, beside the committing thread, which never waits for it.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy import Connection, func, select

from bus.events import Event, GapDetected, GapRecovered, SlotOverflowed, kind_of
from observer.base.errors import StoreError
from observer.base.file_lock import FileLock
from observer.base.files import read_file, replace_file, replacing, to_disk
from observer.base.local_time import local_datetime
from observer.base.units import NS_PER_S
from observer.monitoring.alerts.process import Alerts
from observer.store.engine import open_reader, require_current_schema, store_errors
from observer.store.gaps import GapStory, gap_stories, recovered_rows
from observer.store.ledgers import (
    lines_without,
    overflow_line,
    overflow_path,
    recovery_folder,
    recovery_lines,
    recovery_path,
)
from observer.store.rows import Position, event_of, position_of
from observer.store.session import events_in, rows_of
from observer.store.slots import day_bounds
from observer.store.tables import EVENT_TABLES, STREAMS

_EXPORTED: Final[Sequence[type[Event]]] = (SlotOverflowed, GapRecovered)
EXPORTED_KINDS: Final = frozenset(map(kind_of, _EXPORTED))
"""The kinds of events that the ledgers export."""

logger = logging.getLogger(__name__)

POLL_S: Final = 1.0  # machine seconds between checks at whether there is something to write
CHECK_ANYWAY_S: Final = 60.0  # a commit with an unknown outcome sets no flag
_PORTION: Final = 50_000  # events of a stream that one transaction reads
_RECENT_STREAMS_MAX: Final = 100  # in exports.json: some starts of the system
_POSITION_BYTES_MAX: Final = 100_000_000  # a stream has 40 bytes and its number
_IDS_AT_ONCE: Final = 500
_ROWS_AT_ONCE: Final = 2_000

_Key = tuple[int, Position]  # the order of a day's overflow: by time, then by position


def ledgers_folder(data: str) -> Path:
    """The folder of all ledgers in the data folder of a system (`data/observer/`)."""
    return Path(data) / "observer"


class _Position(msgspec.Struct, frozen=True):
    """The progress of the files: the exported number of each stream, by its random id."""

    streams: dict[str, int] = {}


class _Written(msgspec.Struct, frozen=True):
    """A file of overflow in the state in which this process left it."""

    last: _Key
    size_bytes: int


class Ledgers:
    """The ledgers of one database in one folder. Used by one thread at a time.

    Args:
        url: the database.
        folder: of all ledgers; made when there is something to write.
        provider: the broker of the overflow: the events do not name it.
        market: the instance's, which the folders of recoveries name.

    Raises:
        StoreError: the database is missing, or has another schema than this code.
    """

    def __init__(self, url: str, folder: Path, provider: str, market: str) -> None:
        self._engine = open_reader(url)
        require_current_schema(self._engine)
        self._folder = folder
        self._provider = provider
        self._market = market
        self._overflows: dict[Path, _Written] = {}

    def close(self) -> None:
        self._engine.dispose()

    def catch_up(self) -> None:
        """Write the rows that any process committed since the last call.

        Raises:
            OSError: a file cannot be written.
            StoreError: the database does not answer, or what says how far the files are is not ours.
        """
        with self._locked():
            settled, recent = self._read_positions()
            is_done, position = False, {**settled, **recent}
            while not is_done:
                reached, is_done = self._write_portion(position)
                if reached != position:
                    settled = self._write_positions(settled, reached)
                position = reached

    def rebuild(self, session_date: str) -> Sequence[Path]:
        """Rebuild the files of one day, and remove recoveries that the database does not have; return the files. Lines
        of recoveries whose rows left the database for the lake stay.

        Raises:
            OSError, StoreError: as for `catch_up`.
        """
        with self._locked(), store_errors(self._engine), self._engine.connect() as connection:
            overflow = self._write_overflow(connection, session_date)
            stories = gap_stories(connection, EVENT_TABLES[GapDetected].c.session_date == session_date)
            recoveries = self._write_recoveries(connection, stories, is_rebuild=True)
            folders = {
                self._folder / recovery_folder(self._provider, self._market, session_date),
                *(path.parent for path in recoveries),
            }
            for folder in folders:
                for stale in {*folder.glob("recovery_*.jsonl")}.difference(recoveries):
                    stale.unlink()
        return [*([overflow] if overflow else []), *recoveries]

    # --- what is new ---

    @property
    def _recent_path(self) -> Path:
        return self._folder / "system" / "exports.json"

    @property
    def _settled_path(self) -> Path:
        return self._folder / "system" / "exports-settled.json"

    def _read_positions(self) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """Return the position of some starts ago, and the changes since."""
        recent = _read_position(self._recent_path)
        return (_read_position(self._settled_path) or {}, recent) if recent is not None else ({}, {})

    def _write_positions(self, settled: Mapping[str, int], reached: Mapping[str, int]) -> Mapping[str, int]:
        """Write the position. Returns the settled position."""
        recent = _changed(settled, reached)
        if len(recent) > _RECENT_STREAMS_MAX or settled.keys() - reached.keys():
            self._recent_path.unlink(missing_ok=True)  # a kill here: all is exported again
            _write(self._settled_path, msgspec.json.encode(_Position(dict(reached))))
            settled, recent = reached, {}
        _write(self._recent_path, msgspec.json.encode(_Position(recent)))
        return settled

    def _write_portion(self, position: Mapping[str, int]) -> tuple[dict[str, int], bool]:
        """Export one portion of each stream. Returns the new position, and whether nothing is left. The position goes
        back with a database that went back: redelivered events are exported again.
        """
        reached: dict[str, int] = {}
        overflows: list[tuple[_Key, SlotOverflowed]] = []
        gap_ids: list[str] = []
        is_done = True
        with store_errors(self._engine), self._engine.connect() as connection:
            columns = (STREAMS.c.uid, STREAMS.c.id, STREAMS.c.high_water_mark)
            for uid, stream, mark in connection.execute(select(*columns).order_by(STREAMS.c.id)).all():
                reached[uid] = after = min(mark, position.get(uid, 0))
                if mark > after:
                    reached[uid] = upto = min(mark, _before_next(connection, stream, after, mark) + _PORTION)
                    is_done = is_done and upto == mark
                    overflows += _overflows(connection, stream, after, upto)
                    gap_ids += _closed_gaps(connection, stream, after, upto)
            self._add_overflows(connection, sorted(overflows, key=lambda each: each[0]))
            self._add_recoveries(connection, gap_ids)
        return reached, is_done

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Exclude other processes: a rebuild beside a running writer would lose rows that are appended meanwhile."""
        path = self._folder / "system" / "exports.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(FileLock(path)) as lock, lock.held():
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
        """Write a day's whole file. Returns None and writes no file for a day without refusals."""
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
        """Write the whole file of each of these gaps."""
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
        self, connection: Connection, stories: Iterable[GapStory], *, is_rebuild: bool = False
    ) -> Sequence[Path]:
        """Write the files of the gaps and return their paths. A line whose row is no longer in the database (the row
        left for the lake, or the database went back) stays. A rebuild keeps such a line only where rows are known to be
        missing.
        """
        lines: dict[Path, list[bytes]] = {}
        lacking: set[Path] = set()
        for story in stories:
            if story.recovered is not None:
                rows = recovered_rows(connection, story.gap)
                path = self._folder / recovery_path(self._market, story.gap)
                lines.setdefault(path, []).extend(recovery_lines(story.gap, story.recovered, rows))
                lacking |= {path} if len(rows) < story.recovered.rows else set()
        written: list[Path] = []
        for path, found in lines.items():
            held = _lines_of(path)
            kept = lines_without(found, held) if path in lacking or not is_rebuild else []
            if content := [*kept, *found]:
                written.append(path)
                if content != held:  # a file that is written anew is another one for the backup
                    _write(path, b"".join(content))
        return written


def _read_position(path: Path) -> dict[str, int] | None:
    try:
        return msgspec.json.decode(read_file(path, _POSITION_BYTES_MAX), type=_Position).streams
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path}: {error}; remove it, and all ledgers are made anew") from error


def _changed(settled: Mapping[str, int], reached: Mapping[str, int]) -> dict[str, int]:
    return {uid: number for uid, number in reached.items() if settled.get(uid) != number}


# --- rows ----------------------------------------------------------------------------------------------------


def _before_next(connection: Connection, stream: int, after: int, mark: int) -> int:
    """The number before the stream's next row for the files: a day's trades in between are no portions."""
    tables = (EVENT_TABLES[kind].c for kind in _EXPORTED)
    behind = (select(func.min(each.sequence)).where(each.stream == stream, each.sequence > after) for each in tables)
    found = [connection.scalar(wanted) for wanted in behind]
    return min((number - 1 for number in found if number is not None), default=mark)


def _overflows(connection: Connection, stream: int, after: int, upto: int) -> list[tuple[_Key, SlotOverflowed]]:
    within = EVENT_TABLES[SlotOverflowed].c.sequence.between(after + 1, upto)
    rows = connection.execute(rows_of(SlotOverflowed, within, stream=stream))
    return [((row.overflowed_ns, position_of(row)), event_of(SlotOverflowed, row)) for row in rows]


def _overflows_of(connection: Connection, session_date: str) -> Iterator[tuple[_Key, SlotOverflowed]]:
    from_ns, to_ns = day_bounds(session_date)
    within = EVENT_TABLES[SlotOverflowed].c.overflowed_ns.between(from_ns, to_ns - 1)
    in_order = rows_of(SlotOverflowed, within, order="overflowed_ns stream sequence")
    for row in connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(in_order):
        yield (row.overflowed_ns, position_of(row)), event_of(SlotOverflowed, row)


def _closed_gaps(connection: Connection, stream: int, after: int, upto: int) -> Sequence[str]:
    within = EVENT_TABLES[GapRecovered].c.sequence.between(after + 1, upto)
    return [each.gap_id for each in events_in(connection, GapRecovered, within, stream=stream)]


# --- files ---------------------------------------------------------------------------------------------------


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content)


def _lines_of(path: Path) -> list[bytes]:
    try:
        with path.open("rb") as file:
            return list(file)
    except FileNotFoundError:
        return []


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
