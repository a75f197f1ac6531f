"""What a lake and its database must hold after a kill. The judge shares no code with the lake.

It reads what an engine would read: the files that a glob finds, the versions that the manifests name, the tables of the
catalogue, and the rows of the database. A second database, whose rows nothing removes, has every row that was ever
stored, and says which of them are one commit's.
"""

import json
import sqlite3
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec
import pyarrow.parquet as pq
from pyiceberg.table import StaticTable

PARTITIONED: Final = ("market", "session_date")
OF_GAPS: Final = ("gap_recoveries", "gap_losses")
# The time that gives the day of a kind without a date.
MOMENTS: Final = {
    "market_states": "receive_time_ns",
    "navs": "receive_time_ns",
    "sampling_changes": "changed_ns",
    "triggers": "fired_ns",
    "trigger_ends": "ended_ns",
    "slot_assignments": "assigned_ns",
    "slot_extensions": "extended_ns",
    "slot_releases": "released_ns",
    "slot_overflows": "overflowed_ns",
    "churn_guard_changes": "changed_ns",
    "connections": "changed_ns",
}
FILE: Final = "part-0.parquet"

Identity = tuple[str, int]
"""An event: the random id of its stream, and its number in that."""
Rows = Mapping[Identity, tuple[object, ...]]
"""The other columns of a file, by event."""
Part = tuple[str, str]
"""A kind and a day."""


class Seen(msgspec.Struct):
    """How much a campaign has judged: files, tables of the catalogue, and parts of a day in the database."""

    files: int = 0
    tables: int = 0
    parts: int = 0


class LakeJudge:
    """Judges one lake.

    Args:
        lake: its folder.
        database: the file of its database.
        truth: the file of the database with every row; it has the streams under the same random ids.
        kinds: of the rows.
        days: of the rows.
        removed_by: the lake whose manifests say what the database need not have; this one unless another is given.
    """

    def __init__(
        self,
        lake: Path,
        database: Path,
        truth: Path,
        kinds: Sequence[str],
        days: Sequence[str],
        removed_by: Path | None = None,
    ) -> None:
        self._lake = lake
        self._removed_by = removed_by or lake
        self._database = database
        self._truth = truth
        self._parts = [(kind, day) for kind in kinds for day in days]
        self._files: dict[tuple[Path, int, int], Rows] = {}  # each file is read once
        self._tables: dict[str, Mapping[str, Counter[tuple[object, ...]]]] = {}
        self._all: dict[Part, Rows] = {}
        self._commits: dict[str, list[tuple[int, int]]] = {}  # by stream, the last number and the place of each
        self.seen = Seen()

    def committed(self, stream: str, last: int) -> None:
        """Note the next commit: it has the events of the stream up to that number."""
        self._commits.setdefault(stream, []).append((last, sum(map(len, self._commits.values()))))
        self._all.clear()

    def after_kill(self) -> None:
        """Raise AssertionError unless everything that is visible is whole."""
        for kind, day in self._parts:
            found = sorted((self._lake / f"kind={kind}").glob(f"market=*/session_date={day}/{FILE}"))
            assert len(found) <= 1, found
            versions = [self._read(path) for path in self._versions(kind, day)]
            for earlier, later in pairwise(versions):
                assert earlier.items() <= later.items(), f"{kind} {day}: a version lacks rows of the one before"
            for rows in [*versions, *map(self._read, found)]:
                assert rows == self._of_one_commit(kind, day, rows), f"{kind} {day}: {len(rows)} rows"
            self._judge_database(kind, day, versions[-1] if versions else {})
        self._judge_catalogue()

    def whole(self) -> int:
        """As `after_kill`; and glob and catalogue have every row, and nothing unfinished lies about. The rows."""
        rows = self.whole_files()
        tables = dict(self._catalogue())
        for kind, day in self._parts:
            in_catalogue = tables.get(kind, {}).get(day, Counter())
            assert in_catalogue == Counter(self._stored(kind, day).values()), f"{kind} {day}: {in_catalogue.total()}"
        assert not list((self._lake / "_staging").iterdir())
        return rows

    def whole_files(self) -> int:
        """As `after_kill`; and the glob has every row, and each version's file is named. The rows."""
        self.after_kill()
        for kind, day in self._parts:
            expected = self._stored(kind, day)
            found = [self._read(path) for path in self._lake.glob(f"kind={kind}/market=*/session_date={day}/{FILE}")]
            assert found == ([expected] if expected else []), f"{kind} {day}"
            folder = self._lake / f"_versions/kind={kind}"
            there = set(folder.glob(f"market=*/session_date={day}/*"))
            assert there == set(self._versions(kind, day))
        return sum(len(self._stored(*part)) for part in self._parts)

    def hot_rows(self, day: str, kinds: Sequence[str]) -> int:
        """How many rows of these kinds and that day the database has."""
        return sum(len(self._hot(kind, day)) for kind in kinds)

    # --- files ---

    def _manifest(self, day: str, lake: Path | None = None) -> dict[str, object]:
        found = list(((lake or self._lake) / "_days").glob(f"market=*/{day}.json"))
        return json.loads(found[0].read_text()) if found else {"kinds": {}}

    def _versions(self, kind: str, day: str) -> Iterator[Path]:
        kinds = self._manifest(day)["kinds"]
        assert isinstance(kinds, dict)
        for version in kinds.get(kind, []):
            [folder] = (self._lake / f"_versions/kind={kind}").glob(f"market=*/session_date={day}")
            yield folder / f"{version['version']}.parquet"

    def _read(self, path: Path) -> Rows:
        state = path.stat()
        key = (path, state.st_ino, state.st_mtime_ns)
        if key not in self._files:
            with pq.ParquetFile(path) as file:
                uids = {each["stream"]: each["uid"] for each in json.loads(file.metadata.metadata[b"observer.streams"])}
                rows = file.read(use_threads=False).to_pylist()
            self._files[key] = {(uids[row.pop("stream")], row["sequence"]): tuple(row.values()) for row in rows}
            assert len(self._files[key]) == len(rows), f"{path} has an event twice"
            self.seen.files += 1
        return self._files[key]

    # --- catalogue ---

    def _catalogue(self) -> Iterator[tuple[str, Mapping[str, Counter[tuple[object, ...]]]]]:
        """By kind the rows of each day, as the catalogue's tables have them."""
        path = self._lake / "_catalogue/catalogue.sqlite3"
        found: list[tuple[str, str]] = []
        with (
            suppress(sqlite3.OperationalError),
            closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as catalogue,
        ):
            found = catalogue.execute("SELECT table_name, metadata_location FROM iceberg_tables").fetchall()
        for kind, location in found:
            if location not in self._tables:
                rows = StaticTable.from_metadata(location).scan().to_arrow().to_pylist()
                self._tables[location] = _by_day(rows)
                self.seen.tables += 1
            yield kind, self._tables[location]

    def _judge_catalogue(self) -> None:
        """Each day of each table has the rows of one version."""
        for kind, by_day in self._catalogue():
            for day, rows in by_day.items():
                versions = [Counter(self._read(path).values()) for path in self._versions(kind, day)]
                assert rows in versions, f"{kind} {day}: {rows.total()} rows in the catalogue"

    # --- databases ---

    def _judge_database(self, kind: str, day: str, newest: Rows) -> None:
        """A row is in the database, or in the newest version of a kind that may be removed."""
        removed = self._manifest(day, self._removed_by).get("removed", [])
        assert isinstance(removed, list)
        hot, every = self._hot(kind, day), self._stored(kind, day)
        sealed = newest if kind in removed else {}
        assert {**sealed, **hot} == every, f"{kind} {day}: {len(hot)} hot, {len(sealed)} sealed, {len(every)} stored"
        self.seen.parts += 1

    def _stored(self, kind: str, day: str) -> Rows:
        if (kind, day) not in self._all:
            self._all[kind, day] = _rows_in(self._truth, kind, day)
        return self._all[kind, day]

    def _hot(self, kind: str, day: str) -> Rows:
        return _rows_in(self._database, kind, day)

    def _of_one_commit(self, kind: str, day: str, rows: Rows) -> Rows:
        """The stored rows up to the commit that brought the last of these rows."""
        newest = max(map(self._commit_of, rows), default=-1)
        return {event: row for event, row in self._stored(kind, day).items() if self._commit_of(event) <= newest}

    def _commit_of(self, event: Identity) -> int:
        stream, number = event
        commits = self._commits[stream]
        return commits[bisect_left(commits, (number, -1))][1]


def _by_day(rows: Sequence[dict[str, object]]) -> Mapping[str, Counter[tuple[object, ...]]]:
    found: dict[str, Counter[tuple[object, ...]]] = {}
    for row in rows:
        day = str(row["session_date"])
        values = tuple(value for name, value in row.items() if name not in ("stream", *PARTITIONED))
        found.setdefault(day, Counter())[values] += 1
    return found


def _rows_in(database: Path, kind: str, day: str) -> Rows:
    """The rows of a database, in the order of its columns."""
    where = (
        f"date({MOMENTS[kind]} / 1000000000, 'unixepoch', '+9 hours') = ?" if kind in MOMENTS else "session_date = ?"
    )
    if kind in OF_GAPS:
        where = "gap_id IN (SELECT gap_id FROM gaps WHERE session_date = ?)"
    with closing(sqlite3.connect(database)) as connection:
        uids = dict(connection.execute("SELECT id, uid FROM streams"))
        names = [column[1] for column in connection.execute(f"PRAGMA table_info({kind})")]
        kept = [name for name in names if name not in ("stream", *PARTITIONED)]
        columns = ", ".join(f'"{name}"' for name in kept)
        found = connection.execute(f"SELECT stream, {columns} FROM {kind} WHERE {where}", (day,)).fetchall()
    place = kept.index("sequence") + 1
    return {(uids[row[0]], row[place]): row[1:] for row in found}
