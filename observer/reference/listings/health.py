"""Watches the listings: how old each exchange's last check is, how many listings a region has, how many are complete.

docs/requirement.md: a master file older than 48 hours, a region that loses more than a tenth of its listings, and less
than 95 % of complete listings are alerts. A check that fails is an alert at once (`sync`); the age shows the check that
never comes.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from observer.base.clock import Clock
from observer.base.errors import StoreError
from observer.base.local_time import local_datetime
from observer.base.state_file import StateFile
from observer.base.units import NS_PER_S
from observer.monitoring.alerts.process import Alerts
from observer.reference.listings.model import region_of
from observer.store.listings import Counts

AGE_MAX_HOURS: Final = 48.0
DROP_MAX: Final = 0.10  # of the highest count of the compared days
COMPLETE_MIN: Final = 0.95
DAYS_COMPARED: Final = 7  # days with a count; a lower count that lasts so long is the usual one
LOOK_S: Final = 600.0  # market seconds

AGE: Final = "master_file_age:"
COUNT: Final = "listing_count:"
COMPLETENESS: Final = "listing_completeness:"
_FILE: Final = "counts.json"

logger = logging.getLogger(__name__)


class RegionCounts(msgspec.Struct, frozen=True):
    """Listings of each region on one day (ISO date), the last count of the day."""

    day: str
    listings: Mapping[str, int]


def after_count(earlier: Sequence[RegionCounts], today: RegionCounts) -> tuple[RegionCounts, ...]:
    """The counts of the last DAYS_COMPARED days that have one, oldest first, with those of today."""
    return (*(each for each in earlier if each.day != today.day), today)[-DAYS_COMPARED:]


def fallen(days: Sequence[RegionCounts]) -> Mapping[str, str]:
    """The regions whose last count is more than DROP_MAX below their highest one, each with a text."""
    found = {}
    for region, count in days[-1].listings.items() if days else ():
        highest = max(each.listings.get(region, 0) for each in days)
        if count < highest * (1 - DROP_MAX):
            found[region] = f"{region} has {count:,} listings, after {highest:,} within {DAYS_COMPARED} days"
    return found


def incomplete(counts: Sequence[Counts]) -> Mapping[str, str]:
    """The regions whose listings with a name and a currency are less than COMPLETE_MIN of all, each with a text."""
    listed, complete = Counter[str](), Counter[str]()
    for each in counts:
        listed[region_of(each.exchange)] += each.active
        complete[region_of(each.exchange)] += each.complete
    return {
        region: f"{complete[region]:,} of {count:,} listings of {region} have a name and a currency"
        for region, count in listed.items()
        if complete[region] < count * COMPLETE_MIN
    }


def aged(checked_ns: Mapping[str, int], since_ns: int, now_ns: int) -> Mapping[str, str]:
    """The exchanges without a successful check for AGE_MAX_HOURS, each with a text. One that was never checked counts
    from `since_ns` on.
    """
    found = {}
    for exchange, at_ns in checked_ns.items():
        hours = (now_ns - (at_ns or since_ns)) / (3_600 * NS_PER_S)
        if hours > AGE_MAX_HOURS:
            last = f"the last was at {local_datetime(at_ns):%m-%d %H:%M}" if at_ns else "there was none"
            found[exchange] = f"{exchange}: no check of the master file for {hours:.0f} hours, {last}"
    return found


class ListingHealth:
    """Reports the three conditions as alerts, and their ends.

    Args:
        folder: of the master files; keeps the counts of the last days.
        checked: returns when each exchange's file was last checked with success, 0 for never.
        counts: returns the stored counts of each exchange.
        clock: market time.
        alerts: of the process.
    """

    def __init__(
        self,
        folder: Path,
        checked: Callable[[], Mapping[str, int]],
        counts: Callable[[], Sequence[Counts]],
        clock: Clock,
        alerts: Alerts,
    ) -> None:
        self._file = StateFile(folder / _FILE, tuple[RegionCounts, ...])
        self._checked = checked
        self._counts = counts
        self._clock = clock
        self._alerts = alerts
        self._since_ns = clock.now_ns()

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Look at once and each LOOK_S market seconds, while the block runs."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self.look()
            await self._clock.sleep(LOOK_S)

    async def look(self) -> None:
        """Report what holds now. Without the database only the age is judged: its outage is another alert."""
        checked = await asyncio.to_thread(self._checked)
        self._report(AGE, aged(checked, self._since_ns, self._clock.now_ns()), "the master file is checked")
        try:
            counts = [each for each in await asyncio.to_thread(self._counts) if each.exchange in checked]
        except StoreError as error:
            logger.warning("the listings are not counted: %s", error)
            return
        self._report(COUNT, fallen(self._with_today(counts)), "the count of its listings is usual")
        self._report(COMPLETENESS, incomplete(counts), "its listings are complete")

    def _with_today(self, counts: Sequence[Counts]) -> Sequence[RegionCounts]:
        """The counts of the last days with those of today, which are kept."""
        by_region = Counter[str]()
        for each in counts:
            by_region[region_of(each.exchange)] += each.active
        day = local_datetime(self._clock.now_ns()).date().isoformat()
        earlier = self._file.read() or ()  # missing or damaged: it begins anew
        days = after_count(earlier, RegionCounts(day, dict(by_region)))
        if days != earlier:
            try:
                self._file.write(days)
            except OSError as error:
                logger.warning("the counts of listings are not kept: %s", error)
        return days

    def _report(self, prefix: str, found: Mapping[str, str], end: str) -> None:
        for name, text in found.items():
            self._alerts.report(prefix + name, "warning", text)
        self._alerts.resolve_all(prefix, end, {prefix + name for name in found})
