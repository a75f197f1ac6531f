"""What is valid in a configuration and may still be a mistake: keys that nothing reads, files that are not there."""

import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from observer.base.settings import read_settings_file
from observer.base.settings_errors import SettingsFile, SettingsPath, decode_json, json_keys, toml_lines
from observer.selection.settings import WITHOUT_EFFECT, keys_without_effect
from observer.system.config import Settings
from observer.system.doctor.running import is_running

KRX_SOURCES: Final = frozenset({"krx_open_api", "krx_data"})


class _Unread(msgspec.Struct, frozen=True):
    """Keys of a section that nothing reads unless `is_read`; `because` says what they wait for."""

    section: SettingsPath
    keys: Sequence[str]
    is_read: Callable[[Settings], bool]
    because: str


_UNREAD: Final = (
    _Unread(("backup",), ("command_limit_s",), lambda each: bool(each.backup.command), "without [backup] command"),
    _Unread(
        ("alerts",), ("targets_file", "messages_per_hour", "timeout_s"), lambda each: bool(each.alerts.targets),
        "without a target ([alerts.targets.NAME])",
    ),
    _Unread(
        ("etf", "krx"), ("open_api_url", "data_url", "keys_file", "take_over_session"),
        lambda each: bool(KRX_SOURCES & set(each.etf.sources)), "without krx_open_api or krx_data in [etf] sources",
    ),
    _Unread(
        ("sectors",), ("daily_at", "weekly_day", "weekly_at"), lambda each: each.sectors.scheduled,
        "without [sectors] scheduled = true",
    ),
    _Unread(
        ("universe",), ("eligibility_weekdays_max",), lambda each: len(each.universe.venues) > 1,
        "with one venue in [universe] venues",
    ),
    _Unread(
        ("track_b",), ("keep_over_pause_s",), lambda each: len(each.universe.venues) > 1,
        "with one venue in [universe] venues",
    ),
)  # fmt: skip


CHECKED_ELSEWHERE: Final[frozenset[SettingsPath]] = frozenset(
    {("run", "trading_days"), ("run", "provider_pool"), ("alerts", "targets_file"), ("backup", "copy_to")}
    | {("backup", "command")}
)
"""Keys whose absent files other checks of the doctor state."""


def notices_of(path: Path, settings: Settings, but: Collection[SettingsPath] = ()) -> Iterator[str]:
    """What may be a mistake in this valid configuration, a line each: file and line, key, text; without some keys.

    Raises:
        ConfigError: the file cannot be read any more.
    """
    file = read_settings_file(path)
    lines = toml_lines(file.text)
    unread = [each for each in _unread(file, settings) if each[0] not in but]
    found = [*unread, *_absent(file, settings, but)]
    for key, text in sorted(found, key=lambda each: lines.get(each[0], 0)):
        where = f"{file.source}:{lines[key]}" if key in lines else file.source
        yield f"{where}: {'.'.join(map(str, key))}: {text}"
    yield from _of_selection(Path(settings.run.symbol_selection))


def _of_selection(path: Path) -> Iterator[str]:
    """Keys of the selection file that are passed over."""
    if path.is_file():
        file = decode_json(path.read_bytes(), str(path))
        lines = dict(json_keys(file.text))
        for key in keys_without_effect(file.content):
            yield f"{path}:{lines[key]}: {'.'.join(map(str, key))}: {WITHOUT_EFFECT[key]}"


def _unread(file: SettingsFile, settings: Settings) -> Iterator[tuple[SettingsPath, str]]:
    """Keys that were changed from their defaults, and that nothing reads."""
    for unread in _UNREAD:
        if unread.is_read(settings):
            continue
        written, default = _section(file.content, unread.section), _section(_defaults(), unread.section)
        for key in unread.keys:
            if key in written and written[key] != default.get(key):
                yield (*unread.section, key), f"nothing reads this key {unread.because}"


def _defaults() -> Mapping[str, Any]:
    found: Mapping[str, Any] = msgspec.to_builtins(Settings())
    return found


def _section(document: Any, path: SettingsPath) -> Mapping[str, Any]:
    for step in path:
        document = document.get(step, {}) if isinstance(document, dict) else {}
    return document if isinstance(document, dict) else {}


def _absent(
    file: SettingsFile, settings: Settings, but: Collection[SettingsPath]
) -> Iterator[tuple[SettingsPath, str]]:
    """Files, folders and programs that the file names, and that are not there. Those of `but` are not looked at: one
    may lie on a server that does not answer.
    """
    is_read = {
        ("etf", "manual_file"): "csv" in settings.etf.sources,
        ("etf", "krx", "keys_file"): bool(KRX_SOURCES & set(settings.etf.sources)),
        ("alerts", "targets_file"): bool(settings.alerts.targets),
        ("lake", "keys_file"): True,
        ("backup", "copy_to"): True,
    }
    for key in (each for each, named in is_read.items() if named and each not in but):
        name = _section(file.content, key[:-1]).get(key[-1])
        if isinstance(name, str) and name and (why := why_unseen(name)):
            yield key, f"{name} {why}"
    if ("run", "trading_days") not in but and (why := why_unseen(settings.run.trading_days)):
        yield ("run", "trading_days"), f"{settings.run.trading_days} {why}"
    is_unread = ("run", "provider_pool") in but or are_keys_removed(settings)
    for account in () if is_unread else settings.pool.accounts:
        if account.keys_file and (why := why_unseen(account.keys_file)):
            yield ("run", "provider_pool"), f"{account.keys_file}, keys of {account.account_id}, {why}"
    program = "" if ("backup", "command") in but else "".join(settings.backup.command[:1])
    if program and shutil.which(program) is None:
        yield ("backup", "command"), f"{program} is no program on PATH"


def are_keys_removed(settings: Settings) -> bool:
    """Whether a demo has removed the keys of its simulated broker at its end: all their files are gone, and no system
    runs that needs them.
    """
    files = [each.keys_file for each in settings.pool.accounts]
    is_demo = settings.simulator is not None and not is_running(settings.run)
    return is_demo and all(file is not None and why_unseen(file) for file in files)


def why_unseen(name: str) -> str:
    """Why there is nothing to be seen under this name, which may begin with a user's home; empty if there is."""
    try:
        os.stat(os.path.expanduser(name))  # noqa: PTH111, PTH116 - an unknown user's ~ stays as it is
    except (FileNotFoundError, NotADirectoryError):
        return "is not there"
    except OSError as error:
        return f"cannot be looked at: {error.strerror}"
    return ""
