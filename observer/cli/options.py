"""Options and arguments of a command, from its function's annotations and defaults.

    def show(symbol: Annotated[str, Argument(help="The symbol.")], limit: Annotated[int, Option(min=1)] = 20) -> None:

is a command with an argument SYMBOL and an option --limit (`frame`). On click alone: typer 0.29 builds a pydantic
model for each option, 0.1 s for each command; the whole `observer status` may take 0.15.
"""

import inspect
import math
from collections.abc import Callable
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click

from observer.base.errors import ConfigError


class Option:
    """An option; without `names` the parameter's own, `--dry-run` for dry_run. `min` and `max` are inclusive. `bare` is
    the value of an option that stands without one. An option with `made` is a path that may be left out: its function
    gets what `made` returns for it, once all that was typed is right.
    """

    def __init__(
        self,
        *names: str,
        help: str = "",  # noqa: A002 - click's name for it
        min: float | None = None,  # noqa: A002 - click's name for it
        max: float | None = None,  # noqa: A002 - click's name for it
        metavar: str | None = None,
        parser: Callable[[str], object] | None = None,
        bare: str | None = None,
        made: Callable[[Any], object] | None = None,
    ) -> None:
        self.names = names
        self.help = help
        self.min = min
        self.max = max
        self.metavar = metavar
        self.parser = parser
        self.bare = bare
        self.made = made


class Argument(Option):
    """An argument; one with a default may be left out."""


JSON = Annotated[bool, Option("--json", help="Print JSON.")]


def made_with(hint: Any) -> Callable[[Any], object] | None:
    """What makes the function's value of the typed one; None: it is the typed one."""
    found: Callable[[Any], object] | None = get_args(hint)[1].made if get_origin(hint) is Annotated else None
    return found


def parameter(name: str, hint: Any, default: Any) -> click.Parameter:
    """The parameter of a command, of its function's parameter."""
    assert get_origin(hint) is Annotated, f"{name} is annotated with an Option or an Argument"
    annotation, stated = get_args(hint)
    if stated.made is not None:
        annotation, default = Path | None, None
    is_many = _is_list(annotation)
    common: dict[str, Any] = {
        "type": _type_of(annotation, stated),
        "metavar": stated.metavar,
        "help": stated.help,
        "required": default is inspect.Parameter.empty,
    }
    if is_many:
        common["callback"] = _as_list
    elif default is not inspect.Parameter.empty:
        common["default"] = default
    if isinstance(stated, Argument):
        return click.Argument([name], nargs=-1 if is_many else 1, **common)
    own = f"--{name.replace('_', '-')}"
    if annotation is bool:
        names = stated.names or ((own, f"{own}/--no-{own[2:]}")[default is True],)
        return click.Option([name, *names], is_flag=True, show_default=default is True, **common)
    if stated.bare is not None:
        common |= {"is_flag": False, "flag_value": stated.bare}
    return click.Option([name, *(stated.names or (own,))], multiple=is_many, show_default=default != "", **common)


def _is_list(annotation: Any) -> bool:
    return any(get_origin(each) is list for each in (annotation, *_alternatives(annotation)))


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    is_union = (
        isinstance(annotation, UnionType) or get_origin(annotation) is Union
    )  # `Literal[...] | None` is the latter
    return get_args(annotation) if is_union else (annotation,)


def _as_list(_context: click.Context, _parameter: click.Parameter, values: tuple[object, ...]) -> list[object] | None:
    return list(values) or None


def _type_of(annotation: Any, stated: Option) -> click.ParamType[Any] | type:
    """The click type of an annotation: a bare type, T | None, list[T] | None, or a Literal."""
    [plain] = [each for each in _alternatives(annotation) if each is not NoneType]
    if get_origin(plain) is list:
        [plain] = get_args(plain)
    if stated.parser is not None:
        return _Parsed(stated.parser)
    if get_origin(plain) is Literal:
        return click.Choice(get_args(plain), case_sensitive=False)
    if plain is Path:
        return click.Path(path_type=Path)
    if stated.min is not None or stated.max is not None:
        ranged: Callable[..., click.ParamType[Any]] = click.IntRange if plain is int else _FiniteRange
        within = ranged(stated.min, stated.max)
        within.name = "integer" if plain is int else "float"  # in help and errors; help states the range beside it
        return within
    assert plain in (str, int, float, bool), f"no type of an option: {plain}"
    found: type = plain
    if plain is not str:
        return found
    return _Parsed(_word if isinstance(stated, Argument) else _text)


def _text(value: str) -> str:
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ConfigError(f"{value!r} is not text in UTF-8")
    return value


def _word(value: str) -> str:
    if not value.strip():
        raise ConfigError("an argument is empty: name what is meant")
    return _text(value)


class _FiniteRange(click.FloatRange):
    """A range of numbers; nan is in none, though no comparison refuses it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class _Parsed(click.ParamType[Any]):
    """Texts as a function reads them; it raises `ConfigError` for a wrong one."""

    name = "text"

    def __init__(self, parser: Callable[[str], object]) -> None:
        self._parser = parser

    def convert(self, value: Any, _param: click.Parameter | None, _ctx: click.Context | None) -> object:
        return self._parser(value)
