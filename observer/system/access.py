"""Closes a system's folders and files to other users before its first process starts.

A folder of mode 0700 protects what is in it, so the files' own modes matter where one is found open: an earlier version
made it, and other users may have other names of its files (hard links).
"""

import os
import shlex
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from observer.base.errors import ConfigError
from observer.base.privacy import OTHERS
from observer.system.config import Settings

_WRITE: Final = 0o022
_ANYONE_WRITES: Final = 0o002
_BESIDE_DATABASE: Final = ("", "-wal", "-shm", "-journal", ".lock")


def close_to_others(settings: Settings, configuration: Path) -> Sequence[str]:
    """Take all permissions of other users from the folders of data, universes and packages and from the database's
    files; return a line for each that had some.

    Raises:
        ConfigError: a folder belongs to another user or to all of them; other users may make files beside the database
            or change a file of settings.
        OSError: the permissions cannot be changed.
    """
    run = settings.run
    for path in (configuration, *map(Path, (run.provider_pool, run.symbol_selection, run.trading_days, run.sessions))):
        _require_unchanged_by_others(path)
    folders = {
        "run.data": Path(run.data),
        "run.universe": Path(run.universe),
        "backup.folder": settings.backup.folder_of(run),
    }
    closed = [line for setting, folder in folders.items() for line in _close_folder(setting, folder)]
    if (database := settings.sqlite_file) is not None:
        closed += _close_database(database)
    return closed


def _require_unchanged_by_others(path: Path) -> None:
    """Raises ConfigError for a file of settings that every user may change: it names programs and hosts."""
    if path.exists() and (mode := path.stat().st_mode) & _ANYONE_WRITES:
        raise ConfigError(
            f"every user may change {path} (mode {stat.S_IMODE(mode):04o}): run `chmod o-w {_quoted(path)}`"
        )


def _close_folder(setting: str, folder: Path) -> Iterator[str]:
    """Close an existing folder, and what is in it if it was open."""
    if not folder.is_dir():
        return
    status = folder.stat()
    if not status.st_mode & OTHERS:
        return
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid != os.geteuid():
        raise ConfigError(
            f"{setting} = {folder}: belongs to user {status.st_uid}, and others may enter it (mode {mode:04o}): "
            f"run `chown -R {os.geteuid()} {_quoted(folder)}`, or choose a folder of your own"
        )
    if status.st_mode & stat.S_ISVTX or folder.resolve() == Path("/"):
        raise ConfigError(f"{setting} = {folder}: all users share this folder: choose one of your own")
    folder.chmod(mode & ~OTHERS)  # first: from here on no other user can exchange what is below
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            _close(Path(parent) / name)
    yield _closed(f"{setting} = {folder}", mode)


def _close_database(file: Path) -> Iterator[str]:
    if file.parent.is_dir() and (mode := file.parent.stat().st_mode) & _WRITE:
        raise ConfigError(
            f"store.url: other users may make files in {file.parent} (mode {stat.S_IMODE(mode):04o}), beside the "
            f"database: run `chmod go-w {_quoted(file.parent)}`, or choose a folder of your own"
        )
    for path in (file.with_name(f"{file.name}{suffix}") for suffix in _BESIDE_DATABASE):
        if path.exists() and (found := _close(path)) is not None:
            yield _closed(str(path), found)


def _close(path: Path) -> int | None:
    """Close a file or folder of our user; its mode if it was open."""
    status = path.lstat()
    is_ours = status.st_uid == os.geteuid() and not stat.S_ISLNK(status.st_mode)
    if not is_ours or not status.st_mode & OTHERS:
        return None
    mode = stat.S_IMODE(status.st_mode)
    path.chmod(mode & ~OTHERS)
    return mode


def _closed(what: str, mode: int) -> str:
    return f"{what}: was open to other users (mode {mode:04o}), and is now its owner's alone ({mode & ~OTHERS:04o})"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
