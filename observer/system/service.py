"""Reports the system's start, life and end to systemd, or another service manager with sd_notify."""

import asyncio
from collections.abc import Callable
from typing import Final

from observer.supervisor.notify import ServiceManager

_BEAT_S_MAX: Final = 5.0
_TIMEOUT_US: Final = 30_000_000  # asked for with each beat while starting or ending: only silence uses it up


class Service:
    """Reports this process to the service manager; sends watchdog beats while `run` runs.

    Args:
        manager: the service manager above this process.
        status: returns one line for people; called at every beat.
    """

    def __init__(self, manager: ServiceManager, status: Callable[[], str]) -> None:
        self._manager = manager
        self._status = status
        self._is_passing = True  # starting or ending: that takes as long as the slowest process

    async def run(self) -> None:
        """Beat until cancelled, often enough that two beats may be late."""
        beat_s = min(_BEAT_S_MAX, (self._manager.watchdog_s or _BEAT_S_MAX) / 3)
        while True:
            self._beat()
            await asyncio.sleep(beat_s)

    def _beat(self) -> None:
        self._manager.report(watchdog=1, status=self._status())
        if self._is_passing:
            self._manager.report(extend_timeout_usec=_TIMEOUT_US)

    def ready(self) -> None:
        """Report that every process is ready, done or given up."""
        self._is_passing = False
        self._manager.report(ready=1, status=self._status())

    def stopping(self) -> None:
        """Report that the orderly end has begun."""
        self._is_passing = True
        self._manager.report(stopping=1, extend_timeout_usec=_TIMEOUT_US)
