"""The figures of the day on the screen of `observer top`: gaps, sweeps, rows, backups, universe. Pure.

Each part is a function of the state, a width and a number of rows.
"""

from collections.abc import Callable, Sequence
from typing import Final

from rich.text import Text

from observer.cli.top_texts import (
    aged,
    bounds,
    bytes_text,
    cell,
    fit,
    minute_text,
    missing,
    number,
    short_span_text,
    span_text,
)
from observer.web.model import State, Strip

# By state, the worst last: it stands on top.
_GAP_MARKS: Final = {"empty": ("·", "dim"), "recovered": ("=", "green"), "lost": ("x", "red"), "open": ("o", "yellow")}
_WEIGHTS: Final = {"empty": 1, "recovered": 2, "lost": 100, "open": 100}
_LINE_WIDTH: Final = 10
_STRIP_WIDTH_MIN: Final = 20


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
        *(f"{what} within {short_span_text(p95_s)} (p95)" for p95_s, what in times if p95_s is not None),
    ]
    return aged("gaps", state, part, parts, width, rows)


def strips(state: State, width: int, rows: int) -> Sequence[Text]:
    """The gaps of the lines with the most of them, each a strip over the day."""
    part, phases = state.gaps, state.timeline.phases
    strip_width = width - _LINE_WIDTH - 2
    if part.missing or not part.strips or not phases or rows < 2 or strip_width < _STRIP_WIDTH_MIN:
        return []
    begin, end = bounds(state.timeline)
    scale = strip_width / max(end - begin, 1.0)
    most = sorted(part.strips, key=lambda strip: (-_weight(strip), strip.line))[: rows - 1]
    signs = f"{minute_text(begin)} to {minute_text(end)}: o open, = recovered, x lost, · nothing missing"
    lines = [Text(fit(f"{'':<{_LINE_WIDTH}}  {signs}", width), "dim")]
    for strip in most:
        letters = [(" ", "")] * strip_width
        for state_name in _GAP_MARKS:
            for span in (each for each in strip.spans if each.state == state_name):
                first, last = (
                    min(strip_width - 1, max(0, int((minute - begin) * scale)))
                    for minute in (span.begin_minute, span.end_minute)
                )
                letters[first : last + 1] = [_GAP_MARKS[state_name]] * (last - first + 1)
        lines.append(Text.assemble(f"{cell(strip.line, _LINE_WIDTH)}  ", *letters))
    return lines


def _weight(strip: Strip) -> int:
    """How much a line's gaps need to be seen."""
    return sum(_WEIGHTS[span.state] for span in strip.spans)


def sweeps(state: State, width: int, rows: int) -> Sequence[Text]:
    """The sweeps of the day, and the last one."""
    part = state.sweeps
    if part.missing:
        return missing("sweeps", part, width)
    if not part.sweeps:
        return aged("sweeps", state, part, ["none yet"], width)
    last = part.sweeps[-1]
    answered = Text(f"{last.answered:,} of {last.asked:,} answered", "yellow" if last.answered < last.asked else "")
    begin = f"the last at {minute_text(last.begin_minute)}"
    counted = f"{len(part.sweeps):,} of the day"
    parts: list[str | Text] = [counted, begin, f"took {span_text(last.duration_s)}", answered]
    return aged("sweeps", state, part, parts, width, rows)


def stored(state: State, width: int, rows: int) -> Sequence[Text]:
    """What is stored, how fast, and how far the writer is behind."""
    part = state.storage
    if part.missing:
        return missing("stored", part, width)
    optional = (
        ("{} rows/s", part.rows_per_s, number),
        ("{} wait", part.waiting_events, number),
        ("acknowledged within {}", part.acknowledgement_s, short_span_text),
        ("database {}", part.database_bytes, bytes_text),
        ("{} of disk free", part.disk_free_bytes, bytes_text),
    )
    parts = [f"{sum(part.rows.values()):,} rows of the day"]
    parts += [text.format(form(value)) for text, value, form in optional if value is not None]
    kinds = sorted((each for each in part.rows.items() if each[1]), key=lambda each: -each[1])
    parts += [f"{name} {count:,}" for name, count in kinds]
    return aged("stored", state, part, parts, width, rows)


def backups(state: State, width: int, rows: int) -> Sequence[Text]:
    """The newest package of each kind."""
    part = state.backups
    if part.missing:
        return missing("backups", part, width)
    if not part.backups:
        return aged("backups", state, part, [Text("no verified package", "yellow")], width)
    texts = [f"{each.kind} {each.name}, {span_text(each.age_s)} ago" for each in part.backups]
    return aged("backups", state, part, texts, width, rows)


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
    return aged("universe", state, universe, parts, width, rows)


OTHERS: Final[Sequence[Callable[[State, int, int], Sequence[Text]]]] = (sweeps, stored, backups, market)
"""The parts that stand below the gaps."""
