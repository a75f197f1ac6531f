"""Parts of the screen of `observer top`: each a function of a part of the state, a width and a number of rows. Pure."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Final

from rich.text import Text

from observer.cli.tables import display_width
from observer.cli.top_texts import (
    STYLES,
    bytes_text,
    cell,
    facts,
    fit,
    minute_text,
    number,
    span_text,
)
from observer.web.model import Account, Alert, Gaps, Part, Process, Slot, State, Timeline

_IDLE: Final = "IDLE"  # the phase in which nothing is to be done
_OLD_MS: Final = 5_000  # an age below is not shown
_MARKS: Final = {"ok": " ", "warning": "!", "critical": "x"}
_GAP_MARKS: Final = {
    "empty": ("·", "dim"),
    "recovered": ("=", "green"),
    "lost": ("x", "bold red"),
    "open": ("o", "yellow"),
}
_STATE_WIDTH: Final = 8
_NAME_WIDTH_MIN: Final = 12
_SLOT_CELL_WIDTH: Final = 26
_SPARKS: Final = "▁▂▃▄▅▆▇█"
_SPARK_WIDTH: Final = 16
_TABLE_WIDTH: Final = 80  # columns of the table of slots, without its charts


def missing(label: str, part: Part, width: int) -> Sequence[Text]:
    """What stands in the place of a part without figures."""
    return facts(label, [Text(part.missing, "dim")], width, 2)


def age(state: State, part: Part) -> Sequence[Text]:
    """How old the part's figures are, where that matters."""
    age_ms = state.now_ms - part.known_ms
    return [Text(f"{span_text(age_ms / 1000)} old", "yellow")] if state.is_live and age_ms >= _OLD_MS else []


# --- head ----------------------------------------------------------------------------------------------------


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
    begin, end = _bounds(timeline)
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


def _bounds(timeline: Timeline) -> tuple[float, float]:
    """Where the bar of the day begins and ends: with the first and the last phase in which something is to be done, or
    with the present moment.
    """
    busy = [phase for phase in timeline.phases if phase.name != _IDLE] or list(timeline.phases)
    begin, end = busy[0].begin_minute, busy[-1].end_minute
    now = begin if timeline.now_minute is None else timeline.now_minute
    return min(begin, now), max(end, now)


# --- processes -----------------------------------------------------------------------------------------------


def processes(state: State, width: int, rows: int) -> Sequence[Text]:
    """The processes: a table where there is room for it, else several beside each other; why one ended below them."""
    part = state.processes
    if part.missing:
        return missing("processes", part, width)
    running = sum(each.state == "RUNNING" for each in part.processes)
    title = facts(
        "processes",
        [
            Text(f"{running} of {len(part.processes)} running", "" if running == len(part.processes) else "yellow"),
            f"up {span_text(part.uptime_s)}",
            f"version {part.version}",
            *age(state, part),
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
        return facts("alerts", [Text("none open", "green"), *age(state, part)], width)
    counts = [(name, sum(each.severity == name for each in part.alerts)) for name in ("critical", "warning", "info")]
    parts = [Text(f"{count} {name}", STYLES[name]) for name, count in counts if count]
    lines = [*facts("alerts", [*parts, *age(state, part)], width)]
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
    since = f"since {_minute_of(alert.since)}{times}{silenced}"
    return [Text(fit(text, width), style) for text in (f"{title} at {alert.process}, {since}", f"    {alert.text}")]


def _minute_of(moment: str) -> str:
    """Day and minute of an ISO time."""
    return moment[5:16].replace("T", " ")


# --- slots ---------------------------------------------------------------------------------------------------


def slots(state: State, width: int, rows: int) -> Sequence[Text]:
    """The accounts and their slots, the busiest first: a table where there is room for it, else cells."""
    part = state.board
    if part.missing:
        return missing("slots", part, width)
    held = sum(len(account.slots) for account in part.accounts)
    most = sum(account.slots_max for account in part.accounts)
    waiting = f"{part.waiting} candidates wait" if part.waiting else "no candidate waits"
    accounts = [_account(each) for each in part.accounts]
    lines = [*facts("slots", [f"{held} of {most} held", waiting, *accounts, *age(state, part)], width, 1 + (rows > 8))]
    busiest = sorted(
        (slot for account in part.accounts for slot in account.slots),
        key=lambda slot: (-(slot.trades_per_minute or 0.0), slot.line),
    )
    room = rows - len(lines)
    if room <= 0 or not busiest:
        return lines[: max(rows, 1)]
    if width >= _TABLE_WIDTH and room >= 8:
        shown = busiest[: room - 1]
        return [*lines, _slot_header(width), *(_slot_row(slot, width) for slot in shown)]
    columns = max(1, (width + 1) // (_SLOT_CELL_WIDTH + 1))
    cells = [_slot_cell(slot) for slot in busiest[: room * columns]]
    return [*lines, *(Text(" ").join(cells[at : at + columns]) for at in range(0, len(cells), columns))]


def _account(account: Account) -> Text:
    stream = {True: "connected", False: "not connected", None: "connection not known"}[account.is_connected]
    text = f"{account.name} {len(account.slots)} of {account.slots_max}, {stream}"
    return Text(text, "yellow" if account.is_connected is False else "")


def _slot_cell(slot: Slot) -> Text:
    price, change = number(slot.price), _change(slot)
    line = fit(slot.line, 10)
    room = _SLOT_CELL_WIDTH - display_width(line) - len(change) - 1
    shown = price if len(price) < room else ""
    return Text(f"{line}{shown:>{room}}").append(f" {change}", _of_change(slot.change_percent))


def _slot_header(width: int) -> Text:
    header = f"  {'line':<10} {'name':<14} {'why':<16} {'score':>6} {'a minute':>8} {'price':>11} {'change':>7}"
    return Text(fit(f"{header}  {'the last minutes':<{_SPARK_WIDTH}}" if width >= 100 else header, width), "dim")


def _slot_row(slot: Slot, width: int) -> Text:
    name, why, score = cell(slot.name, 14), cell(slot.why, 16), number(slot.score, 2)
    text = Text(f"  {cell(slot.line, 10)} {name} {why} {score:>6} {number(slot.trades_per_minute):>8}")
    text.append(f" {number(slot.price):>11}").append(f" {_change(slot):>7}", _of_change(slot.change_percent))
    return text.append(f"  {_spark([price for _, price in slot.prices])}") if width >= 100 else text


def _change(slot: Slot) -> str:
    return "" if slot.change_percent is None else f"{slot.change_percent:+.1f}%"


def _of_change(change_percent: float | None) -> str:
    """Red for a rise and blue for a fall, as in Korea."""
    return "" if not change_percent else "red" if change_percent > 0 else "blue"


def _spark(prices: Sequence[float]) -> str:
    recent = prices[-_SPARK_WIDTH:]
    if len(recent) < 2:
        return ""
    low, high = min(recent), max(recent)
    scale = (len(_SPARKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_SPARKS[round((price - low) * scale)] for price in recent)


# --- figures -------------------------------------------------------------------------------------------------


def gaps(state: State, width: int, rows: int) -> Sequence[Text]:
    """The day's gaps, and how soon they were found and filled."""
    part = state.gaps
    if part.missing:
        return missing("gaps", part, width)
    times = ((part.detection_p95_s, "found"), (part.closing_p95_s, "filled"))
    parts: list[str | Text] = [
        Text(f"{part.open:,} open", "yellow" if part.open else ""),
        f"{part.recovered:,} recovered",
        Text(f"{part.lost:,} lost", "bold red" if part.lost else ""),
        *(f"{what} within {_short_span(p95_s)} (p95)" for p95_s, what in times if p95_s is not None),
        *age(state, part),
    ]
    return facts("gaps", parts, width, rows)


def strips(state: State, width: int, rows: int) -> Sequence[Text]:
    """The gaps of the lines with the most of them, each a strip over the day."""
    part, phases = state.gaps, state.timeline.phases
    label_width = 10
    strip_width = width - label_width - 2
    if part.missing or not part.strips or not phases or rows < 2 or strip_width < 20:
        return []
    begin, end = _bounds(state.timeline)
    most = sorted(part.strips, key=lambda strip: (-_weight(part, strip.line), strip.line))[: rows - 1]
    signs = f"{minute_text(begin)} to {minute_text(end)}: o open, = recovered, x lost, · nothing missing"
    lines = [Text(fit(f"{'':<{label_width}}  {signs}", width), "dim")]
    for strip in most:
        letters = [(" ", "")] * strip_width
        for state_name in _GAP_MARKS:  # the worst last: it stands on top
            for span in (each for each in strip.spans if each.state == state_name):
                first, last = (
                    min(strip_width - 1, max(0, int((minute - begin) / (end - begin) * strip_width)))
                    for minute in (span.begin_minute, span.end_minute)
                )
                letters[first : last + 1] = [_GAP_MARKS[state_name]] * (last - first + 1)
        lines.append(Text.assemble(f"{cell(strip.line, label_width)}  ", *letters))
    return lines


def _weight(part: Gaps, line: str) -> int:
    """How much a line's gaps need to be seen."""
    [strip] = [each for each in part.strips if each.line == line][:1]
    return sum({"open": 100, "lost": 100, "recovered": 2, "empty": 1}[span.state] for span in strip.spans)


def sweeps(state: State, width: int, rows: int) -> Sequence[Text]:
    """The sweeps of the day, and the last one."""
    part = state.sweeps
    if part.missing:
        return missing("sweeps", part, width)
    if not part.sweeps:
        return facts("sweeps", ["none yet", *age(state, part)], width)
    last = part.sweeps[-1]
    answered = Text(f"{last.answered:,} of {last.asked:,} answered", "yellow" if last.answered < last.asked else "")
    begin = f"the last at {minute_text(last.begin_minute)}"
    counted = f"{len(part.sweeps):,} of the day"
    parts: list[str | Text] = [counted, begin, f"took {span_text(last.duration_s)}", answered, *age(state, part)]
    return facts("sweeps", parts, width, rows)


def stored(state: State, width: int, rows: int) -> Sequence[Text]:
    """What is stored, how fast, and how far the writer is behind."""
    part = state.storage
    if part.missing:
        return missing("stored", part, width)
    optional = (
        ("{} rows/s", part.rows_per_s, number),
        ("{} wait", part.waiting_events, number),
        ("acknowledged within {}", part.acknowledgement_s, _short_span),
        ("database {}", part.database_bytes, bytes_text),
        ("{} of disk free", part.disk_free_bytes, bytes_text),
    )
    parts = [f"{sum(part.rows.values()):,} rows of the day"]
    parts += [text.format(form(value)) for text, value, form in optional if value is not None]
    kinds = sorted(part.rows.items(), key=lambda item: -item[1])
    return facts("stored", [*parts, *age(state, part), *(f"{name} {count:,}" for name, count in kinds)], width, rows)


def _short_span(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else span_text(seconds)


def backups(state: State, width: int, rows: int) -> Sequence[Text]:
    """The newest package of each kind."""
    part = state.backups
    if part.missing:
        return missing("backups", part, width)
    if not part.backups:
        return facts("backups", [Text("no verified package", "yellow"), *age(state, part)], width)
    texts = [f"{each.kind} {each.name}, {span_text(each.age_s)} ago" for each in part.backups]
    return facts("backups", [*texts, *age(state, part)], width, rows)


def market(state: State, width: int, rows: int) -> Sequence[Text]:
    """The universe, new listings, and the tape where it is on."""
    universe, listings, tape = state.universe, state.listings, state.tape
    parts: list[str | Text] = [universe.missing or f"{universe.lines:,} lines"]
    if not listings.missing:
        count = len(listings.listings)
        new = f"{count:,} new listing{'' if count == 1 else 's'} in 30 days"
        parts += [new, *(Text(f"{each.exchange} waits for approval", "yellow") for each in listings.pending)]
    if tape.is_on and tape.share_held is not None:
        parts.append(f"tape {tape.share_held:.1%} of the volume")
        if tape.lines is not None and tape.lines_complete is not None:
            parts.append(f"{tape.lines_complete:,} of {tape.lines:,} lines complete")
    return facts("universe", [*parts, *age(state, universe)], width, rows)
