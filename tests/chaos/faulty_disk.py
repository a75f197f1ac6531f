"""A disk that fills up, and on which a process can die in any call that changes a file, half way through a write too.

It stands between the outbox and the operating system; everything else is real.
"""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import bus.files
import bus.journal
import bus.outbox
import bus.outbox_notes
import bus.segments


class KilledError(BaseException):
    """The process is dead; a BaseException, so that no `except Exception` catches it."""


class FaultyDisk:
    """Looks like the module `os` to `bus.journal` and `bus.outbox`.

    `room_bytes` is what can still be written, None for plenty. `calls_to_live` is how many changing calls the process
    has before it dies, None for ever.
    """

    def __init__(self) -> None:
        self.room_bytes: int | None = None
        self.calls_to_live: int | None = None
        self.dead = False
        self.open_descriptors: set[int] = set()

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)

    def install(self, patches: pytest.MonkeyPatch, folder: Path) -> None:
        """Replace `os` in the journal and outbox modules, and `unlink` and `rename` in the folder."""
        patches.setattr(bus.files, "os", self)
        patches.setattr(bus.journal, "os", self)
        patches.setattr(bus.outbox, "os", self)
        patches.setattr(bus.outbox_notes, "os", self)
        patches.setattr(bus.segments, "os", self)
        patches.setattr(Path, "unlink", self._unlinking(Path.unlink, folder))
        patches.setattr(Path, "rename", self._renaming(Path.rename, folder))

    def reborn(self) -> None:
        """Close the dead process's descriptors; a new process may use the disk."""
        for descriptor in self.open_descriptors:
            os.close(descriptor)
        self.open_descriptors.clear()
        self.dead = False
        self.calls_to_live = None

    # --- functions of `os` ---------------------------------------------------------------------------------------

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            self._live()
        descriptor = os.open(path, flags, mode)
        self.open_descriptors.add(descriptor)
        return descriptor

    def write(self, descriptor: int, data: bytes) -> int:
        try:
            self._live()
        except KilledError:
            self._write_half(descriptor, data)
            raise
        if self.room_bytes is None:
            return os.write(descriptor, data)
        if self.room_bytes == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = os.write(descriptor, data[: self.room_bytes])
        self.room_bytes -= written
        return written

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        """Writes over what is there, which needs no room."""
        self._live()
        return os.pwrite(descriptor, data, offset)

    def ftruncate(self, descriptor: int, length: int) -> None:
        self._live()
        os.ftruncate(descriptor, length)

    def dup(self, descriptor: int) -> int:
        copy = os.dup(descriptor)
        self.open_descriptors.add(copy)
        return copy

    def truncate(self, path: Path, length: int) -> None:
        self._live()
        os.truncate(path, length)

    def close(self, descriptor: int) -> None:
        if not self.dead:
            assert descriptor in self.open_descriptors, "closes what it has closed already: it may be another's by now"
            self.open_descriptors.remove(descriptor)
            os.close(descriptor)

    def _unlinking(self, unlink: Callable[..., None], folder: Path) -> Callable[..., None]:
        def unlink_alive(path: Path, missing_ok: bool = False) -> None:
            if path.parent == folder:
                self._live()
            unlink(path, missing_ok=missing_ok)

        return unlink_alive

    def _renaming(self, rename: Callable[[Path, Path], Path], folder: Path) -> Callable[[Path, Path], Path]:
        def rename_alive(path: Path, target: Path) -> Path:
            if path.is_relative_to(folder):
                self._live()
            return rename(path, target)

        return rename_alive

    # --- death -----------------------------------------------------------------------------------------------

    def _live(self) -> None:
        if self.dead:
            raise KilledError
        if self.calls_to_live == 0:
            self.dead = True
            raise KilledError
        if self.calls_to_live is not None:
            self.calls_to_live -= 1

    def _write_half(self, descriptor: int, data: bytes) -> None:
        if self.calls_to_live is not None:
            self.calls_to_live = None  # only the write that it dies in, none after it
            os.write(descriptor, data[: len(data) // 2])
