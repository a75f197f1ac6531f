"""A running child: started in its own session with a lifeline, stopped, killed, reaped."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from observer.base.environment import withhold
from observer.supervisor.cgroup import Cgroup
from observer.supervisor.child import Child
from observer.supervisor.ending import end, signal_group
from observer.supervisor.lifeline import LIFELINE_VARIABLE, Lifeline
from observer.supervisor.mark import MARK_VARIABLE, Containment
from observer.supervisor.notify import ADDRESS_VARIABLE, Notification, NotifySocket, child_environment
from observer.supervisor.output import open_log
from observer.supervisor.proc import ProcessSeen, scan, variable_of
from observer.supervisor.zygote import Started, Zygote

DUMP_SIGNAL: Final = signal.SIGUSR1  # the child writes the stacks of all its threads to its log (faulthandler)
_GROUP_END_S: Final = 10.0  # of its control group: what hangs in the kernel outside its session delays no next start
_DUMP_S: Final = 0.3  # a dump takes milliseconds; SIGTERM in the same moment would cut it off


class RunningProcess:
    """One process of a child, from its start until its whole session is gone; made by `start`."""

    def __init__(
        self, started: Started, notify: NotifySocket, on_exit: Callable[[int], None], cgroup: Cgroup | None
    ) -> None:
        self._cgroup = cgroup
        self.orphans: frozenset[int] = frozenset()
        """Pids of processes that it left at its end, and that `finish` killed."""
        self.pid, self._pidfd, self._wait = started.pid, started.pidfd, started.wait
        self._notify = notify
        self._on_exit = on_exit
        self._exited = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._pidfd, self._note_exit)
        loop.add_reader(self._notify, self._notify.receive)

    @classmethod
    async def start(
        cls,
        child: Child,
        lifeline: Lifeline,
        on_exit: Callable[[int], None],
        on_notification: Callable[[int, Notification], None] = lambda _pid, _said: None,
        zygote: Zygote | None = None,
        containment: Containment | None = None,
    ) -> "RunningProcess":
        """Start the program: by a fork where the zygote has loaded it, else as a fresh process.

        Args:
            on_exit: called once with the pid, from the event loop when the leader has ended; its group may still live.
            on_notification: called with the pid and each sd_notify message of its session.
            containment: what identifies its descendants, however they detach themselves.

        Raises:
            OSError: the program or its log cannot be opened, or the system has no room for a process.
        """
        notify = NotifySocket(lambda said: on_notification(process.pid, said))
        cgroup = containment.group_of(child.name) if containment else None
        secrets = withhold(child.secrets)
        variables = {**os.environ, **secrets, **child.environment}
        if containment is not None:
            variables[MARK_VARIABLE] = str(containment.mark)
        environment = child_environment(variables, notify.address, child.heartbeat_limit_s)
        try:
            process = cls(await _start(child, lifeline, environment, zygote, cgroup), notify, on_exit, cgroup)
        except BaseException:
            notify.close()
            raise
        return process

    def _note_exit(self) -> None:
        self._notify.receive()  # its messages precede its end
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._pidfd)
        loop.remove_reader(self._notify)
        os.close(self._pidfd)
        self._exited.set()
        self._on_exit(self.pid)

    async def dump_stacks(self) -> None:
        """Make the process write its stacks to its log; a program without a handler ends by the signal."""
        self._signal_leader(DUMP_SIGNAL)
        self._signal_leader(signal.SIGCONT)
        await self._has_exited(_DUMP_S)

    async def stop(self, grace_s: float) -> int:
        """SIGTERM to the group, SIGKILL after the grace; return the status of `finish`."""
        signal_group(self.pid, signal.SIGTERM)
        signal_group(self.pid, signal.SIGCONT)  # one that was suspended must wake to end by itself
        return await self.leave(grace_s)

    async def leave(self, grace_s: float) -> int:
        """Wait for its own end within the grace, or kill it; return the status of `finish`."""
        if not await self._has_exited(grace_s):
            signal_group(self.pid, signal.SIGKILL)
            await self._exited.wait()
        return await self.finish()

    async def finish(self) -> int:
        """After the leader's exit: kill the rest of its processes, reap it and return its status as Popen does.

        The leader is reaped last: until then no other process can get its number, which is also the session's.
        """
        await self._exited.wait()
        orphans = await end(self._descendants, end_group=partial(signal_group, self.pid, signal.SIGKILL))
        if (cgroup := self._cgroup) is not None:
            orphans |= await end(cgroup.processes, within_s=_GROUP_END_S, end_group=cgroup.kill)
        self.orphans = frozenset(identity.pid for identity in orphans)
        self._notify.close()  # not before: until then no other process can get its address
        return self._wait()

    def _descendants(self) -> list[ProcessSeen]:
        """The living processes of its session, and adopted ones with its notify address, which left the session."""
        address, own_pid = self._notify.address, os.getpid()
        return [
            each
            for each in scan().values()
            if each.session == self.pid
            or (each.parent_pid == own_pid and variable_of(each.pid, ADDRESS_VARIABLE) == address)
        ]

    async def _has_exited(self, within_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._exited.wait()
        return self._exited.is_set()

    def _signal_leader(self, number: signal.Signals) -> None:
        if not self._exited.is_set():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)


async def _start(
    child: Child, lifeline: Lifeline, environment: Mapping[str, str], zygote: Zygote | None, cgroup: Cgroup | None
) -> Started:
    """Start the program; on return it has its session, so its group may be signalled."""
    log = open_log(child.log_path)
    try:
        if zygote is not None and zygote.runs(child.argv):
            forked = await zygote.fork(child.argv, environment, log, lifeline.child_fd, cgroup)
            if forked is not None:
                return forked
        return _spawn(child.argv, environment, log, lifeline, cgroup)
    finally:
        os.close(log)


def _spawn(
    argv: Sequence[str], environment: Mapping[str, str], log: int, lifeline: Lifeline, cgroup: Cgroup | None
) -> Started:
    popen = subprocess.Popen(  # noqa: S603 - argv comes from the product's table of processes, and no shell reads it
        argv,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**environment, LIFELINE_VARIABLE: str(lifeline.child_fd)},
        pass_fds=[lifeline.child_fd],
        start_new_session=True,
        # Between fork and exec, or children that it starts at once would stay outside; the call takes no lock of ours.
        preexec_fn=cgroup.add_in_fork if cgroup else None,  # noqa: PLW1509
    )
    return Started(popen.pid, _watch_exit(popen), popen.wait)


def _watch_exit(popen: "subprocess.Popen[bytes]") -> int:
    """A descriptor that becomes readable when the process ends. On failure, kill the process and raise OSError."""
    try:
        return os.pidfd_open(popen.pid)
    except OSError:
        popen.kill()
        popen.wait()
        raise


def exit_text(status: int) -> str:
    """An exit status in words: "exit 1", "SIGKILL"."""
    if status >= 0:
        return f"exit {status}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-status).name
    return f"signal {-status}"
