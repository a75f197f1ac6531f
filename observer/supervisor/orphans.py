"""Processes that left their child's session and lost their parent (a double fork): ours while the supervisor works.

Without this they would pass to init and outlive everything. As a subreaper the supervisor becomes their parent, so
that it finds them. Which life they come from is told by the address of that life's notify socket, which they have from
it in their environment. They are ended with that life. What the lifeline is for, the supervisor's own death by
SIGKILL, this does not cover: who leaves its session must watch the lifeline itself.

Whoever starts processes in the supervisor's process without a keeper must leave them in its session: what is in
another one counts as adopted and is reaped here.
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

_LOOK_S: Final = 0.01


@contextlib.contextmanager
def adopting() -> Iterator[None]:
    """Be the parent of whoever loses its own below this process. A kernel that refuses is complained of in the log."""
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
    """SIGKILL those of the life with this address until none lives: each end may bring us the children it had."""
    known: set[int] = set()
    while found := _adopted(notify_address):
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        known.update(process.pid for process in found)
        await asyncio.sleep(_LOOK_S)
    if known:
        logger.warning("ended %s, which had left the session of their life", sorted(known))


def _adopted(notify_address: str) -> list[psutil.Process]:
    return [process for process in psutil.Process().children() if _comes_from(process, notify_address)]


def _comes_from(process: psutil.Process, notify_address: str) -> bool:
    """Whether it lives and has this address from its parents; one that ends meanwhile does not."""
    try:
        is_of_life = process.environ().get(ADDRESS_VARIABLE) == notify_address
        return is_of_life and bool(process.status() != psutil.STATUS_ZOMBIE)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def reap_adopted(kept: Collection[int]) -> int:
    """Let go of adopted processes that have ended, and count them. `kept` are the leaders that have keepers."""
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
    """One system call that spares a look at the process table when, as usual, nobody has ended."""
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False
