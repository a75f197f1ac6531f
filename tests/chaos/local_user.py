"""A local user who tries everything against a running system: `python -m tests.chaos.local_user --seconds 300`.

The user owns nothing, and is a child of this process that gave up root. It opens, locks, maps and links every file,
connects and floods every socket, signals and traces every process, fills and poisons the shared folder for temporary
files, and sends garbage to every port. Meanwhile the database is observed from outside: how long storage was without a
commit.

Prints one JSON object. Exit status 0: nothing was reached, no process ended, and no commit took longer than a second;
1: otherwise; 2: not root. With `--open` the files have the modes of umask 022 again: the negative control.
"""

import argparse
import contextlib
import ctypes
import fcntl
import itertools
import json
import mmap
import os
import pwd
import random
import resource
import secrets
import signal
import socket
import sqlite3
import stat
import struct
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec
import psutil

from observer.supervisor.zygote_process import NOTIFY_PLACEHOLDER
from tests.folders import short_folder
from tests.whole.staged import StagedDay, staged_day, stopped

STRANGER = pwd.getpwnam("nobody")  # owns no file and runs nothing
COMMIT_S_MAX = 1.0
BEGINS = (9, 25)  # late: the morning's jobs are made up for
OPENS_S = 9 * 3600 + 31 * 60  # Track B streams from 09:30 on: from here on trades come without a pause
CLOSES_S = 15 * 3600
KEY, SECRET = "LOCAL_USER_APP_KEY", "LOCAL_USER_APP_SECRET"
SETTINGS = ("provider_pool.json", "symbol_selection.json")  # have no secret; others may read them
SQLITE_WRITE_LOCK = 120  # the byte of the -shm file that a writer locks (sqlite.org/walformat.html)
FILL_BYTES = 64 << 20
HELD_MAX = 1_000
POLL_S = 0.005
ALONE_S_MAX = 60.0  # how long the system is watched without the user, for comparison
PTRACE_SEIZE = 0x4206

_libc = ctypes.CDLL(None, use_errno=True)


class Target(NamedTuple):
    """What the user knows of the system; root lists it, as the user could guess it in time."""

    folder: Path
    shared: Path
    files: Sequence[Path]
    pids: Sequence[int]
    notify: Sequence[str]
    ports: Sequence[int]
    secrets: Sequence[bytes]


# --- the user's attempts: each yields what it reached, which must be nothing --------------------------------

Reached = Iterator[str]
Reports = Iterator[Mapping[str, Any]]
Held = dict[str, Any]  # what stays open, by what it is: a lock goes with the first descriptor that is closed
Step = tuple[str, Callable[[], object]]


def use_files(target: Target, held: Held) -> Reached:
    """Open, read, lock, map, link, replace and remove every file; what was opened stays locked and mapped."""
    mine = target.shared / f"mine-{os.getpid()}"
    for path in target.files:
        for name, flags in (("read", os.O_RDONLY), ("write", os.O_RDWR), ("append", os.O_WRONLY | os.O_APPEND)):
            what = f"{name} {path}"
            with contextlib.suppress(OSError):
                descriptor = held[what] = held.get(what) or os.open(path, flags | os.O_NONBLOCK)
                yield what
                yield from lock_and_map(path, descriptor, held)
        for name, step in steps_on_file(path, mine):
            with contextlib.suppress(OSError):
                step()
                yield f"{name} {path}"


def steps_on_file(path: Path, mine: Path) -> tuple[Step, ...]:
    return (
        ("list", lambda: os.scandir(path)),
        ("chmod", lambda: path.chmod(0o777)),
        ("link", lambda: mine.hardlink_to(path)),
        ("rename", lambda: path.rename(mine)),
        ("remove", path.unlink),
        ("make a file in", (path / "mine").touch),
        ("make a file beside", path.with_name(f"{path.name}-journal").touch),
    )


def lock_and_map(path: Path, descriptor: int, held: Held) -> Reached:
    with contextlib.suppress(OSError):
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB, 8, SQLITE_WRITE_LOCK)
        yield f"lock for reading {path}"
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield f"flock {path}"
    with contextlib.suppress(OSError, ValueError):
        held[f"map {path}"] = held.get(f"map {path}") or mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
        yield f"map {path}"


def use_sockets(target: Target, held: Held) -> Reached:
    """Connect every socket that is a file; flood the notify sockets, which have no permissions, with lies and files."""
    for path in target.files:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, kind) as ours:
                ours.setblocking(False)
                ours.connect(str(path))
                yield f"connect {path}"
    lies = (b"READY=1", b"STOPPING=1", b"WATCHDOG=1", b"STATUS=" + b"\x1b]0;\xff" * 500, random.randbytes(4096))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours, Path("/dev/null").open("rb") as file:
        ours.setblocking(False)
        for address, lie in itertools.product(target.notify, lies * 20):
            with contextlib.suppress(OSError):  # full: the system has not read the earlier ones
                ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", file.fileno()) * 50)]
                ours.sendmsg([lie], ancillary, 0, address.replace("@", "\0", 1))
    for address in target.notify:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
            ours.bind(address.replace("@", "\0", 1))
            held[f"address {address}"] = ours
            yield f"take the address {address}"


def use_processes(target: Target, held: Held) -> Reached:
    """Signal, trace, slow down and read every process."""
    for pid in target.pids:
        for name, step in steps_on_process(pid):
            with contextlib.suppress(OSError, ValueError):
                step()
                yield f"{name} of process {pid}"
        for name in ("cmdline", "status", "stat", "limits", "cgroup", "sched", "wchan"):
            with contextlib.suppress(OSError):
                content = Path(f"/proc/{pid}/{name}").read_bytes()
                if any(secret in content for secret in target.secrets):
                    yield f"read a secret in {name} of process {pid}"
    del held


def steps_on_process(pid: int) -> tuple[Step, ...]:
    proc = Path(f"/proc/{pid}")
    return (
        *((f"signal {number.name}", partial(os.kill, pid, number)) for number in SIGNALS),
        ("signal by pidfd", partial(signal_by_pidfd, pid)),
        ("slow down", lambda: os.setpriority(os.PRIO_PROCESS, pid, 19)),
        ("pin", lambda: os.sched_setaffinity(pid, {0})),
        ("limit", lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE, (8, 8))),
        ("trace", lambda: traced(pid)),
        *((f"read {name}", (proc / name).read_bytes) for name in HIDDEN),
        *((f"list {name}", partial(os.scandir, proc / name)) for name in ("fd", "map_files")),
        *((f"write {name}", partial((proc / name).write_text, "0")) for name in ADJUSTED),
    )


SIGNALS = (signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1)
HIDDEN = ("environ", "mem", "maps", "auxv", "stack", "syscall", "io")
ADJUSTED = ("oom_score_adj", "coredump_filter", "clear_refs", "comm")


def signal_by_pidfd(pid: int) -> None:
    descriptor = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGSTOP)
    finally:
        os.close(descriptor)


def traced(pid: int) -> None:
    if _libc.ptrace(PTRACE_SEIZE, pid, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def use_shared_folder(target: Target, held: Held) -> Reached:
    """Fill the folder for temporary files; take, replace and link what the system makes in it."""
    mine = target.shared / f"full-{os.getpid()}"
    with contextlib.suppress(OSError), mine.open("wb") as file:
        for _ in range(FILL_BYTES >> 20):
            file.write(bytes(1 << 20))
    mine.unlink(missing_ok=True)
    for path in target.shared.iterdir():
        if path.lstat().st_uid == STRANGER.pw_uid:
            continue
        for name, step in (("remove", path.unlink), ("rename", lambda: path.rename(mine)), ("list", path.iterdir)):  # noqa: B023
            with contextlib.suppress(OSError):
                found = step()
                yield f"{name} {path}: {list(found) if isinstance(found, Iterator) else 'done'}"
        with contextlib.suppress(OSError):
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
            yield f"open {path}"
    for name in ("observer", "observer.lock", "observer.db", "run", "data", "outbox", ".etilqs", "observer.sock"):
        with contextlib.suppress(FileExistsError):
            (target.shared / name).symlink_to(target.folder / "data" / "observer.db")


def use_ports(target: Target, held: Held) -> Reached:
    """Send garbage to every port, and leave half of the connections open."""
    for port, garbage in itertools.product(target.ports, (b"\xff" * 4096, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"")):
        with contextlib.suppress(OSError):
            ours = socket.socket()
            ours.connect(("127.0.0.1", port))
            ours.setblocking(False)
            ours.send(garbage)
            if not garbage and len(held) < HELD_MAX:
                held[f"connection {ours.fileno()}"] = ours
            else:
                ours.close()
    yield from ()


ATTEMPTS = (use_files, use_sockets, use_processes, use_shared_folder, use_ports)


def attempt(target: Target, seconds: float) -> Reports:
    """Try everything for so long; what was reached, and in how many rounds."""
    ends_s = time.monotonic() + seconds
    reached: set[str] = set()
    held: Held = {}
    rounds = 0
    while time.monotonic() < ends_s or not rounds:
        for each in ATTEMPTS:
            reached.update(each(target, held))
        rounds += 1
    yield {"rounds": rounds, "reached": sorted(reached)}


def hold_locks(target: Target) -> Reports:
    """Take every lock that the right to read gives, report the files, and hold them until killed."""
    held: list[int] = []
    locked = []
    for path in target.files:
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            held.append(descriptor)
            fcntl.lockf(descriptor, fcntl.LOCK_SH, 8, SQLITE_WRITE_LOCK)  # waits for the commit under way
            locked.append(path.name)
    yield {"locked": locked}
    signal.pause()


# --- the user -------------------------------------------------------------------------------------------------


class AsStranger:
    """The reports of `work`, made in a child that is this user while the block runs."""

    def __init__(self, work: Reports) -> None:
        self._work = work

    def __enter__(self) -> Self:
        reading, writing = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(reading)
            self._become_stranger(writing)
        os.close(writing)
        self._said = os.fdopen(reading)
        return self

    def _become_stranger(self, writing: int) -> None:
        """Never returns."""
        try:
            os.setsid()
            os.chdir("/")
            os.setgroups([])
            os.setgid(STRANGER.pw_gid)
            os.setuid(STRANGER.pw_uid)
            with os.fdopen(writing, "w") as out:
                for report in self._work:
                    out.write(f"{json.dumps(report)}\n")
                    out.flush()
        except BaseException:  # noqa: BLE001 - the parent misses the report
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(0)

    def report(self) -> dict[str, Any]:
        """The next report."""
        line = self._said.readline()
        if not line:
            _, status = os.waitpid(self._pid, 0)
            raise RuntimeError(f"the user ended early, with status {os.waitstatus_to_exitcode(status)}; see stderr")
        reported: dict[str, Any] = json.loads(line)
        return reported

    def __exit__(self, *_error: object) -> None:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):  # it ended early
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        self._said.close()


# --- the observer -------------------------------------------------------------------------------------------


class CommitWatch:
    """Watches the commits of another process from outside, in a thread, while the block runs."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._ending = threading.Event()
        self.commits = 0
        self.longest_wait_s = 0.0
        self.longest_turn_s = 0.0  # of the watch itself: how long the machine kept it from looking

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ending.set()
        self._thread.join()

    def _watch(self) -> None:
        address = f"file:{self._database}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection:
            version = turn_s = since_s = 0.0
            while not self._ending.wait(POLL_S):
                found = connection.execute("PRAGMA data_version").fetchone()[0]
                now_s = time.monotonic()
                if turn_s:
                    self.longest_turn_s = max(self.longest_turn_s, now_s - turn_s)
                    self.longest_wait_s = max(self.longest_wait_s, now_s - since_s)
                if found != version:
                    self.commits += 1
                    version, since_s = found, now_s
                turn_s = now_s


# --- the system ---------------------------------------------------------------------------------------------


def processes_of(day: StagedDay) -> list[psutil.Process]:
    """The supervisor and everything below it."""
    return [day.system.process, *day.system.process.children(recursive=True)]


def target_of(day: StagedDay, shared: Path, hidden: Sequence[bytes]) -> Target:
    """What root sees of the system; its settings without secrets are left out."""
    processes = processes_of(day)
    notify = {each.environ().get("NOTIFY_SOCKET", "") for each in processes}
    ports = {
        link.laddr.port
        for each in processes
        for link in each.net_connections("tcp")
        if link.status == psutil.CONN_LISTEN
    }
    files = [path for path in sorted(day.folder.rglob("*")) if path.name not in SETTINGS]
    return Target(
        folder=day.folder,
        shared=shared,
        files=files,
        pids=[each.pid for each in processes],
        notify=sorted(address for address in notify - {NOTIFY_PLACEHOLDER} if address.startswith("@")),
        ports=sorted(ports),
        secrets=hidden,
    )


def traces_of_secrets(day: StagedDay, hidden: Sequence[bytes]) -> list[str]:
    """Processes whose environment shows a secret or that may write core dumps, and files that others may use."""
    files = (path for path in day.folder.rglob("*") if path.name not in (*SETTINGS, "clock"))  # this process makes it
    found = [f"the mode of {path}" for path in files if mode_of(path) & 0o077]
    for process in processes_of(day):
        proc = Path(f"/proc/{process.pid}")
        name = " ".join(process.cmdline())
        if any(secret in (proc / "environ").read_bytes() for secret in hidden):
            found.append(f"a secret in the environment of {name}")
        limits = (proc / "limits").read_text()
        if next(line for line in limits.splitlines() if "core file" in line).split()[4:6] != ["0", "0"]:
            found.append(f"core dumps of {name}")
        if int((proc / "coredump_filter").read_text(), 16):
            found.append(f"memory in core dumps of {name}")
        if "Umask:\t0077" not in (proc / "status").read_text():
            found.append(f"the umask of {name}")
    return found


def mode_of(path: Path) -> int:
    """The permissions; none where the file has gone meanwhile."""
    with contextlib.suppress(FileNotFoundError):
        return stat.S_IMODE(path.lstat().st_mode)
    return 0


def open_as_umask_022(day: StagedDay) -> None:
    """Give folders and files the modes that umask 022 would have given them."""
    for path in (day.folder, *day.folder.rglob("*")):
        with contextlib.suppress(OSError):
            path.chmod(0o755 if path.is_dir() else stat.S_IMODE(path.stat().st_mode) | 0o044)


class Attacked(msgspec.Struct):
    """A running day that can be attacked, and what its processes show."""

    day: StagedDay
    shared: Path
    hidden: Sequence[bytes]

    def target(self) -> Target:
        return target_of(self.day, self.shared, self.hidden)

    def traces(self) -> list[str]:
        return traces_of_secrets(self.day, self.hidden)


@contextlib.contextmanager
def attacked_day(seconds: float) -> Iterator[Attacked]:
    """A system in the hours of trading, with its keys in the environment and a shared folder for temporary files."""
    app_key, app_secret = f"PS{secrets.token_hex(17)}", secrets.token_urlsafe(135)
    with short_folder() as folder, tempfile.TemporaryDirectory(prefix="obs-shared") as shared:
        folder.chmod(0o755)
        Path(shared).chmod(0o1777)
        pool = folder / "provider_pool.json"
        account = {"account_id": "main", "app_key_variable": KEY, "app_secret_variable": SECRET}
        pool.write_text(json.dumps({"provider_pool": {"accounts": [account]}}))
        changes = {
            "run": {"provider_pool": str(pool)},
            "simulator": {"app_keys": {app_key: app_secret}, "drops": []},
        }
        speed = min(600.0, (CLOSES_S - OPENS_S) / (seconds + ALONE_S_MAX + 30))
        variables = {KEY: app_key, SECRET: app_secret, "TMPDIR": shared, "SQLITE_TMPDIR": shared}
        before = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)
        try:
            with staged_day(speed=speed, begins=BEGINS, changes=changes, folder=folder) as day:
                day.begin()
                day.until_second(OPENS_S)
                yield Attacked(day, Path(shared), (app_key[:20].encode(), app_secret[:20].encode()))
        finally:
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value


def run(seconds: float, *, is_open: bool = False) -> dict[str, Any]:
    """Attack one system for so long; the report."""
    with attacked_day(seconds) as attacked:
        day = attacked.day
        if is_open:
            open_as_umask_022(day)
        target, pids = attacked.target(), day.system.pids()
        with CommitWatch(day.database) as alone:
            day.until_second(day.second() + min(seconds, ALONE_S_MAX) * day.clock.speed)
        with AsStranger(attempt(target, seconds)) as user, CommitWatch(day.database) as watch:
            reported = user.report()
        return {
            **reported,
            "files": len(target.files),
            "processes": len(target.pids),
            "commits": watch.commits,
            "longest_wait_s": round(watch.longest_wait_s, 3),
            "longest_wait_without_the_user_s": round(alone.longest_wait_s, 3),
            "longest_turn_of_the_watch_s": round(watch.longest_turn_s, 3),
            "traces_of_secrets": attacked.traces(),
            "restarted": sorted(name for name, pid in pids.items() if day.system.pids().get(name) != pid),
            "exit_status": stopped(day),
        }


def is_sound(reported: Mapping[str, Any]) -> bool:
    """Whether the user reached nothing, and storage never waited."""
    reached = reported["reached"] or reported["traces_of_secrets"] or reported["restarted"]
    return not reached and reported["exit_status"] == 0 and 0 < reported["longest_wait_s"] <= COMMIT_S_MAX


def main() -> int:
    """Attack a system, and print the report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=300, help="how long the user tries")
    parser.add_argument("--open", action="store_true", help="with the modes of umask 022: the negative control")
    asked = parser.parse_args()
    if os.geteuid() != 0:
        sys.stderr.write("only root can become another user: run it as root\n")
        return 2
    reported = run(asked.seconds, is_open=asked.open)
    sys.stdout.write(json.dumps(reported, indent=2) + "\n")
    return 0 if is_sound(reported) else 1


if __name__ == "__main__":
    sys.exit(main())
