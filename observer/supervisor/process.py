"""A child while it runs: started in a session of its own with a lifeline, asked to end, made to end, seen gone.

The lifeline is a pipe of which only the supervisor holds the writing end. Whoever inherits the reading end (its number
is in `OBSERVER_LIFELINE_FD`) sees it close when the supervisor is gone, SIGKILL included, and ends its own group. The
system's parent-death signal would not do: grandchildren do not get it.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable
from typing import Final

from observer.supervisor.child import Child
from observer.supervisor.group import kill_until_gone, signal_group
from observer.supervisor.notify import Notification, NotifySocket, child_environment
from observer.supervisor.orphans import end_adopted
from observer.supervisor.output import open_log

LIFELINE_VARIABLE: Final = "OBSERVER_LIFELINE_FD"
DUMP_SIGNAL: Final = signal.SIGUSR1  # the child writes the stacks of all its threads to its log (faulthandler)
_DUMP_S: Final = 0.3  # a dump takes milliseconds; SIGTERM in the same moment would cut it off


class Lifeline:
    """The pipe that tells children that their supervisor lives."""

    def __init__(self) -> None:
        self.child_fd, self._own_fd = os.pipe()

    def close(self) -> None:
        """Let go: every child that watches it ends itself."""
        os.close(self.child_fd)
        os.close(self._own_fd)


class RunningProcess:
    """One life of a child, from its start until nothing of it is left; made inside a running event loop.

    Args:
        on_exit: called once with the pid, from the event loop when the leader has ended; its group may still live.
        on_notification: called with the pid and what it, or another process of its life, said over sd_notify.

    Raises:
        OSError: the program or its log cannot be opened, or the system has no room for a process.
    """

    def __init__(
        self,
        child: Child,
        lifeline: Lifeline,
        on_exit: Callable[[int], None],
        on_notification: Callable[[int, Notification], None] = lambda _pid, _said: None,
    ) -> None:
        self._notify = NotifySocket(lambda said: on_notification(self.pid, said))
        try:
            self._popen = _spawn(child, lifeline, self._notify.address)
            self._pidfd = _watch_exit(self._popen)
        except OSError:
            self._notify.close()
            raise
        self.pid = self._popen.pid
        self._on_exit = on_exit
        self._exited = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._pidfd, self._note_exit)
        loop.add_reader(self._notify, self._notify.receive)

    def _note_exit(self) -> None:
        self._notify.receive()  # what it said before its end counts before its end
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._pidfd)
        loop.remove_reader(self._notify)
        os.close(self._pidfd)
        self._exited.set()
        self._on_exit(self.pid)

    async def dump_stacks(self) -> None:
        """Have it write its stacks to its log; one that does not know the signal ends by it."""
        self._signal_leader(DUMP_SIGNAL)
        self._signal_leader(signal.SIGCONT)
        await self._has_exited(_DUMP_S)

    async def stop(self, grace_s: float) -> int:
        """SIGTERM to the group, SIGKILL after the grace; `finish`'s result once nothing is left."""
        signal_group(self.pid, signal.SIGTERM)
        signal_group(self.pid, signal.SIGCONT)  # one that was suspended must wake to end by itself
        return await self.leave(grace_s)

    async def leave(self, grace_s: float) -> int:
        """Let it end by itself within the grace, or kill it; `finish`'s result once nothing is left."""
        if not await self._has_exited(grace_s):
            signal_group(self.pid, signal.SIGKILL)
            await self._exited.wait()
        return await self.finish()

    async def finish(self) -> int:
        """After the leader's exit: kill what is left of its life, reap it and return its status as Popen does.

        The leader is reaped last: until then its number, which is also the session's, can pass to nobody else.
        """
        await self._exited.wait()
        await kill_until_gone(self.pid)
        await end_adopted(self._notify.address)
        self._notify.close()  # not before: until then no other life can get its address
        return self._popen.wait()

    async def _has_exited(self, within_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._exited.wait()
        return self._exited.is_set()

    def _signal_leader(self, number: signal.Signals) -> None:
        if not self._exited.is_set():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)


def _spawn(child: Child, lifeline: Lifeline, notify_address: str) -> "subprocess.Popen[bytes]":
    """Start the program; when this returns it has its session and its program, so its group may be signalled."""
    environment = child_environment({**os.environ, **child.environment}, notify_address, child.heartbeat_limit_s)
    environment[LIFELINE_VARIABLE] = str(lifeline.child_fd)
    log = open_log(child.log_path)
    try:
        return subprocess.Popen(  # noqa: S603 - argv comes from the product's table of processes, and no shell reads it
            child.argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=[lifeline.child_fd],
            start_new_session=True,
        )
    finally:
        os.close(log)


def _watch_exit(popen: "subprocess.Popen[bytes]") -> int:
    """A descriptor that becomes readable when the process ends; without one it cannot be kept, so it is ended."""
    try:
        return os.pidfd_open(popen.pid)
    except OSError:
        popen.kill()
        popen.wait()
        raise


def exit_text(status: int) -> str:
    """How a life ended, in words: "exit 1", "SIGKILL"."""
    if status >= 0:
        return f"exit {status}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-status).name
    return f"signal {-status}"
