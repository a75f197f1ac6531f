"""Checks of a system's files and database against each other: what was published, what is stored, what is lost.

The checks read files and the database alone, so they work beside a running system and without one, and use none of its
counters.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from bus.segments import published_by_stream
from observer.backup.package import packages
from observer.errors import DataFileError, StoreError
from observer.store.removal import SealedRows
from observer.store.restore import StoredState, stored_state
from observer.store.summary import SummaryReader
from observer.units import NS_PER_S

Level = Literal["ok", "warning", "critical"]
_DAY_NS: Final = 86_400 * NS_PER_S
_BACKUP_DAYS: Final = 4  # a long weekend has no daily package


class Finding(msgspec.Struct, frozen=True):
    """The result of one check, in a sentence."""

    check: str
    level: Level
    text: str


def examine(
    url: str,
    outboxes: Path,
    backups: Path,
    *,
    recount: bool,
    sealed: Callable[[], Sequence[SealedRows]] = tuple,
) -> Sequence[Finding]:
    """Run all checks.

    Args:
        url: the database.
        outboxes: the folder with an outbox for each process.
        backups: the folder of the packages.
        recount: count all rows, too; that reads the whole database.
        sealed: gives the rows of the lake that the database need not have.
    """
    try:
        state = stored_state(url)
    except StoreError as error:
        return [Finding("database", "critical", str(error)), *_damage(outboxes), _newest_backup(backups, None)]
    return [
        Finding("database", "ok", f"{sum(state.marks.values()):,} events of {len(state.marks)} event streams"),
        *([_recounted(url, sealed)] if recount else []),
        _losses(state),
        _undelivered(state, outboxes),
        *_damage(outboxes),
        *_history(url),
        _newest_backup(backups, _newest_event_ns(url)),
    ]


def _recounted(url: str, sealed: Callable[[], Sequence[SealedRows]]) -> Finding:
    """Every number up to a stream's mark is one row of the database or of the lake, or lost."""
    try:
        with SummaryReader(url) as reader:
            found = reader.rows_and_marks(sealed)
    except DataFileError as error:
        return Finding("rows", "critical", f"what the lake has is unknown: {error}")
    in_lake = f" and {found.removed:,} in the lake alone" if found.removed else ""
    if found.rows + found.removed == found.expected:
        return Finding("rows", "ok", f"{found.rows:,} rows{in_lake}, as the event streams' marks say")
    text = f"{found.rows:,} rows{in_lake}, but {found.expected:,} by the event streams' marks"
    return Finding("rows", "critical", text)


def _losses(state: StoredState) -> Finding:
    lost = sum(loss.events for loss in state.losses)
    if not lost:
        return Finding("losses", "ok", "none")
    first = state.losses[0]
    where = f"{first.stream} {first.first_sequence}-{first.last_sequence} ({first.reason})"
    more = f" and {len(state.losses) - 1} more" if len(state.losses) > 1 else ""
    text = f"{lost:,} published events exist nowhere any more: {where}{more}; all in the table delivery_losses"
    return Finding("losses", "critical", text)


def _undelivered(state: StoredState, outboxes: Path) -> Finding:
    waiting = {
        folder.name: sum(
            max(0, last - state.marks.get(stream, 0)) for stream, last in published_by_stream(folder).items()
        )
        for folder in _folders(outboxes)
    }
    published = sum(sum(published_by_stream(folder).values()) for folder in _folders(outboxes))
    if not published:
        return Finding("outboxes", "ok", f"no outbox in {outboxes} to compare with")
    if not any(waiting.values()):
        return Finding("outboxes", "ok", f"{published:,} events were published, all are stored or stated as lost")
    counts = ", ".join(f"{name} {count:,}" for name, count in waiting.items() if count)
    return Finding("outboxes", "warning", f"not stored yet: {counts}; a running system delivers them (observer run)")


def _damage(outboxes: Path) -> Iterator[Finding]:
    for folder in _folders(outboxes):
        if kept := sorted((folder / "damaged").glob("*")):
            text = f"{len(kept)} damaged segments are kept in {folder / 'damaged'}: examine them, then delete them"
            yield Finding("damage", "warning", text)


def _folders(outboxes: Path) -> Sequence[Path]:
    return sorted(path for path in outboxes.glob("*") if path.is_dir())


def _history(url: str) -> Iterator[Finding]:
    try:
        with SummaryReader(url) as reader:
            went_back = reader.epochs()[1:]
            quarantined = reader.quarantined()
    except StoreError as error:
        yield Finding("schema", "critical", str(error))
        return
    if went_back:
        times = "once" if len(went_back) == 1 else f"{len(went_back)} times, the last time"
        text = f"it went back {times} because {went_back[-1]}; events came again"
        yield Finding("epochs", "warning", text)
    if quarantined:
        yield Finding("quarantine", "warning", f"{quarantined:,} events are in quarantine: the table says why")


def _newest_event_ns(url: str) -> int | None:
    try:
        with SummaryReader(url) as reader:
            return reader.newest_ns()
    except StoreError:  # another check states it
        return None


def _newest_backup(backups: Path, newest_ns: int | None) -> Finding:
    """Judges a package by the newest event, not by a clock: a system that is off needs no new package."""
    verified = [package for package in packages(backups) if package.verified_ns is not None]
    if not verified:
        return Finding("backup", "warning", f"no verified package in {backups}: observer backup now")
    newest = max(verified, key=lambda package: package.taken_ns)
    days = max(0, (newest_ns or 0) - newest.taken_ns) / _DAY_NS
    if days > _BACKUP_DAYS:
        text = f"{newest.name}, verified; {days:.1f} days older than the newest event: observer backup now"
        return Finding("backup", "warning", text)
    return Finding("backup", "ok", f"{newest.name}, verified, {days:.1f} days older than the newest event")
