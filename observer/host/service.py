"""What systemd, or whoever else speaks sd_notify, hears of the system: that it starts, works, lives, and ends."""

import asyncio
from collections.abc import Callable
from typing import Final

from observer.supervisor.notify import ServiceManager

_BEAT_S_MAX: Final = 5.0
_PATIENCE_US: Final = 30_000_000  # asked for with each beat while starting or ending: only silence uses it up


class Service:
    """Tells the service manager of this process; beats for as long as `run` does.

    Args:
        manager: the service manager above this process.
        status: one line for people, asked with every beat.
    """

    def __init__(self, manager: ServiceManager, status: Callable[[], str]) -> None:
        self._manager = manager
        self._status = status
        self._is_passing = True  # starting or ending: that takes as long as the slowest process

    async def run(self) -> None:
        """Say so often that we live that two beats may be late, until cancelled."""
        beat_s = min(_BEAT_S_MAX, (self._manager.watchdog_s or _BEAT_S_MAX) / 3)
        while True:
            self._beat()
            await asyncio.sleep(beat_s)

    def _beat(self) -> None:
        self._manager.tell(watchdog=1, status=self._status())
        if self._is_passing:
            self._manager.tell(extend_timeout_usec=_PATIENCE_US)

    def ready(self) -> None:
        """Every process is ready, done or given up."""
        self._is_passing = False
        self._manager.tell(ready=1, status=self._status())

    def stopping(self) -> None:
        """The orderly end has begun."""
        self._is_passing = True
        self._manager.tell(stopping=1, extend_timeout_usec=_PATIENCE_US)
