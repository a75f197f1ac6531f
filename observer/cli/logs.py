"""`observer logs`: the processes' logs, merged by time."""

import contextlib
import heapq
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Final

from observer.base.errors import ConfigError, NoDataError, did_you_mean
from observer.base.local_time import local_datetime
from observer.base.settings import RunSettings
from observer.base.units import NS_PER_S
from observer.cli.context import ConfigOption, base_settings, market_time_ns
from observer.cli.log_files import ProcessLog, log_names
from observer.cli.log_lines import HumanLines, Level, LogEntry, json_line, reaches
from observer.cli.options import Argument, Option

_POLL_S: Final = 0.2  # machine seconds
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_CLOCK_LENGTH: Final = len("09:00")


def logs(
    process: Annotated[
        list[str] | None, Argument(metavar="[PROCESS]...", help="The processes; default: all that have a log.")
    ] = None,
    follow: Annotated[bool, Option("-f", "--follow", help="Show new lines as they are written, until ctrl-C.")] = False,
    lines: Annotated[
        int | None, Option("-n", "--lines", min=0, help="The last lines; 0 for all; default: 100, with --since all.")
    ] = None,
    since: Annotated[
        str | None, Option(metavar="TIME", help="Lines since 30m, 2h, 1d ago, 09:00 or 2026-11-18T09:00, market time.")
    ] = None,
    level: Annotated[Level, Option(help="Lines of this level and above.")] = "debug",
    as_json: Annotated[bool, Option("--json", help="Print one JSON object a line.")] = False,
    config: ConfigOption = None,
) -> None:
    """Show the processes' logs, merged by time.

    They are files in the folder `logs` of the data; rotated ones are read, too. What a process wrote beside its log,
    such as the trace of a crash, stands below its name; it counts as level error.

    Exit status 0, also after ctrl-C with --follow; 1 when there is no log.
    """
    run = base_settings(config).run
    folder = Path(run.data) / "logs"
    followed = [ProcessLog(folder, name) for name in _named(process, folder)]
    since_ns = 0 if since is None else _moment_ns(since, run)
    limit = lines if lines is not None else 0 if since is not None else 100
    show = _printer([log.process for log in followed], as_json=as_json)

    def wanted(entry: LogEntry) -> bool:
        return reaches(entry, level)

    if limit:
        newest = (log.newest(wanted, limit, since_ns, is_followed=follow) for log in followed)
        show(list(heapq.merge(*newest, key=attrgetter("at_ns")))[-limit:])
    else:
        every = (log.all_since(wanted, since_ns, is_followed=follow) for log in followed)
        show(heapq.merge(*every, key=attrgetter("at_ns")))
    if follow:
        with contextlib.suppress(KeyboardInterrupt):
            _follow(followed, folder, wanted, show, grows=not process)


def _named(asked: Sequence[str] | None, folder: Path) -> Sequence[str]:
    names = log_names(folder)
    if not names:
        raise NoDataError(f"no logs in {folder}: `observer run` writes them, and `observer demo --keep` keeps them")
    for name in asked or ():
        if name not in names:
            raise ConfigError(f"no process named {name!r} has a log{did_you_mean(name, names)}")
    return list(dict.fromkeys(asked)) if asked else names


def _follow(
    followed: list[ProcessLog],
    folder: Path,
    wanted: Callable[[LogEntry], bool],
    show: Callable[[Iterable[LogEntry]], None],
    *,
    grows: bool,
) -> None:
    """Show new lines until ctrl-C; with `grows` also those of processes that begin a log meanwhile."""
    while True:
        time.sleep(_POLL_S)
        if grows:
            known = {log.process for log in followed}
            followed += [ProcessLog(folder, name) for name in log_names(folder) if name not in known]
        new = heapq.merge(*(log.new_entries() for log in followed), key=attrgetter("at_ns"))
        show(filter(wanted, new))


def _printer(names: Sequence[str], *, as_json: bool) -> Callable[[Iterable[LogEntry]], None]:
    human = HumanLines(max(map(len, names)), coloured=_is_coloured())

    def show(entries: Iterable[LogEntry]) -> None:
        rendered = map(json_line, entries) if as_json else itertools.chain.from_iterable(map(human.lines, entries))
        sys.stdout.writelines(f"{line}\n" for line in rendered)
        sys.stdout.flush()

    return show


def _is_coloured() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _moment_ns(text: str, run: RunSettings) -> int:
    """The market time that --since means, in UTC nanoseconds.

    Raises:
        ConfigError: it means none.
    """
    if text[-1:] in _SECONDS and text[:-1].isdecimal():
        return market_time_ns(run) - int(text[:-1]) * _SECONDS[text[-1]] * NS_PER_S
    now = local_datetime(market_time_ns(run))
    try:
        if len(text) <= len("09:00:00") and text[2:3] == ":":
            moment = datetime.combine(now.date(), datetime.fromisoformat(f"2000-01-01T{text}").time(), now.tzinfo)
        else:
            moment = datetime.fromisoformat(text)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)
        return round(moment.timestamp()) * NS_PER_S
    except (ValueError, OverflowError):
        raise ConfigError(f"--since {text}: give a time such as 30m, 2h, 1d, 09:00 or 2026-11-18T09:00") from None
