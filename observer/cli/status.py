"""`observer status`: the processes of the running system."""

from bus.commands import ProcessStatus, Status, StatusReply
from observer.cli.context import ConfigOption, JsonOption, print_json
from observer.cli.system import ask, show
from observer.cli.tables import Table
from observer.cli.tables import show as show_table
from observer.local_time import local_datetime

_COLUMNS = ("process", "state", "pid", "uptime s", "restarts", "CPU %", "RSS MB", "heartbeat s", "loop lag ms")


def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the processes of the running system.

    Columns: state, pid, uptime, restarts, CPU, memory, age of the last heartbeat, event loop lag.
    """
    reply = ask(Status(), config)
    if not isinstance(reply, StatusReply):
        show(reply, as_json=as_json)
    elif as_json:
        print_json(reply)
    else:
        show_table(_table(reply))


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
