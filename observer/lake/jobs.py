"""Seals the days of one system: each after its backup, and those that were missed or changed since. Where the lake has
a target, it publishes them there.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Final

from observer.alerts.process import Alerts
from observer.calendar.phases import DayPlan
from observer.calendar.service import TradingDayService
from observer.clock import Clock
from observer.errors import DataFileError, ObserverError, UntidyCatalogueError
from observer.lake.layout import SealedDay, days_to_remove, forgotten_dates, sealed_days
from observer.lake.merging import late_rows
from observer.lake.object_store import ObjectStore
from observer.lake.projection import DayFiles
from observer.lake.publishing import locked
from observer.lake.sealing import SealingResult, seal_days
from observer.lake.target import publish_days
from observer.store.kinds import ANNOUNCING, REMOVABLE
from observer.store.sealing import SealingReader
from observer.units import NS_PER_S

logger = logging.getLogger(__name__)

CHECKED_AGAIN: Final = 7
"""So many of the newest sealed days are compared with the database each day. Of an older one only rows are looked for
that announce others: a recovery, or fetched bars.
"""

_IDENTITY: Final = "lake"  # of the alert
_TARGET_IDENTITY: Final = "target"
_TARGET_RETRY_S: Final = 60.0  # market seconds from the first failure to the next attempt, doubled until `_RETRY_S`
_RETRY_S: Final = 3_600.0  # market seconds from a failed sealing to the next attempt
_POLL_S: Final = 30.0  # market seconds between looks for the day's package
_SAID_MAX: Final = 5  # of the days that are wrong, in one alert
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
        self._lake = lake
        self._url = url
        self._market = market
        self._today = today
        self._clock = clock
        self._alerts = alerts
        self._day_files = day_files
        self._keep_days = keep_days
        self._target = target

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
        """Seal the days up to `last` that are not sealed, and the newest that are; repeat a failure after an hour, but
        not after `until_ns`: a day that stays wrong must not keep the next one waiting. Return whether all succeeded.
        """
        while not await self._has_sealed(last):
            if self._clock.now_ns() + _RETRY_S * NS_PER_S >= until_ns:
                return False
            await self._clock.sleep(_RETRY_S)
        return True

    async def _has_sealed(self, last: str) -> bool:
        stop = threading.Event()
        try:
            texts = await asyncio.to_thread(self._seal, last, stop)
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
        """Publish the sealed days; repeat a failure ever more slowly, but not after `until_ns`. Return whether it
        succeeded, also where there is no target.
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
            texts = await asyncio.to_thread(self._publish, target, stop)
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

    def _publish(self, target: Callable[[], ObjectStore], stop: threading.Event) -> Sequence[str]:
        """Publish, and have the rows of old days removed; a day that is wrong keeps no other one from either."""
        store = target()
        texts: list[str] = []
        wrong = self._publish_days(store, stop, texts)
        if remove := self._days_to_remove(self._sealed()):
            wrong = []  # what stays wrong is said again
            try:
                texts += self._seal_days(sorted(remove), stop, remove, store, {})
            except DataFileError as error:
                wrong.append(str(error))
            except UntidyCatalogueError as error:  # the next sealing reports it
                logger.warning("%s", error)
            wrong += self._publish_days(store, stop, texts)
        if wrong:
            raise DataFileError("; ".join(wrong))
        return texts

    def _publish_days(self, store: ObjectStore, stop: threading.Event, texts: list[str]) -> list[str]:
        """Add the days that are published to the texts; return what is wrong with others."""
        days = publish_days(self._lake, store, self._market, stop)
        try:
            texts.extend(f"{each.session_date}: published" for each in days)
        except DataFileError as error:
            return [str(error)]
        return []

    def _sealed(self) -> Sequence[SealedDay]:
        return [each for each in sealed_days(self._lake) if each.market == self._market]

    def _days_to_remove(self, sealed: Sequence[SealedDay]) -> set[str]:
        """The sealed days whose rows the database need not keep, and whose manifest does not say so yet."""
        old = days_to_remove(sealed, self._market, self._keep_days) if self._keep_days is not None else ()
        return {each.session_date for each in old if REMOVABLE & each.kinds.keys() != set(each.removed)}

    def _seal(self, last: str, stop: threading.Event) -> Sequence[str]:
        sealed = self._sealed()
        wrong: dict[str, str] = {}
        with locked(self._lake):  # also those of old days: a restored or a new folder has none
            for each in sealed:
                self._write_day_files(each, wrong)
        # With a target, rows are removed when it has them: after the publication.
        remove = self._days_to_remove(sealed) if self._target is None else set()
        removed = {each.session_date for each in sealed if each.removed}
        forgotten = forgotten_dates(self._lake) | {each.session_date for each in sealed if each.lost_kinds}
        with SealingReader(self._url) as reader:
            stored = [day for day in reader.collected_days() if day <= last and day not in forgotten]
            late = removed & reader.oldest_days() if removed else set()
            late |= {each.session_date for each in sealed if has_more(each, reader)}
        days = days_to_seal(stored, {each.session_date for each in sealed})
        days += sorted(
            {*remove, *late}.difference(days, forgotten)
        )  # the newest days first: those of many months take long
        return self._seal_days(days, stop, remove, None, wrong)

    def _seal_days(
        self,
        days: Sequence[str],
        stop: threading.Event,
        remove: Collection[str],
        target: ObjectStore | None,
        wrong: dict[str, str],
    ) -> Sequence[str]:
        """Seal these days and write their day files; `wrong` is what was wrong with day files before, by the date."""
        texts: list[str] = []
        unsealed: list[str] = []
        untidy: UntidyCatalogueError | None = None
        try:
            for each in seal_days(
                self._lake, self._url, self._market, days, self._clock.now_ns, stop, remove=remove, target=target
            ):
                self._write_day_files(each.day, wrong)
                texts += _texts(each)
        except DataFileError as error:
            unsealed.append(str(error))
        except UntidyCatalogueError as error:
            untidy = error
        if said := [*unsealed, *wrong.values()]:
            more = f"; and {len(said) - _SAID_MAX} more" if len(said) > _SAID_MAX else ""
            raise DataFileError(f"{'; '.join(said[:_SAID_MAX])}{more}")
        if untidy is not None:
            for text in texts:
                logger.info("%s", text)
            raise untidy
        return texts

    def _write_day_files(self, day: SealedDay, wrong: dict[str, str]) -> None:
        """Write the files of a day, or note under its date what is wrong with them."""
        wrong.pop(day.session_date, None)
        try:
            self._day_files.write(self._lake, day)
        except (DataFileError, OSError) as error:
            wrong[day.session_date] = f"the day files of {day.session_date} are not written: {error}"


def _texts(result: SealingResult) -> Sequence[str]:
    day = result.day.session_date
    written = [f"{day}: sealed {', '.join(result.written)}"] if result.written else []
    removed = [f"{day}: the database need not keep {', '.join(result.removed)}"] if result.removed else []
    return [*written, *removed]


def has_more(day: SealedDay, reader: SealingReader) -> bool:
    """Whether rows came that announce others of a day long past. They are few and stay in the database."""
    _, uids = reader.marks()
    held = set(uids.values())
    for kind in ANNOUNCING:
        newest = day.newest(kind)
        if newest is None or newest.is_held_with(held):
            if reader.count(kind, day.session_date) > (newest.rows if newest else 0):
                return True
        elif reader.count(kind, day.session_date):  # another database has sealed rows: the number does not show it
            with closing(reader.batches(kind, day.session_date)) as found:
                if any(late_rows(found, newest.streams, uids)):
                    return True
    return False


def days_to_seal(stored: Sequence[str], sealed: set[str]) -> list[str]:
    """The stored days to seal or to compare: those that are not sealed, and the newest of those that are."""
    again = [day for day in sorted(stored) if day in sealed][-CHECKED_AGAIN:]
    return sorted({*again, *(day for day in stored if day not in sealed)})
