"""The processes of one child's session: count, signal and kill them.

A child leads a session and a process group of its own. Its children are in both unless they leave the group (job
control of a shell does that); the session is the wider of the two, so it decides who belongs to the child.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Iterable, Mapping
from typing import Final

import psutil

logger = logging.getLogger(__name__)

_POLL_S: Final = 0.01  # between two checks whether the killed are gone
_COMPLAINT_CHECKS: Final = 500  # 5 s: a process that survives SIGKILL so long hangs in the kernel


def members(leader_pids: Iterable[int]) -> Mapping[int, list[psutil.Process]]:
    """The living processes of each leader's session, the leader among them; one look at the process table for all."""
    found: dict[int, list[psutil.Process]] = {pid: [] for pid in leader_pids}
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            session = found.get(os.getsid(pid))
            if session is not None and (process := psutil.Process(pid)).status() != psutil.STATUS_ZOMBIE:
                session.append(process)
    return found


def signal_group(leader_pid: int, number: signal.Signals) -> None:
    """Send a signal to the child's process group; nothing happens when the group is empty."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader_pid, number)


async def kill_until_gone(leader_pid: int) -> set[int]:
    """SIGKILL the whole session until it has no living process, however long the kernel takes; return the killed.

    The leader must not be reaped elsewhere meanwhile: until then no other process can get its number.
    """
    checks = 0
    killed: set[int] = set()
    while left := members([leader_pid])[leader_pid]:
        signal_group(leader_pid, signal.SIGKILL)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        killed.update(process.pid for process in left)
        checks += 1
        if checks % _COMPLAINT_CHECKS == 0:
            logger.error("SIGKILL does not end %s", [process.pid for process in left])
        await asyncio.sleep(_POLL_S)
    return killed
