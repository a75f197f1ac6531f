"""`[backup]` of the configuration."""

from pathlib import Path
from typing import Annotated, Final

import msgspec

from bus.archive import ArchiveLimits
from observer.base.settings import RunSettings, read_settings_file
from observer.base.settings_errors import converted, wrong_settings
from observer.base.units import S_PER_DAY

PACKAGE_PLACEHOLDER: Final = "{package}"
_FOLDER: Final = "backup"  # in the folder of data


class BackupSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where packages go and how many are kept; daily ones and those by hand are counted apart.

    `folder` is empty for `backup` in the folder of data. `copy_to` is a folder on another disk that each package is
    copied to: it must be there, so that an absent mount is noticed; empty: none. `command` runs on each finished
    package, whose folder replaces `{package}`; `command_limit_s` is machine seconds.

    `archive_bytes_max` and `archive_days_max` limit each process's archive of delivered events; what falls out without
    being in two verified packages is an alert.

    `day_files`: whether a backup writes the finished days as CSV below `observer/` in the folder of data, where there
    is no [lake] that does it as Parquet.
    """

    folder: str = ""
    daily_kept: Annotated[int, msgspec.Meta(ge=2)] = 7  # outboxes keep what the second-newest package lacks
    manual_kept: Annotated[int, msgspec.Meta(ge=1)] = 7
    copy_to: str = ""
    command: tuple[str, ...] = ()
    command_limit_s: Annotated[float, msgspec.Meta(gt=0)] = 3_600.0
    day_files: bool = True
    archive_bytes_max: Annotated[int, msgspec.Meta(ge=0)] = 4_000_000_000
    archive_days_max: Annotated[float, msgspec.Meta(gt=0)] = 14.0

    def __post_init__(self) -> None:
        """Refuses a command that does not name the package."""
        if self.command and not any(PACKAGE_PLACEHOLDER in word for word in self.command):
            raise ValueError(f'command: none of its words has "{PACKAGE_PLACEHOLDER}", which the package replaces')

    @property
    def archive_limits(self) -> ArchiveLimits:
        """The limits of an outbox's archive."""
        return ArchiveLimits(bytes_max=self.archive_bytes_max, age_s_max=self.archive_days_max * S_PER_DAY)

    def folder_of(self, run: RunSettings) -> Path:
        """The folder of the packages."""
        return Path(self.folder) if self.folder else Path(run.data) / _FOLDER


def load_backup_settings(path: Path) -> BackupSettings:
    """Read the section [backup]; the others are not checked and may be wrong.

    Raises:
        ConfigError: the file cannot be read, or the section is wrong.
    """
    file = read_settings_file(path)
    settings, problems = converted(file, ("backup",), BackupSettings, file.content.get("backup", {}))
    if settings is None:
        raise wrong_settings(file, problems)
    return settings
