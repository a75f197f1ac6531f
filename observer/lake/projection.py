"""The day files of requirement 004 below `data/observer/`: the sealed files of a day under the names that it gives.

    swing/PROVIDER/MARKET/YYYYMMDD/snapshots.parquet    what Track A collected: snapshots and daily bars
    scalp/PROVIDER/MARKET/YYYYMMDD/trades.parquet       what Track B collected: trades, conflated rows, recovered bars

Each is a link to the newest version, or a copy on another file system: it has the lake's rows and metadata. So no
package has them: after a restore the process `lake` writes them again.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Final

import msgspec

from observer.lake.layout import SealedDay, version_path

_KINDS: Final[Mapping[str, Sequence[str]]] = {
    "swing": ("snapshots", "daily_bars"),
    "scalp": ("trades", "conflated_trades", "recovered_minute_bars"),
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

    def write(self, lake: Path, day: SealedDay) -> Sequence[Path]:
        """Bring the files of a sealed day to its newest versions; return those that changed.

        Raises:
            OSError: the folder cannot be written, or a version's file is gone.
        """
        from observer.lake.publishing import put_in_place  # it loads pyarrow, which a backup does without

        changed = []
        for track, kinds in _KINDS.items():
            folder = self.folder / track / self.provider / day.market / day.session_date.replace("-", "")
            for kind in kinds:
                if (newest := day.newest(kind)) is None:
                    continue
                source = version_path(lake, kind, day.market, day.session_date, newest.version)
                target = folder / f"{kind}{_SUFFIX}"
                if put_in_place(source, target, target.with_suffix(_STAGED_SUFFIX)):
                    changed.append(target)
        return changed
