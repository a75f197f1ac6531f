"""Errors of settings files: file and line, dotted key, value, bound, and the nearest known name. Pure.

config/observer.toml:114: track_a.interval_s = 0: must be >= 1
config/observer.toml:115: track_a.intervall_s: unknown key; did you mean interval_s?
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, Final, Literal, TypeAlias, TypeVar

import msgspec

from observer.base.errors import ConfigError, did_you_mean

SettingsPath: TypeAlias = tuple[str | int, ...]
"""Keys and positions of lists, from the document to a value."""

_Settings = TypeVar("_Settings")

_DEPTH_MAX: Final = 30  # levels of groups and lists; the settings have six
LINES_MAX: Final = 500  # the file that comes with Observer has 152
_SHOWN_LENGTH_MAX: Final = 60
_SECRET: Final = re.compile(r"key|secret|password|token|url", re.IGNORECASE)
_KINDS: Final = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "a group of keys",
    "null": "nothing",
    "date": "a date without quotation marks",
    "time": "a time without quotation marks",
}
# What a line of TOML names: a section, or a key with a value behind it ("=" at an end may be that of base64).
_NAMING: Final = re.compile(r"\s*(?:(\[[\w.-]+\])\s*$|([\w.-]+)\s*=\s*[^\s=])")
_JSON_TOKEN: Final = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?|[{}\[\],]')
# How msgspec names a wrong value; whatever else it reports is a message of a settings struct's own check.
_LOCATION: Final = re.compile(r" - at `\$(.*)`$")
_STEP: Final = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`$", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(.*)`$", re.DOTALL)
_ENUM: Final = re.compile(r"Invalid enum value ")
_WRONG_TYPE: Final = re.compile(r"Expected `(.*)`, got `(.*)`$")
_BOUND: Final = re.compile(r"Expected `(?:int|float)` ([<>]=?) (\S+)$")
_OTHER_BOUND: Final = re.compile(r"Expected `(.*?)` (.*)$", re.DOTALL)


class SettingsFile(msgspec.Struct, frozen=True):
    """A decoded settings file; `source` names it in errors."""

    source: str
    content: Any
    text: str = ""
    form: Literal["TOML", "JSON"] = "TOML"


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with the value at `path`; `shown` is the value, if an error may show it."""

    path: SettingsPath
    text: str
    shown: str = ""


def decode_toml(content: bytes, source: str) -> SettingsFile:
    """Decode a TOML file.

    Raises:
        ConfigError: it is not TOML, or nested too deeply; names the line, and the key of a line that is there twice.
    """
    import tomllib

    try:
        text = content.decode()
        return _flat(SettingsFile(source, tomllib.loads(text), text))
    except RecursionError:
        raise _too_deep(source) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source}:{_line_at(content, error.start)}: is not TOML: {error.reason}") from None
    except tomllib.TOMLDecodeError as error:
        message, _, place = str(error).partition(" (at line ")
        number = int(place.partition(",")[0]) if place[:1].isdigit() else text.count("\n") + 1
        named = _NAMING.match(text.split("\n")[number - 1])  # anything else of the line may be a part of a secret
        statement = f" ({_on_one_line(named[1] or named[2])})" if named else ""
        raise ConfigError(f"{source}:{number}: is not TOML: {message}{statement}") from None
    except ValueError:  # of Python, which makes no number of thousands of digits
        raise ConfigError(f"{source}: holds a number of too many digits: shorten it") from None


def decode_json(content: bytes, source: str) -> SettingsFile:
    """Decode a JSON file.

    Raises:
        ConfigError: it is not JSON, nested too deeply, or has a key twice.
    """
    try:
        document: object = msgspec.json.decode(content)
    except RecursionError:
        raise _too_deep(source) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        found = re.search(r"byte (\d+)", str(error))
        line = _line_at(content, int(found[1]) if found else len(content))
        raise ConfigError(f"{source}:{line}: is not JSON: {_on_one_line(str(error))}") from None
    file = _flat(SettingsFile(source, document, content.decode(), "JSON"))
    lines: dict[SettingsPath, int] = {}
    for path, line in json_keys(file.text):
        if path in lines:
            raise wrong_settings(file, [Problem(path, f"is there twice, again in line {line}")])
        lines[path] = line
    return file


def _flat(file: SettingsFile) -> SettingsFile:
    """The file; raises ConfigError where it is nested deeper than any settings: reading it would recurse as deeply."""
    level: list[Any] = [file.content]
    for _ in range(_DEPTH_MAX):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return file
    raise _too_deep(file.source)


def _too_deep(source: str) -> ConfigError:
    return ConfigError(f"{source}: groups and lists are nested more than {_DEPTH_MAX} deep: remove what is no setting")


def converted(
    file: SettingsFile, path: SettingsPath, struct: type[_Settings], content: object = msgspec.UNSET
) -> tuple[_Settings | None, list[Problem]]:
    """The settings at that path of the file, or `content` in their place; None and every problem if any is wrong.

    msgspec reports one wrong value at a time: each is removed in turn.
    """
    document = deepcopy(_at(file.content, path) if content is msgspec.UNSET else content)
    problems: list[Problem] = []
    removed: list[SettingsPath] = []
    while True:
        try:
            settings = msgspec.convert(document, struct)
        except (msgspec.ValidationError, ValueError) as error:
            inside, what = _parsed(str(error))
        else:
            return (None if problems else settings), problems
        culprit, problem = _described(document, struct, inside, what)
        if not _follows(culprit, inside, what, removed):
            problems.append(Problem((*path, *problem.path), problem.text, problem.shown))
        cut = _key_of(inside if culprit in removed or _MISSING.match(what) else culprit)
        if not cut:
            return None, problems
        removed.append(cut)
        del _at(document, cut[:-1])[cut[-1]]


def wrong_settings(file: SettingsFile, problems: Iterable[Problem]) -> ConfigError:
    """The error that names every problem, one line each."""
    lines = toml_lines(file.text) if file.form == "TOML" else dict(reversed(list(json_keys(file.text))))
    return ConfigError("\n".join(_line_of(file, problem, lines) for problem in problems))


# --- lines ---------------------------------------------------------------------------------------------------


def toml_lines(text: str) -> dict[SettingsPath, int]:
    """The line (from 1) on which each key and section of a TOML text first stands.

    Empty for a text of more than `LINES_MAX` lines: the time grows with their square.
    """
    import tomllib

    found: dict[SettingsPath, int] = {}
    lines = text.split("\n")
    if len(lines) > LINES_MAX:
        return found
    begin = 1
    for end in range(1, len(lines) + 1):  # a key stands in the first statement with which the text has it
        try:
            document = tomllib.loads("\n".join([*lines[:end], ""]))
        except tomllib.TOMLDecodeError:
            continue  # within a statement of several lines
        for path in _paths(document):
            found.setdefault(path, begin)
        begin = end + 1
    return found


def json_keys(text: str) -> Iterator[tuple[SettingsPath, int]]:
    """Each key of a JSON text, and each group within a list, with its line (from 1), in their order."""
    stack: list[str | int] = []
    for token in _JSON_TOKEN.finditer(text):
        line = text.count("\n", 0, token.start()) + 1
        match token[0]:
            case "{" | "[":
                if stack and isinstance(stack[-1], int):
                    yield tuple(stack), line
                stack.append("" if token[0] == "{" else 0)
            case "}" | "]":
                stack.pop()
            case ",":
                if isinstance(stack[-1], int):
                    stack[-1] += 1
            case _ if token[2]:
                stack[-1] = msgspec.json.decode(token[1])
                yield tuple(stack), line


def _paths(document: object, path: SettingsPath = ()) -> Iterator[SettingsPath]:
    items: Iterable[tuple[str | int, object]] = ()
    if isinstance(document, dict):
        items = document.items()
    elif isinstance(document, list):
        items = enumerate(document)
    for name, value in items:
        yield (*path, name)
        yield from _paths(value, (*path, name))


def _line_at(content: bytes, offset: int) -> int:
    return content.count(b"\n", 0, offset) + 1


def _line_of(file: SettingsFile, problem: Problem, lines: Mapping[SettingsPath, int]) -> str:
    """A missing key has the line of its section."""
    path = problem.path
    while path and path not in lines:
        path = path[:-1]
    where = f"{file.source}:{lines[path]}" if path else file.source
    key = f"{_dotted(problem.path)}{f' = {problem.shown}' if problem.shown else ''}: " if problem.path else ""
    return _on_one_line(f"{where}: {key}{problem.text}")


# --- what msgspec says -----------------------------------------------------------------------------------------


def _parsed(message: str) -> tuple[SettingsPath, str]:
    """The path and the text of msgspec's message."""
    found = _LOCATION.search(message)
    if found is None:
        return (), message
    steps = found[1].partition("[...]")[0]  # a key or a value of a mapping
    path = tuple(int(step[2]) if step[2] else step[1] for step in _STEP.finditer(steps))
    return path, message[: found.start()]


def _described(document: object, struct: Any, path: SettingsPath, what: str) -> tuple[SettingsPath, Problem]:
    """The path of the value to remove, and the problem."""
    value = _at(document, path)
    if unknown := _UNKNOWN.match(what):
        names = _names(_type_at(struct, path))
        culprit = (*path, unknown[1])
        return culprit, Problem(culprit, f"unknown key{did_you_mean(unknown[1], names)}")
    if missing := _MISSING.match(what):
        return (*path, missing[1]), Problem((*path, missing[1]), "is missing")
    shown = _shown(path, value)
    if _ENUM.match(what):
        options = _options(_type_at(struct, path))
        text = f"unknown value{did_you_mean(str(value), options)}"
    elif wrong := _WRONG_TYPE.match(what):
        kinds = " or ".join(_KINDS.get(kind, kind) for kind in wrong[1].split(" | ") if kind != "null")
        text = f"must be {_description(struct, path) or kinds}, not {_KINDS.get(wrong[2], wrong[2])}"
    elif bound := _BOUND.match(what):
        text = f"must be {bound[1]} {bound[2].removesuffix('.0')}"
    elif other := _OTHER_BOUND.match(what):
        text = f"must be {_description(struct, path) or f'{_KINDS.get(other[1], other[1])} {other[2]}'}"
    else:  # a check of a struct; many begin with the key and its value
        key, _, rest = what.partition(": ")
        if rest and isinstance(value, dict) and key in _names(_type_at(struct, path)):
            return path, Problem((*path, key), rest)
        text, shown = what, ""
    return path, Problem(path, text, shown)


def _follows(culprit: SettingsPath, inside: SettingsPath, what: str, removed: Sequence[SettingsPath]) -> bool:
    """Whether the problem only follows from the removal of a wrong value."""
    if culprit in removed:
        return True
    is_own_check = not any(
        pattern.match(what) for pattern in (_UNKNOWN, _MISSING, _ENUM, _WRONG_TYPE, _BOUND, _OTHER_BOUND)
    )
    return is_own_check and any(each[: len(inside)] == inside for each in removed)


def _key_of(path: SettingsPath) -> SettingsPath:
    """The path up to its last key: removing an item of a list would renumber the others."""
    while path and isinstance(path[-1], int):
        path = path[:-1]
    return path


# --- types -----------------------------------------------------------------------------------------------------


def _type_at(struct: Any, path: SettingsPath) -> Any:
    """The type of a value within the settings; None for a key that they do not have."""
    from msgspec import inspect

    found: Any = inspect.type_info(struct)
    for step in path:
        found = _inner_type(found, step)
    return found


def _inner_type(info: Any, step: str | int) -> Any:
    from msgspec import inspect

    match info:
        case inspect.Metadata():
            return _inner_type(info.type, step)
        case inspect.UnionType():
            return next(filter(None, (_inner_type(each, step) for each in info.types)), None)
        case inspect.StructType():
            return next((field.type for field in info.fields if field.encode_name == step), None)
        case inspect.CollectionType():
            return info.item_type
        case inspect.DictType():
            return info.value_type
        case _:
            return None


def _names(info: Any) -> list[str]:
    """The keys of a group."""
    return [name for each in _members(info) for name in (field.encode_name for field in getattr(each, "fields", ()))]


def _options(info: Any) -> list[str]:
    """The values that a key may have."""
    return [str(value) for each in _members(info) for value in getattr(each, "values", ())]


def _description(struct: Any, path: SettingsPath) -> str:
    """What a value must be, in the words of its type."""
    described: dict[str, str] = getattr(_type_at(struct, path), "extra_json_schema", {})
    return described.get("description", "")


def _members(info: Any) -> list[Any]:
    plain = getattr(info, "type", info) if hasattr(info, "extra_json_schema") else info
    return list(getattr(plain, "types", (plain,)))


# --- texts -----------------------------------------------------------------------------------------------------


def _at(document: Any, path: SettingsPath) -> Any:
    """The value at the path; None if it is not there."""
    for step in path:
        try:
            document = document[step]
        except (KeyError, IndexError, TypeError):
            return None
    return document


def _shown(path: SettingsPath, value: object) -> str:
    if value is None or isinstance(value, dict | list) or _SECRET.search(_dotted(path)):
        return ""
    text = str(value) if isinstance(value, float) else msgspec.json.encode(value).decode()
    return text if len(text) <= _SHOWN_LENGTH_MAX else ""


def _dotted(path: SettingsPath) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def _on_one_line(text: str) -> str:
    """Escape line breaks and other control characters, as errors may quote the file."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)
