"""The lake's lock: one process at a time changes it, and a look at it counts when no process is about to change it."""

import fcntl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from observer.base.errors import LakeInUseError, StoppedError

Found = TypeVar("Found")

_LOCK: Final = "_lock"
_POLL_S: Final = 0.2  # machine seconds, while another process has the lock
TAKE_S: Final = 0.1
"""Machine seconds to take the lock, as a verification has it for a moment."""
_LOOKS_MAX: Final = 3  # of a verification: late rows that keep coming make each look differ


@contextmanager
def locked(lake: Path, take_s: float = TAKE_S) -> Iterator[None]:
    """Exclude every other process that changes this lake.

    Raises:
        LakeInUseError: another process has the lock.
        OSError: the folder cannot be written.
    """
    lake.mkdir(parents=True, exist_ok=True)
    with (lake / _LOCK).open("wb") as lock:
        give_up_s = time.monotonic() + take_s
        while not _is_taken(lock, fcntl.LOCK_EX):
            if time.monotonic() > give_up_s:
                raise LakeInUseError(f"{lake}: another process seals days in it: wait until it has ended")
            time.sleep(TAKE_S / 20)  # a thread's or a command's own wait: never in an event loop
        yield


def confirmed(
    lake: Path,
    look: Callable[[], Found],
    problems_of: Callable[[Found], Sequence[str]],
    stop: threading.Event,
    waiting: Callable[[], object] = lambda: None,
) -> Found:
    """Return the result of `look`, confirmed: a problem counts when two looks find it. A look waits for the end of a
    process that changes the lake (and calls `waiting`), as such a process writes a manifest before the files that
    follow from it. If the first looks differ, the third counts.

    Raises:
        StoppedError: `stop` was set.
    """
    found, before = look(), None
    for _ in range(_LOOKS_MAX - 1):
        if not problems_of(found) or found == before:
            break
        while _is_locked(lake):
            waiting()
            if stop.wait(_POLL_S):
                raise StoppedError("the verification was interrupted")
        found, before = look(), found
    return found


def _is_locked(lake: Path) -> bool:
    try:
        with (lake / _LOCK).open("rb") as lock:
            return not _is_taken(lock, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def _is_taken(lock: BinaryIO, mode: int) -> bool:
    try:
        fcntl.flock(lock, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
