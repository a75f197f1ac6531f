"""Keeps the day file of a system up to date, and reports when that takes long or fails.

A failure ends no process: the file in force stays, and the next try follows.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

from bus.events import Severity
from observer.base.clock import Clock
from observer.base.errors import DataFileError
from observer.base.local_time import local_datetime
from observer.calendar.day_file import CalendarFiles, read_trading_days
from observer.calendar.process import Compute, keep_trading_days

logger = logging.getLogger(__name__)

DAYS_BACK: Final = timedelta(days=100)  # the sessions of the longest average lie within
DAYS_AHEAD: Final = timedelta(days=40)

_LATE_S: Final = 60.0  # machine seconds; computing takes about one, on a busy machine half a minute
_RETRY_S: Final = 60.0
_CONSEQUENCE: Final = "no phase, no universe and no sweep until then"


class CalendarUpkeep:
    """Computes the trading days around today where the day file lacks them.

    Args:
        runtime: the folder of the day file.
        files: the reviewed files (`calendar.packages`).
        clock: market time.
        report: takes an alert's severity and text, as often as its condition is seen.
        resolve: takes the text of its end.
        compute: computes the days; None: in a process of its own.
    """

    def __init__(
        self,
        runtime: Path,
        files: CalendarFiles,
        clock: Clock,
        report: Callable[[Severity, str], object],
        resolve: Callable[[str], object],
        compute: Compute | None = None,
    ) -> None:
        self._runtime = runtime
        self._files = files
        self._clock = clock
        self._report = report
        self._resolve = resolve
        self._compute = compute
        self.tried = asyncio.Event()
        """Set when the file in force holds today, or after the first try: then the days are there, or an alert is."""

    async def keep(self) -> None:
        """Return when the day file holds the days, or when they cannot be computed and the file in force holds today.

        While today is missing it goes on trying.
        """
        if self._has_today():
            self.tried.set()
        while not await self._try_once():
            if self._has_today():
                return
            await asyncio.sleep(_RETRY_S)

    async def _try_once(self) -> bool:
        today = local_datetime(self._clock.now_ns()).date()
        days = today - DAYS_BACK, today + DAYS_AHEAD
        computing = asyncio.create_task(keep_trading_days(self._runtime, self._files, *days, self._compute))
        try:
            done, _ = await asyncio.wait([computing], timeout=_LATE_S)
            if not done and not self._has_today():
                self._report("warning", f"the trading days are not computed after {_LATE_S:g} s: {_CONSEQUENCE}")
            await computing
        except DataFileError as error:
            self._report_failure(error, f"correct {self._files.overlay} or {self._files.sessions}")
            return False
        except OSError as error:
            self._report_failure(error, f"free disk and memory (`df {self._runtime}`, `free -m`)")
            return False
        finally:
            computing.cancel()
            self.tried.set()
        self._resolve("the trading days are computed")
        return True

    def _report_failure(self, error: Exception, remedy: str) -> None:
        known = "the days computed last are used" if self._has_today() else _CONSEQUENCE
        restart = "restart master-file with `observer ctl restart master-file`"
        self._report("critical", f"the trading days cannot be computed: {error}: {known}; {remedy} and {restart}")

    def _has_today(self) -> bool:
        """Whether the file in force covers this day: then the system can work before its renewal."""
        today = local_datetime(self._clock.now_ns()).date()
        return any(day.day == today for day in read_trading_days(self._runtime))
