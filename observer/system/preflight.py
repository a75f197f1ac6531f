"""What a system needs before its first process starts: folders it may write, free ports, a database that admits it,
usable addresses, places for packages. A setting that can only fail is refused here; what may come back later is an
alert of its process.
"""

import errno
import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from observer.archive.settings import BackupSettings
from observer.base.clock import RealClock
from observer.base.errors import ConfigError
from observer.base.files import read_file
from observer.base.settings_errors import decode_toml
from observer.brokers.settings import BrokerSettings
from observer.store.admission import require_admission, require_own_file
from observer.store.systems import this_system
from observer.supervisor.instance import InstanceLock
from observer.system.config import Settings

_MAY_PASS: Final = (errno.ENOSPC, errno.EDQUOT)
_SCHEMES: Final = {"rest_url": ("http", "https"), "stream_url": ("ws", "wss"), "files_url": ("http", "https")}


def require_usable_machine(settings: Settings) -> None:
    """Return if a system with these settings can write its files and its database, and listen on its ports.

    Raises:
        AlreadyRunningError: one runs with this runtime directory.
        OSError: a folder or the file of the database cannot be written, or a port is in use; names the setting.
        StoreError, ConfigError: the database is not this program's or not this instance's, or another living system
            owns it; the PostgreSQL server refuses its user.
        ConfigError: a broker's address is none, the file of trading days cannot be read, or there is no program to hand
            packages to as `[backup]` says.
    """
    run = settings.run
    InstanceLock(Path(run.runtime)).release()
    for key, folder in (("data", run.data), ("data", f"{run.data}/logs"), ("universe", run.universe)):
        require_writable(Path(folder), f"run.{key}")
    require_writable(settings.backup.folder_of(run), "backup.folder")
    _require_command(settings.backup)
    system = this_system(Path(run.runtime))
    if (database := settings.sqlite_file) is not None:
        if database.is_dir():
            raise _refused(errno.EISDIR, str(database), "store.url")
        require_writable(database, "store.url")
        require_own_file(database, settings.instance, system, RealClock().now_ns())
        if not database.exists():
            from observer.archive.package import require_restored  # it loads SQLAlchemy

            require_restored(settings.store.url, settings.backup.folder_of(run), settings.instance)
    else:
        require_admission(settings.store.url, settings.instance, system)
    for provider in settings.providers:
        _require_addresses(provider, settings.brokers[provider])
    for name, url in msgspec.structs.asdict(run.endpoints).items() if run.endpoints else ():
        _require_free(url, f"run.endpoints.{name}")
    if settings.metrics is not None:
        _require_free(f"tcp://127.0.0.1:{settings.metrics.port}", "metrics.port")
    if settings.web is not None:
        _require_free(f"tcp://127.0.0.1:{settings.web.port}", "web.port")
    _require_trading_days(Path(run.trading_days))


def _require_addresses(provider: str, broker: BrokerSettings) -> None:
    """Raises ConfigError for an address of the broker that no client can use; an empty one is not used."""
    for key, schemes in _SCHEMES.items():
        url = getattr(broker, key)
        try:
            address = urlsplit(url)
            is_usable = address.scheme in schemes and bool(address.hostname) and address.port != 0
        except ValueError:  # a port that is no number, or too high
            is_usable = False
        if url and not is_usable:
            forms = " or ".join(f"{scheme}://HOST[:PORT]" for scheme in schemes)
            raise ConfigError(f"{provider}.{key} = {url!r}: give {forms}")


def _require_command(backup: BackupSettings) -> None:
    """Raises ConfigError where no package can be handed to the command. A folder for copies may be mounted later."""
    if backup.command and shutil.which(backup.command[0]) is None:
        raise ConfigError(
            f"backup.command = {backup.command[0]!r}: no such program on PATH: install it, or give its path"
        )


def _require_trading_days(path: Path) -> None:
    """Raises ConfigError unless the file can be read as TOML; the calendar's process checks its content."""
    try:
        decode_toml(read_file(path), str(path))
    except OSError as error:
        remedy = "work in Observer's folder, or name the file in [run] trading_days"
        raise ConfigError(f"run.trading_days = {str(path)!r}: {error.strerror}: {remedy}") from error


def require_writable(path: Path, setting: str) -> None:
    """Return if the path can be written, or made in the nearest folder above it. An SQLite database needs its folder,
    too. A folder is tried: permissions do not show a read-only disk, or a file system of the kernel.

    Raises:
        OSError: it cannot; names the setting.
    """
    absolute = path.absolute()
    nearest = next(each for each in (absolute, *absolute.parents) if each.exists())
    if nearest.is_file():
        if nearest != absolute:
            raise _refused(errno.ENOTDIR, str(path), setting)
        if not os.access(path, os.W_OK, effective_ids=True):
            raise _refused(errno.EACCES, str(path), setting)
        nearest = absolute.parent
    try:
        Path(tempfile.mkdtemp(prefix=".observer-", dir=nearest)).rmdir()
    except OSError as error:
        if error.errno not in _MAY_PASS:
            raise _refused(error.errno or 0, str(path), setting) from error


def _require_free(url: str, setting: str) -> None:
    address = urlsplit(url)
    if (error := bind_error(address.hostname or "", address.port or 0)) is not None:
        raise _refused(error.errno or 0, url, setting) from error


def bind_error(host: str, port: int) -> OSError | None:
    """Why no program can listen there now; None if one can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
    return None


def _refused(number: int, what: str, setting: str) -> OSError:
    return OSError(number, os.strerror(number), f"{setting} = {what}")
