"""`observer status` and `observer ctl`: questions and commands to the system that runs here."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from bus.commands import (
    Done,
    ProcessStatus,
    Refused,
    Reply,
    Request,
    Restart,
    Shutdown,
    Start,
    Status,
    StatusReply,
    Stop,
)
from bus.control import ControlClient, ControlTimeoutError
from bus.endpoints import Endpoints
from observer.cli.run import DEFAULT_CONFIGURATION
from observer.clock import kst_datetime
from observer.config import load_settings
from observer.errors import ConfigError

DEMO_CONFIGURATION = Path("demo/observer.toml")
ANSWER_S = 3.0

app = typer.Typer(help="Commands to the running system.", no_args_is_help=True)

ConfigOption = Annotated[
    Path | None,
    typer.Option(help="The configuration of the system that is meant; without it the one that runs in this folder."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
ProcessArgument = Annotated[str, typer.Argument(help="The process, as `observer status` names it: track-b, say.")]


def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the processes: pid, state, uptime, restarts, CPU, memory, age of the last heartbeat, event loop lag."""
    reply = _ask(Status(), config)
    if not isinstance(reply, StatusReply):
        _show(reply, as_json=as_json)
    elif as_json:
        _print_json(reply)
    else:
        Console().print(_status_table(reply))


@app.command()
def start(process: ProcessArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Start a process that is stopped."""
    _show(_ask(Start(_name(process)), config), as_json=as_json)


@app.command()
def stop(process: ProcessArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Stop a process; it stays stopped."""
    _show(_ask(Stop(_name(process)), config), as_json=as_json)


@app.command()
def restart(process: ProcessArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Restart a process alone."""
    _show(_ask(Restart(_name(process)), config), as_json=as_json)


@app.command()
def shutdown(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Stop everything in order."""
    _show(_ask(Shutdown(), config), as_json=as_json)


def _name(process: str) -> str:
    """Names have hyphens, modules underscores; people type both."""
    return process.replace("_", "-")


def _ask(request: Request, config: Path | None) -> Reply:
    endpoints = Endpoints(_runtime_directory(config))
    return asyncio.run(_request(endpoints.control, request))


async def _request(address: str, request: Request) -> Reply:
    client = ControlClient(address)
    try:
        return await client.request(request, ANSWER_S)
    except ControlTimeoutError as error:
        raise ConfigError(f"{error}: no system runs here any more, or it hangs") from error
    finally:
        client.close()


def _runtime_directory(config: Path | None) -> Path:
    """Where the meant system has its sockets: of those configured here, the one with a control socket."""
    candidates = [config] if config else [path for path in (DEFAULT_CONFIGURATION, DEMO_CONFIGURATION) if path.exists()]
    directories = [Path(load_settings(path).run.runtime) for path in candidates]
    for directory in directories:
        if (directory / "control").exists():
            return directory
    where = ", ".join(str(directory) for directory in directories) or "no configuration found"
    raise ConfigError(f"no system runs here ({where}): start one with `observer run`, or name it with --config")


def _show(reply: Reply, *, as_json: bool) -> None:
    """A refusal goes to stderr and ends with status 1."""
    if as_json:
        _print_json(reply)
    match reply:
        case Refused(code, message):
            if not as_json:
                sys.stderr.write(f"observer: {message} ({code})\n")
            raise typer.Exit(1)
        case Done(process, detail) if not as_json:
            typer.echo(f"{process}: {detail}")
        case StatusReply():
            pass
        case _ if not as_json:
            typer.echo(reply.detail)


def _print_json(reply: Reply) -> None:
    typer.echo(msgspec.json.encode(reply).decode())


def _status_table(reply: StatusReply) -> Table:
    when = kst_datetime(reply.market_time_ns).strftime("%Y-%m-%d %H:%M:%S KST")
    title = f"{when} · {reply.phase} · supervisor pid {reply.supervisor_pid}, up {reply.uptime_s:.0f} s"
    table = Table(title=title, title_justify="left")
    for column in ("process", "state"):
        table.add_column(column)
    for column in ("pid", "uptime s", "restarts", "CPU %", "RSS MB", "heartbeat s", "loop lag ms"):
        table.add_column(column, justify="right")
    for process in reply.processes:
        table.add_row(*_status_row(process))
    return table


def _status_row(process: ProcessStatus) -> list[str]:
    def text(value: float | None, scale: float = 1.0, digits: int = 0) -> str:
        return "" if value is None else f"{value * scale:.{digits}f}"

    return [
        process.name,
        process.state,
        text(process.pid),
        text(process.uptime_s),
        str(process.restarts),
        text(process.cpu_percent),
        text(process.rss_bytes, 1e-6),
        text(process.heartbeat_age_s, digits=1),
        text(process.loop_lag_s, 1000, digits=1),
    ]
