"""Checks of the machine: clock, disks, file systems, ports, limits, versions, time zone data, the broker's hosts."""

import ctypes
import math
import os
import resource
import shlex
import shutil
import socket
import ssl
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import psutil

from observer.archive.bundles import SHARED_BY_MAX
from observer.archive.day import CATALOGUE, newest_sealed_days, sealed_dates
from observer.archive.day_files import table_bytes
from observer.archive.manifest import Manifest
from observer.archive.package import packages_of
from observer.base.clock import RealClock
from observer.base.errors import ConfigError
from observer.base.extras import installer
from observer.base.files import bytes_below
from observer.base.units import NS_PER_S
from observer.brokers.http import trusted_certificates
from observer.store.engine import parse_url, sqlite_path
from observer.store.exports import ledgers_folder
from observer.supervisor.watch import shown
from observer.system.doctor.finding import Finding, critical, ok, warning
from observer.system.doctor.notices import why_unseen
from observer.system.doctor.place import Place
from observer.system.doctor.running import is_running
from observer.system.preflight import bind_error

CLOCK_WARNING_S: Final = 1.0  # a gap is to be detected within a second
CLOCK_CRITICAL_S: Final = 5.0  # phases and sessions begin at the wrong moment, tokens are renewed too late
DISK_FREE_BYTES_MIN: Final = 500_000_000
DISK_DAYS_CRITICAL: Final = 3.0
DISK_DAYS_WARNING: Final = 30.0
OPEN_FILES_CRITICAL: Final = 256
OPEN_FILES_WARNING: Final = 1_024  # the usual soft limit of Linux
NETWORK_FILE_SYSTEMS: Final = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"}
    | {"glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "smb3", "smbfs", "virtiofs"}
)
MEMORY_FILE_SYSTEMS: Final = frozenset({"ramfs", "tmpfs"})
_MORE_ROOM: Final = "free space, move the data, or set [lake] and [store] keep_days; backup.daily_kept"

CONNECT_S: Final = 3.0
_DATABASE: Final = "database"  # the purpose of SQLite's file
_DAY_NS: Final = 86_400 * NS_PER_S
_RATE_DAYS_MIN: Final = 0.9  # two packages of two days
_RATE_PACKAGES: Final = 8  # the rate is that of about the last week
_TIME_ERROR: Final = 5  # adjtimex(2): the clock is not synchronized
_TIMEX_WORDS: Final = 26  # of 8 bytes; more than any version of the kernel's struct has
_MAX_ERROR: Final = 3  # the position of maxerror (microseconds) in it, in words
_ANSWER_BYTES: Final = 4_096
_TLS_SCHEMES: Final = frozenset({"https", "wss"})
_PORTS: Final[Mapping[str, int]] = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_ADDRESSES: Final = ("rest_url", "stream_url", "files_url")


# --- clock -----------------------------------------------------------------------------------------------------


class Offset(msgspec.Struct, frozen=True):
    """The machine's clock less that of `host` lies between `least_s` and `most_s`, by the Date of one answer."""

    host: str
    least_s: float
    most_s: float


def clock(place: Place) -> Iterator[Finding]:
    """The machine's clock against the broker's, else the kernel's own word."""
    yield clock_finding(*_kernel_clock(), _offset(place))


def clock_finding(is_synchronized: bool | None, error_s: float | None, offset: Offset | None) -> Finding:
    """Judges the clock. `is_synchronized` and `error_s` are the kernel's words (NTP); None where it says nothing."""
    remedy = "turn on time synchronization: `timedatectl set-ntp true`, or chrony"
    said = []
    if offset is not None:
        off_s = max(offset.least_s, -offset.most_s, 0.0)
        way = "ahead of" if offset.least_s > 0 else "behind"
        text = f"the clock is at least {off_s:.1f} s {way} that of {offset.host}"
        if off_s >= CLOCK_WARNING_S:
            return (critical if off_s >= CLOCK_CRITICAL_S else warning)("clock", text, remedy)
        said.append(f"within a second of {offset.host}")
    if is_synchronized is False:
        return warning("clock", "the kernel says that the clock is not synchronized", remedy)
    if is_synchronized and error_s:
        said.append(f"synchronized, error at most {error_s:.3f} s")
    return ok("clock", "; ".join(said) or "neither the kernel nor the broker was asked")


def _offset(place: Place) -> Offset | None:
    """By one answer of the broker's REST host, to a request without any content."""
    if place.settings is None or place.is_offline:
        return None
    broker = place.settings.broker
    try:
        sent_ns = RealClock().now_ns()
        date_s = _date_of(broker.rest_url, broker.rest.certificates)
        received_ns = RealClock().now_ns()
    except (OSError, ValueError, ConfigError):  # the check of the hosts states it
        return None
    if date_s is None:
        return None
    return Offset(urlsplit(broker.rest_url).hostname or "", *offset_bounds(sent_ns, received_ns, date_s))


def offset_bounds(sent_ns: int, received_ns: int, date_s: int) -> tuple[float, float]:
    """Between what this machine's clock less a server's lies, whose answer states a whole second: it made that second's
    stamp at a moment between our request and its answer.
    """
    return sent_ns / NS_PER_S - (date_s + 1), received_ns / NS_PER_S - date_s


def _kernel_clock() -> tuple[bool | None, float | None]:
    """Whether the kernel's clock is synchronized, and its largest error in seconds; None where the kernel is silent."""
    words = (ctypes.c_long * _TIMEX_WORDS)()  # modes = 0: only a question
    adjtimex = getattr(ctypes.CDLL(None), "adjtimex", None)
    if adjtimex is None:
        return None, None
    state = adjtimex(ctypes.byref(words))
    return (None, None) if state < 0 else (state != _TIME_ERROR, words[_MAX_ERROR] / 1e6)


def _date_of(url: str, certificates: str) -> int | None:
    """The second that the host's answer to HEAD / states, as Unix time; None if it states none."""
    with _connected(url, certificates) as connection:
        host = urlsplit(url).netloc.rpartition("@")[2]
        connection.sendall(f"HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("ascii"))
        answer = connection.recv(_ANSWER_BYTES).decode("latin-1")
    for line in answer.split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "date":
            return round(parsedate_to_datetime(value.strip()).timestamp())
    return None


# --- hosts -----------------------------------------------------------------------------------------------------


class Host(msgspec.Struct, frozen=True):
    """A host of a broker: its setting, its address, why there is no connection (empty: there is), and its time."""

    setting: str
    address: str
    error: str = ""
    took_s: float = 0.0


def hosts(place: Place) -> Iterator[Finding]:
    """Hosts of the broker that cannot be reached."""
    tried = tried_hosts(place)
    for host in tried:
        if host.error:
            remedy = "check the network, DNS and firewall of this machine, the broker's notices, and the setting"
            yield critical("broker", f"{host.setting}: no connection to {host.address}: {host.error}", remedy)
    if tried and not any(host.error for host in tried):
        slowest = max(tried, key=lambda host: host.took_s)
        count = "host answers" if len(tried) == 1 else "hosts answer"
        yield ok("broker", f"{len(tried)} {count}, {slowest.address} in {slowest.took_s * 1000:.0f} ms")


def tried_hosts(place: Place) -> Sequence[Host]:
    """A connection to each host of the accounts' brokers, all at once; nothing is sent but what TLS needs. A host
    that is called through a proxy is not tried.
    """
    if place.settings is None or place.is_offline:
        return ()
    sections = {name: place.settings.brokers[name] for name in place.settings.providers}
    wanted = [
        (f"{name}.{key}", url, section.rest.certificates)
        for name, section in sections.items()
        for key in _ADDRESSES
        if (url := getattr(section, key)) and (key == "stream_url" or not section.rest.proxy)
    ]
    with ThreadPoolExecutor(len(wanted) or 1) as pool:
        return list(pool.map(lambda each: _tried(*each), wanted))


def _tried(setting: str, url: str, certificates: str) -> Host:
    began_s = time.monotonic()
    try:
        address = _address(url)
        with _connected(url, certificates):
            return Host(setting, address, "", time.monotonic() - began_s)
    except OSError as error:
        return Host(setting, _address(url), str(error.strerror or error))
    except ConfigError as error:
        return Host(setting, _address(url), str(error))
    except ValueError as error:
        return Host(setting, "an address that is none", str(error))


def _address(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or _PORTS.get(parts.scheme, 0)}"


def _connected(url: str, certificates: str) -> socket.socket:
    """A connection, with TLS where the URL says so; the certificate is judged as the clients judge it."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
    plain = socket.create_connection((host, port), CONNECT_S)
    if parts.scheme not in _TLS_SCHEMES:
        return plain
    try:
        context: ssl.SSLContext = trusted_certificates(certificates)
        return context.wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise


# --- disks and file systems ------------------------------------------------------------------------------------


class Disk(msgspec.Struct, frozen=True, kw_only=True):
    """A file system: a folder in it, what it holds, its bytes and the free ones, both without those reserved for root.

    `is_out_of_names`: no inode is free for a new file. `is_read_only`: mounted so, or by the kernel after errors.
    """

    folder: str
    holds: Sequence[str]
    total_bytes: int
    free_bytes: int
    is_out_of_names: bool = False
    is_read_only: bool = False


def disks(place: Place) -> Iterator[Finding]:
    """Room on each disk of what is written, and how long that of the database lasts at the rate of the last days."""
    holds: dict[int, list[str]] = {}
    folders: dict[int, Path] = {}
    for purpose, path in places_of(place).items():
        folder = _nearest(path)
        device = folder.stat().st_dev
        folders.setdefault(device, folder)
        holds.setdefault(device, []).append(purpose)
    percent_max = place.settings.supervision.host.disk_percent if place.settings else 100.0
    rate = bytes_per_day(place)
    for device, purposes in holds.items():
        yield disk_finding(disk_of(folders[device], purposes), rate, percent_max)
        rate = None  # only the first one's is known


def disk_finding(disk: Disk, bytes_a_day: float | None, percent_max: float) -> Finding:
    """Judges a disk that gets so many bytes a day (None: not known); above `percent_max` there is an alert."""
    name = f"{disk.folder} ({', '.join(disk.holds)})"
    if disk.is_read_only:
        remedy = (
            "see `dmesg` for errors of the disk: the kernel mounts a failing one read-only; then "
            f"`mount -o remount,rw MOUNT` for that of `findmnt -T {shlex.quote(disk.folder)}`"
        )
        return critical("disk", f"{name} is read-only: nothing is stored", remedy)
    used = 100 * (1 - disk.free_bytes / disk.total_bytes) if disk.total_bytes else 0.0
    days, lasts = math.inf, ""
    if bytes_a_day:
        days = disk.free_bytes / bytes_a_day
        lasts = f", {days:,.0f} days at {bytes_a_day / 1e6:,.0f} MB a day"
    text = f"{name}: {disk.free_bytes / 1e9:,.1f} GB free, {used:.0f} % used{lasts}"
    if disk.is_out_of_names:
        return critical("disk", f"{text}, and no file can be made: no inode is free", "delete small files")
    if disk.free_bytes < DISK_FREE_BYTES_MIN or days < DISK_DAYS_CRITICAL:
        return critical("disk", text, f"today: {_MORE_ROOM}")
    if used > percent_max or days < DISK_DAYS_WARNING:
        return warning("disk", text, _MORE_ROOM)
    return ok("disk", text)


def places_of(place: Place) -> Mapping[str, Path]:
    """What is written, by its purpose; an SQLite database first, as it grows. Looks at no disk."""
    if place.base is None:
        return {}
    run, url = place.base.run, parse_url(place.base.store.url)
    found = {_DATABASE: sqlite_path(url)} if url.get_backend_name() == "sqlite" else {}
    found |= {"data": Path(run.data), "runtime": Path(run.runtime), "backups": place.backup.folder_of(run)}
    if place.settings is not None and place.settings.lake is not None:
        found["lake"] = place.settings.lake.folder_in(run.data)
    return found


def _nearest(path: Path) -> Path:
    absolute = path.absolute()
    return next(each for each in (absolute, *absolute.parents) if not why_unseen(str(each)))


def disk_of(folder: Path, holds: Sequence[str]) -> Disk:
    """The file system of a folder."""
    usage, counts = shutil.disk_usage(folder), os.statvfs(folder)
    return Disk(
        folder=str(folder),
        holds=holds,
        total_bytes=usage.used + usage.free,
        free_bytes=usage.free,
        is_out_of_names=bool(counts.f_files) and not counts.f_favail,
        is_read_only=bool(counts.f_flag & os.ST_RDONLY),
    )


def bytes_per_day(place: Place) -> float | None:
    """What the first disk gets a day: the growth of the database's copies between the packages of the last week, once
    for an SQLite file and once for each kept package that lies there; that of the ledgers, with a file for a few
    packages each; and the sealed days, or the tables of the days. None without two packages of two days. A dump of
    PostgreSQL is smaller than what it holds, but the server's disk is not ours.
    """
    if place.base is None:
        return None
    folder, places = place.backup.folder_of(place.base.run), places_of(place)
    own = packages_of(folder, place.base.instance)
    manifests = [each.manifest for each in own if each.manifest is not None]
    if not manifests:
        return None
    first, last = manifests[-_RATE_PACKAGES:][0], manifests[-1]
    days = (last.taken_ns - first.taken_ns) / _DAY_NS
    if days < _RATE_DAYS_MIN:
        return None
    device = _nearest(next(iter(places.values()))).stat().st_dev
    lies_there = {purpose for purpose, path in places.items() if _nearest(path).stat().st_dev == device}
    copies = len(manifests) if "backups" in lies_there else 0
    growth = max(0, _copy_bytes(last) - _copy_bytes(first)) * (copies + (_DATABASE in places))
    ledgers = max(0, last.ledgers_bytes - first.ledgers_bytes)
    growth += ledgers * (math.ceil(copies / SHARED_BY_MAX) + ("data" in lies_there))
    sealed = _sealed_bytes(places["lake"], lies_there) if "lake" in places else 0
    if "data" in lies_there:
        sealed += _rate(table_bytes(ledgers_folder(place.base.run.data), _RATE_PACKAGES))
    return growth / days + sealed or None


def _copy_bytes(manifest: Manifest) -> int:
    """The size of a package's copy of the database."""
    return sum(file.size_bytes for file in manifest.files if file.path == manifest.database)


def _sealed_bytes(lake: Path, lies_there: Collection[str]) -> float:
    """What the last sealed days add a day of the calendar, most of whose weeks have five sessions: their files in the
    lake and in its copy beside the packages, and as much of the catalogue as there is for a sealed day.
    """
    last = newest_sealed_days(lake, _RATE_PACKAGES)
    copies = ("lake" in lies_there) + ("backups" in lies_there)
    catalogue = bytes_below(lake / CATALOGUE) / len(sealed_dates(lake)) if last and "lake" in lies_there else 0.0
    return _rate({day.session_date: copies * day.size_bytes + catalogue for day in last})


def _rate(sizes: Mapping[str, float]) -> float:
    """What days of these sizes, by ISO date and oldest first, add a day of the calendar."""
    if len(sizes) < 2:
        return sum(sizes.values())
    first, *_, last = map(date.fromisoformat, sizes)
    return sum(list(sizes.values())[1:]) / (last - first).days


def file_systems(place: Place) -> Iterator[Finding]:
    """Where data may not lie: SQLite's locks do not hold over a network, memory is lost with the power."""
    mounts = _mounts()
    kinds = {
        f"{purpose} {path}": kind_at(_nearest(path).resolve(), mounts) for purpose, path in places_of(place).items()
    }
    yield from file_system_findings(kinds)


def file_system_findings(kinds: Mapping[str, str]) -> Iterator[Finding]:
    """Judges the kinds of the file systems that hold what is written, by its purpose and its path."""
    is_well = True
    for name, kind in kinds.items():
        if kind in NETWORK_FILE_SYSTEMS and name.startswith(_DATABASE):
            text = f"{name} is on {kind}: SQLite's locks do not hold over a network"
            yield critical("file system", text, "put it on a disk of this machine, or use PostgreSQL: [store] url")
        elif kind in NETWORK_FILE_SYSTEMS:
            text = f"{name} is on {kind}: a cut of the network stops the system"
            yield warning("file system", text, "put it on a disk of this machine")
        elif kind in MEMORY_FILE_SYSTEMS:
            text = f"{name} is on {kind}: it is lost when the machine stops"
            yield warning("file system", text, "put it on a disk")
        else:
            continue
        is_well = False
    if is_well and kinds:
        named = (f"{name.partition(' ')[0]} on {kind or 'an unknown kind'}" for name, kind in kinds.items())
        yield ok("file system", ", ".join(named))


def kind_at(path: Path, mounts: Sequence[tuple[Path, str]]) -> str:
    """The kind of the file system that holds this path; of two mounts at one folder the later one covers the other."""
    inside = [(mounted, kind) for mounted, kind in reversed(mounts) if path.is_relative_to(mounted)]
    return max(inside, key=lambda each: len(str(each[0])), default=(Path("/"), ""))[1]


def _mounts() -> Sequence[tuple[Path, str]]:
    """The mounted folders with the kinds of their file systems; none where the kernel does not list them."""
    return [(Path(each.mountpoint), each.fstype) for each in shown(lambda: psutil.disk_partitions(all=True)) or ()]


# --- ports -----------------------------------------------------------------------------------------------------


def ports(place: Place) -> Iterator[Finding]:
    """Ports that something else has: every `port` of a section but the simulator's, on loopback, and the sockets of
    [run.endpoints].
    """
    if place.settings is None or place.base is None:
        return
    document: Mapping[str, Any] = msgspec.to_builtins(place.settings)
    addresses = {
        f"{name}.port": f"{section.get('host') or '127.0.0.1'}:{section['port']}"
        for name, section in document.items()
        if isinstance(section, dict) and isinstance(section.get("port"), int) and section["port"]
    }
    endpoints = place.settings.run.endpoints
    for name, url in msgspec.structs.asdict(endpoints).items() if endpoints else ():
        addresses[f"run.endpoints.{name}"] = urlsplit(url).netloc
    runs = is_running(place.base.run)
    is_free = True
    for setting, address in addresses.items():
        host, _, port = address.rpartition(":")
        if not runs and (error := bind_error(host, int(port))) is not None:
            is_free = False
            remedy = f"end the program that has it (`ss -ltnp sport = :{port}`), or give another {setting}"
            yield critical("ports", f"{setting} = {address}: {error.strerror or error}", remedy)
    if is_free and addresses:
        owner = "the running system's" if runs else "free"
        yield ok("ports", f"{', '.join(addresses)}: {owner}")


# --- versions, limits, time zone -------------------------------------------------------------------------------


class Package(msgspec.Struct, frozen=True):
    """A program or a Python package, the least version, the installed one (empty: none)."""

    name: str
    least: str
    installed: str


def versions(place: Place) -> Iterator[Finding]:
    """Python and the packages that this configuration needs, against the least versions that Observer declares."""
    settings = place.settings
    extras = {"lake"} if settings is not None and settings.lake is not None else set()
    if settings is not None and settings.alerts.targets:
        extras.add("alerts")
    if settings is not None and settings.web is not None:
        extras.add("web")
    python = ".".join(map(str, sys.version_info[:3]))
    try:
        least = metadata("observer")["Requires-Python"].removeprefix(">=")
    except PackageNotFoundError:  # a checkout on PYTHONPATH says nothing of what it needs
        yield ok("versions", f"Observer (not installed), Python {python}, 0 packages")
        return
    packages = [Package(name, least, _installed(name)) for name, least in _required(extras)]
    yield from version_findings(version("observer"), Package("Python", least, python), packages)


def version_findings(observer: str, python: Package, packages: Sequence[Package]) -> Iterator[Finding]:
    """Judges Python and the packages by their least versions."""
    is_well = True
    for each in (python, *packages):
        if each.installed and not is_older(each.installed, each.least):
            continue
        is_well = False
        found = f"{each.name} {each.installed}" if each.installed else f"{each.name} is not installed"
        remedy = f"`{installer()} '{each.name}>={each.least}'`"
        if each is python:
            remedy = f"install Python {each.least}, then Observer anew"
        yield critical("versions", f"{found}, at least {each.least} is needed", remedy)
    if is_well:
        yield ok("versions", f"Observer {observer}, Python {python.installed}, {len(packages)} packages")


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _required(extras: set[str]) -> Iterator[tuple[str, str]]:
    """The names and the least versions of what Observer requires, with these extras."""
    for line in requires("observer") or ():
        requirement, _, condition = line.partition(";")
        if "extra" in condition and not any(f'"{extra}"' in condition.replace("'", '"') for extra in extras):
            continue
        name, _, least = requirement.partition(">=")
        if least:
            yield name.partition("[")[0].strip(), least.partition(",")[0].strip()


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


def limits(_place: Place) -> Iterator[Finding]:
    """How many files a process may open that is started from here."""
    yield limit_finding(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def limit_finding(open_files: int) -> Finding:
    """Judges how many files a process may open."""
    if open_files == resource.RLIM_INFINITY:
        return ok("limits", "a process may open any number of files")
    text = f"a process may open {open_files:,} files"
    remedy = "raise it: `ulimit -n 4096`, LimitNOFILE= of the unit, minfds of supervisord"
    if open_files < OPEN_FILES_CRITICAL:
        return critical("limits", text, remedy)
    return warning("limits", text, remedy) if open_files < OPEN_FILES_WARNING else ok("limits", text)


def time_zone(place: Place) -> Iterator[Finding]:
    """The time zone data that the calendar packages read, against the venue's own zone."""
    if place.settings is None:
        return
    venue = place.settings.venue
    now = datetime.fromtimestamp(place.now_ns // NS_PER_S, UTC)
    try:
        found = now.astimezone(ZoneInfo(venue.zone_name)).utcoffset()
    except (ZoneInfoNotFoundError, OSError, ValueError):
        found = None
    expected = now.astimezone(venue.zone).utcoffset()
    assert expected is not None, "a venue's zone has an offset"
    yield zone_finding(venue.zone_name, None if found is None else found.total_seconds(), expected.total_seconds())


def zone_finding(name: str, found_s: float | None, expected_s: float) -> Finding:
    """Judges a zone's offset from UTC by the machine's time zone data (None: there are none)."""
    remedy = f"install the system's package tzdata, or Python's: `{installer()} tzdata`"
    if found_s is None:
        return critical("time zone", f"this machine has no time zone data of {name}", remedy)
    if found_s != expected_s:
        hours = f"{found_s / 3600:+g} h instead of {expected_s / 3600:+g} h"
        return critical("time zone", f"the time zone data of {name} are wrong: {hours}", remedy)
    return ok("time zone", f"{name}, {expected_s / 3600:+g} h")
