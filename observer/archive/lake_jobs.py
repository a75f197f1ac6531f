"""Seals the days of one system, each after its backup, also days that were missed or changed; publishes sealed days."""

import asyncio
import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

from observer.archive.day_files import DayFiles
from observer.archive.object_store import ObjectStore
from observer.archive.upkeep import LakeUpkeep
from observer.base.clock import Clock
from observer.base.errors import ObserverError, UntidyCatalogueError
from observer.base.units import NS_PER_S
from observer.calendar.phases import DayPlan
from observer.calendar.service import TradingDayService
from observer.monitoring.alerts.process import Alerts
from observer.store.sealing import SealingReader

logger = logging.getLogger(__name__)

_IDENTITY: Final = "lake"  # of the alert
_TARGET_IDENTITY: Final = "target"
_TARGET_RETRY_S: Final = 60.0  # market seconds from the first failure to the next attempt, doubled until `_RETRY_S`
_RETRY_S: Final = 3_600.0  # market seconds from a failed sealing to the next attempt
_POLL_S: Final = 30.0  # market seconds between looks for the day's package
_WAITING_S: Final = 3_600  # market seconds: a day whose backup fails is sealed without it


class LakeJobs:
    """Seals days of the database at `url` in the folder `lake`, and writes their day files. The database need not keep
    the rows of the sealed days before the newest `keep_days` (None: it keeps all). `target` opens the object store that
    gets the sealed days (None: there is none); it raises ConfigError without keys.
    """

    def __init__(
        self,
        *,
        lake: Path,
        url: str,
        market: str,
        today: TradingDayService,
        clock: Clock,
        alerts: Alerts,
        day_files: DayFiles,
        keep_days: int | None = None,
        target: Callable[[], ObjectStore] | None = None,
    ) -> None:
        self._url = url
        self._today = today
        self._clock = clock
        self._alerts = alerts
        self._target = target
        self._upkeep = LakeUpkeep(
            lake=lake,
            url=url,
            market=market,
            now_ns=clock.now_ns,
            day_files=day_files,
            keep_days=keep_days,
            has_target=target is not None,
        )

    async def run(self) -> None:
        """Seal and publish what earlier days lack, then each day after its backup; never returns."""
        is_done = False
        while True:
            day = await self._today.plan()
            if not is_done:
                await self._until_done((day.day - timedelta(days=1)).isoformat(), day.backup_ns)
            await self._clock.sleep_until(day.backup_ns)
            await self._until_backed_up(day)
            is_done = await self._until_done(day.day.isoformat(), day.ends_ns)
            await self._today.end_of(day)

    async def _until_done(self, last: str, until_ns: int) -> bool:
        """Seal the days up to `last`, then publish them; return whether all succeeded."""
        is_sealed = await self._until_sealed(last, until_ns)
        return await self._until_published(until_ns) and is_sealed

    async def _until_backed_up(self, day: DayPlan) -> None:
        limit_ns = day.backup_ns + _WAITING_S * NS_PER_S
        while self._clock.now_ns() < limit_ns:
            try:
                if await asyncio.to_thread(self._is_backed_up, day.backup_ns):
                    return
            except ObserverError as error:
                logger.error("the database does not say whether the day is backed up: %s", error)
            await self._clock.sleep(_POLL_S)
        logger.warning("%s has no package yet and is sealed without it", day.day)

    def _is_backed_up(self, since_ns: int) -> bool:
        with SealingReader(self._url) as reader:
            return reader.is_backed_up(since_ns)

    async def _until_sealed(self, last: str, until_ns: int) -> bool:
        """Seal the unsealed days up to `last`, and the newest sealed days again. A failure is repeated after an hour,
        not after `until_ns`: a day that stays wrong must not delay the next day. Returns whether all succeeded.
        """
        while not await self._has_sealed(last):
            if self._clock.now_ns() + _RETRY_S * NS_PER_S >= until_ns:
                return False
            await self._clock.sleep(_RETRY_S)
        return True

    async def _has_sealed(self, last: str) -> bool:
        stop = threading.Event()
        try:
            texts = await asyncio.to_thread(self._upkeep.seal, last, stop)
        except UntidyCatalogueError as error:  # no day has to be sealed again for it
            self._alerts.report(_IDENTITY, "warning", f"the days up to {last} are sealed, but {error}")
            return True
        except (ObserverError, OSError) as error:
            text = f"days are not sealed: {error}; tried again in an hour, or by `observer lake seal --all`"
            self._alerts.report(_IDENTITY, "warning", text)
            return False
        finally:
            stop.set()  # a job that is cancelled leaves its thread, which ends by this
        for text in texts:
            logger.info("%s", text)
        self._alerts.resolve(_IDENTITY, f"the days up to {last} are sealed")
        return True

    async def _until_published(self, until_ns: int) -> bool:
        """Publish the sealed days. A failure is repeated ever more slowly, not after `until_ns`. Returns whether all
        succeeded; True without a target.
        """
        if self._target is None:
            return True
        retry_s = _TARGET_RETRY_S
        while not await self._has_published(self._target, retry_s):
            if self._clock.now_ns() + retry_s * NS_PER_S >= until_ns:
                return False
            await self._clock.sleep(retry_s)
            retry_s = min(2 * retry_s, _RETRY_S)
        return True

    async def _has_published(self, target: Callable[[], ObjectStore], retry_s: float) -> bool:
        stop = threading.Event()
        try:
            texts = await asyncio.to_thread(lambda: self._upkeep.publish(target(), stop))
        except (ObserverError, OSError) as error:
            again = f"tried again in {retry_s:g} s, or by `observer lake publish`"
            text = f"sealed days are not published, and the database keeps its rows: {error}; {again}"
            self._alerts.report(_TARGET_IDENTITY, "warning", text)
            return False
        finally:
            stop.set()
        for text in texts:
            logger.info("%s", text)
        self._alerts.resolve(_TARGET_IDENTITY, "the sealed days are published")
        return True
