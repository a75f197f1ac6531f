"""Gathers the facts about the installation that `observer.system.doctor.installation` judges."""

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Final

from bus.endpoints import BusError, Endpoints
from observer.archive.package import packages_of
from observer.base.errors import ConfigError, MissingKeysError
from observer.base.files import as_owner, read_file
from observer.base.local_time import local_datetime
from observer.base.settings_errors import decode_toml
from observer.brokers.accounts.keys import keys_of
from observer.calendar.day_file import read_trading_days
from observer.system.alert_targets import require_urls
from observer.system.doctor.installation import (
    CalendarFacts,
    ConfigurationFacts,
    KeyFacts,
    RuntimeFacts,
    SecondCopyFacts,
    SecretFile,
    TargetFacts,
)
from observer.system.doctor.notices import are_keys_removed, why_unseen
from observer.system.doctor.place import Place
from observer.system.doctor.running import is_running, left_processes, left_sockets

_KRX_SOURCES: Final = frozenset({"krx_open_api", "krx_data"})
_KEYS: Final = "keys"


def configuration_facts(place: Place) -> ConfigurationFacts:
    """The configuration's problems and notices."""
    return ConfigurationFacts(str(place.path), place.problems, place.notices, not why_unseen(str(place.path)))


def key_facts(place: Place) -> KeyFacts | None:
    """The keys of all accounts, and the files of other secrets."""
    if place.settings is None:
        return None
    problems: Sequence[str] = ()
    try:
        keys_of(place.settings.pool)
    except MissingKeysError as error:
        problems = str(error).splitlines()
    files, are_removed = list(_secret_files(place)), are_keys_removed(place.settings)
    return KeyFacts(len(place.settings.pool.accounts), problems, files, are_removed)


def _secret_files(place: Place) -> Iterator[SecretFile]:
    """Files of secrets beside the accounts' and the alerts', which other checks read."""
    settings = place.settings
    assert settings is not None, "the caller has seen it"
    if settings.lake is not None and settings.lake.keys_file:
        yield _secret_file("keys of the lake's target", Path(settings.lake.keys_file))
    if _KRX_SOURCES & set(settings.etf.sources):
        yield _secret_file("keys of KRX", Path(settings.etf.krx.keys_file))
    if settings.web is not None:
        yield _secret_file("token of the page's orders", settings.web.token_file_in(settings.run.runtime))
    folder = Path(settings.run.runtime) / _KEYS
    if settings.run.endpoints is not None:
        yield _secret_file("keys of the sockets", folder)


def _secret_file(purpose: str, path: Path) -> SecretFile:
    try:
        path = path.expanduser()
        status = path.stat()
    except (OSError, RuntimeError):  # the latter: ~USER without such a user
        return SecretFile(purpose, str(path), None)
    return SecretFile(purpose, str(path), stat.S_IMODE(status.st_mode), _foreign(status), stat.S_ISDIR(status.st_mode))


def _foreign(status: os.stat_result) -> str:
    """What to do about a file or folder of another user; empty if it is ours."""
    return "" if status.st_uid == os.geteuid() else as_owner(status.st_uid)


def runtime_facts(place: Place) -> RuntimeFacts | None:
    """The runtime folder; it is not made."""
    if place.base is None:
        return None
    folder = Path(place.base.run.runtime)
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return RuntimeFacts(folder=str(folder))
    mode, foreign = stat.S_IMODE(status.st_mode), _foreign(status)
    if not foreign and mode & 0o077 == 0:
        try:
            Endpoints(folder)
        except BusError as error:
            return RuntimeFacts(folder=str(folder), error=str(error))
    if is_running(place.base.run):
        return RuntimeFacts(folder=str(folder), mode=mode, foreign=foreign, is_running=True)
    return RuntimeFacts(
        folder=str(folder),
        mode=mode,
        foreign=foreign,
        sockets=left_sockets(folder),
        processes=left_processes(folder),
    )


def calendar_facts(place: Place) -> CalendarFacts | None:
    """The reviewed trading days, and those that a system computed last."""
    if place.base is None:
        return None
    path, today = place.base.run.trading_days, local_datetime(place.now_ns).date()
    try:
        days = _dated(decode_toml(read_file(Path(path)), path).content)
    except OSError as error:
        return CalendarFacts(path=path, today=today, error=f"run.trading_days = {path}: {error.strerror}")
    except ConfigError as error:
        return CalendarFacts(path=path, today=today, error=str(error))
    computed = [each.day for each in read_trading_days(Path(place.base.run.runtime))]
    return CalendarFacts(
        path=path,
        today=today,
        last_day=max((day for day, _ in days), default=None),
        reviewed=max((reviewed for _, reviewed in days), default=None),
        computed_to=max(computed, default=None),
    )


def _dated(document: dict[str, object]) -> Sequence[tuple[date, date]]:
    """The entries' days, and when each was reviewed. The calendar's process checks the rest of an entry."""
    entries = document.get("day")
    found = []
    for entry in entries if isinstance(entries, list) else ():
        day, reviewed = (entry.get("date"), entry.get("reviewed")) if isinstance(entry, dict) else (None, None)
        if not isinstance(day, date) or not isinstance(reviewed, date):
            raise ConfigError(f"an entry [[day]] has no `date` or no `reviewed`: {entry}")
        found.append((day, reviewed))
    return found


def second_copy_facts(place: Place) -> SecondCopyFacts | None:
    """Where packages go beside their folder."""
    if place.settings is None:
        return None
    backup = place.settings.backup
    own = packages_of(backup.folder_of(place.settings.run), place.settings.instance)
    names = [each.name for each in own if each.verified_ns is not None]
    newest = names[-1] if names else ""
    program = backup.command[0] if backup.command else ""
    target = Path(backup.copy_to)
    return SecondCopyFacts(
        copy_to=backup.copy_to,
        has_folder=bool(backup.copy_to) and target.is_dir(),
        newest=newest,
        has_newest=bool(backup.copy_to and newest) and (target / newest).is_dir(),
        program=program,
        has_program=bool(program) and shutil.which(program) is not None,
    )


def target_facts(place: Place) -> TargetFacts | None:
    """The targets of alerts; each has a URL where messages can be sent."""
    if place.settings is None:
        return None
    alerts = place.settings.alerts
    problems: Sequence[str] = ()
    try:
        require_urls(alerts)
    except MissingKeysError as error:
        problems = str(error).splitlines()
    return TargetFacts(list(alerts.targets), problems)
