"""The effective values of a configuration, one by one, with the file and the line that each comes from. No secrets."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from observer.archive.configuration import redacted
from observer.base.files import read_file
from observer.base.settings import RunSettings, read_settings_file
from observer.base.settings_errors import SettingsFile, SettingsPath, decode_json, json_keys, toml_lines
from observer.system.config import Settings

DEFAULT: Final = "default"
_POOL, _SELECTION = "provider_pool", "symbol_selection"
_OTHER_FILES: Final = frozenset({"pool", "selection", "sessions", "keys_digest", "brokers"})


class Value(msgspec.Struct, frozen=True):
    """A setting: its dotted key, its value, and where that is from: "default", or the file and the line."""

    key: str
    value: object
    origin: str = DEFAULT


class Difference(msgspec.Struct, frozen=True):
    """A setting with two values, without secrets; None: it is not there."""

    key: str
    value: object
    other: object


def values_of(settings: Settings) -> Mapping[str, object]:
    """Every setting as it may be shown, by its key. Secrets are blanked out."""
    return {key: shown for key, (shown, _) in _shown_and_whole(settings).items()}


def with_origins(path: Path, settings: Settings) -> Sequence[Value]:
    """Every setting with its value and the place that states it: the sections of the file, then the accounts and the
    selection, whose keys begin with `provider_pool` and `symbol_selection`. Secrets are blanked out.

    Raises:
        ConfigError: a file cannot be read any more.
    """
    file = read_settings_file(path)
    places = _places(file, (), toml_lines(file.text))
    run = settings.run
    for name, source, default in (
        (_POOL, run.provider_pool, RunSettings().provider_pool),
        (_SELECTION, run.symbol_selection, RunSettings().symbol_selection),
    ):
        if source != default or Path(source).exists():
            other = decode_json(read_file(Path(source)), source)
            prefix: SettingsPath = () if name == _POOL else (name,)
            places |= _places(other, prefix, dict(reversed(list(json_keys(other.text)))))
    return [Value(_dotted(key), value, places.get(key, DEFAULT)) for key, value in _leaves(_document(settings))]


def differences(settings: Settings, others: Settings) -> Sequence[Difference]:
    """The settings that differ, secrets among them; a group that is empty on one side is stated by the other's keys."""
    ours, theirs = _shown_and_whole(settings), _shown_and_whole(others)
    none = (None, None)
    found = []
    for key in [*ours, *(key for key in theirs if key not in ours)]:
        (value, whole), (other, other_whole) = ours.get(key, none), theirs.get(key, none)
        is_said_below = not whole and not other_whole and (_has_below(ours, key) or _has_below(theirs, key))
        if whole != other_whole and not is_said_below:
            found.append(Difference(key, value, other))
    return found


def _shown_and_whole(settings: Settings) -> Mapping[str, tuple[object, object]]:
    """Every setting as it may be shown, and as it is."""
    document = _whole(settings)
    return {_dotted(path): (value, _at(document, path)) for path, value in _leaves(redacted(document))}


def _at(document: Any, path: SettingsPath) -> object:
    for step in path:
        document = document[step]
    found: object = document
    return found


def _has_below(values: Mapping[str, object], key: str) -> bool:
    return any(each.startswith((f"{key}.", f"{key}[")) for each in values)


def _document(settings: Settings) -> Mapping[str, Any]:
    """The settings as one document, without secrets."""
    found: Mapping[str, Any] = redacted(_whole(settings))
    return found


def _whole(settings: Settings) -> Mapping[str, Any]:
    whole: dict[str, Any] = msgspec.to_builtins(settings)
    sections = {name: value for name, value in whole.items() if name not in _OTHER_FILES}
    return {**sections, **whole["brokers"], _POOL: whole["pool"], _SELECTION: whole["selection"]}


def _leaves(value: Any, path: SettingsPath = ()) -> Iterator[tuple[SettingsPath, object]]:
    """Every value that is no group, with its path; an empty group and a list of plain values are values."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _leaves(inner, (*path, name))
    elif isinstance(value, list | tuple) and any(isinstance(each, Mapping) for each in value):
        for number, inner in enumerate(value):
            yield from _leaves(inner, (*path, number))
    else:
        yield path, value


def _places(file: SettingsFile, prefix: SettingsPath, lines: Mapping[SettingsPath, int]) -> dict[SettingsPath, str]:
    """Where the file states each of its keys."""
    return {
        (*prefix, *path): f"{file.source}:{lines[path]}" if path in lines else file.source
        for path in _paths(file.content)
    }


def _paths(document: Any, path: SettingsPath = ()) -> Iterator[SettingsPath]:
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for name, value in items:
        yield (*path, name)
        yield from _paths(value, (*path, name))


def _dotted(path: SettingsPath) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")
