"""Texts of the screen of `observer top`: fitted to a width without ever cutting a number. Pure."""

from collections.abc import Iterable, Sequence
from typing import Final

from rich.text import Text

from observer.base.text import plain_text
from observer.cli.tables import display_width
from observer.web.model import Part, State, Timeline

SEPARATOR: Final = " · "
LABEL_WIDTH: Final = 10
_IDLE: Final = "IDLE"  # the phase in which nothing is to be done
_OLD_MS: Final = 5_000  # an age below is not shown
STYLES: Final = {"ok": "green", "info": "", "warning": "yellow", "critical": "bold red"}
_CUT: Final = "…"
_OF_NUMBERS: Final = "0123456789.,:+- "  # and blanks between them
_UNITS: Final = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
_SPANS: Final = (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0))


def fit(text: str, width: int) -> str:
    """The text on one line of at most this width: whole, or its beginning and "…". A number at the cut goes whole."""
    text = plain_text(text)
    if display_width(text) <= width:
        return text
    kept, room = 0, width - display_width(_CUT)
    while kept < len(text) and (room := room - display_width(text[kept])) >= 0:
        kept += 1
    head = text[:kept].rstrip(_OF_NUMBERS)
    return f"{head}{_CUT}" if width > 0 else ""


def cell(text: str, width: int) -> str:
    """The text, fitted and padded to this width."""
    fitted = fit(text, width)
    return fitted + " " * (width - display_width(fitted))


def facts(label: str, parts: Iterable[str | Text], width: int, rows: int = 1) -> Sequence[Text]:
    """A label and the parts beside it, in at most so many rows; parts that have no room are left out."""
    lines = [Text(cell(label, LABEL_WIDTH), "bold")]
    is_first = True
    for part in parts:
        shown = part if isinstance(part, Text) else Text(part)
        room = width - lines[-1].cell_len - (0 if is_first else len(SEPARATOR))
        if shown.cell_len > room and not is_first and len(lines) < rows:
            lines.append(Text(" " * LABEL_WIDTH))
            is_first, room = True, width - LABEL_WIDTH
        if shown.cell_len > room:
            if not is_first:
                continue
            shown = Text(fit(shown.plain, room), shown.style)
        if not is_first:
            lines[-1].append(SEPARATOR, "dim")
        lines[-1].append_text(shown)
        is_first = False
    return lines


def bytes_text(size: float) -> str:
    """Such as 1.2 GB."""
    for unit, scale in _UNITS:
        if size >= scale:
            return f"{size / scale:.{0 if size >= 100 * scale else 1}f} {unit}"
    return f"{size:.0f} B"


def span_text(seconds: float) -> str:
    """Such as 3.4 s, 12 min, 5 h or 2 d."""
    for unit, scale in _SPANS:
        if seconds >= (2 * scale if unit != "min" else 100):
            return f"{seconds / scale:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def minute_text(minute: float) -> str:
    """A minute of the day as a time: 09:30."""
    hours, minutes = divmod(int(minute), 60)
    return f"{hours:02d}:{minutes:02d}"


def number(value: float | None, digits: int = 0) -> str:
    """The figure with this many digits behind the point; "-" where it is not known."""
    return "-" if value is None else f"{value:,.{digits}f}"


def short_span_text(seconds: float) -> str:
    """As `span_text`, and such as 12 ms below a second."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else span_text(seconds)


def missing(label: str, part: Part, width: int) -> Sequence[Text]:
    """What stands in the place of a part without figures."""
    return facts(label, [Text(part.missing, "dim")], width, 2)


def aged(
    label: str, state: State, part: Part, parts: Iterable[str | Text], width: int, rows: int = 1
) -> Sequence[Text]:
    """As `facts`, with the age of the part's figures before them where they are old."""
    return facts(label, [*_age(state, part), *parts], width, rows)


def _age(state: State, part: Part) -> Sequence[Text]:
    """How old the part's figures are, where that matters."""
    age_ms = state.now_ms - part.known_ms
    is_old = state.is_live and not part.missing and age_ms >= _OLD_MS
    return [Text(f"{span_text(age_ms / 1000)} old", "yellow")] if is_old else []


def bounds(timeline: Timeline) -> tuple[float, float]:
    """Where the bar of the day begins and ends: with the first and the last phase in which something is to be done, or
    with the present moment.
    """
    busy = [phase for phase in timeline.phases if phase.name != _IDLE] or list(timeline.phases)
    begin, end = busy[0].begin_minute, busy[-1].end_minute
    now = begin if timeline.now_minute is None else timeline.now_minute
    return min(begin, now), max(end, now)
