"""The first parts of the screen of `observer top`: whether all is well, processes, alerts. Pure.

Each part is a function of the state, a width and a number of rows.
"""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Final

from rich.text import Text

from observer.cli.tables import display_width
from observer.cli.top_texts import STYLES, aged, bounds, bytes_text, fit, minute_text, missing, span_text
from observer.web.model import Alert, Process, State, Timeline

_MARKS: Final = {"ok": " ", "warning": "!", "critical": "x"}
_STATE_WIDTH: Final = 8
_NAME_WIDTH_MIN: Final = 12


def head(state: State, width: int) -> Sequence[Text]:
    """Whether all is well; the clock and the phase; the day's plan with the present moment."""
    style = f"reverse {STYLES[state.level] or 'default'}"
    first = Text(f" {state.level.upper()} ", style)
    first.append(f" {fit(state.headline, width - first.cell_len - 1)}", STYLES[state.level])
    clock = Text(state.market_time[:19].replace("T", " ") if state.is_live else state.day, "bold")
    for part in (
        Text(state.phase, "bold cyan"),
        _until(state.timeline),
        Text(state.instance),
        Text("live" if state.is_live else "a stored day"),
    ):
        if part.plain and clock.cell_len + 2 + part.cell_len <= width:
            clock.append("  ").append_text(part)
    return [first, clock, _plan(state, width)]


def _until(timeline: Timeline) -> Text:
    """When the present phase ends; nothing where that is not known."""
    now = -1.0 if timeline.now_minute is None else timeline.now_minute
    ends = [each.end_minute for each in timeline.phases if each.begin_minute <= now < each.end_minute]
    return Text(f"until {minute_text(ends[0])}" if ends else "")


def _plan(state: State, width: int) -> Text:
    """The day's phases as a bar: a tick where each begins, and the part of the day that is over."""
    timeline = state.timeline
    if timeline.missing:
        return Text(fit(timeline.missing, width), "dim")
    if not timeline.phases:
        return Text(fit("no trading day", width), "dim")
    begin, end = bounds(timeline)
    first, last = f"{minute_text(begin)} ", f" {minute_text(end)}"
    bar_width = width - len(first) - len(last)
    if bar_width < 10 or end <= begin:
        return Text(fit(f"{first}to{last}", width))

    def column(minute: float) -> int:
        return min(bar_width - 1, max(0, int((minute - begin) / (end - begin) * bar_width)))

    now = timeline.now_minute
    is_over = bar_width if now is None else column(now) if now >= begin else 0
    letters = ["━" if at < is_over else "─" for at in range(bar_width)]
    for minute in (phase.begin_minute for phase in timeline.phases if begin < phase.begin_minute < end):
        at = column(minute)
        letters[at] = "┿" if at < is_over else "┼"
    bar = Text(first)
    bar.append("".join(letters[:is_over]), "cyan").append("".join(letters[is_over:]), "dim").append(last)
    if now is not None:
        at = len(first) + column(now)
        bar = Text.assemble(bar[:at], ("●", "bold cyan"), bar[at + 1 :])
    return bar


# --- processes -----------------------------------------------------------------------------------------------


def processes(state: State, width: int, rows: int) -> Sequence[Text]:
    """The processes: a table where there is room for it, else several beside each other; why one ended below them."""
    part = state.processes
    if part.missing:
        return missing("processes", part, width)
    running = sum(each.state == "RUNNING" for each in part.processes)
    title = aged(
        "processes",
        state,
        part,
        [
            Text(f"{running} of {len(part.processes)} running", "" if running == len(part.processes) else "yellow"),
            f"up {span_text(part.uptime_s)}",
            f"version {part.version}",
        ],
        width,
    )
    name_width = max([_NAME_WIDTH_MIN, *(display_width(each.name) for each in part.processes)])
    table = _process_table(part.processes, name_width, width)
    if len(table) + 1 <= rows and max(line.cell_len for line in table) <= width:
        return [*title, *table]
    cells = [_process_cell(each, name_width) for each in part.processes]
    columns = max(1, (width + 3) // (cells[0].cell_len + 3)) if cells else 1
    depth = -(-len(cells) // columns)
    beside = zip_longest(*(cells[at : at + depth] for at in range(0, len(cells), depth)))
    grid = [Text("   ").join([each for each in row if each is not None]) for row in beside]
    ended = [_ended(each, width) for each in part.processes if each.exit and each.level != "ok"]
    return [*title, *grid, *ended][: max(rows, 1)]


def _process_cell(process: Process, name_width: int) -> Text:
    figures = "" if process.cpu_percent is None else f"{process.cpu_percent:.0f} %"
    memory = "" if process.rss_bytes is None else bytes_text(process.rss_bytes)
    text = f"{_MARKS[process.level]} {process.name:<{name_width}} {process.state:<{_STATE_WIDTH}}"
    return Text(f"{text} {figures:>5} {memory:>7}", _of_level(process.level))


def _process_table(found: Sequence[Process], name_width: int, width: int) -> Sequence[Text]:
    header = (
        f"  {'':<{name_width}} {'state':<{_STATE_WIDTH}} {'pid':>8} {'up':>7} {'restarts':>8} {'CPU':>6} {'memory':>8}"
    )
    lines = [Text(f"{header} {'heartbeat':>9} {'lag':>8}", "dim")]
    for each in found:
        cpu, memory, up, beat = (
            "" if each.cpu_percent is None else f"{each.cpu_percent:.0f} %",
            "" if each.rss_bytes is None else bytes_text(each.rss_bytes),
            "" if each.uptime_s is None else span_text(each.uptime_s),
            "" if each.heartbeat_age_s is None else f"{each.heartbeat_age_s:.1f} s",
        )
        lag = "" if each.loop_lag_s is None else f"{each.loop_lag_s * 1000:.0f} ms"
        line = (
            f"{_MARKS[each.level]} {each.name:<{name_width}} {each.state:<{_STATE_WIDTH}} {each.pid or '':>8} {up:>7}"
        )
        text = Text(f"{line} {each.restarts:>8} {cpu:>6} {memory:>8} {beat:>9} {lag:>8}", _of_level(each.level))
        room = width - text.cell_len - 2
        if each.exit and each.level != "ok" and room > _NAME_WIDTH_MIN:
            text.append(f"  {fit(each.exit, room)}", _of_level(each.level))
        lines.append(text)
    return lines


def _ended(process: Process, width: int) -> Text:
    return Text(fit(f"  {process.name}: {process.exit}", width), _of_level(process.level))


def _of_level(level: str) -> str:
    return "" if level == "ok" else STYLES[level]


# --- alerts --------------------------------------------------------------------------------------------------


def alerts(state: State, width: int, rows: int) -> Sequence[Text]:
    """The open alerts, worst first, in at most so many rows."""
    part = state.alerts
    if part.missing:
        return missing("alerts", part, width)
    if not part.alerts:
        return aged("alerts", state, part, [Text("none open", "green")], width)
    counts = [(name, sum(each.severity == name for each in part.alerts)) for name in ("critical", "warning", "info")]
    parts = [Text(f"{count} {name}", STYLES[name]) for name, count in counts if count]
    lines = [*aged("alerts", state, part, parts, width)]
    depth = 2 if len(lines) + 2 * len(part.alerts) <= rows // 2 else 1
    shown = part.alerts if len(lines) + depth * len(part.alerts) <= rows else part.alerts[: max(0, rows - 2)]
    lines += [line for each in shown for line in _alert_lines(each, width, depth)]
    if len(shown) < len(part.alerts) and len(lines) < rows:
        lines.append(Text(fit(f"  {len(part.alerts) - len(shown)} more: observer alerts", width), "dim"))
    return lines


def _alert_lines(alert: Alert, width: int, depth: int) -> Sequence[Text]:
    """The alert in one row or two."""
    times = "" if alert.count == 1 else f", {alert.count:,} times"
    silenced = "" if alert.silenced_until is None else f", silenced until {_minute_of(alert.silenced_until)}"
    style = "dim" if alert.silenced_until is not None else STYLES[alert.severity]
    title = f"  {alert.severity:<8} {alert.identity}"
    if depth == 1:
        return [Text(fit(f"{title}: {alert.text}", width), style)]
    ended = "" if alert.ended is None else f" until {_minute_of(alert.ended)}"
    since = f"since {_minute_of(alert.since)}{ended}{times}{silenced}"
    return [Text(fit(text, width), style) for text in (f"{title} at {alert.process}, {since}", f"    {alert.text}")]


def _minute_of(moment: str) -> str:
    """Day and minute of an ISO time."""
    return moment[5:16].replace("T", " ")
