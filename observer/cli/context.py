"""Shared by the commands: common options, the selected configuration, its market time, and JSON output."""

import asyncio
import contextlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from bus.commands import Status, StatusReply
from observer.base_settings import BaseSettings, RunSettings, endpoints_of, is_reachable, load_base_settings
from observer.cli.options import Argument, Option
from observer.errors import ConfigError

if TYPE_CHECKING:  # it imports the settings of all rooms
    from observer.config import Settings

DEFAULT_CONFIGURATION: Final = Path("config/observer.toml")
DEMO_CONFIGURATION: Final = Path("demo/observer.toml")
ANSWER_S: Final = 3.0  # machine seconds for the running system's answer


def parsed_day(text: str) -> str:
    """An ISO date, from the same with or without hyphens.

    Raises:
        ConfigError: the text is no date.
    """
    from datetime import date

    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a date such as 2026-11-18") from error


ConfigOption = Annotated[
    Path | None,
    Option(help="Configuration file; default: the one whose system runs in this folder."),
]
JsonOption = Annotated[bool, Option("--json", help="Print JSON.")]
DayArgument = Annotated[str, Argument(metavar="DATE", parser=parsed_day, help="The day, e.g. 2026-11-18.")]
DayOrTodayArgument = Annotated[
    str | None, Argument(metavar="[DATE]", parser=parsed_day, help="The day, e.g. 2026-11-18; default: today.")
]
DayOption = Annotated[
    str | None,
    Option("--date", metavar="DATE", parser=parsed_day, help="The day, e.g. 2026-11-18; default: today."),
]


def base_settings(config: Path | None) -> BaseSettings:
    """The sections [run] and [store] of the named configuration, or of the one here whose system runs, or the default.

    Raises:
        ConfigError: it cannot be read, or is wrong.
    """
    return load_base_settings(config or _configuration_in_context())


def full_settings(config: Path | None) -> "Settings":
    """All sections, of the same configuration as `base_settings`.

    Raises:
        ConfigError: it cannot be read, or is wrong.
    """
    from observer.config import load_settings

    return load_settings(config or _configuration_in_context())


def running_system(config: Path | None) -> RunSettings:
    """The [run] section of the running system: of those configured here, the first whose control socket exists.

    Raises:
        ConfigError: none runs.
    """
    candidates = [config] if config else [path for path in _configurations() if path.exists()]
    configured = [load_base_settings(path).run for path in candidates]
    for run in configured:
        if is_reachable(run):
            return run
    where = ", ".join(run.runtime for run in configured) or "no configuration found"
    raise ConfigError(f"no system runs here ({where}): start one with `observer run`, or name it with --config")


def market_time_ns(run: RunSettings) -> int:
    """The running system's market time in UTC nanoseconds; the clock's of this process when no system answers."""
    if is_reachable(run):
        from bus.control import ControlClient, ControlTimeoutError

        async def status() -> object:
            control = ControlClient(endpoints_of(run).control)
            try:
                return await control.request(Status(), ANSWER_S)
            finally:
                control.close()

        with contextlib.suppress(ControlTimeoutError):
            reply = asyncio.run(status())
            if isinstance(reply, StatusReply):
                return reply.market_time_ns
    from observer.clock import clock_from_environment

    return clock_from_environment().now_ns()


def today(run: RunSettings) -> str:
    """The Korean date of `market_time_ns`, in ISO notation."""
    from observer.local_time import local_datetime

    return local_datetime(market_time_ns(run)).date().isoformat()


def print_json(value: object) -> None:
    """Print one line of JSON."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def as_maps(structs: Iterable[msgspec.Struct]) -> list[dict[str, object]]:
    """The structs as maps by field name: as events they are arrays."""
    return [msgspec.structs.asdict(struct) for struct in structs]


def print_error(text: str) -> None:
    """Print one line on stderr."""
    sys.stderr.write(f"observer: {text}\n")


def _configurations() -> tuple[Path, Path]:
    return DEFAULT_CONFIGURATION, DEMO_CONFIGURATION


def _configuration_in_context() -> Path:
    for path in _configurations():
        if path.exists() and is_reachable(load_base_settings(path).run):
            return path
    return DEFAULT_CONFIGURATION
