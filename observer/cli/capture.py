"""`observer capture`: committed events, or raw broker traffic, recorded until it is asked to stop."""

import asyncio
import contextlib
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

from click.exceptions import Exit
from rich.console import Console
from rich.status import Status

from bus.events import EVENT_TYPES, kind_of
from observer.base.errors import ConfigError, did_you_mean
from observer.base.settings import is_reachable
from observer.base.signals import stopping_on_signals
from observer.cli.context import DEFAULT_CONFIGURATION, DEMO_CONFIGURATION, print_error, print_json
from observer.cli.frame import Answer
from observer.cli.options import Option
from observer.system.config import Settings, load_settings
from observer.system.recording import (
    POLL_S,
    CaptureSummary,
    Progress,
    RawCaptureSummary,
    record_committed,
    record_raw,
    text_of,
)

SHOW_S = 0.2  # machine seconds
INCOMPLETE = 1

KINDS = tuple(kind_of(event_type) for event_type in EVENT_TYPES)


def capture(
    out: Annotated[Path | None, Option(help="The journal to write; it must not be there yet.")] = None,
    raw: Annotated[
        Path | None, Option(help="Instead of --out: a folder, new or empty, for frames and bodies as they came.")
    ] = None,
    kinds: Annotated[str, Option(help="Kinds of events, with commas between them; without it all.")] = "",
    config: Annotated[Path | None, Option(help="Configuration file of the running system.")] = None,
    as_json: Annotated[bool, Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Record committed events, or raw broker traffic, until ctrl-C. A journal can be replayed.

    With --raw, record what brokers and processes say to each other instead: every WebSocket frame and every REST
    request and answer, before decoding and without secrets, in one journal for each process and start. Processes that
    are started meanwhile join. `observer replay --raw` decodes the journals again.

    At its end it compares what it has with the event streams' marks in the database. Exit status 0 when nothing that
    was committed meanwhile is missing; 1 when something is, or when that cannot be checked; the output says which.
    (With --raw there is nothing to compare with: 0.)
    """
    if (out is None) == (raw is None) or (raw is not None and kinds):
        raise ConfigError("give either --out FILE, which --kinds belongs to, or --raw FOLDER")
    settings = load_settings(config or _running_configuration())
    asyncio.run(_capture(out, raw, _wanted_kinds(kinds), settings, as_json=as_json))


async def _capture(
    out: Path | None, raw: Path | None, kinds: frozenset[str] | None, settings: Settings, *, as_json: bool
) -> None:
    stopping = asyncio.Event()
    with stopping_on_signals(stopping):
        if raw is not None:
            _print_raw(await record_raw(raw, settings, stopping, partial(_show, raw, stopping)), as_json=as_json)
            return
        assert out is not None, "one of the two is given"
        summary = await record_committed(out, kinds, settings, stopping, partial(_show, out, stopping))
    _print(summary, as_json=as_json)
    if not summary.is_complete:
        raise Exit(INCOMPLETE)


def _running_configuration() -> Path:
    """The configuration, among those here, whose system runs."""
    for path in (DEFAULT_CONFIGURATION, DEMO_CONFIGURATION):
        if path.exists() and is_reachable(load_settings(path).run):
            return path
    raise ConfigError("no system runs here: start one with `observer run`, or name its configuration with --config")


def _wanted_kinds(text: str) -> frozenset[str] | None:
    wanted = frozenset(text.replace(" ", "").split(",")) - {""}
    if unknown := sorted(wanted - set(KINDS)):
        raise ConfigError(f"no such kind: {unknown[0]}{did_you_mean(unknown[0], KINDS)}")
    return wanted or None


async def _show(target: Path, stopping: asyncio.Event, progress: Progress) -> None:
    """Progress on a terminal; elsewhere one line at the begin, for a waiting process."""
    console = Console(stderr=True)
    if not console.is_terminal:
        while not progress():  # noqa: ASYNC110 - it has no event to wait for: it knows no event loop
            await asyncio.sleep(POLL_S)
        print_error(f"recording to {target}")
        return
    with Status("", console=console) as status:
        while not stopping.is_set():
            status.update(f"{target}: {progress() or 'waiting for the writer'}; ctrl-C ends it")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SHOW_S):
                    await stopping.wait()


def _print(summary: CaptureSummary, *, as_json: bool) -> None:
    if as_json:
        print_json(summary)
    else:
        sys.stdout.write(f"{summary.file}: {summary.events:,} events, {summary.size_bytes:,} bytes\n")
    for stream, count in (summary.missing or {}).items():
        print_error(f"{count:,} events of event stream {stream} are missing in the capture")
    if summary.problem:
        print_error(summary.problem)


def _print_raw(summary: RawCaptureSummary, *, as_json: bool) -> None:
    Answer(summary, f"{summary.folder}: {text_of(summary)}").print(as_json=as_json)
