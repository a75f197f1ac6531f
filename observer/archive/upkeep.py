"""Seals the days of one system, each after its backup, also days that were missed or changed; publishes sealed days."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Final

from observer.archive.copies import kinds_apart
from observer.archive.copying import publish_days
from observer.archive.day import SealedDay, days_to_remove, readable_days
from observer.archive.day_files import DayFiles
from observer.archive.lock import locked
from observer.archive.merging import late_rows
from observer.archive.scrub import Scrubbed, said, scrub
from observer.archive.sealing import SealingResult, seal_days
from observer.archive.target import FolderTarget, Target
from observer.base.clock import Clock, RealClock
from observer.base.errors import DataFileError, ObserverError, UntidyCatalogueError
from observer.base.units import NS_PER_S
from observer.calendar.phases import DayPlan
from observer.calendar.service import TradingDayService
from observer.monitoring.alerts.process import LAKE_DAMAGED, Alerts
from observer.store.kinds import ANNOUNCING, REMOVABLE
from observer.store.sealing import SealingReader

logger = logging.getLogger(__name__)

CHECKED_AGAIN: Final = 7
"""So many of the newest sealed days are compared with the database each day. Of an older one only rows are looked for
that announce others: a recovery, or fetched bars.
"""

_SAID_MAX: Final = 5  # of the days that are wrong, in one error
_SEALING: Final = "lake"  # the alert that days are not sealed
_TARGET: Final = "target"  # the alert that sealed days are not published
_TARGET_RETRY_S: Final = 60.0  # market seconds from the first failure to the next attempt, doubled until `_RETRY_S`
_RETRY_S: Final = 3_600.0  # market seconds from a failed sealing to the next attempt
_POLL_S: Final = 30.0  # market seconds between looks for the day's package
_WAITING_S: Final = 3_600  # market seconds: a day whose backup fails is sealed without it


class LakeUpkeep:
    """Seals days of the database at `url` in the folder `lake`, and writes their day files. The database need not keep
    the rows of the sealed days before the newest `keep_days` (None: it keeps all). They are removed when `copy`, beside
    the packages, has files of its own with them; without one when the object store has them: after a publication.
    The files of all `copies` are verified as the lake's are.
    `now_ns` is the market time. Not for two threads at once.
    """

    def __init__(
        self,
        *,
        lake: Path,
        url: str,
        market: str,
        now_ns: Callable[[], int],
        day_files: DayFiles,
        keep_days: int | None = None,
        copy: FolderTarget | None = None,
        copies: Sequence[Path] = (),
    ) -> None:
        self._lake = lake
        self._copies = copies
        self.url = url
        self._market = market
        self._now_ns = now_ns
        self._day_files = day_files
        self._keep_days = keep_days
        self._copy = copy
        self._filed: dict[str, SealedDay] = {}  # by date, the day whose day files are written

    def publish(self, target: Target, stop: threading.Event) -> Sequence[str]:
        """Publish the sealed days, and have the rows of old days removed; return what was done. A day that is wrong
        keeps no other one from either.

        Raises:
            DataFileError: what is wrong with days.
            ObserverError, OSError: as `publish_days` and `seal_days`.
        """
        texts, wrong = self._published(target, stop)
        if remove := self._days_to_remove(self._sealed()):
            wrong = []  # what stays wrong is said again
            try:
                texts += self._seal_days(sorted(remove), stop, remove, target)
            except DataFileError as error:
                wrong.append(str(error))
            except UntidyCatalogueError as error:  # the next sealing reports it
                logger.warning("%s", error)
            again, still_wrong = self._published(target, stop)
            texts, wrong = texts + again, wrong + still_wrong
        if wrong:
            raise DataFileError("; ".join(wrong))
        return texts

    def _published(self, target: Target, stop: threading.Event) -> tuple[list[str], list[str]]:
        """Publish; return what was done, and what is wrong with other days."""
        texts: list[str] = []
        try:
            days = publish_days(self._lake, target, self._market, stop)
            texts.extend(f"{day.session_date}: published" for day in days)
        except DataFileError as error:
            return texts, [str(error)]
        return texts, []

    def scrub(self, stop: threading.Event) -> Scrubbed:
        """Read the night's share of the lake and its copies. Raises StoppedError."""
        return scrub(self._lake, RealClock().now_ns() // NS_PER_S, stop, self._copies)

    def _sealed(self) -> Sequence[SealedDay]:
        """The days whose manifest can be read: sealing makes the others again."""
        return [each for each in readable_days(self._lake)[0] if each.market == self._market]

    def _days_to_remove(self, sealed: Sequence[SealedDay]) -> set[str]:
        """The sealed days whose rows the database need not keep, and whose manifest does not say so yet; none that has
        one copy: the next backups make another one.
        """
        old = days_to_remove(sealed, self._market, self._keep_days) if self._keep_days is not None else ()
        wanted = [(each, REMOVABLE & each.kinds.keys()) for each in old]
        return {
            day.session_date
            for day, kinds in wanted
            if kinds != set(day.removed)
            and (self._copy is None or kinds <= kinds_apart(self._lake, self._copy.folder, day))
        }

    def seal(self, last: str, stop: threading.Event) -> Sequence[str]:
        """Seal the days up to `last` that are not sealed, and those sealed ones that changed; return what was done. A
        day that is wrong keeps no other one from being sealed.

        Raises:
            DataFileError: what is wrong with days.
            UntidyCatalogueError: all are sealed, but the catalogue is not up to date.
            ObserverError, OSError: as `seal_days`.
        """
        sealed = self._sealed()
        remove = self._days_to_remove(sealed) if self._copy is not None else set()
        removed = {each.session_date for each in sealed if each.removed}
        with SealingReader(self.url) as reader:
            stored = [day for day in reader.collected_days() if day <= last]
            late = removed & reader.oldest_days() if removed else set()
            late |= days_with_more(sealed, reader)
        days = days_to_seal(stored, {each.session_date for each in sealed})
        days += sorted({*remove, *late}.difference(days))  # the newest days first: those of many months take long
        return self._seal_days(days, stop, remove, self._copy)

    def _seal_days(
        self, days: Sequence[str], stop: threading.Event, remove: Collection[str], target: Target | None = None
    ) -> list[str]:
        """Seal the days and write day files."""
        texts: list[str] = []
        wrong: list[str] = []
        untidy: UntidyCatalogueError | None = None
        try:
            found = seal_days(
                self._lake, self.url, self._market, days, self._now_ns, stop, remove=remove, target=target
            )
            for each in found:
                texts += _texts(each)
        except DataFileError as error:
            wrong.append(str(error))
        except UntidyCatalogueError as error:
            untidy = error
        wrong += self._write_day_files()
        if wrong:
            raise DataFileError(said(wrong, _SAID_MAX))
        if untidy is not None:
            for text in texts:
                logger.info("%s", text)
            raise untidy
        return texts

    def _write_day_files(self) -> Iterator[str]:
        """Write the day files of the days that changed since this process wrote them, and of the days without a folder
        of day files (a restored or new folder); yield what is wrong.
        """
        sealed = self._sealed()
        gone = self._day_files.days_without_folder(sealed)
        with locked(self._lake):
            for day in sealed:
                date = day.session_date
                if self._filed.get(date) == day and date not in gone:
                    continue
                self._filed.pop(date, None)
                try:
                    self._day_files.write(self._lake, day)
                except (DataFileError, OSError) as error:
                    yield f"the day files of {date} are not written: {error}"
                else:
                    self._filed[date] = day


def _texts(result: SealingResult) -> Sequence[str]:
    day = result.day.session_date
    written = [f"{day}: sealed {', '.join(result.written)}"] if result.written else []
    removed = [f"{day}: the database need not keep {', '.join(result.removed)}"] if result.removed else []
    return [*written, *removed]


def days_with_more(sealed: Sequence[SealedDay], reader: SealingReader) -> set[str]:
    """The dates of the days for which rows came that announce others of a day long past. They are few and stay in the
    database.
    """
    _, uids = reader.marks()
    found: set[str] = set()
    for kind in ANNOUNCING:
        counts = reader.counts(kind, [each.session_date for each in sealed])
        found |= {day.session_date for day in sealed if _has_more(day, kind, counts[day.session_date], reader, uids)}
    return found


def _has_more(day: SealedDay, kind: str, rows: int, reader: SealingReader, uids: Mapping[int, str]) -> bool:
    newest = day.newest(kind)
    if newest is None or newest.is_held_with(set(uids.values())):
        return rows > (newest.rows if newest else 0)
    if not rows:
        return False
    with closing(reader.batches(kind, day.session_date)) as found:  # the number does not show it: another database
        return any(late_rows(found, newest.streams, uids))  # has sealed rows


def days_to_seal(stored: Sequence[str], sealed: set[str]) -> list[str]:
    """The stored days to seal or to compare: the unsealed days and the newest sealed days."""
    again = [day for day in sorted(stored) if day in sealed][-CHECKED_AGAIN:]
    return sorted({*again, *(day for day in stored if day not in sealed)})


class LakeJobs:
    """Has days sealed and published by `upkeep`. `target` opens the object store that gets the sealed days (None: there
    is none); it raises ConfigError without keys.
    """

    def __init__(
        self,
        upkeep: LakeUpkeep,
        today: TradingDayService,
        clock: Clock,
        alerts: Alerts,
        target: Callable[[], Target] | None = None,
    ) -> None:
        self._upkeep = upkeep
        self._today = today
        self._clock = clock
        self._alerts = alerts
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
            await self._scrub()
            await self._today.end_of(day)

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
        with SealingReader(self._upkeep.url) as reader:
            return reader.is_backed_up(since_ns)

    async def _until_done(self, last: str, until_ns: int) -> bool:
        """Seal the unsealed days up to `last`, and the newest sealed days again, then publish them; return whether all
        succeeded. A failed sealing is repeated after an hour, a failed publication ever more slowly, neither after
        `until_ns`: a day that stays wrong must not delay the next day.
        """
        is_sealed = await self._repeated(lambda _: self._has_sealed(last), _RETRY_S, until_ns)
        is_published = self._target is None or await self._repeated(self._has_published, _TARGET_RETRY_S, until_ns)
        return is_sealed and is_published

    async def _repeated(self, work: Callable[[float], Awaitable[bool]], retry_s: float, until_ns: int) -> bool:
        while not await work(retry_s):
            if self._clock.now_ns() + retry_s * NS_PER_S >= until_ns:
                return False
            await self._clock.sleep(retry_s)
            retry_s = min(2 * retry_s, _RETRY_S)
        return True

    async def _has_sealed(self, last: str) -> bool:
        try:
            await self._in_thread(lambda stop: self._upkeep.seal(last, stop))
        except UntidyCatalogueError as error:  # no day has to be sealed again for it
            self._alerts.report(_SEALING, "warning", f"the days up to {last} are sealed, but {error}")
            return True
        except (ObserverError, OSError) as error:
            text = f"days are not sealed: {error}; tried again in an hour, or by `observer lake seal --all`"
            self._alerts.report(_SEALING, "warning", text)
            return False
        self._alerts.resolve(_SEALING, f"the days up to {last} are sealed")
        return True

    async def _has_published(self, retry_s: float) -> bool:
        assert self._target is not None
        target = self._target
        try:
            await self._in_thread(lambda stop: self._upkeep.publish(target(), stop))
        except (ObserverError, OSError) as error:
            again = f"tried again in {retry_s:g} s, or by `observer lake publish`"
            text = f"sealed days are not published, and the database keeps its rows: {error}; {again}"
            self._alerts.report(_TARGET, "warning", text)
            return False
        self._alerts.resolve(_TARGET, "the sealed days are published")
        return True

    async def _scrub(self) -> None:
        stop = threading.Event()
        try:
            found = await asyncio.to_thread(self._upkeep.scrub, stop)
        except OSError as error:
            logger.error("the lake is not verified tonight: %s", error)
            return
        finally:
            stop.set()
        what = f"{found.files:,} of {found.of_files:,} files, {found.size_bytes:,} of {found.of_bytes:,} bytes"
        logger.info("verified %s of the lake: %d damaged", what, len(found.problems))
        if found.problems:
            self._alerts.report(LAKE_DAMAGED, "critical", said(found.problems, _SAID_MAX))
        else:
            self._alerts.resolve(LAKE_DAMAGED, f"what was read is whole: {what}")

    async def _in_thread(self, work: Callable[[threading.Event], Sequence[str]]) -> None:
        stop = threading.Event()
        try:
            for text in await asyncio.to_thread(work, stop):
                logger.info("%s", text)
        finally:
            stop.set()  # a job that is cancelled leaves its thread, which ends by this
