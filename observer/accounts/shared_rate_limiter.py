"""The limiter's arithmetic shared between processes: its state in one file per account, changed under a file lock.

The lock is the kernel's (`flock`): it goes with the process that held it, however that one dies. It is held for a read
and a write of some hundred bytes, never over an await, so waiting for it in the event loop is a matter of microseconds.
A process that dies between read and write leaves the old state; one that dies in the write leaves each number old or
new, as the numbers are written in place and none depends on another one: at worst a call counts that was never sent.

The file begins with a fingerprint of the limits. A state of other limits (the configuration was changed), of another
clock, or of no shape at all is not believed: then nobody starts until the longest window is over, so that no limit is
broken whatever had been sent. While processes with old and with new limits run side by side, calls wait.
"""

import asyncio
import fcntl
import hashlib
import os
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Final

import msgspec

from observer.accounts.limiter import (
    Granted,
    Lane,
    Limits,
    State,
    Wait,
    after_answer,
    after_loss,
    after_rate_error,
    decide,
    fresh,
    is_believable,
    limits_of,
)
from observer.clock import Clock

_FINGERPRINT_BYTES: Final = 8


class PermitSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The broker's limits for an account and the pause after it said "too many", all in market time.

    `calls_per_minute` is a second limit beside the first (requirement 004, "Constraints": 1,000); None: there is none.

    Raises:
        ValueError: limits that are none; names the key.
    """

    calls_per_second: float = 20.0
    calls_per_minute: float | None = None
    penalty_s: float = 1.0

    def __post_init__(self) -> None:
        """Checks each of them, so that a wrong one is told when the configuration is read."""
        limits_of(self.calls_per_second, self.calls_per_minute, self.penalty_s)


class SharedPermits:
    """Permits of one account, in every process that uses it. Satisfies `PermitSource`."""

    def __init__(self, path: Path, clock: Clock, settings: PermitSettings) -> None:
        """Open the account's permit file, made if it is not there.

        Raises:
            OSError: it can be neither opened nor made.
        """
        self._limits = limits_of(settings.calls_per_second, settings.calls_per_minute, settings.penalty_s)
        self._form = _Form(self._limits)
        self._clock = clock
        # One call of a lane asks at a time: the others stand behind it in order, instead of all waking for one slot.
        self._turns: dict[Lane, asyncio.Lock] = {lane: asyncio.Lock() for lane in ("urgent", "normal", "bulk")}
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @asynccontextmanager
    async def acquire(self, lane: Lane) -> AsyncIterator[None]:
        """Entered when one call may be sent now; left when its answer is there, which frees its place soonest."""
        granted = await self._granted(lane)
        try:
            yield
        except asyncio.CancelledError:
            raise  # it may still be on its way to the broker: it holds its place like a call that is never answered
        except BaseException:
            self._answered(granted)
            raise
        self._answered(granted)

    def penalise(self) -> None:
        """The broker answered "too many": nobody starts until the pause is over, and then at a lower pace."""
        self._change(lambda state, now_ns: after_rate_error(self._limits, state, now_ns))

    def close(self) -> None:
        """Let go of the file; the permits object cannot be used any more."""
        os.close(self._descriptor)

    async def _granted(self, lane: Lane) -> Granted:
        async with self._turns[lane]:
            asked_ns = self._clock.now_ns()
            while isinstance(decision := self._decide(asked_ns, lane), Wait):
                await self._clock.sleep_until(decision.until_ns)
        return decision

    def _decide(self, asked_ns: int, lane: Lane) -> Granted | Wait:
        with self._locked():
            now_ns = self._clock.now_ns()
            decision = decide(self._limits, self._read(now_ns), asked_ns, now_ns, lane)
            self._write(decision.state)
        return decision

    def _answered(self, granted: Granted) -> None:
        self._change(lambda state, now_ns: after_answer(self._limits, state, granted.places, now_ns))

    def _change(self, change: Callable[[State, int], State]) -> None:
        with self._locked():
            now_ns = self._clock.now_ns()
            self._write(change(self._read(now_ns), now_ns))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _read(self, now_ns: int) -> State:
        content = os.pread(self._descriptor, self._form.size + 1, 0)
        if not content:
            return fresh(self._limits)
        state = self._form.unpacked(content)
        if state is None or not is_believable(self._limits, state, now_ns):
            os.ftruncate(self._descriptor, self._form.size)
            return after_loss(self._limits, now_ns)
        return state

    def _write(self, state: State) -> None:
        os.pwrite(self._descriptor, self._form.packed(state), 0)


class _Form:
    """How a state lies in the file: fingerprint, then the state's numbers in their order, eight bytes each."""

    def __init__(self, limits: Limits) -> None:
        places = sum(window.places for window in limits.windows)
        self._places = [window.places for window in limits.windows]
        self._struct = struct.Struct(f"<{_FINGERPRINT_BYTES}sqdqqq{places}q")
        self._fingerprint = hashlib.sha256(msgspec.json.encode(limits)).digest()[:_FINGERPRINT_BYTES]
        self.size = self._struct.size

    def packed(self, state: State) -> bytes:
        """The file's content."""
        *numbers, held_ns = msgspec.structs.astuple(state)
        return self._struct.pack(self._fingerprint, *numbers, *chain.from_iterable(held_ns))

    def unpacked(self, content: bytes) -> State | None:
        """The state; None when it is no state of these limits."""
        if len(content) != self.size or not content.startswith(self._fingerprint):
            return None
        _, next_ns, pace, slowed_ns, urgent_ns, normal_ns, *moments = self._struct.unpack(content)
        rest = iter(moments)
        held_ns = tuple(tuple(islice(rest, places)) for places in self._places)
        return State(next_ns, pace, slowed_ns, urgent_ns, normal_ns, held_ns)
