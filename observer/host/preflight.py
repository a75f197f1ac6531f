"""What a system needs of its machine before its first process starts: folders it may write, and free ports."""

import errno
import os
import socket
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from observer.config import Settings
from observer.store.schema import require_own_file
from observer.supervisor.instance import InstanceLock

_SQLITE: Final = "sqlite:///"


def require_usable_machine(settings: Settings) -> None:
    """Return if a system with these settings can write its files and its database, and listen on its ports.

    Raises:
        AlreadyRunningError: one runs with this runtime directory.
        OSError: a folder or the file of the database cannot be written, or a port is in use; names the setting.
        StoreError, ConfigError: the SQLite file is not this program's or not this instance's.
    """
    run = settings.run
    InstanceLock(Path(run.runtime)).release()
    for key, folder in (("data", run.data), ("data", f"{run.data}/logs"), ("universe", run.universe)):
        _require_writable(Path(folder), f"run.{key}")
    if settings.store.url.startswith(_SQLITE):
        database = Path(settings.store.url.removeprefix(_SQLITE))
        _require_writable(database, "store.url")
        require_own_file(database, settings.instance)
    for name, url in msgspec.structs.asdict(run.endpoints).items() if run.endpoints else ():
        _require_free(url, f"run.endpoints.{name}")


def _require_writable(path: Path, setting: str) -> None:
    """The path, or the nearest folder above it where it is to be made. An SQLite database needs its folder, too."""
    wanted = [path] if path.exists() else []
    wanted.append(next(each for each in path.absolute().parents if each.exists()))
    for each in wanted if path.is_file() else wanted[:1]:
        if not os.access(each, os.W_OK | (os.X_OK if each.is_dir() else 0), effective_ids=True):
            raise _refused(errno.EACCES, str(each), setting)
    if not wanted[-1].is_dir():
        raise _refused(errno.ENOTDIR, str(path), setting)


def _require_free(url: str, setting: str) -> None:
    address = urlsplit(url)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.hostname, address.port))
        except OSError as error:
            raise _refused(error.errno or 0, url, setting) from error


def _refused(number: int, what: str, setting: str) -> OSError:
    return OSError(number, os.strerror(number), f"{setting} = {what}")
