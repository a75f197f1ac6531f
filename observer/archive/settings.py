"""`[lake]` and `[backup]` of the configuration."""

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec

from bus.archive import ArchiveLimits
from observer.base.extras import install_command
from observer.base.settings import RunSettings, read_settings_file
from observer.base.settings_errors import converted, wrong_settings
from observer.base.units import S_PER_DAY

TARGET_VARIABLES: Final = ("OBSERVER_LAKE_ACCESS_KEY", "OBSERVER_LAKE_SECRET_KEY")
"""The variables with the target's keys, which only the lake's process gets."""
TARGET_SCHEME: Final = "s3://"
_LAKE: Final = "lake"  # in the folder of data
_BACKUP: Final = "backup"  # likewise
_LIBRARIES: Final = ("pyarrow", "pyiceberg")
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ENDPOINT: Final = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+/?")
PACKAGE_PLACEHOLDER: Final = "{package}"


def missing_libraries() -> str:
    """The lake's libraries that are not installed, and the command that installs them; empty if none is missing."""
    missing = [name for name in _LIBRARIES if find_spec(name) is None]
    return f"{' and '.join(missing)} not installed: {install_command('lake')}" if missing else ""


class LakeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where sealed days go. The section, also an empty one, has each finished day sealed after its backup.

    `folder` is a local folder or a mounted one; empty for `lake` in the folder of data. `target` is the URL of an
    S3-compatible object store, s3://BUCKET/PREFIX, which gets a copy of each sealed day; empty for none. `endpoint` is
    the URL of its host, empty for that of AWS; `region` is the one that requests are signed for, empty for us-east-1.
    `keys_file` is a TOML file with `access_key` and `secret_key`, readable by its owner only; empty where variables of
    the environment have them.

    Raises:
        ValueError: the target or the endpoint is no such URL, or there is no target for what describes it.
    """

    folder: str = ""
    target: str = ""
    endpoint: str = ""
    region: str = ""
    keys_file: str = ""

    def __post_init__(self) -> None:
        bucket = urlsplit(self.target).netloc
        if self.target and not (self.target.startswith(TARGET_SCHEME) and _BUCKET.fullmatch(bucket)):
            raise ValueError("target: must be s3://BUCKET/PREFIX; `folder` takes a path")
        if self.endpoint and not _ENDPOINT.fullmatch(self.endpoint):
            raise ValueError("endpoint: must be http://HOST:PORT or https://HOST")
        if not self.target and (self.endpoint or self.region or self.keys_file):
            raise ValueError("target: without one, nothing reads endpoint, region and keys_file")

    def folder_in(self, data: str) -> Path:
        """The lake's folder, where `data` is the folder of data."""
        return Path(self.folder) if self.folder else Path(data) / _LAKE


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
        return Path(self.folder) if self.folder else Path(run.data) / _BACKUP

    def folders_of(self, run: RunSettings) -> Sequence[Path]:
        """That folder and the one with copies of the packages, where there is one."""
        return [self.folder_of(run), *([Path(self.copy_to)] if self.copy_to else [])]


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
