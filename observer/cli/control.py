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
from observer.cli.frame import Answer
from observer.cli.options import Argument, Option
from observer.cli.system import AskOption
from observer.system.processes import JOB_OWNERS

_LEVELS_HELP: Final = f"The least important messages to log: {', '.join(get_args(Level)).lower()}."

ProcessArgument = Annotated[str, Argument(help="The process, as `observer status` names it, e.g. track-b.")]


def start(process: ProcessArgument, *, ask: AskOption) -> Answer:
    """Start a process that is stopped."""
    return ask(Start(_name(process)))


def stop(process: ProcessArgument, *, ask: AskOption) -> Answer:
    """Stop a process; it stays stopped."""
    return ask(Stop(_name(process)))


def restart(process: ProcessArgument, *, ask: AskOption) -> Answer:
    """Restart one process."""
    return ask(Restart(_name(process)))


def shutdown(ask: AskOption) -> Answer:
    """Stop all processes in order."""
    return ask(Shutdown())


def reload(
    dry_run: Annotated[bool, Option("--dry-run", help="Only say what would be restarted.")] = False,
    *,
    ask: AskOption,
) -> Answer:
    """Reload the configuration; restart the processes it changes. Other processes run on.

    A wrong configuration is refused with every wrong key, and nothing happens.
    """
    return ask(Reload(dry_run))


def drain(
    process: Annotated[str | None, Argument(help="The process; without one all are asked.")] = None,
    *,
    ask: AskOption,
) -> Answer:
    """Wait until all published events are in the database. Wait for one process, or for all."""
    return ask(Drain(_name(process) if process else None))


def run_job(
    job: Annotated[str, Argument(help=f"One of {', '.join(JOB_OWNERS)}.")],
    arguments: Annotated[
        list[str] | None,
        Argument(
            help="Exchanges for master_files, the run for master_approve, the exchange for master_restore; "
            "the others take none."
        ),
    ] = None,
    *,
    ask: AskOption,
) -> Answer:
    """Run one of the day's jobs now. The process that owns it runs it, whether or not it ran today."""
    return ask(RunJob(job.replace("-", "_"), arguments or []))


def log_level(
    process: ProcessArgument,
    level: Annotated[Level, Argument(metavar="LEVEL", help=_LEVELS_HELP)],
    *,
    ask: AskOption,
) -> Answer:
    """Change the log level of a process until it ends. `supervisor` is a process, too."""
    return ask(SetLogLevel(_name(process), level))


def start_capture(
    out: Annotated[Path, Option(help="The journal to write; it must not be there yet.")],
    kinds: Annotated[str, Option(help="Kinds of events, with commas between them; without it all.")] = "",
    *,
    ask: AskOption,
) -> Answer:
    """Start recording committed events in a journal. It ends when it is stopped or the system ends."""
    wanted = [kind for kind in kinds.replace(" ", "").split(",") if kind]
    return ask(StartCapture(str(out.absolute()), wanted))


def stop_capture(ask: AskOption) -> Answer:
    """Stop the recording and verify it. Exit status 1: a committed event is missing in it."""
    return ask(StopCapture())


def _name(process: str) -> str:
    """Replace underscores of a module's name: process names have hyphens, users type both."""
    return process.replace("_", "-")
