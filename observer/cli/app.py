"""The command line. Imports the module of the typed command only."""

import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final

import click
from click.exceptions import Abort, Exit, NoArgsIsHelpError

from observer.base.errors import ConfigError, NoDataError
from observer.base.privacy import keep_private
from observer.base.text import plain_text
from observer.cli.commands import COMMANDS, Command, Group
from observer.cli.options import CONTEXT_SETTINGS, Option, command_of

_NAME: Final = "observer"
_SHOW: Final = "show"
_INTERRUPTED: Final = 130  # a shell's exit status for a program that SIGINT ended


class Unloaded(click.Command):
    """A command or a group whose help line alone is loaded."""

    def __init__(self, name: str, entry: Command | Group) -> None:
        super().__init__(name, short_help=entry.help)
        self._entry = entry

    def load(self) -> click.Command:
        """Import the command's module and return the runnable command or group."""
        assert self.name is not None, "commands of a table have names"
        if isinstance(self._entry, Group):
            return group_of(self.name, self._entry)
        return command_of(self.name, function_of(self._entry.function))


class LazyGroup(click.Group):
    """Lists its commands unloaded, and loads the one that was typed."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command of this group with that name, and its arguments. A relation's name is `show` of the relation,
        also where it names a group whose commands were not typed.
        """
        if ctx.parent is None and _is_relation(args, self.commands):
            args = [_SHOW, *args]
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, Unloaded) else command, rest

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; ctrl-C ends it silently, with a shell's status for SIGINT."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Exit(_INTERRUPTED) from None
        except NoDataError as error:
            if ctx.parent is None:
                raise _with_other_database(error) from error
            raise

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of their table."""
        del ctx
        return list(self.commands)


def _is_relation(args: Sequence[str], commands: Mapping[str, click.Command]) -> bool:
    name, *rest = args
    entry = COMMANDS.commands.get(name)
    if isinstance(entry, Group):
        return entry.is_relation and (
            not rest or rest[0] not in {*entry.commands, *CONTEXT_SETTINGS["help_option_names"]}
        )
    if entry is not None or _SHOW not in commands or name.startswith("-"):
        return False
    from observer.research.catalogue import RELATIONS

    return name in RELATIONS


def function_of(name: str) -> Callable[..., Any]:
    """The function that `module:function` in a table of commands names; a module without a dot is one of this room."""
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(
        importlib.import_module(module if "." in module else f"observer.cli.{module}"), function
    )
    return found


def command_line() -> click.Group:
    """The whole command line."""
    return group_of(_NAME, COMMANDS)


def main() -> None:
    """Run the command line."""
    run(command_line(), _NAME)


def run(commands: click.Group, name: str) -> None:
    """Run the typed command. Each problem is one line on stderr; `failures` has the exit statuses."""
    keep_private()
    try:
        _require_plain(sys.argv[1:])
        status = commands.main(prog_name=name, standalone_mode=False)
        sys.stdout.flush()
    except NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except Abort:
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:  # `observer ... | head`; Python would flush stdout once more at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        from observer.cli.failures import failure, print_failure

        failed = failure(error)
        if failed is None:
            raise
        print_failure(failed[0])
        sys.exit(failed[1])
    sys.exit(status)


def _require_plain(arguments: Sequence[str]) -> None:
    """Refuse names that would act on the terminal, or break the lines of an error, wherever they are shown.

    Raises:
        ConfigError: an argument has a control character, or one that changes the direction of text.
    """
    for argument in arguments:
        text = os.fsencode(argument).decode(errors="replace")  # a file's name need not be UTF-8
        if plain_text(text) != text:
            raise ConfigError(f"{argument!a} has control characters: rename the file, or give another name")


def _with_other_database(error: NoDataError) -> NoDataError:
    """The error, naming the other database of this folder where there is one."""
    from observer.cli.context import other_database

    other = other_database()
    return error if other is None else NoDataError(f"{error}; there is another database: --config {other}")


def group_of(name: str, group: Group) -> LazyGroup:
    """The group of a table, its commands unloaded."""
    if group is COMMANDS:
        made = command_of(name, _root, LazyGroup, help=group.help, no_args_is_help=True, invoke_without_command=True)
    elif group.options:
        made = command_of(name, function_of(group.options), LazyGroup, invoke_without_command=True)
    else:
        text = f"{group.help}\n\n{group.more}"
        made = LazyGroup(name=name, help=text, no_args_is_help=True, context_settings=CONTEXT_SETTINGS)
    for each, entry in group.commands.items():
        made.add_command(Unloaded(each, entry))
    return made


def _root(
    version: Annotated[bool, Option(help="Print the version.")] = False,
    show_completion: Annotated[bool, Option(help="Print the shell's completion script.")] = False,
    install_completion: Annotated[bool, Option(help="Install completion for the shell of $SHELL.")] = False,
) -> None:
    """Options of the command line itself."""
    if version:
        from importlib.metadata import version as version_of

        click.echo(f"{_NAME} {version_of(_NAME)}")
    elif show_completion or install_completion:
        from observer.cli import completion

        click.echo(completion.install(_NAME) if install_completion else completion.script(_NAME))
    else:
        return
    raise Exit(0)
