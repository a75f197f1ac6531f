"""Checks of the installation: configuration, keys, runtime folder, calendar, second copies, targets of alerts."""

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Final

from bus.endpoints import BusError, Endpoints
from observer.archive.backup.package import packages_of
from observer.base.errors import ConfigError, MissingKeysError
from observer.base.files import as_owner, read_file
from observer.base.local_time import local_datetime
from observer.base.privacy import OTHERS
from observer.base.settings_errors import decode_toml
from observer.brokers.accounts.keys import keys_of
from observer.calendar.day_file import read_trading_days
from observer.monitoring.alerts.targets import require_urls
from observer.system.config import Settings
from observer.system.doctor.finding import Finding, critical, ok, warning
from observer.system.doctor.notices import KRX_SOURCES, are_keys_removed, why_unseen
from observer.system.doctor.place import Place
from observer.system.doctor.running import is_running, left_processes, left_sockets

REVIEW_DAYS_MAX: Final = 180
"""A review of the trading days older than this may lack a holiday or an election that was announced since."""
HORIZON_DAYS_MIN: Final = 30
"""So far ahead the reviewed days should reach; the program itself computes forty days."""


def configuration(place: Place) -> Iterator[Finding]:
    """Every wrong key with its line; then what may be a mistake."""
    for line in place.problems:
        is_readable = not why_unseen(str(place.path))
        remedy = "correct it; config/observer.toml of the release states every key with its default"
        yield critical("configuration", line, remedy if is_readable else "name the file with --config")
    for line in place.notices:
        yield warning("configuration", line, "correct it, or remove the key")
    if not place.problems and not place.notices:
        yield ok("configuration", str(place.path))


def keys(place: Place) -> Iterator[Finding]:
    """Accounts without usable keys, and secrets that others can read."""
    settings = place.settings
    if settings is None:
        return
    found: list[Finding] = []
    try:
        keys_of(settings.pool)
    except MissingKeysError as error:
        found = [critical("keys", *_parted(line)) for line in str(error).splitlines()]
    if are_keys_removed(settings):
        found = [ok("keys", "none: the demo has removed those of its simulated broker")]
    found += _open_secrets(settings)
    accounts = len(settings.pool.accounts)
    yield from found or [ok("keys", f"of {accounts} account{'s' * (accounts != 1)}, readable by their owner alone")]


def _open_secrets(settings: Settings) -> Iterator[Finding]:
    """Of the secrets beside the accounts' and the alerts', which other checks read."""
    paths: dict[str, Path] = {}
    if settings.lake is not None and settings.lake.keys_file:
        paths["keys of the lake's target"] = Path(settings.lake.keys_file)
    if KRX_SOURCES & set(settings.etf.sources):
        paths["keys of KRX"] = Path(settings.etf.krx.keys_file)
    if settings.web is not None:
        paths["token of the page's orders"] = settings.web.token_file_in(settings.run.runtime)
    if settings.run.endpoints is not None:
        paths["keys of the sockets"] = Path(settings.run.runtime) / "keys"
    for purpose, named in paths.items():
        try:
            path = named.expanduser()
            status = path.stat()
        except (OSError, RuntimeError):  # the latter: ~USER without such a user
            continue
        if status.st_uid != os.geteuid():
            yield critical("keys", f"{purpose} {path} belongs to another user", as_owner(status.st_uid))
        elif status.st_mode & OTHERS:
            right = 700 if path.is_dir() else 600
            text = f"{purpose} {path} can be read by others (mode {stat.S_IMODE(status.st_mode):o})"
            yield critical("keys", text, f"`chmod {right} {path}`")


def runtime(place: Place) -> Iterator[Finding]:
    """A folder that is ours alone, without anything of a system that ended; it is not made."""
    if place.base is None:
        return
    folder = Path(place.base.run.runtime)
    try:
        status = folder.lstat()
    except FileNotFoundError:
        yield ok("runtime", f"{folder}: made at the first start")
        return
    if status.st_uid != os.geteuid():
        yield critical("runtime", f"{folder} belongs to another user", as_owner(status.st_uid))
    elif status.st_mode & OTHERS:
        text = f"{folder} is open to others (mode {stat.S_IMODE(status.st_mode):o})"
        yield critical("runtime", text, f"`chmod 700 {folder}`")
    elif error := _unusable(folder):
        yield critical("runtime", error, "correct [run] runtime, or make the folder for this user alone")
    elif is_running(place.base.run):
        yield ok("runtime", f"{folder}: a system runs")
    elif processes := left_processes(folder):
        text = f"{folder}: processes of a system that ended still run: pid {', '.join(map(str, processes))}"
        yield warning("runtime", text, "`observer run` ends them before it starts, or kill them")
    elif sockets := left_sockets(folder):
        text = f"{folder}: {', '.join(sockets)} of a system that did not end in order"
        yield warning("runtime", text, "`observer run` replaces them; see data/logs/supervisor.log for its end")
    else:
        yield ok("runtime", f"{folder}: no system runs")


def _unusable(folder: Path) -> str:
    try:
        Endpoints(folder)
    except BusError as error:
        return str(error)
    return ""


def calendar(place: Place) -> Iterator[Finding]:
    """How far the reviewed days reach, and how old their review is."""
    if place.base is None:
        return
    path, today = place.base.run.trading_days, local_datetime(place.now_ns).date()
    try:
        days = _reviewed_days(path)
    except ConfigError as error:
        remedy = "name the file in [run] trading_days; `observer init NEW` writes the shipped one into a new folder"
        yield critical("calendar", str(error), remedy)
        return
    remedy = f"look at the exchange's notices, and date the review of {path}"
    if not days:
        yield warning("calendar", f"{path} has no reviewed day", remedy)
        return
    last, reviewed = max(day for day, _ in days), max(reviewed for _, reviewed in days)
    text = f"{path}: reviewed days to {last}, last review {reviewed}"
    if computed := read_trading_days(Path(place.base.run.runtime)):
        text += f", days computed to {max(each.day for each in computed)}"
    is_short = (last - today).days < HORIZON_DAYS_MIN or (today - reviewed).days > REVIEW_DAYS_MAX
    yield warning("calendar", text, remedy) if is_short else ok("calendar", text)


def _reviewed_days(path: str) -> Sequence[tuple[date, date]]:
    """The entries' days, and when each was reviewed. The calendar's process checks the rest of an entry."""
    try:
        entries = decode_toml(read_file(Path(path)), path).content.get("day")
    except OSError as error:
        raise ConfigError(f"run.trading_days = {path}: {error.strerror}") from error
    found = []
    for entry in entries if isinstance(entries, list) else ():
        match entry:
            case {"date": date() as day, "reviewed": date() as reviewed}:
                found.append((day, reviewed))
            case _:
                raise ConfigError(f"an entry [[day]] has no `date` or no `reviewed`: {entry}")
    return found


def second_copy(place: Place) -> Iterator[Finding]:
    """Whether a package survives this disk."""
    if place.settings is None:
        return
    backup = place.settings.backup
    own = packages_of(backup.folder_of(place.settings.run), place.settings.instance)
    newest = next((each.name for each in reversed(own) if each.verified_ns is not None), "")
    copies, program = Path(backup.copy_to), "".join(backup.command[:1])
    found = []
    if backup.copy_to and not copies.is_dir():
        text = f"backup.copy_to = {backup.copy_to}: no such folder"
        found.append(critical("second copy", text, "mount or make it, or remove the setting"))
    elif backup.copy_to and newest and not (copies / newest).is_dir():
        text = f"{backup.copy_to} does not have the newest package {newest}"
        remedy = "`observer backup now` copies the next one; see the alert of the last"
        found.append(warning("second copy", text, remedy))
    if program and shutil.which(program) is None:
        text = f"backup.command = {program}: no such program on PATH"
        found.append(critical("second copy", text, "install it, or give its path"))
    well = backup.copy_to or program or "none: packages lie beside the data ([backup] copy_to or command)"
    yield from found or [ok("second copy", well)]


def alerts(place: Place) -> Iterator[Finding]:
    """Whether a message about an alert can be sent."""
    if place.settings is None:
        return
    try:
        require_urls(place.settings.alerts)
    except MissingKeysError as error:
        for line in str(error).splitlines():
            yield critical("alerts", *_parted(line))
        return
    names = ", ".join(place.settings.alerts.targets)
    yield ok("alerts", f"sent to {names}" if names else "no target: alerts stay on this machine ([alerts.targets])")


def _parted(line: str) -> tuple[str, str]:
    """The text and the remedy of an error's line, "what: why: remedy"."""
    text, _, remedy = line.rpartition(": ")
    return text or line, remedy
