"""Registry of running children, written at each start, so that the next supervisor ends leftovers of a killed one.

The lifeline ends children that watch it. This covers those that do not, or were suspended at that moment.
"""

import asyncio
import logging
import signal
from pathlib import Path
from typing import Final

import msgspec
import psutil

from observer.supervisor.group import kill_until_gone, members, signal_group

logger = logging.getLogger(__name__)

_FILE_NAME: Final = "children.json"
_GRACE_S: Final = 2.0
_POLL_S: Final = 0.02
# psutil adds a process's start, in ticks since boot, to the time of boot, which moves when the wall clock is set.
_START_TOLERANCE_S: Final = 2.0

_decoder: Final = msgspec.json.Decoder(dict[int, float])


class PidRegistry:
    """The children that run now, as a file of pid and start time in the runtime directory."""

    def __init__(self, runtime_directory: Path) -> None:
        self._path = runtime_directory / _FILE_NAME
        self._children: dict[int, float] = {}

    def record(self, pid: int) -> None:
        """Add a started child; one that has ended already is left out."""
        try:
            self._children[pid] = psutil.Process(pid).create_time()
        except psutil.NoSuchProcess:
            return
        self._write()

    def forget(self, pid: int) -> None:
        """Remove a child whose processes are all gone."""
        if self._children.pop(pid, None) is not None:
            self._write()

    def _write(self) -> None:
        """Replace the file at once, so that a kill leaves the old one or the new one.

        An error is only logged: a full disk must not stop children, and the lifeline is the first protection.
        """
        new = self._path.with_suffix(".new")
        try:
            new.write_bytes(msgspec.json.encode(self._children))
            new.replace(self._path)
        except OSError as error:
            logger.error("cannot write %s, so the next supervisor will not know our children: %s", self._path, error)

    async def end(self) -> list[int]:
        """End the children of an earlier supervisor, by session, and return the pids of its leaders."""
        found = [pid for pid, created_s in self._read().items() if _is_running(pid, created_s)]
        await asyncio.gather(*(_end_group(pid) for pid in found))
        self._write()
        return found

    def _read(self) -> dict[int, float]:
        try:
            return _decoder.decode(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except msgspec.MsgspecError as error:
            logger.warning("cannot read %s, so leftovers of an earlier run are not known: %s", self._path, error)
            return {}


def _is_running(pid: int, created_s: float) -> bool:
    try:
        return bool(abs(psutil.Process(pid).create_time() - created_s) < _START_TOLERANCE_S)
    except psutil.NoSuchProcess:
        return False


async def _end_group(leader_pid: int) -> None:
    """SIGTERM, wait for the grace, SIGKILL. These are not our children, so their end must be polled."""
    signal_group(leader_pid, signal.SIGTERM)
    signal_group(leader_pid, signal.SIGCONT)
    for _ in range(round(_GRACE_S / _POLL_S)):
        if not members([leader_pid])[leader_pid]:
            return
        await asyncio.sleep(_POLL_S)
    await kill_until_gone(leader_pid)
