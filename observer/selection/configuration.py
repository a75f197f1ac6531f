"""The file of the selection's settings, config/observer/symbol_selection.json (requirement 004, Configuration Schema).
Pure.

What is left out has its default, down to the single key, so the requirement's own example is a complete file. Every
wrong key is told at once, by its dotted name.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from observer.errors import ConfigError
from observer.selection.settings import SelectionSettings

_DEFAULTS: Final[Mapping[str, Any]] = msgspec.to_builtins(SelectionSettings())
_PLACE: Final = " - at `$."  # how msgspec begins the place of a wrong value

Document = dict[str, Any]


def parse_selection(content: bytes, source: str) -> SelectionSettings:
    """The settings in a file's content; `source` names the file in errors.

    Raises:
        ConfigError: it is not such a file: one line for each wrong key, with its dotted name and its bound.
    """
    try:
        document: object = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{source}: it must be one JSON object")
    problems = [f"{key}: there is no such key" for key in _unknown_keys(document, _DEFAULTS)]
    complete = _merged(_DEFAULTS, document)
    settings, wrong = _converted(complete)
    if problems or wrong:
        raise ConfigError("\n".join(f"{source}: {_on_one_line(problem)}" for problem in [*problems, *wrong]))
    return settings


def _on_one_line(text: str) -> str:
    """What a file says may come back in what is said of it: line breaks and other signs of control are escaped."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def _unknown_keys(document: Mapping[str, Any], known: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in document.items():
        if name not in known:
            yield f"{prefix}{name}"
        elif isinstance(value, dict) and isinstance(known[name], dict):
            yield from _unknown_keys(value, known[name], f"{prefix}{name}.")


def _merged(defaults: Mapping[str, Any], document: Mapping[str, Any]) -> Document:
    """The defaults with what the document says in their place; keys that nobody knows are left out."""
    return {
        name: _merged(default, document[name])
        if isinstance(default, dict) and isinstance(document.get(name), dict)
        else document.get(name, default)
        for name, default in defaults.items()
    }


def _converted(document: Document) -> tuple[SelectionSettings, list[str]]:
    """The settings, and what was wrong: msgspec tells one wrong value at a time, so each gives way to its default."""
    wrong: list[str] = []
    while True:
        try:
            return msgspec.convert(document, SelectionSettings), wrong
        except msgspec.ValidationError as error:
            what, _, place = str(error).partition(_PLACE)
            path = place.removesuffix("`").split(".")
            assert path != [""], "all that is within the document has a place"
            wrong.append(f"{'.'.join(path)}: {what}")
            _reset(document, path)


def _reset(document: Document, path: list[str]) -> None:
    part, default = document, _DEFAULTS
    for name in path[:-1]:
        part, default = part[name], default[name]
    part[path[-1]] = _merged(default, {})[path[-1]]
