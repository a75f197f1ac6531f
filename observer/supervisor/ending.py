"""Ends processes for certain: signals them again and again, until a look at all processes finds none of them."""

import asyncio
import contextlib
import logging
import math
import os
import signal
from collections.abc import Callable, Sequence
from typing import Final

from observer.supervisor.proc import ProcessId, ProcessSeen, signal_exactly

logger = logging.getLogger(__name__)

_POLL_S: Final = 0.01
_COMPLAINT_S: Final = 5.0  # a process that survives SIGKILL so long hangs in the kernel

Find = Callable[[], Sequence[ProcessSeen]]


def signal_group(leader_pid: int, number: signal.Signals) -> None:
    """Send a signal to the process group of a child; nothing happens when the group is empty."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader_pid, number)


async def end(
    find: Find,
    number: signal.Signals = signal.SIGKILL,
    within_s: float = math.inf,
    end_group: Callable[[], None] = lambda: None,
) -> dict[ProcessId, ProcessSeen]:
    """Signal what is found until nothing more is, for so many seconds; return what was found.

    Each is signalled once, but with SIGKILL at each look: it ends none that hangs in the kernel, which is logged. A
    process that may not be signalled is logged, and not waited for. `end_group` is called at each look that finds any:
    it kills a group as one, forks that are under way included.
    """
    found: dict[ProcessId, ProcessSeen] = {}
    refused: set[ProcessId] = set()
    now_s = asyncio.get_running_loop().time
    deadline_s, complaint_s = now_s() + within_s, now_s() + _COMPLAINT_S
    # Only a second look sees an orphan whose parent ended during the first.
    while left := [process for process in find() or find() if process.identity not in refused]:
        if now_s() >= min(deadline_s, complaint_s):
            level = logging.ERROR if number is signal.SIGKILL else logging.INFO
            logger.log(level, "%s does not end %s", number.name, sorted(process.pid for process in left))
            complaint_s += _COMPLAINT_S
        if now_s() >= deadline_s:
            break
        end_group()
        for process in left:
            if number is signal.SIGKILL or process.identity not in found:
                found[process.identity] = process
                if not _signal(process, number):
                    refused.add(process.identity)
        await asyncio.sleep(_POLL_S)
    return found


def _signal(process: ProcessSeen, number: signal.Signals) -> bool:
    """Send the signal, and wake a suspended process, so that it can end by itself. False when that is not allowed."""
    try:
        signal_exactly(process.identity, number)
        signal_exactly(process.identity, signal.SIGCONT)
    except PermissionError as error:
        logger.error("cannot end pid %d (%s): %s", process.pid, process.command, error)
        return False
    return True
