"""`observer kis`: every REST call of KIS that the table has (`providers.kis.calls`), for research."""

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from random import Random
from typing import Annotated, Final

import click
import msgspec
from click.exceptions import Exit

from observer.base.clock import Clock, clock_from_environment
from observer.base.errors import ConfigError
from observer.base.local_time import KOREA, local_datetime
from observer.base.units import NS_PER_S
from observer.brokers.accounts.clients import Brokers
from observer.brokers.kis.calls import CALLS, Argument, KisCall
from observer.brokers.kis.client import KisClient
from observer.cli.context import ConfigOption, JsonOption, full_settings, print_json
from observer.cli.frame import Answer
from observer.cli.options import Argument as TypedArgument
from observer.system.config import Settings

_PROCESS: Final = "kis-command"


def _moment_ns(text: str) -> int:
    found = datetime.fromisoformat(text)
    return round((found if found.tzinfo else found.replace(tzinfo=KOREA)).timestamp()) * NS_PER_S


class _Form(msgspec.Struct, frozen=True):
    """A parameter's spelling and parser."""

    shown: str
    read: Callable[[str], Argument]


_TEXT: Final = _Form("TEXT", str)
_DAY: Final = _Form("YYYY-MM-DD", date.fromisoformat)
_MOMENT: Final = _Form("YYYY-MM-DDTHH:MM:SS", _moment_ns)  # Korean time
_FORMS: Final[Mapping[str, _Form]] = {
    "symbols": _Form("SYMBOL,SYMBOL", lambda text: tuple(text.split(","))),
    "exchange": _Form("NASD", str),
    **dict.fromkeys(("first", "last"), _DAY),
    **dict.fromkeys(("begin", "end"), _MOMENT),
}


class CallShown(msgspec.Struct, frozen=True, kw_only=True):
    """One call of the table."""

    name: str
    parameters: Sequence[str]
    returns: str
    many: bool
    transaction: str
    path: str
    fields: Sequence[str]


def list_calls() -> Answer:
    """List the calls: parameters, result, TR id and path."""
    shown = [_shown(call) for call in CALLS.values()]
    lines = [
        f"{each.name} {' '.join(each.parameters)}".rstrip()
        + f"\n    {each.returns}{', several rows' if each.many else ''}; {each.transaction} {each.path}"
        for each in shown
    ]
    return Answer(shown, "\n".join(lines))


def run_call(
    name: Annotated[str, TypedArgument(help="A name of `observer kis calls`.")],
    arguments: Annotated[
        list[str] | None,
        TypedArgument(metavar="[PARAMETER=VALUE]...", help="What `observer kis calls` shows behind the name."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run one call with a running system's token and rate limiter. Exit status 1: KIS does not know the symbol."""
    call = CALLS.get(name)
    if call is None:
        raise ConfigError(f"no call {name!r}: `observer kis calls` lists them")
    asked = _parsed(call, arguments or ())
    rows = asyncio.run(_rows_of(full_settings(config), clock_from_environment(), call, asked))
    if as_json:
        print_json([msgspec.structs.asdict(row) for row in rows])
    else:
        _show(rows, many=not call.record.one)
    if call.record.one and not rows:
        click.echo(f"observer: {name}: KIS knows nothing of {' '.join(arguments or ())}", err=True)
        raise Exit(1)


async def _rows_of(
    settings: Settings, clock: Clock, call: KisCall[msgspec.Struct], asked: Mapping[str, Argument]
) -> Sequence[msgspec.Struct]:
    """The answer through the first usable account that has a token; the running system issues tokens, this command does
    not.
    """
    brokers = Brokers(settings.clients, clock, Random(os.getpid()), _PROCESS)
    account = next((each for each in brokers.usable() if each.provider == "kis" and each.has_valid_token()), None)
    if account is None:
        raise ConfigError("no account of KIS has a valid token: `observer run` gets one")
    async with account.rest() as client:
        assert isinstance(client, KisClient)
        return await client.fetch(call, asked)


def _parsed(call: KisCall[msgspec.Struct], words: Iterable[str]) -> dict[str, Argument]:
    """The arguments by parameter.

    Raises:
        ConfigError: one is unknown, missing, or not of its form; says how to type the call.
    """
    usage = f"usage: observer kis call {call.name} {' '.join(_usage(call))}".rstrip()
    asked: dict[str, Argument] = {}
    for word in words:
        name, _, text = word.partition("=")
        if name not in call.parameters or not text:
            raise ConfigError(f"{call.name}: {word!r} is no parameter; {usage}")
        try:
            asked[name] = _FORMS.get(name, _TEXT).read(text)
        except ValueError as error:
            raise ConfigError(f"{call.name}: {word!r} is wrong ({error}); {usage}") from error
    missing = [name for name in call.parameters if name not in asked]
    if missing:
        raise ConfigError(f"{call.name}: without {', '.join(missing)}; {usage}")
    return asked


def _usage(call: KisCall[msgspec.Struct]) -> list[str]:
    return [f"{name}={_FORMS.get(name, _TEXT).shown}" for name in call.parameters]


def _shown(call: KisCall[msgspec.Struct]) -> CallShown:
    result = call.record.result
    return CallShown(
        name=call.name,
        parameters=_usage(call),
        returns=result.__name__,
        many=not call.record.one,
        transaction=call.transaction,
        path=call.path,
        fields=result.__struct_fields__,
    )


# --- tables --------------------------------------------------------------------------------------------------


def _show(rows: Sequence[msgspec.Struct], *, many: bool) -> None:
    """Several rows as a table, one row as a line for each field."""
    for row in rows if not many else ():
        _show_table([[name, text] for name, text in zip(row.__struct_fields__, _texts(row), strict=True)])
    if many and rows:
        _show_table([list(rows[0].__struct_fields__), *map(_texts, rows)])


def _show_table(lines: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their widest text, never cut."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _texts(row: msgspec.Struct) -> list[str]:
    return [_text(name, value) for name, value in msgspec.structs.asdict(row).items()]


def _text(name: str, value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int() if name.endswith("_ns"):
            return local_datetime(value).strftime("%Y-%m-%d %H:%M:%S")
        case float():
            return f"{value:.10f}".rstrip("0").rstrip(".")
    return str(value)
