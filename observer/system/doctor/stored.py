"""Checks of a system's files and database against each other: what was published, what is stored, what is lost.

The checks read files and the database alone, so they work beside a running system and without one, and use none of its
counters.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bus.segments import published_by_stream
from observer.archive.package import Package, packages, packages_of
from observer.base.errors import DataFileError, StoreError
from observer.base.instance import Instance
from observer.base.units import NS_PER_S
from observer.store.engine import parse_url, sqlite_path
from observer.store.ownership import owner_of
from observer.store.removal import SealedRows
from observer.store.restore import Loss, stored_state
from observer.store.schema import other_owner
from observer.store.summary import RowsAndMarks, SummaryReader
from observer.system.doctor.finding import Finding, critical, ok, warning

_DAY_NS: Final = 86_400 * NS_PER_S
_BACKUP_DAYS: Final = 4  # a long weekend has no daily package
_LOST_MAX: Final = 3  # files of the lake, in one finding
_NEW_PACKAGE: Final = "`observer backup now`"
_RESTORE: Final = "`observer backup list`, then `observer backup restore`: the outboxes' archives deliver what it lacks"


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """Where the data are: the database, the folder with an outbox for each process, the folder of the packages.

    `instance` is the configured one; None does not compare it. `recount` counts all rows, too: that reads the whole
    database. `sealed` gives the rows of the lake that the database need not have.
    """

    url: str
    outboxes: Path
    backups: Path
    instance: Instance | None = None
    recount: bool = False
    sealed: Callable[[], Sequence[SealedRows]] = tuple


class DatabaseFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the database says of itself. `error`: why it cannot be read at all; `schema_error`: why its tables cannot.
    `foreign`: whose it is, if it is another instance's. `is_new`: it was never made, nothing waits for it.
    """

    error: str = ""
    schema_error: str = ""
    foreign: str = ""
    is_new: bool = False
    events: int = 0
    streams: int = 0
    losses: Sequence[Loss] = ()
    epochs: Sequence[str] = ()
    quarantined: int = 0

    @property
    def is_readable(self) -> bool:
        """Whether its rows can be counted."""
        return not self.error and not self.schema_error


class RowFacts(msgspec.Struct, frozen=True):
    """The count of all rows; or why there is none."""

    found: RowsAndMarks | None = None
    error: str = ""


class OutboxFacts(msgspec.Struct, frozen=True):
    """The folder of the outboxes; the events that were published; by process those that the database does not have
    (None: it cannot be read); by folder the damaged segments that are kept.
    """

    folder: str
    published: int
    waiting: Mapping[str, int] | None
    damaged: Mapping[str, int]


class BackupFacts(msgspec.Struct, frozen=True):
    """The folder of the packages, the newest verified one with its market time, and the newest event's."""

    folder: str
    newest: str = ""
    taken_ns: int = 0
    newest_event_ns: int | None = None


def examine(stored: Stored) -> Sequence[Finding]:
    """Run all checks of the stored data."""
    database = database_facts(stored)
    return [
        *judge_database(database),
        *(judge_rows(row_facts(stored)) if stored.recount and database.is_readable else ()),
        *judge_outboxes(outbox_facts(stored)),
        *judge_backup(backup_facts(stored)),
    ]


# --- facts -----------------------------------------------------------------------------------------------------


def database_facts(stored: Stored) -> DatabaseFacts:
    """What the database says of itself."""
    try:
        state = stored_state(stored.url)
    except StoreError as error:
        return DatabaseFacts(error=str(error), is_new=_is_new(stored))
    facts = DatabaseFacts(events=sum(state.marks.values()), streams=len(state.marks), losses=state.losses)
    try:
        with SummaryReader(stored.url) as reader:
            epochs, quarantined = reader.epochs(), reader.quarantined()
        owner = owner_of(stored.url)
    except StoreError as error:
        return msgspec.structs.replace(facts, schema_error=str(error))
    foreign = ""
    if stored.instance is not None and owner is not None and owner.instance != stored.instance:
        foreign = other_owner("the database", owner.instance, stored.instance)
    return msgspec.structs.replace(facts, epochs=epochs, quarantined=quarantined, foreign=foreign)


def _is_new(stored: Stored) -> bool:
    """Whether there is no SQLite file, and neither an event nor a package that says that there was one."""
    try:
        url = parse_url(stored.url)
    except StoreError:
        return False
    if url.get_backend_name() != "sqlite" or sqlite_path(url).exists() or _packages(stored):
        return False
    return not any(any(published_by_stream(folder).values()) for folder in _outboxes(stored))


def _packages(stored: Stored) -> Sequence[Package]:
    if stored.instance is None:
        return packages(stored.backups)
    return packages_of(stored.backups, stored.instance)


def _outboxes(stored: Stored) -> Sequence[Path]:
    return sorted(path for path in stored.outboxes.glob("*") if path.is_dir())


def row_facts(stored: Stored) -> RowFacts:
    """The count of all rows, in the database and in the lake."""
    try:
        with SummaryReader(stored.url) as reader:
            return RowFacts(reader.rows_and_marks(stored.sealed))
    except DataFileError as error:
        return RowFacts(error=f"what the lake has is unknown: {error}")
    except StoreError as error:
        return RowFacts(error=str(error))


def outbox_facts(stored: Stored) -> OutboxFacts:
    """What the outboxes hold, against the marks of the database."""
    folders = _outboxes(stored)
    published = {folder.name: published_by_stream(folder) for folder in folders}
    waiting: Mapping[str, int] | None = None
    try:
        marks = stored_state(stored.url).marks
    except StoreError:  # the check of the database states it
        pass
    else:
        waiting = {
            name: sum(max(0, last - marks.get(stream, 0)) for stream, last in streams.items())
            for name, streams in published.items()
        }
    kept = {str(folder / "damaged"): sum(1 for _ in (folder / "damaged").glob("*")) for folder in folders}
    count = sum(sum(streams.values()) for streams in published.values())
    damaged = {name: segments for name, segments in kept.items() if segments}
    return OutboxFacts(str(stored.outboxes), count, waiting, damaged)


def backup_facts(stored: Stored) -> BackupFacts:
    """The newest verified package and the newest event."""
    verified = [package for package in _packages(stored) if package.verified_ns is not None]
    newest = max(verified, key=lambda package: package.taken_ns, default=None)
    try:
        with SummaryReader(stored.url) as reader:
            newest_event_ns = reader.newest_ns()
    except StoreError:  # the check of the database states it
        newest_event_ns = None
    if newest is None:
        return BackupFacts(str(stored.backups), newest_event_ns=newest_event_ns)
    return BackupFacts(str(stored.backups), newest.name, newest.taken_ns, newest_event_ns)


# --- findings --------------------------------------------------------------------------------------------------


def judge_database(facts: DatabaseFacts) -> Iterator[Finding]:
    """Reachable, ours, of this program's schema; nothing lost, put back or refused."""
    if facts.is_new:
        yield warning("database", facts.error.partition(":")[0], "`observer run` makes it")
        return
    if facts.error:
        remedy = f"start the server, correct [store] url, or put a package in its place: {_RESTORE}"
        yield critical("database", facts.error, remedy)
        return
    yield ok("database", f"{facts.events:,} events of {facts.streams} event streams")
    if facts.schema_error:
        remedy = "older: `observer db upgrade`, or `observer run`; newer: the version of Observer that wrote it"
        yield critical("schema", facts.schema_error, remedy)
    if facts.foreign:
        yield critical("owner", facts.foreign, "give this instance a database of its own: [store] url")
    yield _losses(facts.losses)
    if went_back := facts.epochs[1:]:
        times = "once" if len(went_back) == 1 else f"{len(went_back)} times, the last time"
        text = f"it went back {times} because {went_back[-1]}; events came again"
        yield warning("epochs", text, "none if you restored it; else find in the server's log who put it back")
    if facts.quarantined:
        text = f"{facts.quarantined:,} events are in quarantine: the table says why"
        yield warning("quarantine", text, "read `reason` in the table quarantine, and report it with this version")


def _losses(losses: Sequence[Loss]) -> Finding:
    lost = sum(loss.events for loss in losses)
    if not lost:
        return ok("losses", "none")
    first = losses[0]
    where = f"{first.stream} {first.first_sequence}-{first.last_sequence} ({first.reason})"
    more = f" and {len(losses) - 1} more" if len(losses) > 1 else ""
    text = f"{lost:,} published events exist nowhere any more: {where}{more}; all in the table delivery_losses"
    remedy = "an older package may hold them (`observer backup list`); OPERATIONS.md, delivery_losses"
    return critical("losses", text, remedy)


def judge_rows(facts: RowFacts) -> Iterator[Finding]:
    """Every number up to a stream's mark is one row of the database or of the lake, or lost; each trade has a group."""
    found = facts.found
    if found is None:
        yield critical("rows", facts.error, "`observer lake verify` names the days; put back their files, or the copy")
        return
    in_lake = f" and {found.removed:,} in the lake alone" if found.removed else ""
    if found.rows + found.removed == found.expected:
        yield ok("rows", f"{found.rows:,} rows{in_lake}, as the event streams' marks say")
    else:
        text = f"{found.rows:,} rows{in_lake}, but {found.expected:,} by the event streams' marks"
        yield critical("rows", text, _RESTORE)
    if found.ungrouped:
        text = f"{found.ungrouped:,} rows of trade_rows have a group that is not in trade_groups: no query sees them"
        yield critical("groups", text, _RESTORE)


def judge_lake(lost: Sequence[str]) -> Iterator[Finding]:
    """Files of sealed days that are gone; what is still there says nothing."""
    if lost:
        more = f"; and {len(lost) - _LOST_MAX} more" if len(lost) > _LOST_MAX else ""
        remedy = "mount the lake, or `observer backup restore --lake`"
        yield critical("lake", f"{'; '.join(lost[:_LOST_MAX])}{more}", remedy)


def judge_outboxes(facts: OutboxFacts) -> Iterator[Finding]:
    """What was published and is not stored yet; damaged segments."""
    if facts.waiting is not None:
        yield _undelivered(facts, facts.waiting)
    for folder, count in facts.damaged.items():
        text = f"{count} damaged segments are kept in {folder}"
        yield warning("damage", text, "check the disk (smartctl), examine them, then delete them")


def _undelivered(facts: OutboxFacts, waiting: Mapping[str, int]) -> Finding:
    if not facts.published:
        return ok("outboxes", f"no outbox in {facts.folder} to compare with")
    if not any(waiting.values()):
        return ok("outboxes", f"{facts.published:,} events were published, all are stored or stated as lost")
    counts = ", ".join(f"{name} {count:,}" for name, count in waiting.items() if count)
    return warning("outboxes", f"not stored yet: {counts}", "a running system delivers them: `observer run`")


def judge_backup(facts: BackupFacts) -> Iterator[Finding]:
    """Judges a package by the newest event, not by a clock: a system that is off needs no new package."""
    if not facts.newest:
        yield warning("backup", f"no verified package in {facts.folder}", _NEW_PACKAGE)
        return
    days = max(0, (facts.newest_event_ns or 0) - facts.taken_ns) / _DAY_NS
    text = f"{facts.newest}, verified, {days:.1f} days older than the newest event"
    yield warning("backup", text, _NEW_PACKAGE) if days > _BACKUP_DAYS else ok("backup", text)
