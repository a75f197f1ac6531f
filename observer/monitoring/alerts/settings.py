"""`[alerts]` of the configuration: the targets outside this machine that get messages about alerts."""

import re
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from typing import Annotated, Final, Literal

import msgspec

from observer.base.settings_errors import Problem, SettingsFile, converted

_LIBRARY: Final = "apprise"
_OLDEST: Final = [2, 2]  # its version, as of the extra `alerts` in pyproject.toml
_VARIABLE: Final = "OBSERVER_ALERTS_"

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")  # it is a part of a variable's and of a file's name
LocalTime = Annotated[
    str, msgspec.Meta(pattern=r"\A(([01]\d|2[0-3]):[0-5]\d)?\Z", description='a local time, HH:MM, or "" for none')
]


class AlertTarget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a target gets: alerts of this severity and above, and unless `resolved` is false also their ends.

    From `quiet_from` to `quiet_until`, in the venue's local time, only critical alerts are sent; the others wait.

    Raises:
        ValueError: one of the two times is missing, or they are equal.
    """

    severity: Literal["warning", "critical"] = "warning"
    resolved: bool = True
    quiet_from: LocalTime = ""
    quiet_until: LocalTime = ""

    def __post_init__(self) -> None:
        """Checks the quiet hours."""
        if bool(self.quiet_from) is not bool(self.quiet_until) or (self.quiet_from and not self.has_quiet_hours):
            raise ValueError("quiet_from: give quiet_from and quiet_until, two different times, or neither")

    @property
    def has_quiet_hours(self) -> bool:
        """Whether there are quiet hours."""
        return self.quiet_from != self.quiet_until

    def is_quiet(self, local_time: str) -> bool:
        """Whether this local time, HH:MM, is within the quiet hours; they may pass midnight."""
        if self.quiet_from <= self.quiet_until:
            return self.quiet_from <= local_time < self.quiet_until
        return local_time >= self.quiet_from or local_time < self.quiet_until


class AlertSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Targets by name, and limits of each, in machine time.

    A target's URL is a secret. It stands in a variable of the environment (`variable_of`), or in `targets_file`: TOML,
    mode 600. An alert that comes back within `calm_s` of its end is the same alert.
    """

    targets_file: str = "config/alert_targets.toml"
    messages_per_hour: Annotated[int, msgspec.Meta(ge=2, le=1000)] = 20
    calm_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 60.0
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=600)] = 30.0
    targets: Mapping[str, AlertTarget] = {}


def read_alerts(file: SettingsFile) -> tuple[AlertSettings | None, list[Problem]]:
    """The section of the file, or every problem; each target is read by itself, so that a problem names it."""
    content = file.content["alerts"]
    targets = content.get("targets") if isinstance(content, dict) else None
    if not isinstance(targets, dict):
        return converted(file, ("alerts",), AlertSettings)
    settings, problems = converted(file, ("alerts",), AlertSettings, {**content, "targets": {}})
    found: dict[str, AlertTarget] = {}
    for name in targets:
        path = ("alerts", "targets", name)
        target, wrong = converted(file, path, AlertTarget)
        problems += wrong
        if not _NAME.fullmatch(name):
            problems.append(
                Problem(path, "a target's name has letters a-z, digits, - and _, at most 32, a letter first")
            )
        elif (other := next((each for each in found if variable_of(each) == variable_of(name)), None)) is not None:
            problems.append(Problem(path, f"{other} and {name} would share {variable_of(name)}: rename one"))
        elif target is not None:
            found[name] = target
    if settings is None or problems:
        return None, problems
    return msgspec.structs.replace(settings, targets=found), []


def variable_of(target: str) -> str:
    """The variable of the environment that may have the target's URL."""
    return _VARIABLE + target.upper().replace("-", "_")


def missing_library(settings: AlertSettings) -> str:
    """What is wrong with the library that configured targets need; else empty."""
    if not settings.targets:
        return ""
    if find_spec(_LIBRARY) is None:
        return f"{_LIBRARY} is not installed"
    found = version(_LIBRARY)
    is_old = [int(part) for part in re.findall(r"\d+", found)[:2]] < _OLDEST
    return f"{_LIBRARY} {found} is too old" if is_old else ""
