"""`observer status`: the processes of the running system, and its open alerts."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from click.exceptions import Exit
from msgspec import to_builtins

from bus.commands import OpenAlert, ProcessStatus, Status, StatusReply
from observer.base.clock import RealClock
from observer.base.errors import ConfigError, StoreError
from observer.base.local_time import local_datetime
from observer.base.units import NS_PER_S
from observer.cli.context import ConfigOption, JsonOption, as_maps, base_settings, full_settings, print_json
from observer.cli.system import ask, show
from observer.cli.tables import Table, show_text
from observer.cli.tables import show as show_table
from observer.cli.tape_progress import official_bars, official_line, progress_line

if TYPE_CHECKING:
    from bus.events import GapMeasure, GapTimesMeasured, TapeProgressed
    from observer.collection.tape.official_lines import OfficialBars

_SHOWN: Final[tuple["GapMeasure", ...]] = ("detection", "closing")
_COLUMNS = ("process", "state", "pid", "uptime s", "restarts", "CPU %", "RSS MB", "heartbeat s", "loop lag ms")


def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show processes and open alerts of the running system.

    Columns: state, pid, uptime, restarts, CPU, memory, age of the last heartbeat, event loop lag. Then how soon the
    day's gaps were detected and closed, the progress of the tape and of its official bars where they run, and one line
    for each open alert: what does not work, such as an access token, a stream, the database or the calendar.

    Exit status 1 when a critical alert is open that is not silenced (`observer alerts silence`); 2: no system answers.
    """
    reply = ask(Status(), config)
    if not isinstance(reply, StatusReply):
        show(reply, as_json=as_json)
    elif as_json:
        found, tape, official, _ = _stored(reply, config)
        tape_map = next(iter(as_maps(tape)), None)
        print_json({**to_builtins(reply), "gap_times": as_maps(found), "tape": tape_map, "official_bars": official})
    else:
        show_table(_table(reply))
        found, tape, official, failure = _stored(reply, config)
        bars = [official_line(official)] if official is not None else []
        for line in [*map(_times_line, found), *map(progress_line, tape), *bars, *([failure] if failure else [])]:
            show_text(line)
        if text := _lake_line(config):
            show_text(f"lake: {text}")
        for line in alert_lines(reply.alerts):
            show_text(line)
    if isinstance(reply, StatusReply) and any(_fails(alert) for alert in reply.alerts):
        raise Exit(1)


def _stored(
    reply: StatusReply, config: Path | None
) -> tuple[Sequence["GapTimesMeasured"], Sequence["TapeProgressed"], "OfficialBars | None", str]:
    """The day's figures of detection and closing, the progress of the tape and of its official bars where there is one,
    and why there are none; empty where nothing failed.
    """
    from observer.store.reader import StoreReader  # with the database's library, which no other part of it needs

    day = local_datetime(reply.market_time_ns).date().isoformat()
    try:
        with StoreReader(base_settings(config).store.url) as reader:
            times, tape = reader.gap_times(day), reader.tape_progress(day)
            official = official_bars(reader, day) if tape is not None and tape.is_done else None
    except StoreError as error:
        return [], [], None, f"how soon gaps were detected and closed is not known: {error}"
    found = [times[measure] for measure in _SHOWN if measure in times]
    return found, [] if tape is None else [tape], official, ""


def _lake_line(config: Path | None) -> str:
    """How long ago the files of the lake were read, where the process `lake` reads them."""
    try:
        settings = full_settings(config)
    except ConfigError:  # the system runs with the one before; doctor states it
        return ""
    if settings.lake is None:
        return ""
    from observer.archive.scrub import scrub_text  # it decodes the manifests

    return scrub_text(settings.lake.folder_in(settings.run.data), RealClock().now_ns() // NS_PER_S)


def _times_line(times: "GapTimesMeasured") -> str:
    return f"gaps, {times.measure}: p95 {times.p95_s:.2f} s; {times.met:,} of {times.gaps:,} in time"


def alert_lines(alerts: Sequence[OpenAlert]) -> Sequence[str]:
    """A line for each alert; one that says so where there is none."""
    return [_alert_line(alert) for alert in alerts] or ["no open alerts"]


def _alert_line(alert: OpenAlert) -> str:
    times = "" if alert.count == 1 else f", {alert.count} times"
    silenced = "" if alert.silenced_until_ns is None else f", silenced until {_time(alert.silenced_until_ns)}"
    since = f"since {_time(alert.since_ns)}{times}{silenced}"
    return f"{alert.severity:<8} {alert.process}: {alert.identity}: {alert.text} ({since})"


def _time(moment_ns: int) -> str:
    return f"{local_datetime(moment_ns):%m-%d %H:%M:%S}"


def _fails(alert: OpenAlert) -> bool:
    return alert.severity == "critical" and alert.silenced_until_ns is None


def _table(reply: StatusReply) -> Table:
    when = local_datetime(reply.market_time_ns).strftime("%Y-%m-%d %H:%M:%S %Z")
    title = f"{when} · {reply.phase} · supervisor pid {reply.supervisor_pid}, up {reply.uptime_s:.0f} s{_notes(reply)}"
    return Table(_COLUMNS, [_row(process) for process in reply.processes], title, right=_COLUMNS[2:])


def _notes(reply: StatusReply) -> str:
    """What the supervisor did by itself since its start, as a part of the title; empty if it did nothing."""
    counts = ((reply.orphans_ended, "orphans ended"), (reply.zygote_fallbacks, "starts without the zygote"))
    return "".join(f" · {count} {what}" for count, what in counts if count)


def _row(process: ProcessStatus) -> list[str]:
    def text(value: float | None, scale: float = 1.0, digits: int = 0) -> str:
        return "" if value is None else f"{value * scale:.{digits}f}"

    return [
        process.name,
        process.state,
        text(process.pid),
        text(process.uptime_s),
        str(process.restarts),
        text(process.cpu_percent),
        text(process.rss_bytes, 1e-6),
        text(process.heartbeat_age_s, digits=1),
        text(process.loop_lag_s, 1000, digits=1),
    ]
