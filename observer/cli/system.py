"""Requests to the running system, and their printed replies.

Exit statuses, the same for all: 0 it was done or is under way (the answer says which), 1 it was refused or failed and
the answer says why, 2 it could not be asked: no system runs here, or the command line or the configuration is wrong.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import click

from bus.commands import Done, EachReply, OrderReply, Refused, ReloadReply, Reply, Request, StatusReply, UnderWay
from observer.base.errors import ConfigError
from observer.base.settings import RunSettings, endpoints_of
from observer.cli.context import ANSWER_S, CONFIG_HELP, print_error, running_system
from observer.cli.frame import Answer
from observer.cli.options import Option
from observer.cli.tables import show_text


def ask(request: Request, config: Path | None) -> Reply:
    """The reply of the selected system.

    Raises:
        ConfigError: no system runs here, or it does not answer.
    """
    return ask_system(request, running_system(config))


def asking(config: Path | None) -> Callable[[Request], Answer]:
    """What asks the selected system; a refusal ends the command with status 1."""
    return lambda request: answer_of(ask(request, config))


AskOption = Annotated[Callable[[Request], Answer], Option("--config", help=CONFIG_HELP, made=asking)]


def ask_system(request: Request, run: RunSettings) -> Reply:
    """The reply of the system in that folder.

    Raises:
        ConfigError: it does not answer.
    """
    from bus.control import ControlClient, ControlTimeoutError

    async def reply() -> Reply:
        client = ControlClient(endpoints_of(run).control)
        try:
            return await client.request(request, ANSWER_S)
        except ControlTimeoutError as error:
            raise ConfigError(
                f"{error}: no system runs here any more, or it hangs: `observer run` starts one"
            ) from error
        finally:
            client.close()

    return asyncio.run(reply())


def show(reply: Reply, *, as_json: bool) -> None:
    """Print the reply; a refusal goes to stderr and ends with status 1."""
    answer_of(reply).print(as_json=as_json)


def answer_of(reply: Reply) -> Answer:
    """The reply as a command's answer."""
    return Answer(reply, lambda: _print(reply), status=int(_is_refusal(reply)))


def _print(reply: Reply) -> None:
    match reply:
        case StatusReply():
            pass
        case ReloadReply():
            click.echo(_reload_text(reply))
        case EachReply(replies):
            for process, each in replies.items():
                click.echo(f"{process}: {_text(each)}", err=isinstance(each, Refused))
        case Refused():
            print_error(_text(reply))
        case Done(process, detail):
            show_text(f"{process}: {detail}")
        case UnderWay(detail):
            show_text(detail)


def _text(reply: OrderReply) -> str:
    return f"{reply.message} ({reply.code})" if isinstance(reply, Refused) else reply.detail


def _is_refusal(reply: Reply) -> bool:
    match reply:
        case Refused():
            return True
        case EachReply(replies):
            return any(isinstance(each, Refused) for each in replies.values())
        case ReloadReply():
            return bool(reply.failed)
        case _:
            return False


def _reload_text(reply: ReloadReply) -> str:
    """One line for each action of a reload."""
    would = "would be " if reply.progress == "dry_run" else ""
    lines = [
        *(f"{name}: {would}restarted" for name in reply.restarted),
        *(f"{name}: {would}started" for name in reply.started),
        *(f"{name}: {would}stopped" for name in reply.stopped),
        *(f"{name}: changed, from its next start on" for name in reply.at_next_start),
        *(f"{name}: does not run; ask for the status" for name in reply.failed),
    ]
    if not lines:
        return "nothing that a process reads has changed"
    return "\n".join([*lines, *(["under way: ask for the status"] if reply.progress == "under_way" else [])])
