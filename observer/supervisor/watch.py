"""Resource figures of processes, and the check for a stale heartbeat."""

import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import psutil

from observer.supervisor.limits import HostFigures, Traffic, busiest
from observer.supervisor.proc import ProcessId, ProcessSeen

_Counts = TypeVar("_Counts")

_LOOPBACKS: Final = ("lo", "lo0")


class Figures(msgspec.Struct, frozen=True):
    """Resource use of a child and its own children; `cpu_percent` is of one core, since the last sample."""

    cpu_percent: float
    rss_bytes: int
    open_files: int
    threads: int


def is_hung(heartbeat_age_s: float, limit_s: float | None) -> bool:
    """Whether the last heartbeat is too old; never for a process without a limit."""
    return limit_s is not None and heartbeat_age_s > limit_s


class HostWatch:
    """Checks the machine; it keeps the counters of the last check, because traffic is a difference between two."""

    def __init__(self, disk: Path) -> None:
        self._disk = disk
        self._traffic = read_traffic()

    def check(self, children: Iterable[Figures]) -> HostFigures:
        """The machine's figures since the last check, and the use by this process and these children."""
        own_bytes = psutil.Process().memory_info().rss
        before, self._traffic = self._traffic, read_traffic()
        span_s = self._traffic.at_s - before.at_s
        return HostFigures(
            cpu_percent=psutil.cpu_percent(),
            memory_bytes=own_bytes + sum(figures.rss_bytes for figures in children),
            disk_percent=_disk_percent(self._disk),
            network_mbps=busiest(before.interfaces, self._traffic.interfaces, span_s) * 8 / 1e6,
            disk_io_mb_s=busiest(before.disks, self._traffic.disks, span_s) / 1e6,
        )


def read_traffic() -> Traffic:
    """The machine's counters now, without those of loopback; a kind that the system does not show is empty."""
    interfaces = interface_bytes() or {}
    disks = shown(lambda: psutil.disk_io_counters(perdisk=True)) or {}
    return Traffic(
        time.monotonic(),
        {name: sum(passed) for name, passed in interfaces.items()},
        {name: count.read_bytes + count.write_bytes for name, count in disks.items()},
    )


def interface_bytes() -> Mapping[str, tuple[int, int]] | None:
    """What each network interface but loopback received and sent; None where the system does not show it."""
    found = shown(lambda: psutil.net_io_counters(pernic=True))
    if not found:
        return None
    return {name: (each.bytes_recv, each.bytes_sent) for name, each in found.items() if name not in _LOOPBACKS}


def disk_bytes(blocks: Path = Path("/sys/block")) -> tuple[int, int] | None:
    """What was read from and written to all disks; None where the system does not show it. A disk that is made of
    others (device mapper, RAID) or of a file is none: its traffic is theirs.
    """
    found = shown(lambda: psutil.disk_io_counters(perdisk=True)) or {}
    disks = [count for name, count in found.items() if is_disk(blocks / name)]
    if not disks:
        return None
    return sum(each.read_bytes for each in disks), sum(each.write_bytes for each in disks)


def is_disk(block: Path) -> bool:
    """Whether the kernel's folder of a block device is that of a disk, and of none that is made of others."""
    return (block / "device").exists() and not any((block / "slaves").glob("*"))


def shown(read: Callable[[], _Counts]) -> _Counts | None:
    """What psutil reads; None where the system does not show it, as in some containers, or a line cannot be parsed."""
    try:
        return read()
    except (OSError, RuntimeError, ValueError):  # among them NotImplementedError
        return None


def _disk_percent(folder: Path) -> float:
    """Use of the disk that holds the folder, or will hold it; an unreadable disk counts as full."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        return float(psutil.disk_usage(str(there)).percent)
    except OSError:
        return 100.0


class Watch:
    """Samples children. It keeps their process objects, because CPU use is a difference between two samples."""

    def __init__(self) -> None:
        self._known: dict[ProcessId, psutil.Process] = {}

    def sample(self, processes: Collection[ProcessSeen], leader_pids: Iterable[int]) -> Mapping[int, Figures]:
        """The figures of each child that is alive, by the pid of its leader: all of its session together."""
        current: dict[ProcessId, psutil.Process] = {}
        figures: dict[int, Figures] = {}
        for leader_pid in leader_pids:
            found: dict[ProcessId, psutil.Process] = {}
            for process in processes:
                if process.session == leader_pid:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        identity = process.identity
                        found[identity] = self._known.get(identity) or psutil.Process(identity.pid)
            if found:
                columns = zip(*(msgspec.structs.astuple(_figures(each)) for each in found.values()), strict=True)
                figures[leader_pid] = Figures(*map(sum, columns))
            current |= found
        self._known = current
        return figures


def _figures(process: psutil.Process) -> Figures:
    """The figures of one process; none for one that has ended since it was found."""
    try:
        with process.oneshot():
            return Figures(
                cpu_percent=process.cpu_percent(),
                rss_bytes=process.memory_info().rss,
                open_files=process.num_fds(),
                threads=process.num_threads(),
            )
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return Figures(cpu_percent=0.0, rss_bytes=0, open_files=0, threads=0)
