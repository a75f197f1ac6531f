"""Replays both kinds of captures: committed batches into a database, raw broker traffic through its decoders."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from bus.codec import BatchError
from bus.journal import JournalError
from bus.replay import CaptureSource, Replay
from bus.verification import JournalReport, verify
from observer.base.errors import ConfigError, DataFileError
from observer.base.instance import Instance
from observer.brokers.broker import BROKER_NAMES, broker_named
from observer.brokers.raw import RawFacts, RawJournal, RawRecord, merged, paths_in
from observer.store.engine import migrate, parse_url
from observer.store.owner import only_writer, owner_of, require_unused
from observer.store.reader import StoreReader
from observer.system.writer_process import writer_of

_SHOW_EVERY: Final = 5_000  # records

ShowReplay = Callable[[Replay, CaptureSource], Awaitable[None]]
"""Shows the progress of a replay; it is cancelled at the end."""
ShowCount = Callable[[int], None]
"""Shows how many raw records were decoded."""


class ReplaySummary(msgspec.Struct, frozen=True):
    """The result of a replay: the capture holds `events`, the database `committed` of them, this run added `replayed`.
    `absent` events are gaps in the capture itself; None for a capture of some kinds only, where gaps cannot be
    detected.
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


class ReplayedFact(msgspec.Struct, frozen=True):
    """One line of `--out`: the account of the record, its channel and time, and the fact's fields by name."""

    account: str
    channel: str
    time_ns: int
    kind: str
    value: Mapping[str, object]


class RawReplaySummary(msgspec.Struct, frozen=True):
    """Counts of a raw capture. `kinds` counts decoded facts; `refused` answers are the broker's errors, `malformed`
    ones could not be read (as live), `unknown` ones have no decoder.
    """

    folder: str
    files: int
    records: int
    kinds: Mapping[str, int]
    refused: int
    malformed: int
    unknown: int
    torn_bytes: int


# --- committed batches ------------------------------------------------------------------------------------------


async def replay_committed(
    file: Path, url: str, speed: float | None, stopping: asyncio.Event, show: ShowReplay
) -> ReplaySummary:
    """Deliver a capture to a database, which is created if absent; `speed` None: without waiting.

    Raises:
        DataFileError: it is no capture, or damaged.
        OSError: it cannot be read.
        DatabaseInUseError: another process writes the database.
        StoreError: it cannot be opened.
        ConfigError: the capture was made of this database.
    """
    await asyncio.to_thread(require_unused, url)  # before the reading of a long capture
    report = await asyncio.to_thread(_sound, file)
    source = _opened(file)
    try:
        return await _replay(source, report, url, speed, stopping, show)
    finally:
        source.close()


def _sound(file: Path) -> JournalReport:
    """The journal's report; a torn tail is left out and reported, damage is refused."""
    try:
        report = verify(file)
    except JournalError as error:
        raise DataFileError(str(error)) from error
    if report.damaged_at is not None:
        raise DataFileError(f"{file} is damaged at byte {report.damaged_at:,}: see `observer journal verify`")
    return report


def _opened(file: Path) -> CaptureSource:
    try:
        return CaptureSource(file)
    except (JournalError, BatchError) as error:
        raise DataFileError(f"{file}: {error}") from error


def _committed(url: str, source: CaptureSource) -> int:
    """Number of the replay's events in the database, which is created if absent.

    Raises:
        StoreError: it cannot be opened. A writer would wait for it; a person can act.
        ConfigError: the captured streams themselves are in there, so that a replay would store every event twice.
    """
    with only_writer(url):
        migrate(url)
    with StoreReader(url) as reader:
        marks = {stream.uid: stream.high_water_mark for stream in reader.streams()}
    if source.streams & {stream for stream, mark in marks.items() if mark}:
        raise ConfigError("this database was captured from: it has these events under their own numbers already")
    return marks.get(source.stream, 0)


async def _replay(
    source: CaptureSource,
    report: JournalReport,
    url: str,
    speed: float | None,
    stopping: asyncio.Event,
    show: ShowReplay,
) -> ReplaySummary:
    committed = await asyncio.to_thread(_committed, url, source)
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    owner = owner_of(url)
    async with writer_of(url, owner.instance if owner else Instance()) as writer:
        replaying = Replay(source, writer.ingest_address, committed=committed, speed=speed)
        work = asyncio.create_task(replaying.run())
        showing = asyncio.ensure_future(show(replaying, source))
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
        absent=report.absent if source.label.kinds is None else None,
        torn_bytes=report.torn_bytes,
        wall_s=round(loop.time() - began_s, 3),
        interrupted=not is_done,
    )


# --- raw broker traffic -----------------------------------------------------------------------------------------


def replay_raw(folder: Path, out: Path | None, show: ShowCount) -> RawReplaySummary:
    """Decode all of the folder's records, in the order of their times; `out` takes what was decoded as JSON lines.

    Raises:
        DataFileError: there is no raw capture in the folder, or none that there is a decoder for.
        ConfigError: the file is there already.
        OSError: it cannot be written.
    """
    with _journals(folder) as journals, _lines(out) as write:
        return _decode(folder, journals, write, show)


@contextlib.contextmanager
def _journals(folder: Path) -> Iterator[list[RawJournal]]:
    with contextlib.ExitStack() as stack:
        journals: list[RawJournal] = []
        for path in paths_in(folder):
            journal = RawJournal(path)
            stack.callback(journal.close)
            if journal.label.provider not in BROKER_NAMES:
                raise DataFileError(f"{path} is of {journal.label.provider}, which there is no decoder for")
            journals.append(journal)
        if not journals:
            raise DataFileError(f"there is no raw capture in {folder}: `observer capture --raw FOLDER` makes one")
        yield journals


@contextlib.contextmanager
def _lines(out: Path | None) -> Iterator[Callable[[RawRecord, msgspec.Struct], None]]:
    """Yield a function that writes a fact as a line, or does nothing without a file."""
    if out is None:
        yield lambda _record, _fact: None
        return
    try:
        file = out.open("xb")
    except FileExistsError:
        raise ConfigError(f"{out} is there already: give a new file") from None
    with file:
        yield lambda record, fact: _write(file, record, fact)


def _write(file: BinaryIO, record: RawRecord, fact: msgspec.Struct) -> None:
    value = msgspec.structs.asdict(fact)
    line = ReplayedFact(record.account, record.channel, record.time_ns, type(fact).__name__, value)
    file.write(msgspec.json.encode(line) + b"\n")


def _decode(
    folder: Path, journals: list[RawJournal], write: Callable[[RawRecord, msgspec.Struct], None], show: ShowCount
) -> RawReplaySummary:
    decoders = {journal.path: broker_named(journal.label.provider).raw_decoder() for journal in journals}
    kinds: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    for number, (journal, record) in enumerate(merged(journals), start=1):
        decoded: RawFacts = decoders[journal.path].decode(record)
        outcomes[decoded.outcome] += 1
        for fact in decoded.facts:
            kinds[type(fact).__name__] += 1
            write(record, fact)
        if number % _SHOW_EVERY == 0:
            show(number)
    return RawReplaySummary(
        folder=str(folder),
        files=len(journals),
        records=outcomes.total(),
        kinds=dict(sorted(kinds.items())),
        refused=outcomes["refused"],
        malformed=outcomes["malformed"],
        unknown=outcomes["unknown"],
        torn_bytes=sum(journal.torn_bytes for journal in journals),
    )
