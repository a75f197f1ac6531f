"""Gathers the facts about the machine that `observer.system.doctor.machine` judges."""

import contextlib
import ctypes
import math
import os
import resource
import shutil
import socket
import ssl
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from observer.archive.bundles import SHARED_BY_MAX
from observer.archive.day import CATALOGUE, newest_sealed_days, sealed_dates
from observer.archive.day_files import table_bytes
from observer.archive.manifest import Manifest
from observer.archive.package import packages_of
from observer.base.clock import RealClock
from observer.base.errors import ConfigError
from observer.base.extras import installer
from observer.base.units import NS_PER_S
from observer.brokers.http import trusted_certificates
from observer.store.engine import parse_url, sqlite_path
from observer.store.exports import ledgers_folder
from observer.system.doctor.machine import (
    ClockFacts,
    Disk,
    DiskFacts,
    FileSystem,
    Host,
    LimitFacts,
    Package,
    Port,
    PortFacts,
    VersionFacts,
    ZoneFacts,
    offset_bounds,
)
from observer.system.doctor.notices import why_unseen
from observer.system.doctor.place import Place
from observer.system.doctor.running import is_running

CONNECT_S: Final = 3.0
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


def clock_facts(place: Place) -> ClockFacts:
    """The kernel's word; and the Date of one answer of the broker's REST host, to a request without any content."""
    is_synchronized, error_s = _kernel_clock()
    facts = ClockFacts(is_synchronized=is_synchronized, error_s=error_s)
    if place.settings is None or place.is_offline:
        return facts
    broker = place.settings.broker
    url = broker.rest_url
    try:
        sent_ns = RealClock().now_ns()
        date_s = _date_of(url, broker.rest.certificates)
        received_ns = RealClock().now_ns()
    except (OSError, ValueError, ConfigError):  # the check of the hosts states it
        return facts
    if date_s is None:
        return facts
    least_s, most_s = offset_bounds(sent_ns, received_ns, date_s)
    host = urlsplit(url).hostname or ""
    return msgspec.structs.replace(facts, host=host, offset_least_s=least_s, offset_most_s=most_s)


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


def host_facts(place: Place) -> Sequence[Host]:
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


def disk_facts(place: Place) -> DiskFacts:
    """The disks of data, database, runtime folder and packages, that of the database first."""
    holds: dict[int, list[str]] = {}
    folders: dict[int, Path] = {}
    for purpose, path in places_of(place).items():
        folder = _nearest(path)
        device = folder.stat().st_dev
        folders.setdefault(device, folder)
        holds.setdefault(device, []).append(purpose)
    disks = [_disk(folders[device], purposes) for device, purposes in holds.items()]
    limit = place.settings.supervision.host.disk_percent if place.settings else 100.0
    return DiskFacts(disks, _bytes_per_day(place), limit)


def places_of(place: Place) -> Mapping[str, Path]:
    """What is written, by its purpose; an SQLite database first, as it grows. Looks at no disk."""
    if place.base is None:
        return {}
    run, url = place.base.run, parse_url(place.base.store.url)
    found = {"database": sqlite_path(url)} if url.get_backend_name() == "sqlite" else {}
    found |= {"data": Path(run.data), "runtime": Path(run.runtime), "backups": place.backup.folder_of(run)}
    if place.settings is not None and place.settings.lake is not None:
        found["lake"] = place.settings.lake.folder_in(run.data)
    return found


def _nearest(path: Path) -> Path:
    absolute = path.absolute()
    return next(each for each in (absolute, *absolute.parents) if not why_unseen(str(each)))


def _disk(folder: Path, holds: Sequence[str]) -> Disk:
    usage, counts = shutil.disk_usage(folder), os.statvfs(folder)
    return Disk(
        *(str(folder), holds, usage.used + usage.free, usage.free),
        is_out_of_names=bool(counts.f_files) and not counts.f_favail,
        is_read_only=bool(counts.f_flag & os.ST_RDONLY),
    )


def _bytes_per_day(place: Place) -> float | None:
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
    growth = max(0, _copy_bytes(last) - _copy_bytes(first)) * (copies + ("database" in places))
    ledgers = max(0, last.ledgers_bytes - first.ledgers_bytes)
    growth += ledgers * (math.ceil(copies / SHARED_BY_MAX) + ("data" in lies_there))
    sealed = _sealed_bytes(places["lake"]) if "lake" in lies_there else 0
    if "data" in lies_there:
        sealed += _rate(table_bytes(ledgers_folder(place.base.run.data), _RATE_PACKAGES))
    return growth / days + sealed or None


def _copy_bytes(manifest: Manifest) -> int:
    """The size of a package's copy of the database."""
    return sum(file.size_bytes for file in manifest.files if file.path == manifest.database)


def _sealed_bytes(lake: Path) -> float:
    """What the last sealed days add a day of the calendar, most of whose weeks have five sessions: their files, and as
    much of the catalogue as there is for a sealed day.
    """
    last = newest_sealed_days(lake, _RATE_PACKAGES)
    catalogue = _bytes_below(lake / CATALOGUE) / len(sealed_dates(lake)) if last else 0.0
    return _rate({day.session_date: day.size_bytes + catalogue for day in last})


def _rate(sizes: Mapping[str, float]) -> float:
    """What days of these sizes, by ISO date and oldest first, add a day of the calendar."""
    if len(sizes) < 2:
        return sum(sizes.values())
    first, *_, last = map(date.fromisoformat, sizes)
    return sum(list(sizes.values())[1:]) / (last - first).days


def _bytes_below(folder: Path) -> int:
    """A sealing that is under way deletes files meanwhile."""
    found = 0
    for path in folder.rglob("*.*"):
        with contextlib.suppress(FileNotFoundError):
            found += path.stat().st_size
    return found


def file_system_facts(place: Place) -> Sequence[FileSystem]:
    """The kinds of the file systems that hold what the system writes."""
    mounts = list(_mounts())
    found = []
    for purpose, path in places_of(place).items():
        real = _nearest(path).resolve()
        found.append(FileSystem(purpose, str(path), kind_at(real, mounts), purpose == "database"))
    return found


def kind_at(path: Path, mounts: Sequence[tuple[Path, str]]) -> str:
    """The kind of the file system that holds this path; of two mounts at one folder the later one covers the other."""
    inside = [(mounted, kind) for mounted, kind in reversed(mounts) if path.is_relative_to(mounted)]
    return max(inside, key=lambda each: len(str(each[0])), default=(Path("/"), ""))[1]


def _mounts() -> Iterator[tuple[Path, str]]:
    """The mounted folders with the kinds of their file systems; none where the kernel does not list them."""
    try:
        text = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in text.splitlines():  # proc(5): the folder is the fifth field, the kind stands behind " - "
        before, _, behind = line.partition(" - ")
        yield Path(before.split()[4].replace("\\040", " ")), behind.split()[0]


# --- ports -----------------------------------------------------------------------------------------------------


def port_facts(place: Place) -> PortFacts:
    """Every `port` of a section but the simulator's, on loopback; and the sockets of [run.endpoints]."""
    if place.settings is None or place.base is None:
        return PortFacts([], is_running=False)
    runs = is_running(place.base.run)
    document: Mapping[str, Any] = msgspec.to_builtins(place.settings)
    ports = [
        Port(f"{name}.port", f"{section.get('host') or '127.0.0.1'}:{section['port']}")
        for name, section in document.items()
        if isinstance(section, dict) and isinstance(section.get("port"), int) and section["port"]
    ]
    endpoints = place.settings.run.endpoints
    for name, url in msgspec.structs.asdict(endpoints).items() if endpoints else ():
        ports.append(Port(f"run.endpoints.{name}", urlsplit(url).netloc))
    return PortFacts([msgspec.structs.replace(port, error=_refusal(port.address)) for port in ports], is_running=runs)


def _refusal(address: str) -> str:
    """Why this address cannot be bound; empty if it can."""
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError as error:
            return error.strerror or str(error)
    return ""


# --- versions, limits, time zone -------------------------------------------------------------------------------


def version_facts(place: Place) -> VersionFacts:
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
        return VersionFacts(python, "", "(not installed)", [])
    return VersionFacts(
        python, least, version("observer"), [_package(*each) for each in _required(extras)], installer()
    )


def _required(extras: set[str]) -> Iterator[tuple[str, str]]:
    """The names and the least versions of what Observer requires, with these extras."""
    for line in requires("observer") or ():
        requirement, _, condition = line.partition(";")
        if "extra" in condition and not any(f'"{extra}"' in condition.replace("'", '"') for extra in extras):
            continue
        name, _, least = requirement.partition(">=")
        if least:
            yield name.partition("[")[0].strip(), least.partition(",")[0].strip()


def _package(name: str, least: str) -> Package:
    try:
        return Package(name, least, version(name))
    except PackageNotFoundError:
        return Package(name, least, "")


def limit_facts(_place: Place) -> LimitFacts:
    """The limits of this process, which a system started from here would have."""
    return LimitFacts(*resource.getrlimit(resource.RLIMIT_NOFILE))


def zone_facts(place: Place) -> ZoneFacts | None:
    """The venue's zone as this machine knows it."""
    if place.settings is None:
        return None
    venue = place.settings.venue
    now = datetime.fromtimestamp(place.now_ns // NS_PER_S, UTC)
    expected = now.astimezone(venue.zone).utcoffset()
    assert expected is not None, "a venue's zone has an offset"
    try:
        found = now.astimezone(ZoneInfo(venue.zone_name)).utcoffset()
    except (ZoneInfoNotFoundError, OSError, ValueError):
        found = None
    return ZoneFacts(
        venue.zone_name, None if found is None else found.total_seconds(), expected.total_seconds(), installer()
    )
