"""The limiter's arithmetic shared between processes: one number in one file per account, changed under a file lock.

The lock is the kernel's (`flock`): it goes with the process that held it, however that one dies. It is held for a read
and a write of eight bytes, never over an await, so waiting for it in the event loop is a matter of microseconds. A
state that a killed process left half-written is at worst a number too large, and such a number is not believed.
"""

import fcntl
import os
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from observer.accounts.limiter import Granted, Lane, Wait, after_late_start, after_penalty, decide, spacing_ns
from observer.clock import NS_PER_S, Clock

_STATE: Final = struct.Struct("<q")  # next_free_ns


class PermitSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The broker's limit and the pause after it said "too many", both in market time."""

    calls_per_second: float = 20.0
    penalty_s: float = 1.0


class SharedPermits:
    """Permits of one account, in every process that uses it. Satisfies `PermitSource`."""

    def __init__(self, path: Path, clock: Clock, settings: PermitSettings) -> None:
        """Open the account's permit file, made if it is not there.

        Raises:
            OSError: it can be neither opened nor made.
        """
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._clock = clock
        self._spacing_ns = spacing_ns(settings.calls_per_second)
        self._penalty_ns = round(settings.penalty_s * NS_PER_S)

    @asynccontextmanager
    async def acquire(self, lane: Lane) -> AsyncIterator[None]:
        """Entered when one call may be sent now; left when its answer is there."""
        while isinstance(decision := self._take(lane), Wait):
            await self._clock.sleep_until(decision.until_ns)
        if decision.at_ns > self._clock.now_ns():
            await self._clock.sleep_until(decision.at_ns)
            self._change(after_late_start, self._spacing_ns)
        yield

    def penalise(self) -> None:
        """The broker answered "too many": no new permit for anybody until the pause is over."""
        self._change(after_penalty, self._penalty_ns)

    def close(self) -> None:
        """Let go of the file; the permits object cannot be used any more."""
        os.close(self._descriptor)

    def _take(self, lane: Lane) -> Granted | Wait:
        with self._locked():
            decision = decide(self._read(), self._clock.now_ns(), lane, self._spacing_ns)
            if isinstance(decision, Granted):
                self._write(decision.next_free_ns)
        return decision

    def _change(self, change: Callable[[int, int, int], int], argument_ns: int) -> None:
        with self._locked():
            self._write(change(self._read(), self._clock.now_ns(), argument_ns))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _read(self) -> int:
        content = os.pread(self._descriptor, _STATE.size, 0)
        return int(_STATE.unpack(content)[0]) if len(content) == _STATE.size else 0

    def _write(self, next_free_ns: int) -> None:
        os.pwrite(self._descriptor, _STATE.pack(next_free_ns), 0)
