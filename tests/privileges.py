"""Runs code in a forked child: as an ordinary user's process would run (file permissions hold even for root), or until
it is killed. A fork imports nothing anew, which is most of what a child interpreter costs.
"""

import contextlib
import ctypes
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.waiting import DEADLINE_S

_CAPABILITIES_VERSION_3 = 0x20080522
_PR_CAPBSET_DROP = 24
_FILE_CAPABILITIES = 0b11111  # CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID: what sets root above permissions


class Ran(NamedTuple):
    status: int
    stdout: str
    stderr: str


class Child:
    """A forked child in this folder that works beside its parent: what it writes, and its end."""

    def __init__(self, work: Callable[[], object], folder: Path) -> None:
        reading, writing = os.pipe()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
        self._status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reading)
            _child(work, folder, writing, self._errors.fileno(), as_user=False)
        os.close(writing)
        self.output = os.fdopen(reading, encoding="utf-8")

    @property
    def errors(self) -> str:
        """What it wrote to its standard error until now."""
        return os.pread(self._errors.fileno(), 2**20, 0).decode()

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None: it is at work."""
        return self._waited(os.WNOHANG)

    def wait(self) -> int:
        """Its exit status when it has ended: by its own alarm at the latest."""
        status = self._waited(0)
        assert status is not None
        return status

    def _waited(self, options: int) -> int | None:
        if self._status is None:
            pid, status = os.waitpid(self.pid, options)
            self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status

    def close(self) -> None:
        """Kill it, if it is still at work."""
        if self.poll() is None:
            self.send(signal.SIGKILL)
            self.wait()
        self.output.close()
        self._errors.close()


def respect_permissions() -> None:
    """Give up root's power over file permissions, for the rest of this process. No effect on other users."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(_FILE_CAPABILITIES.bit_length()):
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # programs started later do not regain it
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then the same for numbers above 31
    assert libc.capget(header, data) == 0
    for at in range(3):
        data[at] &= ~_FILE_CAPABILITIES
    assert libc.capset(header, data) == 0


def in_a_fork(work: Callable[[], object], folder: Path, *, as_user: bool = False) -> Ran:
    """Run `work` in a child in this folder; its exit status and what it wrote. `as_user`: without root's powers."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        pid = os.fork()
        if pid == 0:
            _child(work, folder, out.fileno(), err.fileno(), as_user=as_user)
        _, status = os.waitpid(pid, 0)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
    return Ran(os.waitstatus_to_exitcode(status), *texts)


@contextlib.contextmanager
def at_work(work: Callable[[], object], folder: Path) -> Iterator[Child]:
    """A child in this folder that runs `work` beside the block; killed at its end at the latest."""
    child = Child(work, folder)
    try:
        yield child
    finally:
        child.close()


def _child(work: Callable[[], object], folder: Path, out: int, err: int, *, as_user: bool) -> None:
    status = 0
    try:
        signal.alarm(int(DEADLINE_S))
        os.setsid()
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - for the child's whole life
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115 - likewise
        os.chdir(folder)
        if as_user:
            respect_permissions()
        work()
    except SystemExit as ended:
        status = int(ended.code or 0)
    except BaseException:  # noqa: BLE001 - the parent sees it in what the child wrote
        traceback.print_exc()
        status = 99
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
