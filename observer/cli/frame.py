"""The frame of a command: its parameters from its function's annotations, what they are made into, its printed answer.

    def stats(days: Annotated[int, Option(min=0)] = 5, *, settings: SettingsOption) -> Answer:
        ...
        return Answer(found, Table(...))

is a command with the options --days, --config and --json. The function gets the settings that --config names; what it
returns is printed as a table, or with --json as JSON. A function that prints while it works has `as_json` of its own.
"""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import click

from observer.cli.options import JSON, made_with, parameter

if TYPE_CHECKING:  # a group's help needs no table
    from observer.cli.tables import Table

CONTEXT_SETTINGS: Final = {"help_option_names": ["-h", "--help"]}
_AS_JSON: Final = "as_json"

_Made = TypeVar("_Made", bound=click.Command)


class Answer(NamedTuple):
    """What a command found, as JSON shows it; a table, a text or what prints it for people; and the exit status."""

    value: object
    shown: "Table | str | Callable[[], object]"
    status: int = 0

    def print(self, *, as_json: bool) -> None:
        """Print it. Raises Exit: its status is not 0."""
        from observer.cli.context import print_json

        if as_json:
            print_json(self.value)
        elif isinstance(self.shown, str):
            click.echo(self.shown)
        elif callable(self.shown):
            self.shown()
        else:
            from observer.cli.tables import show

            show(self.shown)
        if self.status:
            raise click.exceptions.Exit(self.status)


def command_of(
    name: str,
    function: Callable[..., object],
    cls: Callable[..., _Made] = click.Command,  # type: ignore[assignment]  # another class comes from the caller
    **attributes: Any,
) -> _Made:
    """The command, or the group of the given class, that calls this function."""
    hints = inspect.get_annotations(function)  # a class that is loaded later stays a text
    own = inspect.signature(function).parameters
    makers = {each: made for each in own if (made := made_with(hints[each])) is not None}
    params = [parameter(each.name, hints[each.name], each.default) for each in own.values()]
    is_answer = hints.get("return") is Answer
    if is_answer and _AS_JSON not in own:
        params.append(parameter(_AS_JSON, JSON, False))

    def run(**typed: Any) -> None:
        given = {each: makers[each](typed[each]) if each in makers else typed[each] for each in own}
        answer = function(**given)
        if isinstance(answer, Answer):
            answer.print(as_json=typed[_AS_JSON])

    return cls(
        name=name,
        callback=run,
        params=params,
        context_settings=CONTEXT_SETTINGS,
        **{"help": inspect.getdoc(function), **attributes},
    )
