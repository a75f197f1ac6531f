"""What a system's files take on the disk, and its newest packages."""

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from observer.archive.manifest import moment_in
from observer.archive.package import newest_packages
from observer.monitoring.metrics.host import Storage
from observer.system.config import Settings

_SQLITE: Final = "sqlite"


def storage_of(settings: Settings) -> Storage:
    """The sizes on the disk now; what cannot be read is left out."""
    run = settings.run
    outboxes = [folder for folder in _entries(Path(run.runtime) / "outbox") if folder.is_dir()]
    packages = newest_packages(settings.backup.folder_of(run), settings.instance)
    free_bytes = None
    with contextlib.suppress(OSError):
        free_bytes = shutil.disk_usage(run.data).free
    return Storage(
        disk_free_bytes=free_bytes,
        database_bytes=_database_bytes(settings.store.url),
        outbox_bytes={folder.name: _bytes_in(folder) for folder in outboxes},
        archive_bytes={folder.name: _bytes_in(folder / "archive") for folder in outboxes},
        backups_ns={kind: moment_in(name) for kind, name in packages.items()},
    )


def _database_bytes(url: str) -> int | None:
    if not url.startswith(_SQLITE):
        return None
    path = Path(url.partition(":///")[2].partition("?")[0])
    return sum(_size(path.with_name(path.name + suffix)) for suffix in ("", "-wal"))


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
