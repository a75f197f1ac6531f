"""`observer replay`: a capture goes into a database by the way that every event goes."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bus.codec import BatchError
from bus.journal import JournalError
from bus.replay import CaptureSource, Replay
from bus.verification import Verdict, verify
from observer.cli.host import stopping_on_signals
from observer.cli.writer_process import writer_of
from observer.errors import ConfigError, DataFileError
from observer.store.engine import migrate, parse_url
from observer.store.reader import StoreReader

FASTEST = "max"
LOOK_S = 0.1
INCOMPLETE = 1
INTERRUPTED = 130  # what a shell says of a program that SIGINT ended


class ReplaySummary(msgspec.Struct, frozen=True):
    """What a replay came to: `events` are in the capture, `committed` of them in the database now, `replayed` by this
    run. `absent` events are holes in the capture itself; None where it holds some kinds only and cannot tell.
    """

    file: str
    database: str
    stream: str
    events: int
    committed: int
    replayed: int
    absent: int | None
    torn_bytes: int
    wall_s: float
    interrupted: bool


def replay(
    file: Annotated[Path | None, typer.Argument(help="A capture.")] = None,
    db: Annotated[
        str, typer.Option(help="Database URL (sqlite:///... or postgresql+psycopg://...); made if absent.")
    ] = "",
    speed: Annotated[str, typer.Option(help="Market seconds a second, by the events' own times; max: no waiting.")] = (
        FASTEST
    ),
    raw: Annotated[Path | None, typer.Option(help="Instead of a capture the folder of a raw one.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="With --raw: write what was decoded as JSON lines; it must not be there yet.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as one JSON object on stdout.")] = False,
) -> None:
    """Deliver a capture to a database, through the same writer and in the same way as every event.

    What is there already is not delivered again: a second replay changes nothing, one that was interrupted goes on.
    Exit status 0 when all of the capture is in the database; 1 when it is, but the capture itself has holes; 2 when it
    cannot be replayed; 130 after ctrl-C.

    With --raw the records of a raw capture go through the decoders of its broker again, without a network and without a
    database: counts of what comes out, or with --out all of it, the same as the live processes had. Exit status 0; 1
    when there is no decoder for an answer or a journal has a torn tail; 2 when it is no raw capture.
    """
    if raw is not None:
        if file is not None or db or speed != FASTEST:
            raise ConfigError("a raw capture is decoded, not stored: give --raw FOLDER, and --out FILE if you like")
        from observer.cli.raw_replay import replay_raw  # loads the decoders, with the network library they stand on

        replay_raw(raw, out, as_json=as_json)
        return
    if file is None or not db or out is not None:
        raise ConfigError("give a capture and --db URL, or --raw FOLDER, which --out belongs to")
    factor = _factor(speed)
    verdict = _sound(file)
    source = _opened(file)
    try:
        committed = _committed(db, source)
        summary = asyncio.run(_replay(source, verdict, db, committed=committed, speed=factor))
    finally:
        source.close()
    _tell(summary, as_json=as_json)
    if summary.interrupted:
        raise typer.Exit(INTERRUPTED)
    if summary.absent:
        raise typer.Exit(INCOMPLETE)


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


def _sound(file: Path) -> Verdict:
    """What is in the file; a torn tail is left out and said, damage is refused."""
    try:
        verdict = verify(file)
    except (JournalError, OSError) as error:
        raise DataFileError(str(error)) from error
    if verdict.damaged_at is not None:
        raise DataFileError(f"{file} is damaged at byte {verdict.damaged_at:,}: see `observer journal verify`")
    return verdict


def _opened(file: Path) -> CaptureSource:
    try:
        return CaptureSource(file)
    except (JournalError, BatchError, OSError) as error:
        raise DataFileError(f"{file}: {error}") from error


def _committed(url: str, source: CaptureSource) -> int:
    """How much of the replay is in the database, which is made if there is none.

    Raises:
        StoreError: it cannot be opened. A writer would wait for it; who replays is there to be told.
        ConfigError: the captured streams themselves are in there, so that a replay would store every event twice.
    """
    migrate(url)
    with StoreReader(url) as reader:
        marks = {stream.uid: stream.high_water_mark for stream in reader.streams()}
    if source.streams & {stream for stream, mark in marks.items() if mark}:
        raise ConfigError("this database was captured from: it has these events under their own numbers already")
    return marks.get(source.stream, 0)


async def _replay(
    source: CaptureSource, verdict: Verdict, url: str, *, committed: int, speed: float | None
) -> ReplaySummary:
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    stopping = asyncio.Event()
    with stopping_on_signals(stopping):
        async with writer_of(url) as writer:
            replaying = Replay(source, writer.ingest_address, committed=committed, speed=speed)
            work = asyncio.create_task(replaying.run())
            showing = asyncio.create_task(_show(replaying, source))
            stopped = asyncio.create_task(stopping.wait())
            await asyncio.wait([work, writer.ended, stopped], return_when=asyncio.FIRST_COMPLETED)
            is_done = work.done()
            for task in (work, showing, stopped):
                task.cancel()
            await asyncio.gather(work, showing, stopped, return_exceptions=True)
            if is_done:
                work.result()
            elif writer.ended.done():
                writer.ended.result()
    return ReplaySummary(
        file=str(source.path),
        database=str(parse_url(url)),  # without a password
        stream=source.stream,
        events=source.events,
        committed=replaying.committed,
        replayed=replaying.committed - committed,
        absent=verdict.absent if source.label.kinds is None else None,
        torn_bytes=verdict.torn_bytes,
        wall_s=round(loop.time() - began_s, 3),
        interrupted=not is_done,
    )


async def _show(replaying: Replay, source: CaptureSource) -> None:
    """Progress, on a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(str(source.path), total=source.events)
        while True:
            progress.update(task, completed=replaying.committed)
            await asyncio.sleep(LOOK_S)


def _tell(summary: ReplaySummary, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(msgspec.json.encode(summary).decode() + "\n")
    else:
        known = summary.committed - summary.replayed
        sys.stdout.write(
            f"{summary.committed:,} of {summary.events:,} events are in the database "
            f"({summary.replayed:,} replayed in {summary.wall_s:.1f} s, {known:,} were there)\n"
        )
    if summary.torn_bytes:
        sys.stderr.write(f"observer: the capture's torn tail of {summary.torn_bytes:,} bytes holds no whole record\n")
    if summary.absent:
        sys.stderr.write(f"observer: the capture itself has holes: {summary.absent:,} events are not in it\n")
