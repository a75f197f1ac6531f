"""Market time: the only source of "now" for phases, tokens, trigger lives and broker limits.

A `Clock` is real, scaled (a trading day in two minutes, the same for every process) or manual (tests). Machine time,
the monotonic seconds behind heartbeats, kill grace, group commit and socket timeouts, never comes from here: a scaled
day must not speed those up.
"""

import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import Final, Protocol

from observer.base.units import NS_PER_S

CLOCK_VARIABLE: Final = "OBSERVER_CLOCK"
# asyncio timers may fire early by the loop's resolution, and a scaled second is short: look again at least this often.
_LONGEST_NAP_S: Final = 60.0


class Clock(Protocol):
    """Market time in UTC nanoseconds, with waiting."""

    def now_ns(self) -> int:
        """The market's time now, in UTC nanoseconds."""
        ...

    async def sleep_until(self, moment_ns: int) -> None:
        """Return once `now_ns() >= moment_ns`; at once when that is past."""
        ...

    async def sleep(self, market_seconds: float) -> None:
        """Wait for so many seconds of market time."""
        ...


class RealClock:
    """The wall clock of this machine."""

    def now_ns(self) -> int:
        """UTC nanoseconds of the system clock."""
        return time.time_ns()  # noqa: TID251 - this is the one place that may

    async def sleep_until(self, moment_ns: int) -> None:
        """Wait in naps, so that a clock that is set or a machine that was suspended is noticed within a minute."""
        while (remaining_ns := moment_ns - self.now_ns()) > 0:
            await asyncio.sleep(min(remaining_ns / NS_PER_S, _LONGEST_NAP_S))

    async def sleep(self, market_seconds: float) -> None:
        """Market seconds are machine seconds here."""
        await self.sleep_until(self.now_ns() + round(market_seconds * NS_PER_S))


class ScaledClock:
    """A market that runs `speed` times as fast as the machine, from one anchor shared by all processes.

    The anchor pairs a market time with a reading of CLOCK_MONOTONIC, which is one clock for the whole machine: each
    process computes the same market time without talking to the others, and a change of the wall clock does not matter.
    """

    def __init__(self, market_ns: int, monotonic_ns: int, speed: float) -> None:
        self._market_ns = market_ns
        self._monotonic_ns = monotonic_ns
        self._speed = speed

    @property
    def speed(self) -> float:
        """Market seconds per machine second."""
        return self._speed

    def now_ns(self) -> int:
        """The scaled market time; before the anchor it stands at the anchor."""
        elapsed_ns = max(0, time.monotonic_ns() - self._monotonic_ns)
        return self._market_ns + int(elapsed_ns * self._speed)

    async def sleep_until(self, moment_ns: int) -> None:
        """Wait for the market moment, in machine time divided by the speed."""
        while (remaining_ns := moment_ns - self.now_ns()) > 0:
            await asyncio.sleep(min(remaining_ns / NS_PER_S / self._speed, _LONGEST_NAP_S))

    async def sleep(self, market_seconds: float) -> None:
        """Wait for so many seconds of market time."""
        await self.sleep_until(self.now_ns() + round(market_seconds * NS_PER_S))

    def to_variable(self) -> str:
        """The text for `OBSERVER_CLOCK` that gives another process this same clock."""
        return f"scaled:{self._market_ns}:{self._monotonic_ns}:{self._speed!r}"


class HeldClock(ScaledClock):
    """A scaled clock, shared by processes, that stands at `market_ns` until `start`.

    So a day can begin once all its processes run, however long their start took. The start is a file with the reading
    of CLOCK_MONOTONIC at that moment.
    """

    def __init__(self, market_ns: int, start: Path, speed: float) -> None:
        super().__init__(market_ns, 0, speed)
        self._start = start
        self._runs = False

    def now_ns(self) -> int:
        """The market time at the start before `start`, the scaled time after it."""
        if not self._runs:
            started_ns = self._read_start()
            if started_ns is None:
                return self._market_ns
            self._monotonic_ns, self._runs = started_ns, True
        return super().now_ns()

    def start(self) -> None:
        """Start the clock in every process that shares it; a second start changes nothing."""
        with contextlib.suppress(FileExistsError), self._start.open("x") as file:
            file.write(f"{time.monotonic_ns()}\n")

    def to_variable(self) -> str:
        """The text for `OBSERVER_CLOCK` that gives another process this same clock."""
        return f"held:{self._market_ns}:{self._speed!r}:{self._start.absolute()}"

    def _read_start(self) -> int | None:
        """The reading at the start; None before it, and while it is being written."""
        try:
            text = self._start.read_text()
        except FileNotFoundError:
            return None
        return int(text) if text.endswith("\n") else None


def machine_seconds(clock: Clock, market_ns: int) -> float:
    """The machine seconds that pass in so many market nanoseconds of this clock."""
    return market_ns / NS_PER_S / (clock.speed if isinstance(clock, ScaledClock) else 1.0)


class ManualClock:
    """A clock that tests move; sleepers wake when it passes their moment."""

    def __init__(self, now_ns: int = 0) -> None:
        self._now_ns = now_ns
        self._moved = asyncio.Condition()

    def now_ns(self) -> int:
        """The time that was last set."""
        return self._now_ns

    async def sleep_until(self, moment_ns: int) -> None:
        """Wait until the clock is advanced to the moment."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._now_ns >= moment_ns)

    async def sleep(self, market_seconds: float) -> None:
        """Wait until the clock was advanced by so much."""
        await self.sleep_until(self._now_ns + round(market_seconds * NS_PER_S))

    async def advance(self, market_seconds: float) -> None:
        """Advance the clock and wake its sleepers."""
        async with self._moved:
            self._now_ns += round(market_seconds * NS_PER_S)
            self._moved.notify_all()


def clock_from_environment() -> Clock:
    """The clock that the supervisor chose for its processes: `OBSERVER_CLOCK`, or the real one.

    Raises:
        ValueError: the variable is set and is neither `scaled:<market ns>:<monotonic ns>:<speed>` nor
            `held:<market ns>:<speed>:<start file>`.
    """
    text = os.environ.get(CLOCK_VARIABLE, "")
    if not text:
        return RealClock()
    match text.split(":", maxsplit=3):
        case ["scaled", market_ns, monotonic_ns, speed] if float(speed) > 0:
            return ScaledClock(int(market_ns), int(monotonic_ns), float(speed))
        case ["held", market_ns, speed, start] if float(speed) > 0:
            return HeldClock(int(market_ns), Path(start), float(speed))
    forms = "scaled:<market ns>:<monotonic ns>:<speed> or held:<market ns>:<speed>:<start file>"
    raise ValueError(f"{CLOCK_VARIABLE}={text!r} is not {forms}")
