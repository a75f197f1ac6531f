"""A sealed file as a reader needs it: where its rows are, and which of them the database has, too. Pure."""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from observer.archive.day import StreamRows


class SealedFile(msgspec.Struct, frozen=True):
    """The file with the sealed rows of a kind of a day, their number, the version, the positions of the rows, whether
    they were removed from the database, `Version.is_distinct`, and whether another database has rows of it.

    `whole` gives the path of a whole file, or the URL of one at an object store, which is not read for it. It raises
    DamagedFileError where there is none.
    """

    whole: Callable[[], Path | str]
    rows: int
    version: int
    streams: Sequence[StreamRows]
    is_removed: bool
    is_distinct: bool = False
    is_of_another: bool = False

    @property
    def is_joined(self) -> bool:
        """Whether the database need not have the rows: those that it has at other positions join them."""
        return self.is_removed or self.is_of_another

    @property
    def removed_version(self) -> int:
        """The version that replaces the database's rows; 0 where it has them."""
        return self.version if self.is_removed else 0
