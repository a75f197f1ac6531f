"""`observer capture`: what is committed, recorded in a journal until it is asked to stop."""

import asyncio
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.status import Status

from bus.capture import Capture, CaptureLabel
from bus.endpoints import Address
from bus.events import EVENT_TYPES, kind_of
from bus.tap import TapSubscriber
from observer.cli.control import DEMO_CONFIGURATION
from observer.cli.host import stopping_on_signals
from observer.cli.raw_capture import capture_raw
from observer.cli.run import DEFAULT_CONFIGURATION
from observer.config import endpoints_of, is_reachable, load_settings
from observer.errors import ConfigError, StoreError
from observer.store.reader import StoreReader

SETTLE_S = 5.0  # machine seconds for what is committed, and still on its way here, when the capture is stopped
LOOK_S = 0.05
INCOMPLETE = 1

KINDS = tuple(kind_of(event_type) for event_type in EVENT_TYPES)


class CaptureSummary(msgspec.Struct, frozen=True):
    """What a capture came to. `missing` events were committed while it ran and are not in it, by stream; None when the
    database did not say how far it is, so that nothing is proved.
    """

    file: str
    capture_id: str
    events: int
    size_bytes: int
    missing: Mapping[str, int] | None
    problem: str = ""

    @property
    def is_complete(self) -> bool:
        """Nothing is missing, and that is known."""
        return self.missing == {} and not self.problem


def capture(
    out: Annotated[Path | None, typer.Option(help="The journal to write; it must not be there yet.")] = None,
    raw: Annotated[
        Path | None, typer.Option(help="Instead of --out: a folder, new or empty, for frames and bodies as they came.")
    ] = None,
    kinds: Annotated[str, typer.Option(help="Kinds of events, with commas between them; without it all.")] = "",
    config: Annotated[Path | None, typer.Option(help="The configuration of the system that is meant.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as one JSON object on stdout.")] = False,
) -> None:
    """Record everything that is committed, from now until ctrl-C or SIGTERM, in a journal that can be replayed.

    With --raw instead what brokers and processes say to each other: every WebSocket frame and every REST request and
    answer, sent and received, before decoding and without secrets, in one journal for each process and start. Processes
    that are started meanwhile join. `observer replay --raw` decodes them again.

    At its end it compares what it has with the streams' marks in the database. Exit status 0 when nothing that was
    committed meanwhile is missing; 1 when something is, or when that cannot be told: it says how much. (With --raw
    there is nothing to compare with: 0.)
    """
    if (out is None) == (raw is None) or (raw is not None and kinds):
        raise ConfigError("give either --out FILE, which --kinds belongs to, or --raw FOLDER")
    settings = load_settings(config or _running_configuration())
    if raw is not None:
        capture_raw(raw, settings, as_json=as_json)
        return
    assert out is not None, "one of the two is given"
    label = CaptureLabel(uuid.uuid4().hex, _wanted_kinds(kinds))
    address = endpoints_of(settings.run).tap
    try:
        recording = Capture(out, label, _marks(settings.store.url) or {})
    except OSError as error:
        raise ConfigError(f"cannot write {out}: {error.strerror}") from error
    summary = asyncio.run(_capture(recording, out, label, address, settings.store.url))
    _tell(summary, as_json=as_json)
    if not summary.is_complete:
        raise typer.Exit(INCOMPLETE)


def _running_configuration() -> Path:
    """Of the configurations here, the one whose system runs."""
    for path in (DEFAULT_CONFIGURATION, DEMO_CONFIGURATION):
        if path.exists() and is_reachable(load_settings(path).run):
            return path
    raise ConfigError("no system runs here: name the configuration of the one that will with --config")


def _wanted_kinds(text: str) -> frozenset[str] | None:
    wanted = frozenset(text.replace(" ", "").split(",")) - {""}
    if unknown := sorted(wanted - set(KINDS)):
        raise ConfigError(f"no such kind: {', '.join(unknown)}; there are {', '.join(KINDS)}")
    return wanted or None


def _marks(url: str) -> dict[str, int] | None:
    """How far each stream is committed; None when the database does not answer (there may be none yet)."""
    try:
        with StoreReader(url) as reader:
            return {stream.uid: stream.high_water_mark for stream in reader.streams()}
    except StoreError:
        return None


async def _capture(recording: Capture, out: Path, label: CaptureLabel, address: Address, url: str) -> CaptureSummary:
    stopping = asyncio.Event()
    problem = ""
    with stopping_on_signals(stopping):
        listening = asyncio.create_task(_listen(recording, address))
        showing = asyncio.create_task(_show(recording, out))
        stopped = asyncio.create_task(stopping.wait())
        await asyncio.wait([listening, stopped], return_when=asyncio.FIRST_COMPLETED)
        marks = await asyncio.to_thread(_marks, url)
        await _settle(recording, listening, marks)
        for task in (listening, showing, stopped):
            task.cancel()
        outcome, *_ = await asyncio.gather(listening, showing, stopped, return_exceptions=True)
    if isinstance(outcome, Exception):
        problem = f"stopped recording: {outcome}"
    elif marks is None:
        problem = "the database does not answer, so it is not known what is missing"
    recording.close()
    missing = None if marks is None else recording.missing(marks)
    return CaptureSummary(str(out), label.capture_id, recording.events, recording.size_bytes, missing, problem)


async def _listen(recording: Capture, address: Address) -> None:
    tap = TapSubscriber(address)
    try:
        async for message in tap:
            recording.take(message)
    finally:
        tap.close()


async def _settle(recording: Capture, listening: asyncio.Task[None], marks: Mapping[str, int] | None) -> None:
    """Let what was committed before the end arrive."""
    for _ in range(round(SETTLE_S / LOOK_S)):
        if marks is None or recording.reaches(marks) or listening.done():
            return
        await asyncio.sleep(LOOK_S)


async def _begun(recording: Capture) -> None:
    while not recording.has_begun:  # noqa: ASYNC110 - it has no event to wait for: it knows no event loop
        await asyncio.sleep(LOOK_S)


async def _show(recording: Capture, out: Path) -> None:
    """Progress on a terminal; elsewhere one line, when it begins, for whoever waits for that."""
    console = Console(stderr=True)
    if not console.is_terminal:
        await _begun(recording)
        sys.stderr.write(f"observer: recording to {out}\n")
        return
    with Status("", console=console) as status:
        while True:
            state = f"{recording.events:,} events" if recording.has_begun else "waiting for the writer"
            status.update(f"{out}: {state}, {recording.size_bytes:,} bytes; ctrl-C ends it")
            await asyncio.sleep(LOOK_S)


def _tell(summary: CaptureSummary, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(msgspec.json.encode(summary).decode() + "\n")
    else:
        sys.stdout.write(f"{summary.file}: {summary.events:,} events, {summary.size_bytes:,} bytes\n")
    for stream, count in (summary.missing or {}).items():
        sys.stderr.write(f"observer: {count:,} events of stream {stream} are missing in the capture\n")
    if summary.problem:
        sys.stderr.write(f"observer: {summary.problem}\n")
