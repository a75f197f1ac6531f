"""The ledgers' files, made from committed rows only: none is ever read back, and each can be made again.

`Ledgers.catch_up` goes on behind the last row of each stream that is in the files. That position is written after them,
so a kill leaves files that are behind, with a torn last line perhaps, but never a position before its files: the first
time that a process touches a file it writes it whole, under another name until it is complete.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
from sqlalchemy import Connection, select

from bus.events import GapDetected, GapRecovered, SlotOverflowed, kind_of
from observer.clock import kst_datetime
from observer.errors import StoreError
from observer.store.continuity import GapStory, day_bounds, gap_stories, recovered_rows
from observer.store.engine import open_reader, require_current_schema, store_errors
from observer.store.ledgers import overflow_line, overflow_path, recovery_folder, recovery_lines, recovery_path
from observer.store.rows import Place, event_of, place_of
from observer.store.tables import EVENT_TABLES, STREAMS

EXPORTED_KINDS: Final = frozenset({kind_of(SlotOverflowed), kind_of(GapRecovered)})
"""The kinds of events after whose commit there is something to write."""

_PORTION: Final = 50_000  # events of a stream that one transaction looks through
_IDS_AT_ONCE: Final = 500
_ROWS_AT_ONCE: Final = 2_000
_NS_PER_S: Final = 1_000_000_000

_Key = tuple[int, Place]  # the order of a day's overflow: by time, and within a moment by place


def ledgers_folder(data: str) -> Path:
    """The folder of all ledgers in the data folder of a system (requirement 004: `data/observer/`)."""
    return Path(data) / "observer"


class _Position(msgspec.Struct, frozen=True):
    """How far each stream is in the files, by the stream's random id."""

    streams: dict[str, int] = {}


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

    Raises:
        StoreError: the database is not there, or has another schema than this code.
    """

    def __init__(self, url: str, folder: Path, provider: str) -> None:
        self._engine = open_reader(url)
        require_current_schema(self._engine)
        self._folder = folder
        self._provider = provider
        self._overflows: dict[Path, _Written] = {}

    def close(self) -> None:
        """Give the connection back."""
        self._engine.dispose()

    def catch_up(self) -> None:
        """Write what was committed since the last time, by whichever process.

        Raises:
            OSError: a file cannot be written.
            StoreError: the database does not answer, or what says how far the files are is not ours.
        """
        with self._locked():
            done = self._read_position()
            while (reached := self._write_portion(done)) != done:
                _replace(self._position_path, msgspec.json.encode(_Position(dict(reached))))
                done = reached

    def rebuild(self, session_date: str) -> Sequence[Path]:
        """Make the files of one day anew, and remove recoveries that the database does not have; the files.

        Raises:
            OSError, StoreError: as for `catch_up`.
        """
        with self._locked(), store_errors(self._engine), self._engine.connect() as connection:
            overflow = self._write_overflow(connection, session_date)
            stories = gap_stories(connection, EVENT_TABLES[GapDetected].c.session_date == session_date)
            recoveries = self._write_recoveries(connection, stories)
            folders = {
                self._folder / recovery_folder(self._provider, session_date),
                *(path.parent for path in recoveries),
            }
            for folder in folders:
                for stale in set(folder.glob("recovery_*.jsonl")) - set(recoveries):
                    stale.unlink()
        return [*([overflow] if overflow else []), *recoveries]

    # --- what is new ---

    @property
    def _position_path(self) -> Path:
        return self._folder / "system" / "exports.json"

    def _read_position(self) -> Mapping[str, int]:
        try:
            return msgspec.json.decode(self._position_path.read_bytes(), type=_Position).streams
        except FileNotFoundError:
            return {}
        except msgspec.DecodeError as error:
            text = f"{self._position_path}: {error}; remove it, and all ledgers are made anew"
            raise StoreError(text) from error

    def _write_portion(self, done: Mapping[str, int]) -> Mapping[str, int]:
        """Bring the files some way further; how far they are then."""
        reached = dict(done)
        overflows: list[tuple[_Key, SlotOverflowed]] = []
        gap_ids: list[str] = []
        with store_errors(self._engine), self._engine.connect() as connection:
            streams = connection.execute(select(STREAMS.c.uid, STREAMS.c.id, STREAMS.c.high_water_mark)).all()
            for uid, stream, mark in streams:
                after = done.get(uid, 0)
                if mark > after:
                    reached[uid] = upto = min(mark, after + _PORTION)
                    overflows += _overflows(connection, stream, after, upto)
                    gap_ids += _closed_gaps(connection, stream, after, upto)
            self._add_overflows(connection, sorted(overflows, key=lambda each: each[0]))
            self._add_recoveries(connection, gap_ids)
        return reached

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One hand at a time: a rebuild beside a running writer would otherwise lose what is appended meanwhile."""
        path = self._folder / "system" / "exports.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    # --- overflow ---

    def _add_overflows(self, connection: Connection, overflows: Sequence[tuple[_Key, SlotOverflowed]]) -> None:
        by_day: dict[str, list[tuple[_Key, SlotOverflowed]]] = {}
        for key, overflow in overflows:
            day = kst_datetime(overflow.overflowed_ns).date().isoformat()
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
            _to_disk(file)
            self._overflows[path] = _Written(new[-1][0], file.tell())

    def _write_overflow(self, connection: Connection, session_date: str) -> Path | None:
        """The whole file of a day; None, and no file, when nobody was refused."""
        path = self._folder / overflow_path(self._provider, session_date)
        path.parent.mkdir(parents=True, exist_ok=True)
        last: _Key | None = None
        with _replacing(path) as unfinished, unfinished.open("wb") as file:
            for key, overflow in _overflows_of(connection, session_date):
                file.write(overflow_line(overflow))
                last = key
            _to_disk(file)
            size_bytes = file.tell()
        if last is None:
            path.unlink()
            return None
        self._overflows[path] = _Written(last, size_bytes)
        return path

    # --- recoveries ---

    def _add_recoveries(self, connection: Connection, gap_ids: Sequence[str]) -> None:
        """Write the files of these gaps, each with all that belongs into it."""
        gaps = EVENT_TABLES[GapDetected].c
        for start in range(0, len(gap_ids), _IDS_AT_ONCE):
            new = gap_stories(connection, gaps.gap_id.in_(gap_ids[start : start + _IDS_AT_ONCE]))
            for session_date in sorted({story.gap.session_date for story in new}):
                of_day = [story.gap for story in new if story.gap.session_date == session_date]
                seconds = [gap.from_ns // _NS_PER_S for gap in of_day]
                beside = gap_stories(
                    connection,
                    gaps.session_date == session_date,
                    gaps.symbol.in_({gap.symbol for gap in of_day}),
                    gaps.from_ns.between(min(seconds) * _NS_PER_S, (max(seconds) + 1) * _NS_PER_S - 1),
                )
                paths = {recovery_path(gap) for gap in of_day}
                self._write_recoveries(connection, [story for story in beside if recovery_path(story.gap) in paths])

    def _write_recoveries(self, connection: Connection, stories: Iterable[GapStory]) -> Sequence[Path]:
        contents: dict[str, bytes] = {}
        for story in stories:
            if story.recovered is not None:
                lines = recovery_lines(story.gap, story.recovered, recovered_rows(connection, story.gap))
                name = recovery_path(story.gap)
                contents[name] = contents.get(name, b"") + lines
        written = {self._folder / name: content for name, content in contents.items() if content}
        for path, content in written.items():
            _replace(path, content)
        return list(written)


# --- rows ----------------------------------------------------------------------------------------------------


def _overflows(connection: Connection, stream: int, after: int, upto: int) -> list[tuple[_Key, SlotOverflowed]]:
    table = EVENT_TABLES[SlotOverflowed]
    wanted = select(table).where(table.c.stream == stream, table.c.sequence > after, table.c.sequence <= upto)
    return [((row.overflowed_ns, place_of(row)), event_of(SlotOverflowed, row)) for row in connection.execute(wanted)]


def _overflows_of(connection: Connection, session_date: str) -> Iterator[tuple[_Key, SlotOverflowed]]:
    table = EVENT_TABLES[SlotOverflowed]
    from_ns, to_ns = day_bounds(session_date)
    moment = table.c.overflowed_ns
    wanted = select(table).where(moment >= from_ns, moment < to_ns)
    in_order = wanted.order_by(moment, table.c.stream, table.c.sequence)
    for row in connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(in_order):
        yield (row.overflowed_ns, place_of(row)), event_of(SlotOverflowed, row)


def _closed_gaps(connection: Connection, stream: int, after: int, upto: int) -> Sequence[str]:
    columns = EVENT_TABLES[GapRecovered].c
    wanted = select(columns.gap_id).where(columns.stream == stream, columns.sequence > after, columns.sequence <= upto)
    return connection.scalars(wanted).all()


# --- files ---------------------------------------------------------------------------------------------------


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with _replacing(path) as unfinished, unfinished.open("wb") as file:
        file.write(content)
        _to_disk(file)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Another name, under which the file is written; it takes its own when that has ended well."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    yield unfinished
    unfinished.replace(path)


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _size_of(path: Path) -> int | None:
    return path.stat().st_size if path.exists() else None
