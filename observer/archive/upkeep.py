"""A day's upkeep of the lake: which days are sealed and which are looked at again, and whose rows need not be kept.

It decides and does it once; when, how often again and what is reported is `observer.archive.lake_jobs`.
"""

import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from observer.archive.day import SealedDay, days_to_remove, forgotten_dates
from observer.archive.day_files import DayFiles
from observer.archive.known_days import KnownDays
from observer.archive.merging import late_rows
from observer.archive.object_store import ObjectStore
from observer.archive.repair import locked
from observer.archive.sealing import SealingResult, seal_days
from observer.archive.target import publish_days
from observer.base.errors import DataFileError, UntidyCatalogueError
from observer.store.kinds import ANNOUNCING, REMOVABLE
from observer.store.sealing import SealingReader

logger = logging.getLogger(__name__)

CHECKED_AGAIN: Final = 7
"""So many of the newest sealed days are compared with the database each day. Of an older one only rows are looked for
that announce others: a recovery, or fetched bars.
"""

_SAID_MAX: Final = 5  # of the days that are wrong, in one error


class LakeUpkeep:
    """Seals days of the database at `url` in the folder `lake`, and writes their day files. The database need not keep
    the rows of the sealed days before the newest `keep_days` (None: it keeps all). With `has_target` they are removed
    when the target has them: after a publication. `now_ns` is the market time. Not for two threads at once.
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
        has_target: bool = False,
    ) -> None:
        self._lake = lake
        self._url = url
        self._market = market
        self._now_ns = now_ns
        self._day_files = day_files
        self._keep_days = keep_days
        self._has_target = has_target
        self._known = KnownDays(lake)
        self._filed: dict[str, SealedDay] = {}  # by date, the day whose day files are written

    def publish(self, store: ObjectStore, stop: threading.Event) -> Sequence[str]:
        """Publish the sealed days, and have the rows of old days removed; return what was done. A day that is wrong
        keeps no other one from either.

        Raises:
            DataFileError: what is wrong with days.
            ObserverError, OSError: as `publish_days` and `seal_days`.
        """
        texts: list[str] = []
        wrong = self._published(store, stop, texts)
        if remove := self._days_to_remove(self._sealed()):
            wrong = []  # what stays wrong is said again
            try:
                texts += self._seal_days(sorted(remove), stop, remove, store, {})
            except DataFileError as error:
                wrong.append(str(error))
            except UntidyCatalogueError as error:  # the next sealing reports it
                logger.warning("%s", error)
            wrong += self._published(store, stop, texts)
        if wrong:
            raise DataFileError("; ".join(wrong))
        return texts

    def _published(self, store: ObjectStore, stop: threading.Event, texts: list[str]) -> list[str]:
        """Add the published days to `texts`. Returns the problems of other days."""
        days = publish_days(self._lake, store, self._market, stop)
        try:
            texts.extend(f"{each.session_date}: published" for each in days)
        except DataFileError as error:
            return [str(error)]
        return []

    def _sealed(self) -> Sequence[SealedDay]:
        return [each for each in self._known.days() if each.market == self._market]

    def _days_to_remove(self, sealed: Sequence[SealedDay]) -> set[str]:
        """The sealed days whose rows the database need not keep, and whose manifest does not say so yet; not those
        with a lost kind, which is never whole.
        """
        old = days_to_remove(sealed, self._market, self._keep_days) if self._keep_days is not None else ()
        return {
            each.session_date
            for each in old
            if not each.lost_kinds and REMOVABLE & each.kinds.keys() != set(each.removed)
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
        wrong: dict[str, str] = {}
        with locked(self._lake):
            for each in self._without_day_files(sealed):
                self._write_day_files(each, wrong)
        remove = set() if self._has_target else self._days_to_remove(sealed)
        removed = {each.session_date for each in sealed if each.removed or each.lost_kinds}
        forgotten = forgotten_dates(self._lake)
        with SealingReader(self._url) as reader:
            stored = [day for day in reader.collected_days() if day <= last and day not in forgotten]
            late = removed & reader.oldest_days() if removed else set()
            late |= days_with_more(sealed, reader)
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
        """Seal the days and write their day files. `wrong` holds the earlier problems of day files by date."""
        texts: list[str] = []
        unsealed: list[str] = []
        untidy: UntidyCatalogueError | None = None
        try:
            for each in seal_days(
                self._lake,
                self._url,
                self._market,
                days,
                self._now_ns,
                stop,
                remove=remove,
                target=target,
                known=self._known,
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

    def _without_day_files(self, sealed: Sequence[SealedDay]) -> Sequence[SealedDay]:
        """The days that changed since their day files were written, and the days without a folder of day files (a
        restored or new folder). All days, when all files of the lake are checked.
        """
        if self._known.is_look_due(self._now_ns()):
            return sealed
        gone = self._day_files.days_without_folder(sealed)
        return [each for each in sealed if self._filed.get(each.session_date) is not each or each.session_date in gone]

    def _write_day_files(self, day: SealedDay, wrong: dict[str, str]) -> None:
        """Write the files of a day; note a failure under its date."""
        wrong.pop(day.session_date, None)
        self._filed.pop(day.session_date, None)
        try:
            self._day_files.write(self._lake, day)
        except (DataFileError, OSError) as error:
            wrong[day.session_date] = f"the day files of {day.session_date} are not written: {error}"
        else:
            self._filed[day.session_date] = day


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
    held = set(uids.values())
    found: set[str] = set()
    for kind in ANNOUNCING:
        counts = reader.counts(kind, [each.session_date for each in sealed])
        found |= {each.session_date for each in sealed if _has_more(each, kind, counts, reader, held, uids)}
    return found


def _has_more(
    day: SealedDay,
    kind: str,
    counts: Mapping[str, int],
    reader: SealingReader,
    held: Collection[str],
    uids: Mapping[int, str],
) -> bool:
    rows = counts[day.session_date]
    newest = day.newest(kind)
    if newest is None or newest.is_held_with(held):
        return rows > (newest.rows if newest else 0)
    if not rows:
        return False
    with closing(reader.batches(kind, day.session_date)) as found:  # the number does not show it: another database
        return any(late_rows(found, newest.streams, uids))  # has sealed rows


def days_to_seal(stored: Sequence[str], sealed: set[str]) -> list[str]:
    """The stored days to seal or to compare: the unsealed days and the newest sealed days."""
    again = [day for day in sorted(stored) if day in sealed][-CHECKED_AGAIN:]
    return sorted({*again, *(day for day in stored if day not in sealed)})
