"""`observer alerts`: the open alerts, of the running system where there is one, else of the database; and silences."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import click
import msgspec

from bus.commands import OpenAlert, SilenceAlert, Status, StatusReply
from observer.base.clock import clock_from_environment
from observer.base.errors import ConfigError, NoDataError
from observer.base.local_time import local_datetime
from observer.base.settings import BaseSettings, is_reachable
from observer.base.units import NS_PER_S
from observer.cli import system
from observer.cli.context import (
    ConfigOption,
    JsonOption,
    base_settings,
    print_json,
)
from observer.cli.options import Argument, Option
from observer.cli.tables import Table, folded_lines, terminal_width
from observer.cli.tables import show as show_table

if TYPE_CHECKING:  # a running system's alerts need no database
    from observer.store.alerts import StoredAlert

_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_TABLE_WIDTH_MIN: Final = 120  # columns of a terminal; in fewer a text has a few letters a line
_COLUMNS: Final = ("since", "severity", "process", "identity", "count", "last", "state", "text")


class AlertRow(msgspec.Struct, frozen=True, kw_only=True):
    """An alert as it is shown; times in UTC nanoseconds of market time."""

    process: str
    identity: str
    severity: str
    since_ns: int
    last_ns: int
    count: int
    text: str
    resolved_ns: int | None = None
    silenced_until_ns: int | None = None
    is_open: bool = True


def alerts(
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show open alerts; silence one.

    They come from the running system where there is one (warnings and critical ones, known without the database), else
    from the database. An alert is open until its condition has ended; what happened and has no end counts until the end
    of its day. A silenced alert stays listed. `observer show alerts [DATE]` shows all of the database.
    """
    if click.get_current_context().invoked_subcommand is not None:
        return
    settings = base_settings(config)
    reply = _running(settings)
    if reply is not None:
        rows: Sequence[AlertRow] = [_of_system(alert) for alert in reply.alerts]
    else:
        rows = _stored(settings, _now_ns(None))
    if as_json:
        print_json({"alerts": rows})
    elif rows:
        show_alerts(rows, terminal_width())
    else:
        click.echo("no open alerts")


def silence(
    identity: Annotated[str, Argument(help="The alert, as `observer alerts` names it.")],
    span: Annotated[str, Option("--for", metavar="TIME", help="How long (30m, 2h, 1d); 0 ends the silence.")] = "2h",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Silence an open alert for a while.

    It stays listed; `observer run` does not print it, and `observer status` does not end with 1 for it.
    """
    for_s = seconds_of(span)
    settings = base_settings(config)
    if _running(settings) is not None:
        system.show(system.ask_system(SilenceAlert(identity, for_s), settings.run), as_json=as_json)
        return
    from observer.monitoring.alerts.silences import Silences, silenced_text

    now_ns = _now_ns(None)
    identities = sorted({row.identity for row in _stored(settings, now_ns)})
    if identity not in identities:
        raise NoDataError(
            f"no open alert is named {identity!r}{'; open are ' if identities else ''}{', '.join(identities)}"
        )
    Silences(Path(settings.run.runtime)).silence(identity, now_ns + round(for_s * NS_PER_S), now_ns)
    click.echo(silenced_text(identity, for_s))


def seconds_of(text: str) -> float:
    """The seconds of a time such as 90s, 30m, 2h or 1d.

    Raises:
        ConfigError: it is none.
    """
    number, unit = (text[:-1], text[-1:]) if text[-1:] in _SECONDS else (text, "s")
    try:
        found = float(number) * _SECONDS[unit]
    except ValueError:
        found = -1.0
    if not 0 <= found <= 366 * _SECONDS["d"]:
        raise ConfigError(f"--for {text}: give a time such as 30m, 2h or 1d, at most 366d; 0 ends the silence")
    return found


def _running(settings: BaseSettings) -> StatusReply | None:
    """The status of the running system; None where none answers."""
    if not is_reachable(settings.run):
        return None
    try:
        reply = system.ask_system(Status(), settings.run)
    except ConfigError:  # it ended and left its sockets
        return None
    assert isinstance(reply, StatusReply)
    return reply


def _now_ns(reply: StatusReply | None) -> int:
    """The market time of the running system, else of this process."""
    return reply.market_time_ns if reply is not None else clock_from_environment().now_ns()


def _stored(settings: BaseSettings, now_ns: int) -> Sequence[AlertRow]:
    """The open alerts of the database, of severity warning and above."""
    from observer.monitoring.alerts.silences import Silences
    from observer.store.alerts import AlertReader

    silenced = Silences(Path(settings.run.runtime)).until(now_ns)
    with AlertReader(settings.store.url) as reader:
        found = reader.alerts(now_ns)
    rows = [_of_database(alert, now_ns, silenced) for alert in found]
    return [row for row in rows if row.is_open and row.severity != "info"]


def _of_system(alert: OpenAlert) -> AlertRow:
    return AlertRow(
        process=alert.process,
        identity=alert.identity,
        severity=alert.severity,
        since_ns=alert.since_ns,
        last_ns=alert.last_ns,
        count=alert.count,
        text=alert.text,
        silenced_until_ns=alert.silenced_until_ns,
    )


def _of_database(alert: "StoredAlert", now_ns: int, silenced: Mapping[str, int]) -> AlertRow:
    return AlertRow(
        process=alert.source,
        identity=alert.identity,
        severity=alert.severity,
        since_ns=alert.since_ns,
        last_ns=alert.last_ns,
        count=alert.count,
        text=alert.text,
        resolved_ns=alert.resolved_ns,
        silenced_until_ns=silenced.get(alert.identity),
        is_open=alert.is_open(now_ns),
    )


def show_alerts(rows: Sequence[AlertRow], width: int | None) -> None:
    """Print the alerts as a table; where a terminal is narrower than `_TABLE_WIDTH_MIN`, each text below its alert."""
    if width is None or width >= _TABLE_WIDTH_MIN:
        show_table(_table(rows))
        return
    for row in rows:
        times = f", {row.count} times until {_time(row.last_ns)}" if row.count > 1 else ""
        head = f"{_time(row.since_ns)} {row.severity} {row.identity} ({row.process}): {_state(row)}{times}"
        for line in (*folded_lines(head, width), *folded_lines(f"  {row.text}", width)):
            click.echo(line)


def _table(rows: Sequence[AlertRow]) -> Table:
    cells = [
        (
            _time(row.since_ns),
            row.severity,
            row.process,
            row.identity,
            str(row.count),
            _time(row.last_ns),
            _state(row),
            row.text,
        )
        for row in rows
    ]
    folded = ("since", "text", "identity", "state")
    return Table(_COLUMNS, cells, right=("count",), folded=folded, optional=("last", "process"))


def _state(row: AlertRow) -> str:
    if row.resolved_ns is not None:
        return f"resolved {_time(row.resolved_ns)}"
    if not row.is_open:
        return "happened"
    return "open" if row.silenced_until_ns is None else f"silenced until {_time(row.silenced_until_ns)}"


def _time(moment_ns: int) -> str:
    return f"{local_datetime(moment_ns):%m-%d %H:%M:%S}"
