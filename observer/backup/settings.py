"""`[backup]` of the configuration."""

from pathlib import Path
from typing import Annotated, Final

import msgspec

from observer.base_settings import RunSettings

PACKAGE_PLACEHOLDER: Final = "{package}"
_FOLDER: Final = "backup"  # in the folder of data


class BackupSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where packages go and how many are kept; daily ones and those by hand are counted apart.

    `folder` is empty for `backup` in the folder of data. `copy_to` is a folder on another disk that each package is
    copied to: it must be there, so that an absent mount is noticed; empty: none. `command` runs on each finished
    package, whose folder replaces `{package}`; `command_limit_s` is machine seconds.
    """

    folder: str = ""
    daily_kept: Annotated[int, msgspec.Meta(ge=2)] = 7  # outboxes keep what the second-newest package lacks
    manual_kept: Annotated[int, msgspec.Meta(ge=1)] = 7
    copy_to: str = ""
    command: tuple[str, ...] = ()
    command_limit_s: Annotated[float, msgspec.Meta(gt=0)] = 3_600.0

    def __post_init__(self) -> None:
        """Refuses a command that does not name the package."""
        if self.command and not any(PACKAGE_PLACEHOLDER in word for word in self.command):
            raise ValueError(f'command: none of its words has "{PACKAGE_PLACEHOLDER}", which the package replaces')

    def folder_of(self, run: RunSettings) -> Path:
        """The folder of the packages."""
        return Path(self.folder) if self.folder else Path(run.data) / _FOLDER
