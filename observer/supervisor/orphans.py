"""Adoption of processes that left their child's session and lost their parent (a double fork).

Otherwise init would adopt them and they would outlive everything. As a subreaper the supervisor becomes their parent.
Their environment has the address of a notify socket, which identifies the child they come from; they are ended with it.
After the supervisor's own death by SIGKILL the mark (`mark`) or the control group (`cgroup`) finds them.

Code that starts processes in the supervisor's process without a monitor must leave them in its session: a process in
another session counts as adopted and is reaped here.
"""

import contextlib
import logging
import os
from collections.abc import Collection, Iterator

from observer.supervisor.linux import adopt_orphans
from observer.supervisor.proc import ended_children

logger = logging.getLogger(__name__)


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


def reap_adopted(kept: Collection[int]) -> int:
    """Reap adopted processes that have ended, and return their number. `kept` are the leaders with monitors."""
    if not _has_ended_child():
        return 0
    own_session = os.getsid(0)
    reaped = 0
    for process in ended_children():
        if process.pid not in kept and process.session != own_session:
            with contextlib.suppress(ChildProcessError):
                reaped += os.waitpid(process.pid, os.WNOHANG)[0] == process.pid
    return reaped


def _has_ended_child() -> bool:
    """Check with one system call; it avoids a scan of the process table while no child has ended."""
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False
