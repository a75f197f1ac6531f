"""The screen of `observer top`: a state, a width and a height become at most so many lines of at most this width. Pure.

Whether all is well stands first. A small screen keeps each part's figures and loses rows of slots, alerts and gaps; a
part that does not fit is left out whole, and no number is ever cut.
"""

from collections.abc import Sequence
from typing import Final

from rich.text import Text

from observer.cli import top_parts as parts
from observer.cli.top_texts import fit
from observer.web.model import State

_TALL: Final = 34  # rows, from which figures may take two rows and processes a table
_ALERT_ROWS_MIN: Final = 3
_SLOT_ROWS_MIN: Final = 3


def screen(state: State, width: int, height: int) -> Sequence[Text]:
    """The lines of the screen, the most important first."""
    is_tall = height >= _TALL
    head = parts.head(state, width)
    figures = [
        line
        for part in (parts.gaps, parts.sweeps, parts.stored, parts.backups, parts.market)
        for line in part(state, width, 2 if is_tall else 1)
    ]
    left = height - len(head) - len(figures)
    table_rows = len(state.processes.processes) + 2 if is_tall else 0
    processes = parts.processes(state, width, max(table_rows, min(left - _ALERT_ROWS_MIN, left * 2 // 3)))
    left -= len(processes)
    alerts = parts.alerts(state, width, max(_ALERT_ROWS_MIN, left - _SLOT_ROWS_MIN))
    left -= len(alerts)
    strip_rows = min(left // 3, len(state.gaps.strips) + 1) if is_tall or not state.is_live else 0
    slots = parts.slots(state, width, max(1, left - strip_rows))
    strips = parts.strips(state, width, max(0, left - len(slots)))
    lines = [*head, *processes, *alerts, *slots, *figures[:1], *strips, *figures[1:]]
    return [_clamped(line, width) for line in lines[:height]]


def _clamped(line: Text, width: int) -> Text:
    line.rstrip()
    return line if line.cell_len <= width else Text(fit(line.plain, width), line.style)
