"""Checks of a system's files and database against each other: what was published, what is stored, what is lost.

The checks read files and the database alone, so they work beside a running system and without one, and use none of its
counters.
"""

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bus.archive import damaged_segments
from bus.segments import published_by_stream
from observer.archive.copies import COPIES_MIN, LAKE, Rows, fewest_copies
from observer.archive.day import SealedDay, lost_files, readable_days, sealed_days
from observer.archive.package import Package, packages, packages_of
from observer.archive.scrub import known_damage, scrub_text
from observer.archive.verification import false_manifest
from observer.base.clock import RealClock
from observer.base.errors import DatabaseDamagedError, DataFileError, StoreError
from observer.base.instance import Instance
from observer.base.remedies import REMEDIES
from observer.base.units import NS_PER_S
from observer.store.engine import parse_url, sqlite_path
from observer.store.integrity import check_integrity
from observer.store.owner import owner_of
from observer.store.removal import SealedRows
from observer.store.restore import Loss, stored_state
from observer.store.schema import other_owner
from observer.store.summary import SummaryReader
from observer.system.doctor.finding import Finding, critical, ok, warning

_DAY_NS: Final = 86_400 * NS_PER_S
_BACKUP_DAYS: Final = 4  # a long weekend has no daily package
_LOST_MAX: Final = 3  # files of the lake, in one finding
_RESTORE: Final = REMEDIES["database damaged"]


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


def examine(stored: Stored) -> Sequence[Finding]:
    """Run all checks of the stored data."""
    return [finding for check in (database, rows, outboxes, backup) for finding in check(stored)]


def database(stored: Stored) -> Iterator[Finding]:
    """Reachable, ours, of this program's schema; nothing lost, put back or refused."""
    try:
        state = stored_state(stored.url)
    except StoreError as error:
        if _is_new(stored):
            yield warning("database", str(error).partition(":")[0], REMEDIES["database new"])
        elif _is_missing(stored):
            yield critical("database", str(error).partition(":")[0], _RESTORE)
        elif isinstance(error, DatabaseDamagedError):
            yield critical("database", str(error).removesuffix(f": {_RESTORE}"), _RESTORE)
        else:
            yield critical("database", str(error), "start the server, or correct [store] url")
        return
    yield ok("database", f"{sum(state.marks.values()):,} events of {len(state.marks)} event streams")
    epochs: Sequence[str] = ()
    quarantined = 0
    try:
        with SummaryReader(stored.url) as reader:
            epochs, quarantined = reader.epochs(), reader.quarantined()
        owner = owner_of(stored.url)
    except DatabaseDamagedError as error:
        yield critical("database", str(error), _RESTORE)
    except StoreError as error:
        remedy = "older: `observer db upgrade`, or `observer run`; newer: the version of Observer that wrote it"
        yield critical("schema", str(error), remedy)
    else:
        if stored.instance is not None and owner is not None and owner.instance != stored.instance:
            text = other_owner("the database", owner.instance, stored.instance)
            yield critical("owner", text, "give this instance a database of its own: [store] url")
    yield _losses(state.losses)
    if went_back := epochs[1:]:
        times = "once" if len(went_back) == 1 else f"{len(went_back)} times, the last time"
        text = f"it went back {times} because {went_back[-1]}; events came again"
        yield warning("epochs", text, "none if you restored it; else find in the server's log who put it back")
    if quarantined:
        text = f"{quarantined:,} events are in quarantine: the table says why"
        yield warning("quarantine", text, "read `reason` in the table quarantine, and report it with this version")


def _is_missing(stored: Stored) -> bool:
    try:
        url = parse_url(stored.url)
    except StoreError:
        return False
    return url.get_backend_name() == "sqlite" and not sqlite_path(url).exists()


def _is_new(stored: Stored) -> bool:
    """Whether there is no SQLite file, and neither an event nor a package that says that there was one."""
    if not _is_missing(stored) or _packages(stored):
        return False
    return not any(any(published_by_stream(folder).values()) for folder in _outboxes(stored))


def _packages(stored: Stored) -> Sequence[Package]:
    if stored.instance is None:
        return packages(stored.backups)
    return packages_of(stored.backups, stored.instance)


def _outboxes(stored: Stored) -> Sequence[Path]:
    return sorted(path for path in stored.outboxes.glob("*") if path.is_dir())


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


def integrity(stored: Stored, stop: threading.Event) -> Iterator[Finding]:
    """Whether the database calls its pages and indexes whole."""
    try:
        found = check_integrity(stored.url, stop)
    except StoreError as error:
        yield critical("integrity", str(error), _RESTORE)
        return
    for problem in found.problems:
        yield critical("integrity", problem, _RESTORE)
    if not found.problems:
        yield ok("integrity", found.examined)


def rows(stored: Stored) -> Iterator[Finding]:
    """Every number up to a stream's mark is one row of the database or of the lake, or lost; each trade has a group.
    Nothing where no recount is wanted, or the database cannot be read, which its own check states.
    """
    if not stored.recount or not is_readable(stored.url):
        return
    remedy = "as this line says"
    try:
        with SummaryReader(stored.url) as reader:
            found = reader.rows_and_marks(stored.sealed)
    except DataFileError as error:
        yield critical("rows", f"what the lake has is unknown: {error}", remedy)
        return
    except StoreError as error:
        yield critical("rows", str(error), _RESTORE if isinstance(error, DatabaseDamagedError) else remedy)
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


def is_readable(url: str) -> bool:
    """Whether the rows of a database can be counted."""
    try:
        stored_state(url)
        with SummaryReader(url) as reader:
            reader.epochs()
    except StoreError:
        return False
    return True


def lake(folder: Path, *, recount: bool = False) -> Iterator[Finding]:
    """Files of sealed days that are gone, or were found damaged by any reader, or a manifest that cannot be read; with
    `recount` manifests that state other rows than their files, too.
    """
    days, wrong = readable_days(folder)
    gone = [text for day in days for text in lost_files(folder, day)]
    found = known_damage(folder).items()
    damaged = [text for path, text in found if not any(each.startswith(path) for each in gone)]
    false = [text for day in days if recount for text in false_manifest(folder, day)]
    lost = [*wrong.values(), *gone, *(damaged or false)]
    if lost:
        more = f"; and {len(lost) - _LOST_MAX} more" if len(lost) > _LOST_MAX else ""
        yield critical("lake", f"{'; '.join(lost[:_LOST_MAX])}{more}", "mount the lake, or as each of these lines says")
    if text := scrub_text(folder, RealClock().now_ns() // NS_PER_S):
        yield ok("lake files", text)


def copies(stored: Stored, folders: Mapping[str, Path], *, has_target: bool) -> Iterator[Finding]:
    """How many independent copies each sealed day has; `folders` are the lake and its copies by their places. Files are
    looked at, not read. Nothing where no day is sealed or a manifest cannot be read, which another check states.
    """
    days: Sequence[SealedDay] = ()
    with contextlib.suppress(DataFileError):
        days = sealed_days(folders[LAKE])
    if not days:
        return
    verified = [
        each.manifest for each in _packages(stored) if each.manifest is not None and each.verified_ns is not None
    ]
    rows = {"packages": [Rows(each.marks, each.lake_days) for each in verified]}
    with contextlib.suppress(StoreError):  # the check of the database states it
        removed = [day.session_date for day in days if day.removed]
        rows = {"database": [Rows(stored_state(stored.url).marks, removed)], **rows}
    held = {day.session_date: fewest_copies(day, folders, rows, has_target=has_target) for day in days}
    single = [day for day, places in held.items() if len(places) < COPIES_MIN]
    counts = Counter(map(len, held.values()))
    numbers = ", ".join(f"{counts[count]} in {count}" for count in sorted(counts, reverse=True))
    text = f"independent copies of {len(held)} sealed days: {numbers}"
    if not single:
        yield Finding("copies", "ok", text, days=held)
        return
    more = f" and {len(single) - _LOST_MAX} more" if len(single) > _LOST_MAX else ""
    lost = [day for day in single if LAKE not in held[day]]
    remedy = (
        REMEDIES["lake damaged"].replace("DAY", lost[0])
        if lost
        else "`observer backup now` copies them, as each night does"
    )
    named = ", ".join(f"{day} ({' '.join(held[day]) or 'none'})" for day in single[:_LOST_MAX])
    yield Finding("copies", "warning", f"{text}: {named}{more}", remedy, held)


def outboxes(stored: Stored) -> Iterator[Finding]:
    """What was published and is not stored yet; damaged segments."""
    folders = _outboxes(stored)
    published = {folder.name: published_by_stream(folder) for folder in folders}
    with contextlib.suppress(StoreError):  # the check of the database states it
        yield _undelivered(stored.outboxes, published, stored_state(stored.url).marks)
    if stored.recount:
        yield from _archives(stored, folders)
    for folder in folders:
        if count := sum(1 for _ in (folder / "damaged").glob("*")):
            text = f"{count} damaged segments are kept in {folder / 'damaged'}"
            yield warning("damage", text, "check the disk (smartctl), examine them, then delete them")


def _archives(stored: Stored, folders: Sequence[Path]) -> Iterator[Finding]:
    """Damaged segments of archives with events that the newest package does not have: a restore would lack them."""
    newest = _newest_verified(stored)
    held = newest.manifest.marks if newest and newest.manifest else {}
    damaged = [each for folder in folders for each in damaged_segments(folder / "archive")]
    if lacking := [str(each.path) for each in damaged if each.last_sequence > held.get(each.stream, 0)]:
        yield warning("archives", f"damaged: {', '.join(lacking)}", REMEDIES["archive damaged"])


def _newest_verified(stored: Stored) -> Package | None:
    verified = [package for package in _packages(stored) if package.verified_ns is not None]
    return max(verified, key=lambda package: package.taken_ns, default=None)


def _undelivered(folder: Path, published: Mapping[str, Mapping[str, int]], marks: Mapping[str, int]) -> Finding:
    count = sum(sum(streams.values()) for streams in published.values())
    if not count:
        return ok("outboxes", f"no outbox in {folder} to compare with")
    waiting = {
        name: sum(max(0, last - marks.get(stream, 0)) for stream, last in streams.items())
        for name, streams in published.items()
    }
    if not any(waiting.values()):
        return ok("outboxes", f"{count:,} events were published, all are stored or stated as lost")
    counts = ", ".join(f"{name} {events:,}" for name, events in waiting.items() if events)
    return warning("outboxes", f"not stored yet: {counts}", REMEDIES["database behind"])


def backup(stored: Stored) -> Iterator[Finding]:
    """Judges a package by the newest event, not by a clock: a system that is off needs no new package."""
    newest = _newest_verified(stored)
    if newest is None:
        yield warning("backup", f"no verified package in {stored.backups}", _package_remedy(stored, "package missing"))
        return
    newest_event_ns = None
    with contextlib.suppress(StoreError), SummaryReader(stored.url) as reader:  # the check of the database states it
        newest_event_ns = reader.newest_ns()
    days = max(0, (newest_event_ns or 0) - newest.taken_ns) / _DAY_NS
    text = f"{newest.name}, verified, {days:.1f} days older than the newest event"
    newer = [each for each in _packages(stored) if each.verified_ns is None and each.taken_ns >= newest.taken_ns]
    if damaged := ", ".join(each.name for each in newer):
        what = f"damaged, or not verified: {damaged}; {text}"
        yield warning("backup", what, _package_remedy(stored, "package damaged"))
    else:
        yield warning("backup", text, REMEDIES["package missing"]) if days > _BACKUP_DAYS else ok("backup", text)


def _package_remedy(stored: Stored, state: str) -> str:
    """That of the database comes first where it is gone or damaged: no package can be made of it."""
    try:
        stored_state(stored.url)
        is_damaged = stored.recount and bool(check_integrity(stored.url, threading.Event()).problems)
    except DatabaseDamagedError:
        is_damaged = True
    except StoreError:  # the check of the database states it
        is_damaged = _is_missing(stored) and not _is_new(stored)
    return _RESTORE if is_damaged else REMEDIES[state]
