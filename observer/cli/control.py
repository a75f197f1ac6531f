"""`observer status` and `observer ctl`: questions and commands to the system that runs here.

Exit statuses, the same for all: 0 it was done or is under way (the answer says which), 1 it was refused or failed and
the answer says why, 2 it could not be asked: no system runs here, or the command line or the configuration is wrong.
"""

import asyncio
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from bus.commands import (
    Done,
    Drain,
    EachReply,
    Level,
    OrderReply,
    ProcessStatus,
    Refused,
    Reload,
    ReloadReply,
    Reply,
    Request,
    Restart,
    RunJob,
    SetLogLevel,
    Shutdown,
    Start,
    StartCapture,
    Status,
    StatusReply,
    Stop,
    StopCapture,
    UnderWay,
)
from bus.control import ControlClient, ControlTimeoutError
from bus.endpoints import Address
from observer.cli.run import DEFAULT_CONFIGURATION
from observer.clock import kst_datetime
from observer.config import RunSettings, endpoints_of, is_reachable, load_run_settings
from observer.errors import ConfigError
from observer.processes import JOB_OWNERS

DEMO_CONFIGURATION = Path("demo/observer.toml")
ANSWER_S = 3.0

app = typer.Typer(
    help="Commands to the running system. Each is answered within a second: with its result, or that it is under way. "
    "Exit status 0: done or under way; 1: refused or failed, and why; 2: it could not be asked.",
    no_args_is_help=True,
)
captures = typer.Typer(help="A recording of what is committed, kept by the running system.", no_args_is_help=True)
app.add_typer(captures, name="capture")

ConfigOption = Annotated[
    Path | None,
    typer.Option(help="The configuration of the system that is meant; without it the one that runs in this folder."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
ProcessArgument = Annotated[str, typer.Argument(help="The process, as `observer status` names it: track-b, say.")]


def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the processes: pid, state, uptime, restarts, CPU, memory, age of the last heartbeat, event loop lag."""
    reply = ask(Status(), config)
    if not isinstance(reply, StatusReply):
        show(reply, as_json=as_json)
    elif as_json:
        _print_json(reply)
    else:
        Console().print(_status_table(reply))


@app.command()
def start(process: ProcessArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Start a process that is stopped."""
    show(ask(Start(_name(process)), config), as_json=as_json)


@app.command()
def stop(process: ProcessArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Stop a process; it stays stopped."""
    show(ask(Stop(_name(process)), config), as_json=as_json)


@app.command()
def restart(process: ProcessArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Restart a process alone."""
    show(ask(Restart(_name(process)), config), as_json=as_json)


@app.command()
def shutdown(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Stop everything in order."""
    show(ask(Shutdown(), config), as_json=as_json)


@app.command()
def reload(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be restarted.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read the configuration again and restart the processes that it changes, and no others.

    A wrong configuration is refused with every wrong key, and nothing happens.
    """
    show(ask(Reload(dry_run), config), as_json=as_json)


@app.command()
def drain(
    process: Annotated[str | None, typer.Argument(help="The process; without one all are asked.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Wait until all that a process has published until now is in the database."""
    show(ask(Drain(_name(process) if process else None), config), as_json=as_json)


@app.command("run-job")
def run_job(
    job: Annotated[str, typer.Argument(help=f"One of {', '.join(JOB_OWNERS)}.")],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            help="Exchanges for master_files, the run for master_approve, the exchange for master_restore; "
            "the others take none."
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run one of the day's jobs now, in the process that owns it, whether or not it ran today."""
    show(ask(RunJob(job.replace("-", "_"), arguments or []), config), as_json=as_json)


@app.command("log-level")
def log_level(
    process: ProcessArgument,
    level: Annotated[Level, typer.Argument(help="The least important messages to log.", case_sensitive=False)],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change what a process logs, until it ends; `supervisor` names the one that keeps the others."""
    show(ask(SetLogLevel(_name(process), level), config), as_json=as_json)


@captures.command("start")
def start_capture(
    out: Annotated[Path, typer.Option(help="The journal to write; it must not be there yet.")],
    kinds: Annotated[str, typer.Option(help="Kinds of events, with commas between them; without it all.")] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Record what is committed in a journal that can be replayed, until it is stopped or the system ends."""
    wanted = [kind for kind in kinds.replace(" ", "").split(",") if kind]
    show(ask(StartCapture(str(out.absolute()), wanted), config), as_json=as_json)


@captures.command("stop")
def stop_capture(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """End the recording; status 1 when something that was committed meanwhile is missing in it."""
    show(ask(StopCapture(), config), as_json=as_json)


def _name(process: str) -> str:
    """Names have hyphens, modules underscores; people type both."""
    return process.replace("_", "-")


def ask(request: Request, config: Path | None) -> Reply:
    """What the meant system answers.

    Raises:
        ConfigError: no system runs here, or it does not answer.
    """
    """What the meant system answers.

    Raises:
        ConfigError: no system runs here, or it does not answer.
    """
    endpoints = endpoints_of(_meant_system(config))
    return asyncio.run(_request(endpoints.control, request))


async def _request(address: Address, request: Request) -> Reply:
    client = ControlClient(address)
    try:
        return await client.request(request, ANSWER_S)
    except ControlTimeoutError as error:
        raise ConfigError(f"{error}: no system runs here any more, or it hangs") from error
    finally:
        client.close()


def _meant_system(config: Path | None) -> RunSettings:
    """Where the meant system runs: of those configured here, the first that can be asked."""
    candidates = [config] if config else [path for path in (DEFAULT_CONFIGURATION, DEMO_CONFIGURATION) if path.exists()]
    configured = [load_run_settings(path) for path in candidates]
    for run in configured:
        if is_reachable(run):
            return run
    where = ", ".join(run.runtime for run in configured) or "no configuration found"
    raise ConfigError(f"no system runs here ({where}): start one with `observer run`, or name it with --config")


def show(reply: Reply, *, as_json: bool) -> None:
    """A refusal goes to stderr and ends with status 1."""
    if as_json:
        _print_json(reply)
    else:
        _tell(reply)
    if _is_refusal(reply):
        raise typer.Exit(1)


def _tell(reply: Reply) -> None:
    match reply:
        case StatusReply():
            pass
        case ReloadReply():
            typer.echo(_reload_text(reply))
        case EachReply(replies):
            for process, each in replies.items():
                typer.echo(f"{process}: {_text(each)}", err=isinstance(each, Refused))
        case Refused():
            typer.echo(f"observer: {_text(reply)}", err=True)
        case Done(process, detail):
            typer.echo(f"{process}: {detail}")
        case UnderWay(detail):
            typer.echo(detail)


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
    """One line for each thing that a reload does; what it does not is left out."""
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


def _print_json(reply: Reply) -> None:
    typer.echo(msgspec.json.encode(reply).decode())


def _status_table(reply: StatusReply) -> Table:
    when = kst_datetime(reply.market_time_ns).strftime("%Y-%m-%d %H:%M:%S KST")
    title = f"{when} · {reply.phase} · supervisor pid {reply.supervisor_pid}, up {reply.uptime_s:.0f} s"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))  # fits 80 columns
    for column in ("process", "state"):
        table.add_column(column, no_wrap=True)
    table.add_column("pid", justify="right", no_wrap=True, min_width=7)
    for column in ("uptime s", "restarts", "CPU %", "RSS MB", "heartbeat s", "loop lag ms"):
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
