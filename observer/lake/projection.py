"""The day files of requirement 004 below `data/observer/`: the sealed files of a day under the names that it gives.

    swing/PROVIDER/MARKET/YYYYMMDD/snapshots.parquet    what Track A collected: snapshots and daily bars
    scalp/PROVIDER/MARKET/YYYYMMDD/trades.parquet       what Track B collected: trades, conflated rows, recovered bars

Each is a link to the newest version, or a copy on another file system: it has the lake's rows and metadata. Only
conflated rows whose shares stored trades have (recovered or fetched later) differ from the lake's: the file has the
shares that no trade has, so that both files together have each share once. So no package has them: after a restore the
process `lake` writes them again.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Final

import msgspec

from observer.files import sync_path
from observer.lake.layout import SealedDay, version_path

_TRADES, _CONFLATED = "trades", "conflated_trades"
_KINDS: Final[Mapping[str, Sequence[str]]] = {
    "swing": ("snapshots", "daily_bars"),
    "scalp": (_CONFLATED, _TRADES, "recovered_minute_bars"),  # a changed file of trades states that the first is done
}
_SUFFIX: Final = ".parquet"
_STAGED_SUFFIX: Final = ".new"
_PARTS: Final = 5  # of a path: track, provider, market, day, file


def is_day_file(path: PurePath) -> bool:
    """Whether this path below the folder of the ledgers is that of a day file, or of one that is being written."""
    is_named = len(path.parts) == _PARTS and path.stem in _KINDS.get(path.parts[0], ())
    return is_named and path.suffix in {_SUFFIX, _STAGED_SUFFIX}


class DayFiles(msgspec.Struct, frozen=True):
    """Where a system's day files go: the folder of its ledgers, and the provider in their paths."""

    folder: Path
    provider: str

    def days_without_folder(self, days: Sequence[SealedDay]) -> set[str]:
        """The dates of those days of a market that have day files, and have no folder of them. No file is read."""
        found: set[str] = set()
        for track, kinds in _KINDS.items():
            folder = self.folder / track / self.provider
            there = {market: _names(folder / market) for market in {day.market for day in days}}
            found |= {
                day.session_date
                for day in days
                if day.session_date.replace("-", "") not in there[day.market] and not day.kinds.keys().isdisjoint(kinds)
            }
        return found

    def write(self, lake: Path, day: SealedDay) -> Sequence[Path]:
        """Bring the files of a sealed day to its newest versions; return those that changed.

        Raises:
            DataFileError: a version's file is damaged or gone.
            OSError: likewise, or the folder cannot be written.
        """
        from observer.lake.publishing import is_same, put_in_place  # they load pyarrow, which a backup does without

        changed = []
        for track, kinds in _KINDS.items():
            folder = self.folder / track / self.provider / day.market / day.session_date.replace("-", "")
            for kind in kinds:
                if (newest := day.newest(kind)) is None:
                    continue
                source = version_path(lake, kind, day.market, day.session_date, newest.version)
                target = folder / f"{kind}{_SUFFIX}"
                staged = target.with_suffix(_STAGED_SUFFIX)
                if kind == _CONFLATED and (trades := day.newest(_TRADES)) is not None:
                    of_trades = version_path(lake, _TRADES, day.market, day.session_date, trades.version)
                    is_done = is_same(of_trades, target.with_stem(_TRADES))
                    versions = f"{newest.version} {trades.version}".encode()
                    found = _put_unheld(source, of_trades, target, staged, versions, is_done=is_done)
                else:
                    found = put_in_place(source, target, staged)
                if found:
                    changed.append(target)
        return changed


def _names(folder: Path) -> set[str]:
    return set(os.listdir(folder)) if folder.is_dir() else set()  # noqa: PTH208 - paths of pathlib take longer


def _put_unheld(source: Path, trades: Path, target: Path, staged: Path, versions: bytes, *, is_done: bool) -> bool:
    """Bring the file of conflated rows to what only they have; return whether it changed. `is_done`: the trades' file
    is that of these trades, so the target is, too, unless the conflated rows changed.
    """
    from observer.lake.publishing import is_same, put_in_place
    from observer.lake.unheld import versions_of, write_unheld

    is_current = versions_of(target) == versions
    if is_current or (is_done and is_same(source, target)):
        return False
    if not write_unheld(source, trades, staged, versions):
        return put_in_place(source, target, staged)
    staged.replace(target)
    sync_path(target.parent)
    return True
