"""What is examined: a configuration, as far as it can be read."""

from pathlib import Path

import msgspec

from observer.archive.settings import BackupSettings
from observer.base.errors import ConfigError
from observer.base.settings import BaseSettings, load_base_settings
from observer.system.config import Settings, load_settings
from observer.system.doctor.notices import CHECKED_ELSEWHERE, notices_of


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration that is examined.

    Args:
        path: its file.
        base: [run], [store] and [instance]; None if these are wrong.
        settings: all of it; None if anything is wrong.
        problems: what is wrong, a line each.
        notices: what may be a mistake, a line each.
        now_ns: machine time in UTC nanoseconds.
        is_offline: no connection is made to another machine.
        recount: all rows are counted.
    """

    path: Path
    base: BaseSettings | None
    settings: Settings | None
    problems: tuple[str, ...]
    notices: tuple[str, ...]
    now_ns: int
    is_offline: bool = False
    recount: bool = False

    @property
    def backup(self) -> BackupSettings:
        """The section [backup], or its defaults if anything in the file is wrong."""
        return self.settings.backup if self.settings else BackupSettings()


def place_of(path: Path, now_ns: int, *, is_offline: bool = False, recount: bool = False) -> Place:
    """The configuration in this file, as far as it can be read."""
    base: BaseSettings | None = None
    settings: Settings | None = None
    problems: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    try:
        settings = load_settings(path)
        notices = tuple(notices_of(path, settings, CHECKED_ELSEWHERE))
    except ConfigError as error:
        problems = tuple(str(error).splitlines())
    try:
        base = load_base_settings(path)
    except ConfigError as error:
        problems = problems or tuple(str(error).splitlines())
    return Place(
        path=path,
        base=base,
        settings=settings,
        problems=problems,
        notices=notices,
        now_ns=now_ns,
        is_offline=is_offline or (settings is not None and settings.simulator is not None),  # it ends with its system
        recount=recount,
    )
