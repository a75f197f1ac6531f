"""`observer replay`: delivers a capture to a database through the writer, or a raw one through its decoders."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

from click.exceptions import Exit
from rich.console import Console
from rich.status import Status

from bus.replay import CaptureSource, Replay
from observer.base.errors import ConfigError
from observer.base.signals import stopping_on_signals
from observer.cli.context import print_error, print_json
from observer.cli.options import Argument, Option
from observer.cli.progress import counting
from observer.system.replaying import RawReplaySummary, ReplaySummary, replay_committed, replay_raw

FASTEST = "max"
POLL_S = 0.1
INCOMPLETE = 1
INTERRUPTED = 130  # a shell's exit status for a program that SIGINT ended


def replay(
    file: Annotated[Path | None, Argument(help="A capture.")] = None,
    db: Annotated[str, Option(help="Database URL (sqlite:///... or postgresql+psycopg://...); made if absent.")] = "",
    speed: Annotated[str, Option(help="Market seconds a second, by the events' own times; max: no waiting.")] = (
        FASTEST
    ),
    raw: Annotated[Path | None, Option(help="Folder of a raw capture, instead of a capture.")] = None,
    out: Annotated[
        Path | None, Option(help="With --raw: write what was decoded as JSON lines; it must not be there yet.")
    ] = None,
    as_json: Annotated[bool, Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Deliver a capture to a database, or decode a raw one. The same writer stores the events.

    What is there already is not delivered again: a second replay changes nothing, one that was interrupted goes on.
    Exit status 0 when all of the capture is in the database; 1 when it is, but the capture itself has missing ranges; 2
    when it cannot be replayed; 130 after ctrl-C.

    With --raw the records of a raw capture go through the decoders of its broker again, without a network and without a
    database: counts of what comes out, or with --out all of it, the same as the live processes had. Exit status 0; 1
    when there is no decoder for an answer or a journal has a torn tail; 2 when it is no raw capture.
    """
    if raw is not None:
        if file is not None or db or speed != FASTEST:
            raise ConfigError("a raw capture is decoded, not stored: give --raw FOLDER, and --out FILE if you like")
        _replay_raw(raw, out, as_json=as_json)
        return
    if file is None or not db or out is not None:
        raise ConfigError("give a capture and --db URL, or --raw FOLDER, which --out belongs to")
    summary = asyncio.run(_replay(file, db, _factor(speed)))
    _print(summary, as_json=as_json)
    if summary.interrupted:
        raise Exit(INTERRUPTED)
    if summary.absent:
        raise Exit(INCOMPLETE)


async def _replay(file: Path, db: str, speed: float | None) -> ReplaySummary:
    stopping = asyncio.Event()
    with stopping_on_signals(stopping):
        return await replay_committed(file, db, speed, stopping, _show)


def _replay_raw(folder: Path, out: Path | None, *, as_json: bool) -> None:
    with Status("", console=Console(stderr=True)) as status:
        summary = replay_raw(folder, out, lambda count: status.update(f"{folder}: {count:,} records"))
    _print_raw(summary, as_json=as_json)
    if summary.unknown or summary.torn_bytes:
        raise Exit(INCOMPLETE)


def _factor(text: str) -> float | None:
    if text == FASTEST:
        return None
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 0 < factor < float("inf"):
        raise ConfigError(f"--speed {text}: give a number of market seconds a second above 0, or {FASTEST}")
    return factor


async def _show(replaying: Replay, source: CaptureSource) -> None:
    """Progress, on a terminal."""
    with counting() as progress:
        task = progress.add_task(str(source.path), total=source.events)
        while True:
            progress.update(task, completed=replaying.committed)
            await asyncio.sleep(POLL_S)


def _print(summary: ReplaySummary, *, as_json: bool) -> None:
    if as_json:
        print_json(summary)
    else:
        known = summary.committed - summary.replayed
        sys.stdout.write(
            f"{summary.committed:,} of {summary.events:,} events are in the database "
            f"({summary.replayed:,} replayed in {summary.wall_s:.1f} s, {known:,} were there)\n"
        )
    if summary.torn_bytes:
        print_error(f"the capture's torn tail of {summary.torn_bytes:,} bytes holds no whole record")
    if summary.absent:
        print_error(f"the capture itself has missing ranges: {summary.absent:,} events are not in it")


def _print_raw(summary: RawReplaySummary, *, as_json: bool) -> None:
    if as_json:
        print_json(summary)
        return
    sys.stdout.write(f"{summary.folder}: {summary.records:,} records in {summary.files} files\n")
    for kind, count in summary.kinds.items():
        sys.stdout.write(f"{count:>12,} {kind}\n")
    for what in ("refused", "malformed", "unknown"):
        if count := getattr(summary, what):
            sys.stdout.write(f"{count:>12,} answers {what}\n")
    if summary.torn_bytes:
        print_error(f"torn tails of {summary.torn_bytes:,} bytes hold no whole record")
