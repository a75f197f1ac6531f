"""The lifeline: a pipe by which a process detects the end of the one that started it, SIGKILL included.

Only the starter holds the writing end. A process that inherits the reading end (its number is in
`OBSERVER_LIFELINE_FD`) sees it close, and ends its own group. The system's parent-death signal would not do:
grandchildren do not get it.
"""

import contextlib
import os
import signal
import threading
from typing import Final

from observer.supervisor.mark import end_own_system

LIFELINE_VARIABLE: Final = "OBSERVER_LIFELINE_FD"


class Lifeline:
    """The pipe; `child_fd` is the end for the children."""

    def __init__(self) -> None:
        self.child_fd, self._own_fd = os.pipe()

    def close(self) -> None:
        """Close the pipe: every child that watches it ends itself."""
        os.close(self.child_fd)
        os.close(self._own_fd)


def end_with_supervisor() -> None:
    """End this process with its supervisor, and end all that it left; nothing in a process without a lifeline."""
    text = os.environ.get(LIFELINE_VARIABLE)
    if text is None:
        return
    descriptor = int(text)
    os.set_inheritable(descriptor, False)

    def watch() -> None:
        while os.read(descriptor, 1):
            pass
        with contextlib.suppress(Exception):  # whatever cannot be read of other processes, this one ends
            end_own_system()
        if os.getpgid(0) == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
