"""Both kinds of captures, from the first record to the summary: committed batches, and raw broker traffic.

A caller sets `stopping` to end a recording, and shows its progress meanwhile (`Show`).
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final, Self

import msgspec

from bus.batch_feed import BatchFeedSubscriber
from bus.capture import Capture, CaptureLabel
from bus.endpoints import Address
from observer.base.errors import ConfigError, StoreError
from observer.base.files import PRIVATE_FOLDER, sync_path
from observer.base.settings import endpoints_of
from observer.brokers.raw import POLL_S as RECORDER_CHECK_S
from observer.brokers.raw import RawCaptureRequest, RawFolder, RawTotals, open_raw_request, paths_in, raw_request_path
from observer.store.reader import StoreReader
from observer.system.config import Settings

SETTLE_S: Final = 5.0  # machine seconds for committed events to arrive after the stop
POLL_S: Final = 0.05
_RAW_SETTLE_S: Final = RECORDER_CHECK_S + 0.1  # by then every process that records has seen the end of the request


Progress = Callable[[], str]
"""Returns the progress of a recording as text; empty before it has begun."""

Show = Callable[[Progress], Awaitable[None]]
"""Shows the progress of a recording; ends when the caller's `stopping` is set, or is cancelled."""


class CaptureSummary(msgspec.Struct, frozen=True):
    """The result of a capture. `missing` counts, by stream, the events committed during the capture that are not in it;
    None when the database did not return its marks, so that completeness is unknown.
    """

    file: str
    capture_id: str
    events: int
    size_bytes: int
    missing: Mapping[str, int] | None
    problem: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether completeness is known and nothing is missing."""
        return self.missing == {} and not self.problem


class RawCaptureSummary(msgspec.Struct, frozen=True):
    """The result of a raw capture. `frames` came from market data streams; `bodies` are REST requests and answers."""

    folder: str
    capture_id: str
    files: int
    frames: int
    bodies: int
    size_bytes: int

    @classmethod
    def of(cls, folder: Path, capture_id: str, totals: RawTotals) -> Self:
        """The summary of these totals."""
        return cls(str(folder), capture_id, **msgspec.structs.asdict(totals))


# --- committed batches ------------------------------------------------------------------------------------------


async def record_committed(
    out: Path, kinds: AbstractSet[str] | None, settings: Settings, stopping: asyncio.Event, show: Show
) -> CaptureSummary:
    """Record to a new journal; `kinds` None is all. At the end it is compared with the streams' marks in the database.

    Raises:
        ConfigError: the file is there already.
        OSError: it cannot be written.
    """
    label = CaptureLabel(uuid.uuid4().hex, kinds)
    url = settings.store.url
    marks = await asyncio.to_thread(_marks, url)
    try:
        recording = Capture(out, label, marks or {})
    except FileExistsError:
        raise ConfigError(f"{out} is there already: give a new file") from None
    listening = asyncio.create_task(_listen(recording, endpoints_of(settings.run).batch_feed))

    def progress() -> str:
        return f"{recording.events:,} events, {recording.size_bytes:,} bytes" if recording.has_begun else ""

    showing = asyncio.ensure_future(show(progress))
    stopped = asyncio.create_task(stopping.wait())
    await asyncio.wait([listening, stopped], return_when=asyncio.FIRST_COMPLETED)
    marks = await asyncio.to_thread(_marks, url)
    await _settle(recording, listening, marks)
    for task in (listening, showing, stopped):
        task.cancel()
    outcome, *_ = await asyncio.gather(listening, showing, stopped, return_exceptions=True)
    problem = ""
    if isinstance(outcome, Exception):
        problem = f"stopped recording: {outcome}"
    elif marks is None:
        problem = "the database does not answer, so it is not known what is missing"
    recording.close()
    missing = None if marks is None else recording.missing(marks)
    return CaptureSummary(str(out), label.capture_id, recording.events, recording.size_bytes, missing, problem)


def _marks(url: str) -> dict[str, int] | None:
    """The committed mark of each stream; None when the database does not answer (it may not exist yet)."""
    try:
        with StoreReader(url) as reader:
            return {stream.uid: stream.high_water_mark for stream in reader.streams()}
    except StoreError:
        return None


async def _listen(recording: Capture, address: Address) -> None:
    batch_feed = BatchFeedSubscriber(address)
    try:
        async for message in batch_feed:
            recording.take(message)
    finally:
        batch_feed.close()


async def _settle(recording: Capture, listening: asyncio.Task[None], marks: Mapping[str, int] | None) -> None:
    """Wait for the events committed before the end."""
    for _ in range(round(SETTLE_S / POLL_S)):
        if marks is None or recording.reaches(marks) or listening.done():
            return
        await asyncio.sleep(POLL_S)


# --- raw broker traffic -----------------------------------------------------------------------------------------


async def record_raw(folder: Path, settings: Settings, stopping: asyncio.Event, show: Show) -> RawCaptureSummary:
    """Request a raw capture to a new or empty folder while this runs, and count what the processes record.

    Raises:
        ConfigError: the folder is not empty or cannot be made, or another raw capture runs.
        BusError: the runtime directory cannot be used.
        DataFileError: a journal of the folder holds something else.
    """
    request = RawCaptureRequest(uuid.uuid4().hex, _make_empty(folder))
    journals = RawFolder(folder)
    try:
        with open_raw_request(raw_request_path(endpoints_of(settings.run).runtime_directory), request):
            await asyncio.gather(stopping.wait(), show(lambda: text_of(journals.check())))
        await asyncio.sleep(_RAW_SETTLE_S)
        totals = journals.check()
    finally:
        journals.close()
    for path in paths_in(folder):
        sync_path(path)
    return RawCaptureSummary.of(folder, request.capture_id, totals)


def _make_empty(folder: Path) -> str:
    """Make sure that the folder is there and empty; returns its absolute path."""
    try:
        folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        is_empty = not any(folder.iterdir())
    except FileExistsError:
        raise ConfigError(f"{folder} is a file: give a new folder") from None
    if not is_empty:
        raise ConfigError(f"{folder} is not empty: give a new folder")
    return str(folder.absolute())


def text_of(totals: RawTotals | RawCaptureSummary) -> str:
    """The totals as text."""
    files = f"{totals.files} files" if totals.files != 1 else "1 file"
    return f"{totals.frames:,} frames, {totals.bodies:,} bodies, {totals.size_bytes:,} bytes in {files}"
