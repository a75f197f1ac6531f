"""The display of a running day, fed by the feed and the supervisor.

On a terminal a live screen of 80 columns: clock, counters, news, processes, slots; a lower screen cuts off the slots.
Elsewhere each news item is a line, and a line of counters says every STATUS_S that the day goes on.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bus.commands import ProcessStatus
from bus.events import (
    Event,
    GapDetected,
    GapRecovered,
    GapUnrecoverable,
    ListingChanged,
    PhaseChanged,
    SlotAssigned,
    SlotExtended,
    SlotOverflowed,
    SlotReleased,
    Snapshot,
    SweepCompleted,
    Trade,
    TriggerFired,
    UniverseBuilt,
    kind_of,
)
from observer.base.local_time import local_datetime
from observer.demo.news import News
from observer.selection.slot_projection import extended

STATUS_S: Final = 30.0  # machine seconds without a line
_COUNTED: Final = (
    ("trades", Trade),
    ("snapshots", Snapshot),
    ("sweeps", SweepCompleted),
    ("triggers", TriggerFired),
    ("assignments", SlotAssigned),
    ("releases", SlotReleased),
    ("overflows", SlotOverflowed),
    ("gaps found", GapDetected),
    ("gaps filled", GapRecovered),
    ("gaps lost", GapUnrecoverable),
    ("listings", ListingChanged),
)
_COUNTERS_A_ROW: Final = 4
_PROCESSES_A_ROW: Final = 2
_NEWS_LINES: Final = 7
_STATE_STYLES: Final = {"RUNNING": "green", "STARTING": "yellow", "BACKOFF": "yellow", "FATAL": "bold red"} | {
    "LOOPING": "bold red"
}

_Cell = TypeVar("_Cell")


class DayView:
    """The display's state, a fold over the events of the feed and the supervisor's status."""

    def __init__(self, day_begins_ns: int, day_ends_ns: int, report: Callable[[Text], None] | None = None) -> None:
        """Take the day's bounds (UTC ns). `report`, if given, receives each line of a display without a terminal."""
        self._begins_ns = day_begins_ns
        self._ends_ns = day_ends_ns
        self.phase = "IDLE"
        self.universe = 0
        self.counts: Counter[str] = Counter()
        self.slots: dict[str, SlotAssigned] = {}
        self._lines: list[Text] = []
        self._has_news = False
        self._latest_s = 0.0
        self._report_line = report
        self._news = News(self._take_line)

    def apply(self, event: Event) -> None:
        """Apply an event of the feed."""
        self.counts[kind_of(type(event))] += 1
        match event:
            case PhaseChanged():
                self.phase = event.current
            case UniverseBuilt():
                self.universe = event.symbols
            case SlotAssigned():
                self.slots[event.slot] = event
            case SlotExtended() if (held := self.slots.get(event.slot)) is not None:
                self.slots[event.slot] = extended(held, event)
            case SlotReleased():
                self.slots.pop(event.slot, None)
            case _:
                pass
        self._news.apply(event)

    def update(self, now_ns: int, machine_s: float, processes: Sequence[ProcessStatus]) -> None:
        """Apply the supervisor's status at this market time; after STATUS_S without a line report the counters."""
        self._news.update(now_ns, machine_s, processes)
        is_due = self._latest_s > 0 and machine_s - self._latest_s >= STATUS_S
        if is_due and not self._has_news and self._report_line is not None:
            self._news.report(now_ns, self._status(processes))
        if self._has_news or not self._latest_s:
            self._has_news, self._latest_s = False, machine_s

    def render(self, now_ns: int, processes: Sequence[ProcessStatus]) -> RenderableType:
        """Render the screen at this market time."""
        return Group(
            self._header(now_ns),
            self._counters(),
            *self._news_rows(),
            self._processes(processes),
            Text(f"slots ({len(self.slots)})", style="bold"),
            Text("  ".join(slot.symbol for slot in sorted(self.slots.values(), key=lambda each: each.slot))),
        )

    def _take_line(self, line: Text) -> None:
        self._has_news = True
        self._lines = [*self._lines, line][-_NEWS_LINES:]
        if self._report_line is not None:
            self._report_line(line)

    def _status(self, processes: Sequence[ProcessStatus]) -> str:
        running = sum(process.state == "RUNNING" for process in processes)
        trades, sweeps = (self.counts[kind_of(kind)] for kind in (Trade, SweepCompleted))
        return (
            f"{self.phase}: {trades:,} trades, {sweeps:,} sweeps, {len(self.slots)} slots, "
            f"{running} of {len(processes)} processes running"
        )

    def _header(self, now_ns: int) -> RenderableType:
        done_ns = min(max(now_ns - self._begins_ns, 0), self._ends_ns - self._begins_ns)
        row = Table.grid(padding=(0, 2))
        clock = Text(local_datetime(now_ns).strftime("%Y-%m-%d %H:%M:%S %Z"), style="bold")
        bar = ProgressBar(self._ends_ns - self._begins_ns, done_ns, 30)
        row.add_row(clock, Text(self.phase, style="bold cyan"), bar)
        return row

    def _counters(self) -> RenderableType:
        cells = [("universe", self.universe), *((name, self.counts[kind_of(kind)]) for name, kind in _COUNTED)]
        grid = Table.grid(padding=(0, 1))
        for _ in range(_COUNTERS_A_ROW):
            grid.add_column(justify="right", style="bold", min_width=7)
            grid.add_column(justify="left")
        for row in _in_rows(cells, _COUNTERS_A_ROW):
            grid.add_row(*(text for name, count in row for text in (f"{count:,}", name)))
        return grid

    def _news_rows(self) -> Sequence[Text]:
        """Always as many lines, each cut at the screen's width, so that what is below stays where it is."""
        lines = [*self._lines, *[Text()] * (_NEWS_LINES - len(self._lines))]
        for line in lines:
            line.no_wrap, line.overflow = True, "ellipsis"
        return [Text("news", style="bold"), *lines]

    def _processes(self, processes: Sequence[ProcessStatus]) -> RenderableType:
        grid = Table.grid(padding=(0, 1))
        headers = ("process", "state", "restarts", "CPU", "MB")
        for _ in range(_PROCESSES_A_ROW):
            for name in headers:
                grid.add_column(justify="left" if name in {"process", "state"} else "right", no_wrap=True)
        grid.add_row(*(Text(name, style="bold") for name in headers * _PROCESSES_A_ROW))
        for row in _in_rows(processes, _PROCESSES_A_ROW):
            grid.add_row(*(cell for process in row for cell in self._process(process)))
        return grid

    def _process(self, process: ProcessStatus) -> Sequence[Text]:
        down = self._news.down.get(process.name)
        state = Text(process.state, style=_STATE_STYLES.get(process.state, ""))
        if down is not None:
            state = Text(f"DOWN {local_datetime(down.since_ns):%H:%M}", style="bold red")
        return (
            Text(process.name),
            state,
            Text(str(process.restarts)),
            Text("" if process.cpu_percent is None else f"{process.cpu_percent:.0f}"),
            Text("" if process.rss_bytes is None else f"{process.rss_bytes / 1e6:.0f}"),
        )


def _in_rows(cells: Sequence[_Cell], size: int) -> Iterator[Sequence[_Cell]]:
    return (cells[start : start + size] for start in range(0, len(cells), size))
