"""Figures that only the host knows: the machine's, what the system takes on the disk, what is due at this moment."""

import contextlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from bus.commands import Sample
from observer.archive.manifest import moment_in
from observer.archive.package import newest_packages
from observer.base.units import NS_PER_S
from observer.calendar.phases import DayPlan
from observer.monitoring.metrics.readiness import DayState
from observer.supervisor.limits import HostFigures
from observer.supervisor.watch import disk_bytes, interface_bytes
from observer.system.config import Settings


class Storage(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes on the disk, outboxes and archives by process; and the market time of the newest verified package of each
    kind. What cannot be read is left out.
    """

    disk_free_bytes: int | None
    database_bytes: int | None
    outbox_bytes: Mapping[str, int]
    archive_bytes: Mapping[str, int]
    backups_ns: Mapping[str, int]


def day_state(plan: DayPlan | None, now_ns: int) -> DayState:
    """What is due at this moment; None: the calendar does not know the day."""
    if plan is None:
        return DayState(is_known=False)
    return DayState(
        is_known=True,
        connects=plan.trades and plan.context_sync_ns <= now_ns < plan.track_b_stop_ns,
        streams=plan.trades and plan.track_b_start_ns <= now_ns < plan.track_b_stop_ns,
    )


def machine_samples(host: HostFigures | None) -> Iterator[Sample]:
    """The machine's load and traffic, since its start; what it does not count is left out."""
    if host is not None:
        yield Sample("observer_machine_cpu_ratio", (), host.cpu_percent / 100)
        yield Sample("observer_memory_bytes", (), host.memory_bytes)
        yield Sample("observer_disk_used_ratio", (), host.disk_percent / 100)
    if (interfaces := interface_bytes()) is not None:
        for place, direction in enumerate(("received", "transmitted")):
            passed_bytes = sum(each[place] for each in interfaces.values())
            yield Sample("observer_machine_network_bytes_total", (direction,), passed_bytes)
    if (disks := disk_bytes()) is not None:
        yield Sample("observer_machine_disk_bytes_total", ("read",), disks[0])
        yield Sample("observer_machine_disk_bytes_total", ("written",), disks[1])


def disk_samples(settings: Settings) -> Sequence[Sample]:
    """What the system takes on the disk, and its newest packages."""
    storage = storage_of(settings)
    sizes = {
        "observer_disk_free_bytes": storage.disk_free_bytes,
        "observer_database_bytes": storage.database_bytes,
    }
    return [
        *(Sample(name, (), size) for name, size in sizes.items() if size is not None),
        *(Sample("observer_outbox_bytes", (process,), size) for process, size in storage.outbox_bytes.items()),
        *(Sample("observer_archive_bytes", (process,), size) for process, size in storage.archive_bytes.items()),
        *(
            Sample("observer_backup_timestamp_seconds", (kind,), taken_ns / NS_PER_S)
            for kind, taken_ns in storage.backups_ns.items()
        ),
    ]


def storage_of(settings: Settings) -> Storage:
    """The sizes on the disk now."""
    run = settings.run
    outboxes = [folder for folder in _entries(Path(run.runtime) / "outbox") if folder.is_dir()]
    packages = newest_packages(settings.backup.folder_of(run), settings.instance)
    free_bytes = None
    with contextlib.suppress(OSError):
        free_bytes = shutil.disk_usage(run.data).free
    return Storage(
        disk_free_bytes=free_bytes,
        database_bytes=_database_bytes(settings.sqlite_file),
        outbox_bytes={folder.name: _bytes_in(folder) for folder in outboxes},
        archive_bytes={folder.name: _bytes_in(folder / "archive") for folder in outboxes},
        backups_ns={kind: moment_in(name) for kind, name in packages.items()},
    )


def _database_bytes(path: Path | None) -> int | None:
    return sum(_size(path.with_name(path.name + suffix)) for suffix in ("", "-wal")) if path else None


def _bytes_in(folder: Path) -> int:
    """The size of the files right in the folder."""
    return sum(_size(path) for path in _entries(folder) if path.is_file())


def _entries(folder: Path) -> Sequence[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
