"""Shared by the commands: common options, the selected configuration, its market time, and JSON output."""

import asyncio
import contextlib
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import click
import msgspec

from bus.commands import Status, StatusReply
from observer.base.clock import clock_from_environment
from observer.base.errors import ConfigError, NoDataError, StoreError
from observer.base.settings import BaseSettings, RunSettings, endpoints_of, is_reachable, load_base_settings
from observer.cli.options import JSON, Argument, Option

if TYPE_CHECKING:  # they import the settings of all rooms, and the database
    from observer.store.days import DayReader
    from observer.system.config import Settings

DEFAULT_CONFIGURATION: Final = Path("config/observer.toml")
DEMO_CONFIGURATION: Final = Path("demo/observer.toml")
ANSWER_S: Final = 3.0  # machine seconds for the running system's answer
_DAY_WORDS: Final = ("today", "yesterday", "last")
_DAY_FORMS: Final = "2026-11-18, 20261118, today, yesterday or last"
_CANDIDATES: Final = "observer.cli.candidates"  # the key, in click's data of a command, of its candidates


def parsed_day(text: str) -> str:
    """An ISO date, from the same with or without hyphens; or one of the words that `asked_day` resolves.

    Raises:
        ConfigError: the text is neither.
    """
    from datetime import date

    if text.lower() in _DAY_WORDS:
        return text.lower()
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise ConfigError(
            f"{text!r} is not a date such as {_DAY_FORMS}; a symbol is an option of some commands, see --help"
        ) from error


CONFIG_HELP: Final = (
    "Configuration file; default: the one in this folder whose system runs, else whose database exists."
)
ConfigOption = Annotated[Path | None, Option(help=CONFIG_HELP)]
JsonOption = JSON

# One rule for all commands: the day is the argument of a command about a day, and --date where another argument stands.
_DAY_HELP: Final = f"The day: {_DAY_FORMS}; default: the last stored session."
DayArgument = Annotated[str | None, Argument(metavar="[DATE]", parser=parsed_day, help=_DAY_HELP)]
DayOption = Annotated[str | None, Option("--date", metavar="DATE", parser=parsed_day, help=_DAY_HELP)]


class AskedDay(msgspec.Struct, frozen=True):
    """The day that a command is about, and whether it was asked for as the last stored session."""

    session_date: str
    is_last: bool

    @property
    def title(self) -> str:
        """The date, in the first line of a command's output."""
        return f"{self.session_date} (the last stored session)" if self.is_last else self.session_date


def stored_day(reader: "DayReader", asked: str | None, run: RunSettings) -> AskedDay:
    """The day as it was typed (`parsed_day`), or the last stored session.

    Raises:
        NoDataError: it is not stored.
    """
    day = asked_day(reader, asked, run)
    if not day.is_last and not reader.has_session(day.session_date):
        raise NoDataError(f"{day.session_date} is not stored: the last stored session is {_last_session(reader)}")
    return day


def asked_day(reader: "DayReader", asked: str | None, run: RunSettings) -> AskedDay:
    """The day as it was typed, stored or not, or the last stored session.

    Raises:
        NoDataError: the last session was asked for, and none is stored.
    """
    from datetime import date, timedelta

    match asked:
        case None | "last":
            return AskedDay(_last_session(reader), is_last=True)
        case "today":
            return AskedDay(today(run), is_last=False)
        case "yesterday":
            yesterday = date.fromisoformat(today(run)) - timedelta(days=1)
            return AskedDay(yesterday.isoformat(), is_last=False)
        case _:
            return AskedDay(asked, is_last=False)


def _last_session(reader: "DayReader") -> str:
    last = reader.last_session()
    if last is None:
        raise NoDataError("no session is stored yet: `observer run` or `observer demo` stores one")
    return last


class Candidate(msgspec.Struct, frozen=True):
    """A configuration of this folder: whether its system runs, and whether its database exists, or a package of it."""

    path: Path
    runs: bool
    has_database: bool


def chosen(candidates: Sequence[Candidate]) -> Candidate:
    """The first whose system runs; else the first with a database; else the first. There is at least one."""
    return min(candidates, key=lambda each: 0 if each.runs else 1 if each.has_database else 2)


def base_settings(config: Path | None) -> BaseSettings:
    """The sections [run] and [store] of the named configuration, or of the chosen one of this folder (`chosen`).

    Raises:
        ConfigError: it cannot be read, or is wrong.
    """
    return load_base_settings(config or _choice().path)


def full_settings(config: Path | None) -> "Settings":
    """All sections, of the same configuration as `base_settings`.

    Raises:
        ConfigError: it cannot be read, or is wrong.
    """
    from observer.system.config import load_settings

    return load_settings(config or _choice().path)


BaseOption = Annotated[BaseSettings, Option("--config", help=CONFIG_HELP, made=base_settings)]
SettingsOption = Annotated["Settings", Option("--config", help=CONFIG_HELP, made=full_settings)]


def configuration_path(config: Path | None) -> Path:
    """The configuration's file: the named one, or the chosen one of this folder.

    Raises:
        ConfigError: as for `base_settings`.
    """
    return config or _choice().path


PathOption = Annotated[Path, Option("--config", help=CONFIG_HELP, made=configuration_path)]


def examined_configuration(config: Path | None) -> Path:
    """As `configuration_path`, for what says what is wrong: a configuration of this folder may be wrong.

    Raises:
        ConfigError: there is none.
    """
    try:
        return configuration_path(config)
    except ConfigError:
        here = [path for path in (DEFAULT_CONFIGURATION, DEMO_CONFIGURATION) if path.exists()]
        if not here:
            raise
        return here[0]


ExaminedOption = Annotated[Path, Option("--config", help=CONFIG_HELP, made=examined_configuration)]


def running_system(config: Path | None) -> RunSettings:
    """The [run] section of the running system: of the named configuration, or of the chosen one of this folder.

    Raises:
        ConfigError: none runs.
    """
    run = load_base_settings(config or _choice().path).run
    if not is_reachable(run):
        raise ConfigError(
            f"no system runs here ({run.runtime}): start one with `observer run`, or name it with --config"
        )
    return run


def market_time_ns(run: RunSettings) -> int:
    """The running system's market time in UTC nanoseconds; the clock's of this process when no system answers."""
    running_ns = _running_time_ns(run)
    return clock_from_environment().now_ns() if running_ns is None else running_ns


def age_time_ns(run: RunSettings, url: str, shown_ns: Iterable[int]) -> int:
    """The moment to which ages count, in UTC nanoseconds: the running system's market time. Where none answers, the end
    of what is stored, by the database's newest event and the times that are shown, as a line on stderr says: a demo's
    day is no real one. The clock's of this process where nothing is stored.
    """
    running_ns = _running_time_ns(run)
    if running_ns is not None:
        return running_ns
    from observer.base.local_time import local_datetime
    from observer.store.summary import SummaryReader

    stored_ns = list(shown_ns)
    with contextlib.suppress(StoreError), SummaryReader(url) as reader:  # the shown times are known without it
        stored_ns.append(reader.newest_ns() or 0)
    newest_ns = max(stored_ns, default=0)
    if not newest_ns:
        return clock_from_environment().now_ns()
    print_error(f"no system answers here: as of {local_datetime(newest_ns):%Y-%m-%d %H:%M:%S %Z}, where the data end")
    return newest_ns


def _running_time_ns(run: RunSettings) -> int | None:
    """The running system's market time; None when no system answers."""
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
    return None


def time_on(session_date: str, run: RunSettings) -> int:
    """The market time if it is of this day, else the day's end, in UTC nanoseconds: up to when the day is known."""
    from observer.store.slots import day_bounds

    now_ns, (begins_ns, ends_ns) = market_time_ns(run), day_bounds(session_date)
    return now_ns if begins_ns <= now_ns < ends_ns else ends_ns


def today(run: RunSettings) -> str:
    """The Korean date of `market_time_ns`, in ISO notation."""
    from observer.base.local_time import local_datetime

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


def other_database() -> Path | None:
    """The configuration of this folder with a database that the running command did not choose; None without one."""
    candidates: Sequence[Candidate] = click.get_current_context().meta.get(_CANDIDATES, ())
    return next((each.path for each in candidates if each.has_database and each != chosen(candidates)), None)


def _choice() -> Candidate:
    """The chosen configuration of this folder; says so, once a command, when it is the demo's.

    Raises:
        ConfigError: there is none, or the first one is wrong.
    """
    context = click.get_current_context(silent=True)
    meta = {} if context is None else context.meta
    if _CANDIDATES in meta:
        return chosen(meta[_CANDIDATES])
    meta[_CANDIDATES] = candidates = _candidates()
    choice = chosen(candidates)
    if choice.path == DEMO_CONFIGURATION and not (context and context.params.get("as_json")):
        print_error(f"using {choice.path}")
    return choice


def _candidates() -> Sequence[Candidate]:
    """The readable configurations of this folder."""
    found = []
    if DEFAULT_CONFIGURATION.exists():
        found.append(_candidate(DEFAULT_CONFIGURATION))
    if DEMO_CONFIGURATION.exists():
        with contextlib.suppress(*([ConfigError] if found else [])):  # a broken demo must not stop commands to ours
            found.append(_candidate(DEMO_CONFIGURATION))
    if not found:
        raise ConfigError(
            f"neither {DEFAULT_CONFIGURATION} nor {DEMO_CONFIGURATION} is here: start with `observer demo` or "
            "`observer init DIR`, or name the configuration of `observer run` with --config"
        )
    return found


def _candidate(path: Path) -> Candidate:
    settings = load_base_settings(path)
    backend, _, database = settings.store.url.partition(":///")
    is_there = Path(database.partition("?")[0]).is_file() if backend.startswith("sqlite") else True
    has_packages = any((Path(settings.run.data) / "backup").glob("*/manifest.json"))  # to put it back from
    return Candidate(path, is_reachable(settings.run), is_there or has_packages)
