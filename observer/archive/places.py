"""Where a whole file with sealed rows is: in the lake, else where the glob finds it, in a copy, or at the target."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from observer.archive.copying import copies_in
from observer.archive.day import SealedDay, Version, lost_text
from observer.archive.settings import BackupSettings, LakeSettings
from observer.archive.whole import cache_folder, whole_files, wrong_bytes
from observer.base.errors import ConfigError, DamagedFileError, TargetError
from observer.base.files import make_private_folder, replacing
from observer.base.settings import RunSettings


class DamagedFileWarning(UserWarning):
    """A file of the lake is damaged or gone, and its rows were read from another place. The text names both."""


class Places(msgspec.Struct, frozen=True):
    """A lake, folders with copies of it under the same names, and what gives the content of a file at its target, which
    raises ConfigError without keys and TargetError without an answer.
    """

    lake: Path
    copies: Sequence[Path] = ()
    at_target: Callable[[str], Iterator[bytes]] | None = None

    def whole(self, day: SealedDay, kind: str, version: Version) -> Path:
        """A whole file with the version's rows; where it is not the lake's own, a `DamagedFileWarning` says so.

        Raises:
            DamagedFileError: there is none.
        """
        name = day.name_of(kind, version)
        if not (wrong := whole_files(self.lake).wrong(name, version)):
            return self.lake / name
        text = lost_text(str(self.lake / name), kind, day.session_date, wrong)
        for folder, other in [(self.lake, day.glob_name_of(kind)), *((copy, name) for copy in self.copies)]:
            if not whole_files(folder).wrong(other, version):
                read_elsewhere(text, str(folder / other))
                return folder / other
        if (fetched := self.fetched(name, version)) is not None:
            read_elsewhere(text, f"the target, {name}")
            return fetched
        raise DamagedFileError(text)

    def fetched(self, name: str, version: Version) -> Path | None:
        """A whole file with what the target has of this name, kept for the next question; None where it has none."""
        path = cache_folder() / f"{version.file_sha256}.parquet"
        try:
            if not version.file_sha256 or self.at_target is None:
                return None
            if wrong_bytes(path, version):
                make_private_folder(path.parent)
                with replacing(path, survives_power_failure=False) as file:
                    file.writelines(self.at_target(name))
            if wrong_bytes(path, version):
                return None
        except (ConfigError, TargetError, OSError, RuntimeError):
            return None
        return path


def places_of(lake: LakeSettings, backup: BackupSettings, run: RunSettings) -> Places:
    """The places that a configuration names."""

    def at_target(name: str) -> Iterator[bytes]:
        from observer.archive.object_store import open_target  # it loads pyarrow

        return open_target(lake, os.environ).pieces(name)

    return Places(
        lake.folder_in(run.data),
        [copy for folder in backup.folders_of(run) for copy in copies_in(folder)],
        at_target if lake.target else None,
    )


def read_elsewhere(text: str, place: str) -> None:
    """Say that the rows of a file that is not whole were read from another place."""
    warnings.warn(f"{text}; its rows were read from {place}", DamagedFileWarning, stacklevel=2)
