"""Runs code in a forked child as an ordinary user's process would run: file permissions hold even for root."""

import contextlib
import ctypes
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
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


def _child(work: Callable[[], object], folder: Path, out: int, err: int, *, as_user: bool) -> None:
    status = 0
    try:
        signal.alarm(int(DEADLINE_S))
        os.setsid()
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115 - for the child's whole life
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
