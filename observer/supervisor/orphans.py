"""Adoption of processes that left their child's session and lost their parent (a double fork).

Otherwise init would adopt them and they would outlive everything. As a subreaper the supervisor becomes their parent.
Their environment has the address of a notify socket, which identifies the child they come from; they are ended with it.
After the supervisor's own death by SIGKILL the mark (`mark`) or the control group (`cgroup`) finds them.

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


async def end_adopted(notify_address: str) -> set[int]:
    """SIGKILL adopted processes with this address until none lives; each end may bring new ones. Return the killed."""
    known: set[int] = set()
    ended: set[int] = set()
    while True:
        living, over = _adopted(notify_address)
        if not living and over <= ended:
            break
        ended |= over  # one that ended by itself since the last scan may have left an orphan, too
        for process in living:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        known.update(process.pid for process in living)
        if living:
            await asyncio.sleep(_POLL_S)
    if known:
        logger.warning("ended %s, which had left the session of their life", sorted(known))
    return known


def _adopted(notify_address: str) -> tuple[list[psutil.Process], set[int]]:
    """The children that live and inherited this address, and the pids of all children that have ended."""
    living: list[psutil.Process] = []
    over: set[int] = set()
    for process in psutil.Process().children():
        try:
            is_of_life = process.environ().get(ADDRESS_VARIABLE) == notify_address
            if process.status() == psutil.STATUS_ZOMBIE:
                over.add(process.pid)
            elif is_of_life:
                living.append(process)
        except psutil.NoSuchProcess:
            over.add(process.pid)
        except psutil.AccessDenied:
            pass
    return living, over


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
