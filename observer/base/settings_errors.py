"""Errors of settings files: file and line, dotted key, value, bound, and the nearest known name. Pure.

config/observer.toml:114: track_a.interval_s = 0: must be >= 1
config/observer.toml:115: track_a.intervall_s: unknown key; did you mean interval_s?
"""

import datetime as dt
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
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
_TYPES: Final[Mapping[str, tuple[type, str]]] = {
    "IntType": (int, "a whole number"),
    "FloatType": (float, "a number"),
    "StrType": (str, "a text"),
    "BoolType": (bool, "true or false"),
    "DateType": (dt.date, "a date without quotation marks"),
    "TimeType": (dt.time, "a time without quotation marks"),
    "VarTupleType": (list, "a list"),
    "ListType": (list, "a list"),
    "DictType": (dict, "a group of keys"),
    "StructType": (dict, "a group of keys"),
    "NoneType": (type(None), "nothing"),
}
"""Of `msgspec.inspect`: the Python type that a document has for it, and its name in errors."""
_KINDS: Final = dict(_TYPES.values())
_KEEPS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_BOUNDS: Final = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
_LENGTHS: Final = {"min_length": ">=", "max_length": "<="}
# What a line of TOML names: a section, or a key with a value behind it ("=" at an end may be that of base64).
_NAMING: Final = re.compile(r"\s*(?:(\[[\w.-]+\])\s*$|([\w.-]+)\s*=\s*[^\s=])")
_JSON_TOKEN: Final = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?|[{}\[\],]')


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
    """The settings at that path of the file, or `content` in their place; None and every problem if any is wrong."""
    from msgspec import inspect

    document = _at(file.content, path) if content is msgspec.UNSET else content
    try:
        return msgspec.convert(document, struct), []
    except (msgspec.ValidationError, ValueError) as error:
        found = list(_problems(inspect.type_info(struct), document, path))
        return None, found or [Problem(path, str(error))]


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


# --- values --------------------------------------------------------------------------------------------------


def _problems(info: Any, value: Any, path: SettingsPath) -> Iterator[Problem]:
    """What is wrong with the value and all values in it, where a value of this type is wanted (`msgspec.inspect`)."""
    from msgspec import inspect

    description = ""
    if isinstance(info, inspect.Metadata):
        description = (info.extra_json_schema or {}).get("description", "")
        info = info.type
    if isinstance(info, inspect.UnionType):  # a value, or nothing
        wanted = [each for each in info.types if not isinstance(each, inspect.NoneType)]
        if value is not None or len(wanted) == len(info.types):
            yield from _problems(wanted[0], value, path)
        return
    if isinstance(info, inspect.LiteralType):
        if value not in info.values:
            text = f"unknown value{did_you_mean(str(value), map(str, info.values))}"
            yield Problem(path, text, _shown(path, value))
        return
    wanted_type, kind = _TYPES.get(type(info).__name__, (object, ""))
    if not _is_of(wanted_type, value):
        text = f"must be {description or kind}, not {_KINDS.get(type(value), 'that')}"
        yield Problem(path, text, _shown(path, value))
        return
    for text in _crossed(info, value, description):
        yield Problem(path, text, _shown(path, value))
    match info:
        case inspect.StructType():
            yield from _problems_of_group(info, value, path)
        case inspect.DictType():
            for key, each in value.items():
                yield from _problems(info.value_type, each, (*path, key))
        case inspect.CollectionType():
            for number, each in enumerate(value):
                yield from _problems(info.item_type, each, (*path, number))


def _problems_of_group(info: Any, value: Mapping[str, Any], path: SettingsPath) -> Iterator[Problem]:
    """Those of a group's keys; where each is right, that of the struct's own check."""
    fields = {field.encode_name: field for field in info.fields}
    found = [
        *(problem for key, each in value.items() if key in fields
          for problem in _problems(fields[key].type, each, (*path, key))),
        *(Problem((*path, key), f"unknown key{did_you_mean(key, fields)}") for key in value
          if key not in fields and info.forbid_unknown_fields),
        *(Problem((*path, key), "is missing") for key, field in fields.items() if field.required and key not in value),
    ]  # fmt: skip
    yield from found
    if found:
        return
    try:
        msgspec.convert(value, info.cls)
    except (msgspec.ValidationError, ValueError) as error:
        key, _, rest = str(error).partition(": ")  # many begin with the key and its value
        yield Problem((*path, key), rest) if rest and key in fields else Problem(path, str(error))


def _is_of(wanted: type, value: object) -> bool:
    if wanted in (dict, list):
        return isinstance(value, wanted)
    try:
        msgspec.convert(value, wanted)
    except msgspec.ValidationError:
        return False
    return True


def _crossed(info: Any, value: Any, description: str) -> Iterator[str]:
    """The bounds of its type that the value does not keep."""
    for name, sign in (_BOUNDS | _LENGTHS).items():
        if (bound := getattr(info, name, None)) is None:
            continue
        measured, what = (len(value), "of length ") if name in _LENGTHS else (value, "")
        if not _KEEPS[sign](measured, bound):
            limit = str(bound).removesuffix(".0")
            yield f"must be {description or f'{what}{sign} {limit}'}"
    if (pattern := getattr(info, "pattern", None)) is not None and re.search(pattern, value) is None:
        yield f"must be {description or f'a text that matches {pattern}'}"


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
