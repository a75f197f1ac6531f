"""The screen of `observer top`: a state, a width and a height become at most so many lines of at most this width. Pure.

Whether all is well stands first. A small screen keeps each part's figures and loses rows of slots, alerts and gaps; a
part that does not fit is left out whole, and no number is ever cut.
"""

from collections.abc import Sequence
from typing import Final

from rich.text import Text

from observer.base.text import plain_text
from observer.cli import top_figures
from observer.cli.top_parts import alerts, head, processes
from observer.cli.top_slots import slots
from observer.cli.top_texts import fit
from observer.web.model import State

_TALL: Final = 34  # rows, from which figures may take two rows and processes a table
_ALERT_ROWS_MIN: Final = 3
_SLOT_ROWS_MIN: Final = 3


def screen(state: State, width: int, height: int) -> Sequence[Text]:
    """The lines of the screen, the most important first."""
    is_tall = height >= _TALL
    depth = 2 if is_tall else 1
    begin = head(state, width)
    gaps = top_figures.gaps(state, width, depth)
    figures = [line for part in top_figures.OTHERS for line in part(state, width, depth)]
    left = height - len(begin) - len(gaps) - len(figures)
    table_rows = len(state.processes.processes) + 2 if is_tall else 0
    of_processes = processes(state, width, max(table_rows, min(left - _ALERT_ROWS_MIN, left * 2 // 3)))
    left -= len(of_processes)
    of_alerts = alerts(state, width, max(_ALERT_ROWS_MIN, left - _SLOT_ROWS_MIN))
    left -= len(of_alerts)
    strip_rows = min(left // 3, len(state.gaps.strips) + 1) if is_tall or not state.is_live else 0
    of_slots = slots(state, width, max(1, left - strip_rows))
    strips = top_figures.strips(state, width, max(0, left - len(of_slots)))
    lines = [*begin, *of_processes, *of_alerts, *of_slots, *gaps, *strips, *figures]
    return [_clamped(line, width) for line in lines[:height]]


def _clamped(line: Text, width: int) -> Text:
    """The line, fitted where it is wider than a very narrow screen, and without what would steer a terminal."""
    line.rstrip()
    is_fit = line.cell_len <= width and plain_text(line.plain) == line.plain
    return line if is_fit else Text(fit(line.plain, width), line.style)
