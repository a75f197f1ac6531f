"""`observer capture --raw`: wants a raw capture while it runs, and counts what the processes record meanwhile."""

import asyncio
import os
import sys
import uuid
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.status import Status

from observer.cli.host import stopping_on_signals
from observer.config import Settings, endpoints_of
from observer.errors import ConfigError
from observer.providers.raw_folder import RawFolder, RawTotals, paths_in
from observer.providers.raw_recorder import LOOK_S
from observer.providers.raw_wish import RawWish, held_wish, wish_path

_SHOW_S: Final = 0.5  # machine seconds
_SETTLE_S: Final = LOOK_S + 0.1  # until then every process that records has seen that nobody wants it any more
_FOLDER_MODE: Final = 0o700


class RawCaptureSummary(msgspec.Struct, frozen=True):
    """What a raw capture came to. `frames` were on streams; `bodies` are REST requests and answers."""

    folder: str
    capture_id: str
    files: int
    frames: int
    bodies: int
    size_bytes: int


def capture_raw(folder: Path, settings: Settings, *, as_json: bool) -> None:
    """Record to the folder until SIGINT or SIGTERM, and say what it came to.

    Raises:
        ConfigError: the folder is not empty or cannot be made, or another raw capture runs.
        BusError: the runtime directory cannot be used.
    """
    _make_empty(folder)
    wish = RawWish(uuid.uuid4().hex, str(folder.absolute()))
    journals = RawFolder(folder)
    try:
        with held_wish(wish_path(endpoints_of(settings.run).runtime_directory), wish):
            asyncio.run(_record(journals, folder))
        totals = asyncio.run(_settled(journals))
    finally:
        journals.close()
    for path in paths_in(folder):
        _sync(path)
    _tell(folder, wish, totals, as_json=as_json)


def _make_empty(folder: Path) -> None:
    try:
        folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        is_empty = not any(folder.iterdir())
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror}") from error
    if not is_empty:
        raise ConfigError(f"{folder} is not empty: give a new folder")


async def _record(journals: RawFolder, folder: Path) -> None:
    """Show the progress until it is enough: on a terminal; elsewhere one line, when recording can begin."""
    stopping = asyncio.Event()
    console = Console(stderr=True)
    with stopping_on_signals(stopping):
        if not console.is_terminal:
            sys.stderr.write(f"observer: recording to {folder}\n")
            await stopping.wait()
            return
        with Status("", console=console) as status:
            while not stopping.is_set():
                status.update(f"{folder}: {_text(journals.look())}; ctrl-C ends it")
                await _next_look(stopping)


async def _next_look(stopping: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stopping.wait(), _SHOW_S)
    except TimeoutError:
        return


async def _settled(journals: RawFolder) -> RawTotals:
    """What there is when nobody records any more; a second ctrl-C does not hurry it, it is over at once."""
    with stopping_on_signals(asyncio.Event()):
        await asyncio.sleep(_SETTLE_S)
    return journals.look()


def _sync(path: Path) -> None:
    """What was recorded shall survive the machine's death too."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _text(totals: RawTotals) -> str:
    files = f"{totals.files} files" if totals.files != 1 else "1 file"
    return f"{totals.frames:,} frames, {totals.bodies:,} bodies, {totals.size_bytes:,} bytes in {files}"


def _tell(folder: Path, wish: RawWish, totals: RawTotals, *, as_json: bool) -> None:
    if as_json:
        summary = RawCaptureSummary(str(folder), wish.capture_id, **msgspec.structs.asdict(totals))
        sys.stdout.write(msgspec.json.encode(summary).decode() + "\n")
    else:
        sys.stdout.write(f"{folder}: {_text(totals)}\n")
