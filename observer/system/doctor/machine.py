"""Findings about the machine: clock, disks, file systems, ports, limits, versions, time zone data, the broker's hosts.

Pure: `observer.system.doctor.machine_facts` gathers what these functions judge.
"""

import shlex
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from observer.base.units import NS_PER_S
from observer.system.doctor.finding import Finding, critical, ok, warning

CLOCK_WARNING_S: Final = 1.0  # a gap is to be detected within a second
CLOCK_CRITICAL_S: Final = 5.0  # phases and sessions begin at the wrong moment, tokens are renewed too late
DISK_FREE_BYTES_MIN: Final = 500_000_000
DISK_DAYS_CRITICAL: Final = 3.0
DISK_DAYS_WARNING: Final = 30.0
OPEN_FILES_CRITICAL: Final = 256
OPEN_FILES_WARNING: Final = 1_024  # the usual soft limit of Linux
UNLIMITED: Final = -1  # resource.RLIM_INFINITY
NETWORK_FILE_SYSTEMS: Final = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"}
    | {"glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "smb3", "smbfs", "virtiofs"}
)
MEMORY_FILE_SYSTEMS: Final = frozenset({"ramfs", "tmpfs"})
_WARNING_DAYS_TEXT: Final = "free space, move the data, or set [lake] and [store] keep_days; backup.daily_kept"


class ClockFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The machine's clock. `is_synchronized` and `error_s` are the kernel's words (NTP); None where it says nothing.

    The clock less the broker's lies between `offset_least_s` and `offset_most_s`, by the Date of an answer of `host`;
    None without an answer.
    """

    is_synchronized: bool | None = None
    error_s: float | None = None
    host: str = ""
    offset_least_s: float | None = None
    offset_most_s: float | None = None


class Disk(msgspec.Struct, frozen=True):
    """A file system: a folder in it, what it holds, its bytes and the free ones, both without those reserved for root.

    `is_out_of_names`: no inode is free for a new file. `is_read_only`: mounted so, or by the kernel after errors.
    """

    folder: str
    holds: Sequence[str]
    total_bytes: int
    free_bytes: int
    is_out_of_names: bool = False
    is_read_only: bool = False


class DiskFacts(msgspec.Struct, frozen=True):
    """The file systems of the data; the bytes that the first one gets a day (None: not known); the limit in percent
    above which there is an alert.
    """

    disks: Sequence[Disk]
    bytes_per_day: float | None
    percent_max: float


class FileSystem(msgspec.Struct, frozen=True):
    """What a path is for, and the kind of the file system that it is in. `is_sqlite`: SQLite locks files there."""

    purpose: str
    path: str
    kind: str
    is_sqlite: bool = False


class Port(msgspec.Struct, frozen=True):
    """A configured port: its setting, its address, why it cannot be bound (empty: it can)."""

    setting: str
    address: str
    error: str = ""


class PortFacts(msgspec.Struct, frozen=True):
    """The configured ports, and whether the system itself runs and has them."""

    ports: Sequence[Port]
    is_running: bool


class Host(msgspec.Struct, frozen=True):
    """A host of a broker: its setting, its address, why there is no connection (empty: there is), and its time."""

    setting: str
    address: str
    error: str = ""
    took_s: float = 0.0


class Package(msgspec.Struct, frozen=True):
    """A Python package, the least version, the installed one (empty: none)."""

    name: str
    least: str
    installed: str


class VersionFacts(msgspec.Struct, frozen=True):
    """Of Python, of Observer, and of the packages that this configuration needs; what to type before a package's name
    to install it.
    """

    python: str
    python_least: str
    observer: str
    packages: Sequence[Package]
    installer: str = "pip install"


class ZoneFacts(msgspec.Struct, frozen=True):
    """The venue's zone, its offset from UTC by the machine's time zone data (None: no data), and by the venue; what to
    type before a package's name to install it.
    """

    name: str
    found_s: float | None
    expected_s: float
    installer: str = "pip install"


class LimitFacts(msgspec.Struct, frozen=True):
    """How many files a process may open, and how many it may allow itself."""

    open_files: int
    open_files_hard: int


def judge_clock(facts: ClockFacts) -> Iterator[Finding]:
    """The clock against the broker's, else the kernel's own word."""
    remedy = "turn on time synchronization: `timedatectl set-ntp true`, or chrony"
    if facts.offset_least_s is not None and facts.offset_most_s is not None:
        off_s = max(facts.offset_least_s, -facts.offset_most_s, 0.0)
        way = "ahead of" if facts.offset_least_s > 0 else "behind"
        text = f"the clock is at least {off_s:.1f} s {way} that of {facts.host}"
        if off_s >= CLOCK_CRITICAL_S:
            yield critical("clock", text, remedy)
            return
        if off_s >= CLOCK_WARNING_S:
            yield warning("clock", text, remedy)
            return
    if facts.is_synchronized is False:
        yield warning("clock", "the kernel says that the clock is not synchronized", remedy)
        return
    said = [
        *([f"within a second of {facts.host}"] if facts.offset_least_s is not None else []),
        *([f"synchronized, error at most {facts.error_s:.3f} s"] if facts.is_synchronized and facts.error_s else []),
    ]
    yield ok("clock", "; ".join(said) or "neither the kernel nor the broker was asked")


def judge_disks(facts: DiskFacts) -> Iterator[Finding]:
    """Room on each disk, and how long it lasts at the rate of the last days."""
    for number, disk in enumerate(facts.disks):
        used = 100 * (1 - disk.free_bytes / disk.total_bytes) if disk.total_bytes else 0.0
        days = disk.free_bytes / facts.bytes_per_day if facts.bytes_per_day and not number else None
        lasts = "" if days is None else f", {days:,.0f} days at {(facts.bytes_per_day or 0) / 1e6:,.0f} MB a day"
        text = (
            f"{disk.folder} ({', '.join(disk.holds)}): {disk.free_bytes / 1e9:,.1f} GB free, {used:.0f} % used{lasts}"
        )
        if disk.is_read_only:
            remedy = (
                "see `dmesg` for errors of the disk: the kernel mounts a failing one read-only; then "
                f"`mount -o remount,rw MOUNT` for that of `findmnt -T {shlex.quote(disk.folder)}`"
            )
            yield critical("disk", f"{disk.folder} ({', '.join(disk.holds)}) is read-only: nothing is stored", remedy)
        elif disk.is_out_of_names:
            yield critical("disk", f"{text}, and no file can be made: no inode is free", "delete small files")
        elif disk.free_bytes < DISK_FREE_BYTES_MIN or (days is not None and days < DISK_DAYS_CRITICAL):
            yield critical("disk", text, f"today: {_WARNING_DAYS_TEXT}")
        elif used > facts.percent_max or (days is not None and days < DISK_DAYS_WARNING):
            yield warning("disk", text, _WARNING_DAYS_TEXT)
        else:
            yield ok("disk", text)


def judge_file_systems(facts: Sequence[FileSystem]) -> Iterator[Finding]:
    """Where data may not lie: SQLite's locks do not hold over a network, memory is lost with the power."""
    is_well = True
    for each in facts:
        if each.is_sqlite and each.kind in NETWORK_FILE_SYSTEMS:
            text = f"{each.purpose} {each.path} is on {each.kind}: SQLite's locks do not hold over a network"
            yield critical("file system", text, "put it on a disk of this machine, or use PostgreSQL: [store] url")
        elif each.kind in NETWORK_FILE_SYSTEMS:
            text = f"{each.purpose} {each.path} is on {each.kind}: a cut of the network stops the system"
            yield warning("file system", text, "put it on a disk of this machine")
        elif each.kind in MEMORY_FILE_SYSTEMS:
            text = f"{each.purpose} {each.path} is on {each.kind}: it is lost when the machine stops"
            yield warning("file system", text, "put it on a disk")
        else:
            continue
        is_well = False
    if is_well and facts:
        yield ok("file system", ", ".join(f"{each.purpose} on {each.kind or 'an unknown kind'}" for each in facts))


def judge_ports(facts: PortFacts) -> Iterator[Finding]:
    """Ports that something else has."""
    taken = [port for port in facts.ports if port.error and not facts.is_running]
    for port in taken:
        number = port.address.rpartition(":")[2]
        remedy = f"end the program that has it (`ss -ltnp sport = :{number}`), or give another {port.setting}"
        yield critical("ports", f"{port.setting} = {port.address}: {port.error}", remedy)
    if not taken and facts.ports:
        owner = "the running system's" if facts.is_running else "free"
        yield ok("ports", f"{', '.join(port.setting for port in facts.ports)}: {owner}")


def judge_hosts(facts: Sequence[Host]) -> Iterator[Finding]:
    """Hosts of the broker that cannot be reached."""
    for host in facts:
        if host.error:
            remedy = "check the network, DNS and firewall of this machine, the broker's notices, and the setting"
            yield critical("broker", f"{host.setting}: no connection to {host.address}: {host.error}", remedy)
    if facts and not any(host.error for host in facts):
        slowest = max(facts, key=lambda host: host.took_s)
        count = "host answers" if len(facts) == 1 else "hosts answer"
        yield ok("broker", f"{len(facts)} {count}, {slowest.address} in {slowest.took_s * 1000:.0f} ms")


def judge_versions(facts: VersionFacts) -> Iterator[Finding]:
    """Python and packages below what this version needs."""
    is_well = True
    if is_older(facts.python, facts.python_least):
        is_well = False
        text = f"Python {facts.python}, at least {facts.python_least} is needed"
        yield critical("versions", text, f"install Python {facts.python_least}, then Observer anew")
    for package in facts.packages:
        remedy = f"`{facts.installer} '{package.name}>={package.least}'`"
        if not package.installed:
            is_well = False
            yield critical("versions", f"{package.name} is not installed, at least {package.least} is needed", remedy)
        elif is_older(package.installed, package.least):
            is_well = False
            text = f"{package.name} {package.installed}, at least {package.least} is needed"
            yield critical("versions", text, remedy)
    if is_well:
        yield ok("versions", f"Observer {facts.observer}, Python {facts.python}, {len(facts.packages)} packages")


def judge_zone(facts: ZoneFacts) -> Iterator[Finding]:
    """The time zone data that the calendar packages read."""
    remedy = f"install the system's package tzdata, or Python's: `{facts.installer} tzdata`"
    if facts.found_s is None:
        yield critical("time zone", f"this machine has no time zone data of {facts.name}", remedy)
    elif facts.found_s != facts.expected_s:
        hours = f"{facts.found_s / 3600:+g} h instead of {facts.expected_s / 3600:+g} h"
        yield critical("time zone", f"the time zone data of {facts.name} are wrong: {hours}", remedy)
    else:
        yield ok("time zone", f"{facts.name}, {facts.expected_s / 3600:+g} h")


def judge_limits(facts: LimitFacts) -> Iterator[Finding]:
    """How many files a process may open."""
    text = f"a process may open {facts.open_files:,} files"
    if facts.open_files == UNLIMITED:
        yield ok("limits", "a process may open any number of files")
        return
    remedy = "raise it: `ulimit -n 4096`, LimitNOFILE= of the unit, minfds of supervisord"
    if facts.open_files < OPEN_FILES_CRITICAL:
        yield critical("limits", text, remedy)
    elif facts.open_files < OPEN_FILES_WARNING:
        yield warning("limits", text, remedy)
    else:
        yield ok("limits", text)


def is_older(version: str, least: str) -> bool:
    """Whether a version such as 3.13.2 comes before another one; letters behind a number end the comparison."""
    return _numbers(version) < _numbers(least)


def _numbers(version: str) -> tuple[int, ...]:
    found = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if digits:
            found.append(int(digits))
        if digits != part:
            break
    while found and not found[-1]:
        found.pop()
    return tuple(found)


def offset_bounds(sent_ns: int, received_ns: int, date_s: int) -> tuple[float, float]:
    """Between what this machine's clock less a server's lies, whose answer states a whole second: it made that second's
    stamp at a moment between our request and its answer.
    """
    return sent_ns / NS_PER_S - (date_s + 1), received_ns / NS_PER_S - date_s
