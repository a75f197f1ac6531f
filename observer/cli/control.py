"""`observer ctl`: commands to the running system."""

from pathlib import Path
from typing import Annotated, Final, get_args

from bus.commands import (
    Drain,
    Level,
    Reload,
    Restart,
    RunJob,
    SetLogLevel,
    Shutdown,
    Start,
    StartCapture,
    Stop,
    StopCapture,
)
from observer.cli.context import ConfigOption, JsonOption
from observer.cli.options import Argument, Option
from observer.cli.system import ask, show
from observer.system.processes import JOB_OWNERS

_LEVELS_HELP: Final = f"The least important messages to log: {', '.join(get_args(Level)).lower()}."

ProcessArgument = Annotated[str, Argument(help="The process, as `observer status` names it, e.g. track-b.")]


def start(process: ProcessArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Start a process that is stopped."""
    show(ask(Start(_name(process)), config), as_json=as_json)


def stop(process: ProcessArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Stop a process; it stays stopped."""
    show(ask(Stop(_name(process)), config), as_json=as_json)


def restart(process: ProcessArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Restart one process."""
    show(ask(Restart(_name(process)), config), as_json=as_json)


def shutdown(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Stop all processes in order."""
    show(ask(Shutdown(), config), as_json=as_json)


def reload(
    dry_run: Annotated[bool, Option("--dry-run", help="Only say what would be restarted.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Reload the configuration; restart the processes it changes. Other processes run on.

    A wrong configuration is refused with every wrong key, and nothing happens.
    """
    show(ask(Reload(dry_run), config), as_json=as_json)


def drain(
    process: Annotated[str | None, Argument(help="The process; without one all are asked.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Wait until all published events are in the database. Wait for one process, or for all."""
    show(ask(Drain(_name(process) if process else None), config), as_json=as_json)


def run_job(
    job: Annotated[str, Argument(help=f"One of {', '.join(JOB_OWNERS)}.")],
    arguments: Annotated[
        list[str] | None,
        Argument(
            help="Exchanges for master_files, the run for master_approve, the exchange for master_restore; "
            "the others take none."
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run one of the day's jobs now. The process that owns it runs it, whether or not it ran today."""
    show(ask(RunJob(job.replace("-", "_"), arguments or []), config), as_json=as_json)


def log_level(
    process: ProcessArgument,
    level: Annotated[Level, Argument(metavar="LEVEL", help=_LEVELS_HELP)],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change the log level of a process until it ends. `supervisor` is a process, too."""
    show(ask(SetLogLevel(_name(process), level), config), as_json=as_json)


def start_capture(
    out: Annotated[Path, Option(help="The journal to write; it must not be there yet.")],
    kinds: Annotated[str, Option(help="Kinds of events, with commas between them; without it all.")] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start recording committed events in a journal. It ends when it is stopped or the system ends."""
    wanted = [kind for kind in kinds.replace(" ", "").split(",") if kind]
    show(ask(StartCapture(str(out.absolute()), wanted), config), as_json=as_json)


def stop_capture(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Stop the recording and verify it. Exit status 1: a committed event is missing in it."""
    show(ask(StopCapture(), config), as_json=as_json)


def _name(process: str) -> str:
    """Replace underscores of a module's name: process names have hyphens, users type both."""
    return process.replace("_", "-")
