"""The limiter's arithmetic shared between processes: its state in one file per account, changed under a file lock.

The lock is the kernel's (`flock`) and ends with the process that holds it, however that process dies. A process holds
the lock for a read and a write of some hundred bytes, never over an await, so the event loop waits for microseconds. A
process that dies between read and write leaves the old state. A process that dies within the write leaves each number
old or new: numbers are written in place and do not depend on each other, so at worst a call counts that was never sent.
The file also holds what refusals taught about the limit, which survives a restart.

The file begins with a fingerprint of the limits and of the state's form. The limiter discards a malformed state, a
state of another form (another version wrote it), of other limits (the configuration changed) or of another clock. No
call then starts until the longest window is over, so no limit is broken whatever was sent before. While processes with
old and with new limits run side by side, calls wait.
"""

import asyncio
import hashlib
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, get_args

import msgspec

from observer.base.clock import Clock
from observer.base.errors import RateExceededError
from observer.base.file_lock import FileLock
from observer.base.files import make_private_folder
from observer.brokers.accounts.limiter import (
    Granted,
    LimiterState,
    Limits,
    Outcome,
    Priority,
    Wait,
    after_answer,
    after_loss,
    decide,
    fresh,
    is_believable,
    learned_at,
    limits_of,
)
from observer.brokers.settings import RateLimitSettings

_FINGERPRINT_BYTES: Final = 8
_SCALARS: Final = len(LimiterState.__struct_fields__) - 2  # but for the positions


class SharedRateLimiter:
    """The rate-limit tokens of one account, shared by every process that uses the account. Satisfies `RateLimiter`."""

    def __init__(self, path: Path, clock: Clock, settings: RateLimitSettings) -> None:
        """Open the account's rate-limit file, made if it is not there.

        Raises:
            OSError: it can be neither opened nor made.
        """
        self._limits = limits_of(settings.calls_per_second, settings.calls_per_minute, settings.penalty_s)
        self._form = _Form(self._limits)
        self._clock = clock
        # One call of a priority asks at a time. Other calls queue in order, instead of all waking for one slot.
        self._turns: dict[Priority, asyncio.Lock] = {priority: asyncio.Lock() for priority in get_args(Priority)}
        make_private_folder(path.parent)
        self._lock = FileLock(path)
        self._descriptor = self._lock.descriptor

    @asynccontextmanager
    async def acquire(self, priority: Priority) -> AsyncIterator[None]:
        """The context of one call: entered when the call may be sent, left when the answer is there, which frees the
        position soonest. Left with a RateExceededError, the call is to be repeated at once; `limiter` says what that
        means for other calls.
        """
        granted = await self._granted(priority)
        try:
            yield
        except RateExceededError:
            self._answered(granted, "refused")
            raise
        except asyncio.CancelledError:
            raise  # the call may still be on its way: it holds its position as an unanswered call does
        except BaseException:
            self._answered(granted, "unknown")
            raise
        self._answered(granted, "passed")

    def learned(self) -> int | None:
        """The most calls in a second (or in the longer span of a lower limit) that refusals taught; None when the
        configured limit is in force.
        """
        with self._lock.held():
            now_ns = self._clock.now_ns()
            most = learned_at(self._limits, self._read(now_ns), now_ns)
        return most if most < self._limits.windows[0].positions else None

    def close(self) -> None:
        """Close the file; the limiter is unusable afterwards."""
        self._lock.close()

    async def _granted(self, priority: Priority) -> Granted:
        async with self._turns[priority]:
            asked_ns = self._clock.now_ns()
            while isinstance(decision := self._decide(asked_ns, priority), Wait):
                await self._clock.sleep_until(decision.until_ns)
        return decision

    def _decide(self, asked_ns: int, priority: Priority) -> Granted | Wait:
        with self._lock.held():
            now_ns = self._clock.now_ns()
            decision = decide(self._limits, self._read(now_ns), asked_ns, now_ns, priority)
            self._write(decision.state)
        return decision

    def _answered(self, granted: Granted, outcome: Outcome) -> None:
        with self._lock.held():
            now_ns = self._clock.now_ns()
            self._write(after_answer(self._limits, self._read(now_ns), granted, now_ns, outcome))

    def _read(self, now_ns: int) -> LimiterState:
        content = os.pread(self._descriptor, self._form.size + 1, 0)
        if not content:
            return fresh(self._limits)
        state = self._form.unpacked(content)
        if state is None or not is_believable(self._limits, state, now_ns):
            os.ftruncate(self._descriptor, self._form.size)
            return after_loss(self._limits, now_ns)
        return state

    def _write(self, state: LimiterState) -> None:
        os.pwrite(self._descriptor, self._form.packed(state), 0)


class _Form:
    """The file's layout: fingerprint, then the numbers of the state in their order, eight bytes each."""

    def __init__(self, limits: Limits) -> None:
        # The positions of the first window are there twice: starts of calls, and until when they are held.
        self._groups = [limits.windows[0].positions, *(window.positions for window in limits.windows)]
        self._struct = struct.Struct(f"<{_FINGERPRINT_BYTES}s{_SCALARS + sum(self._groups)}q")
        form = msgspec.json.encode((LimiterState.__struct_fields__, limits))
        self._fingerprint = hashlib.sha256(form).digest()[:_FINGERPRINT_BYTES]
        self.size = self._struct.size

    def packed(self, state: LimiterState) -> bytes:
        *numbers, started_ns, held_ns = msgspec.structs.astuple(state)
        return self._struct.pack(self._fingerprint, *numbers, *started_ns, *chain.from_iterable(held_ns))

    def unpacked(self, content: bytes) -> LimiterState | None:
        """Return the state; None for content of another form or other limits."""
        if len(content) != self.size or not content.startswith(self._fingerprint):
            return None
        _, *numbers = self._struct.unpack(content)
        rest = iter(numbers[_SCALARS:])
        started_ns, *held_ns = (tuple(islice(rest, positions)) for positions in self._groups)
        fields: tuple[Any, ...] = (*numbers[:_SCALARS], started_ns, tuple(held_ns))
        return LimiterState(*fields)
