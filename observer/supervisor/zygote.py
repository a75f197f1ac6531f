"""Starts workers by forking a preloaded process: the supervisor's end of `zygote_process`.

A fork takes milliseconds where a fresh interpreter takes most of a second, and the workers share the loaded memory.
When the zygote has ended or does not answer, or the kernel does not let the supervisor adopt the worker, a fresh
interpreter starts instead, with a log line and a count. The zygote's end ends no worker. A zygote is used while the
code on disk equals the loaded code; after an upgrade the next start creates a new zygote.
"""

import asyncio
import contextlib
import hashlib
import importlib.util
import logging
import os
import socket
import subprocess
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from observer.base.programs import module_of, program
from observer.supervisor.cgroup import Cgroup
from observer.supervisor.mark import MARK_VARIABLE, Containment
from observer.supervisor.notify import ADDRESS_VARIABLE
from observer.supervisor.pid_registry import PidRegistry
from observer.supervisor.zygote_process import GO, NOTIFY_PLACEHOLDER, READY, REQUEST_BYTES_MAX, ForkRequest

logger = logging.getLogger(__name__)

_PROGRAM: Final = "observer.supervisor.zygote_process"
NAME: Final = "zygote"
_LOAD_S: Final = 10.0  # loading takes a second of processor time, on a busy machine several seconds
_ANSWER_S: Final = 5.0  # a fork takes some ten milliseconds
_PID_BYTES: Final = 16


class Started(msgspec.Struct, frozen=True):
    """A child of this process that leads its session and its group, and its pidfd. `wait` reaps it and returns its
    status as `Popen.wait` does.
    """

    pid: int
    pidfd: int
    wait: Callable[[], int]


def _reap(pid: int) -> int:
    """Reap a worker; 0 when the kernel reaped it (SIGCHLD is ignored)."""
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        return 0


class Zygote:
    """Forks workers; made inside a running event loop, which it needs while it works.

    Args:
        preload: the workers' modules and what else they share, MODULE or MODULE:FUNCTION (`zygote_process`). A worker
            is a child that runs `python -m` one of these.
        pid_registry: where each zygote's pid stands while it runs.
        containment: what a zygote and its workers carry.
        on_trouble: called with the zygote's pid, None without one, and the reason when a worker starts without it, or
            when it ended by itself.
        answer_s: how long a fork may take, in machine seconds.
    """

    def __init__(
        self,
        preload: Sequence[str],
        pid_registry: PidRegistry,
        containment: Containment | None = None,
        on_trouble: Callable[[int | None, str], None] = lambda _pid, _reason: None,
        answer_s: float = _ANSWER_S,
    ) -> None:
        self._preload = tuple(preload)
        self._containment = containment
        self._on_trouble = on_trouble
        self._pid_registry = pid_registry
        self._answer_s = answer_s
        self._current: _Generation | None = None
        self.fallbacks = 0
        """Number of failed forks, each replaced by a fresh interpreter."""
        self._renew()

    @property
    def pid(self) -> int | None:
        """The current zygote's pid."""
        return self._current.pid if self._current else None

    @property
    def has_loaded(self) -> bool:
        """Whether the current zygote has loaded its modules, so that a start takes no longer than a fork."""
        return self._current is not None and self._current.has_loaded

    def runs(self, argv: Sequence[str]) -> bool:
        """Whether this program is one of the workers that a zygote has loaded."""
        return module_of(tuple(argv)) in self._preload

    async def fork(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        log: int,
        lifeline: int,
        cgroup: Cgroup | None = None,
    ) -> Started | None:
        """Start a worker with this environment in this control group, its output to `log`; None when a fresh
        interpreter must do it.
        """
        generation = self._current
        if generation is None or generation.stamp != code_stamp(self._preload):
            generation = self._renew()
        if generation is None:
            return None
        if not await generation.is_settled():
            self._fall_back(generation.pid, f"is still loading: {argv[3]} starts without it")
            return None
        try:
            return await generation.fork(_request(argv, environment), log, lifeline, self._answer_s, cgroup)
        except (TimeoutError, OSError) as error:
            self._fall_back(generation.pid, f"does not fork {argv[3]}, which starts without it: {error!r}")
            generation.close()
            return None

    def _fall_back(self, pid: int | None, reason: str) -> None:
        self.fallbacks += 1
        logger.warning("the zygote (pid %s) %s", pid, reason)
        self._on_trouble(pid, reason)

    def close(self) -> None:
        """End the zygote; the workers live on."""
        if self._current is not None:
            self._current.close()

    def _renew(self) -> "_Generation | None":
        self.close()
        try:
            generation = _Generation(self._preload, self._note_end, self._containment)
        except OSError as error:
            self._fall_back(None, f"cannot be started: {error}")
            return None
        self._current = generation
        self._pid_registry.record(generation.pid, NAME)
        return generation

    def _note_end(self, generation: "_Generation", *, by_itself: bool) -> None:
        self._pid_registry.forget(generation.pid)
        if generation is self._current:
            self._current = None
        if by_itself:
            logger.warning("the zygote (pid %d) ended", generation.pid)
            self._on_trouble(generation.pid, "ended by itself")
            if generation.has_loaded:  # one that cannot even load is tried again at the next start
                self._renew()


class _Generation:
    """One zygote, from its start to its end.

    Raises:
        OSError: the system has no room for a process.
    """

    def __init__(self, preload: Sequence[str], on_end: "Callable[..., None]", containment: Containment | None) -> None:
        self.stamp = code_stamp(preload)
        self._on_end = on_end
        mark = {MARK_VARIABLE: str(containment.mark)} if containment else {}
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self._popen = subprocess.Popen(  # noqa: S603 - our own program, and no shell reads it
                    program(_PROGRAM, str(theirs.fileno()), *preload),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    env={**os.environ, **mark, ADDRESS_VARIABLE: NOTIFY_PLACEHOLDER},
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
        except OSError:
            self._socket.close()
            raise
        self.pid = self._popen.pid
        if containment is not None and (cgroup := containment.group_of(NAME)) is not None:
            cgroup.add(self.pid)
        self.has_loaded = False
        self._settled = asyncio.Event()  # it has loaded, or ended
        self._load_deadline_s = asyncio.get_running_loop().time() + _LOAD_S
        self._socket.setblocking(False)
        asyncio.get_running_loop().add_reader(self._socket, self._receive)

    def _receive(self) -> None:
        message = b""
        with contextlib.suppress(ConnectionError):
            message = self._socket.recv(len(READY))
        if message == READY:
            self.has_loaded = True
            self._settled.set()
        else:
            self.close(by_itself=True)

    async def is_settled(self) -> bool:
        """Wait until it has loaded or ended; false once its time to load is over, however long it goes on loading."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._load_deadline_s):
                await self._settled.wait()
        return self._settled.is_set()

    async def fork(self, content: bytes, log: int, lifeline: int, answer_s: float, cgroup: Cgroup | None) -> Started:
        """Raises TimeoutError or OSError: no worker runs, and none will."""
        if len(content) > REQUEST_BYTES_MAX:
            raise OSError(f"arguments and environment have {len(content)} bytes")
        ours, theirs = socket.socketpair()
        with ours:
            ours.setblocking(False)
            with theirs:
                socket.send_fds(self._socket, [content], [theirs.fileno(), log, lifeline])
            async with asyncio.timeout(answer_s):
                answer = await asyncio.get_running_loop().sock_recv(ours, _PID_BYTES)
            if not answer:
                raise OSError("the worker ended before it began")
            forked = _own_child(int(answer))
            if cgroup is not None:
                cgroup.add(forked.pid)
            try:
                ours.send(GO)
            except OSError:
                os.close(forked.pidfd)
                raise
        return forked

    def close(self, *, by_itself: bool = False) -> None:
        """SIGKILL: it holds nothing, and a worker that waits for its `GO` sees its channel closed."""
        if self._socket.fileno() < 0:
            return
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        self._settled.set()
        self._popen.kill()
        self._popen.wait()
        self._on_end(self, by_itself=by_itself)


def _request(argv: Sequence[str], environment: Mapping[str, str]) -> bytes:
    """The encoded request to fork a worker."""
    variables = tuple((os.fsencode(name), os.fsencode(value)) for name, value in environment.items())
    return msgspec.msgpack.encode(ForkRequest(tuple(map(os.fsencode, argv)), variables))


def _own_child(pid: int) -> Started:
    """Raises OSError: the process has ended, or this one has not become its parent."""
    forked = Started(pid, os.pidfd_open(pid), partial(_reap, pid))
    try:
        os.waitid(os.P_PIDFD, forked.pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except OSError:
        os.close(forked.pidfd)
        raise
    return forked


def code_stamp(preload: Sequence[str]) -> bytes:
    """A digest of these packages' source files and of the installed packages.

    For installed packages only the folders' times count: an installation changes them, and their files are many.
    """
    installed = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
    digest = hashlib.sha256()
    for package in sorted({entry.partition(":")[0].partition(".")[0] for entry in preload}):
        spec = importlib.util.find_spec(package)
        for root in (spec.submodule_search_locations or ()) if spec else ():
            if not root.startswith(tuple(installed)):
                _add_sources(digest, root)
    for folder in installed:
        digest.update(str(Path(folder).stat().st_mtime_ns).encode())
    return digest.digest()


def _add_sources(digest: "hashlib._Hash", folder: str) -> None:
    """Add a folder's sources. What vanishes meanwhile belongs to an upgrade; the next check sees its end."""
    with contextlib.suppress(FileNotFoundError):
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False) and entry.name != "__pycache__":
                _add_sources(digest, entry.path)
            elif entry.name.endswith(".py"):
                with contextlib.suppress(FileNotFoundError):  # a link without a target
                    figures = entry.stat()
                    digest.update(f"{entry.path}:{figures.st_mtime_ns}:{figures.st_size}\n".encode())
