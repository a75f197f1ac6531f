"""Adoption of processes that left their child's session and lost their parent (a double fork).

Otherwise init would adopt them and they would outlive everything. As a subreaper the supervisor becomes their parent.
Their environment has the address of a notify socket, which identifies the child they come from; they are ended with it.
This does not cover the supervisor's own death by SIGKILL: a process that leaves its session must watch the lifeline
itself.

Code that starts processes in the supervisor's process without a monitor must leave them in its session: a process in
another session counts as adopted and is reaped here.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Collection, Iterator
from typing import Final

import psutil

from observer.supervisor.linux import adopt_orphans
from observer.supervisor.notify import ADDRESS_VARIABLE

logger = logging.getLogger(__name__)

_POLL_S: Final = 0.01


@contextlib.contextmanager
def adopting() -> Iterator[None]:
    """Adopt orphans below this process while the block runs. A refusal of the kernel is logged."""
    try:
        adopt_orphans(adopt=True)
    except OSError as error:
        logger.warning("cannot adopt orphans, so processes that leave their session pass to init: %s", error)
        yield
        return
    try:
        yield
    finally:
        adopt_orphans(adopt=False)


async def end_adopted(notify_address: str) -> None:
    """SIGKILL adopted processes with this address until none lives: each end may bring new orphans."""
    known: set[int] = set()
    while found := _adopted(notify_address):
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        known.update(process.pid for process in found)
        await asyncio.sleep(_POLL_S)
    if known:
        logger.warning("ended %s, which had left the session of their life", sorted(known))


def _adopted(notify_address: str) -> list[psutil.Process]:
    return [process for process in psutil.Process().children() if _comes_from(process, notify_address)]


def _comes_from(process: psutil.Process, notify_address: str) -> bool:
    """Whether the process lives and inherited this address; False if it ends meanwhile."""
    try:
        is_of_life = process.environ().get(ADDRESS_VARIABLE) == notify_address
        return is_of_life and bool(process.status() != psutil.STATUS_ZOMBIE)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def reap_adopted(kept: Collection[int]) -> int:
    """Reap adopted processes that have ended, and return their number. `kept` are the leaders with monitors."""
    if not _has_ended_child():
        return 0
    own_session = os.getsid(0)
    reaped = 0
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError, ChildProcessError):
            if process.pid not in kept and os.getsid(process.pid) != own_session:
                reaped += os.waitpid(process.pid, os.WNOHANG)[0] == process.pid
    return reaped


def _has_ended_child() -> bool:
    """Check with one system call; it avoids a scan of the process table while no child has ended."""
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False
