"""The live display of a day: clock, phase, processes, slots and counters, fed by the feed and the supervisor."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bus.commands import ProcessStatus
from bus.events import (
    ContextSynced,
    Event,
    GapDetected,
    GapRecovered,
    GapUnrecoverable,
    ListingChanged,
    PhaseChanged,
    SlotAssigned,
    SlotOverflowed,
    SlotReleased,
    Snapshot,
    SweepCompleted,
    Trade,
    TriggerFired,
    UniverseBuilt,
    kind_of,
)
from observer.local_time import local_datetime

_COUNTED: Final = (
    ("sweeps", SweepCompleted),
    ("snapshots", Snapshot),
    ("trades", Trade),
    ("triggers", TriggerFired),
    ("slots assigned", SlotAssigned),
    ("slots released", SlotReleased),
    ("overflows", SlotOverflowed),
    ("gaps found", GapDetected),
    ("gaps recovered", GapRecovered),
    ("gaps lost", GapUnrecoverable),
    ("listing changes", ListingChanged),
)
_NEWS_LINES: Final = 6
_STATE_STYLES: Final = {"RUNNING": "green", "STARTING": "yellow", "BACKOFF": "yellow", "FATAL": "bold red"}


class DayView:
    """The display's state, a fold over the events of the feed."""

    def __init__(self, day_begins_ns: int, day_ends_ns: int, report: Callable[[Text], None] | None = None) -> None:
        """Take the day's bounds (UTC ns). `report`, if given, receives each news item as a line."""
        self._begins_ns = day_begins_ns
        self._ends_ns = day_ends_ns
        self.phase = "IDLE"
        self.universe = 0
        self.counts: Counter[str] = Counter()
        self.slots: dict[str, SlotAssigned] = {}
        self._news: list[Text] = []
        self._report_line = report

    def apply(self, event: Event) -> None:
        """Apply an event."""
        self.counts[kind_of(type(event))] += 1
        match event:
            case PhaseChanged():
                self.phase = event.current
                self._report(event.changed_ns, f"phase {event.current}")
            case UniverseBuilt():
                self.universe = event.symbols
                self._report(event.built_ns, f"universe of {event.symbols} symbols")
            case ContextSynced():
                self._report(event.synced_ns, f"context synced from {event.snapshots} snapshots")
            case SlotAssigned():
                self.slots[event.slot] = event
            case SlotReleased():
                self.slots.pop(event.slot, None)
            case GapDetected():
                self._report(event.detected_ns, f"gap in {event.symbol}: {event.missing_volume:,.0f} shares missing")
            case GapRecovered():
                self._report(event.recovered_ns, f"gap in {event.symbol} filled with {event.rows} rows")
            case _:
                pass

    def _report(self, moment_ns: int, text: str) -> None:
        time = local_datetime(moment_ns).strftime("%H:%M:%S")
        line = Text.assemble((time, "dim"), " ", text)
        self._news = [*self._news, line][-_NEWS_LINES:]
        if self._report_line is not None:
            self._report_line(line)

    def render(self, now_ns: int, processes: Sequence[ProcessStatus]) -> RenderableType:
        """Render the display at this market time."""
        return Group(
            self._header(now_ns),
            Columns([_process_table(processes), self._counter_table()]),
            Panel(self._slot_grid(), title=f"slots ({len(self.slots)})", title_align="left"),
            Panel(Group(*self._news), title="news", title_align="left", height=_NEWS_LINES + 2),
        )

    def _header(self, now_ns: int) -> RenderableType:
        done_ns = min(max(now_ns - self._begins_ns, 0), self._ends_ns - self._begins_ns)
        row = Table.grid(padding=(0, 2))
        clock = Text(local_datetime(now_ns).strftime("%Y-%m-%d %H:%M:%S %Z"), style="bold")
        bar = ProgressBar(self._ends_ns - self._begins_ns, done_ns, 40)
        row.add_row(clock, Text(self.phase, style="bold cyan"), bar)
        return row

    def _counter_table(self) -> Table:
        table = Table(title="events", title_justify="left")
        table.add_column("kind")
        table.add_column("stored", justify="right")
        table.add_row("universe", f"{self.universe:,}")
        for name, event_type in _COUNTED:
            table.add_row(name, f"{self.counts[kind_of(event_type)]:,}")
        return table

    def _slot_grid(self) -> RenderableType:
        ordered = sorted(self.slots.values(), key=lambda slot: slot.slot)
        return Columns([_slot_text(slot) for slot in ordered], equal=True)


def _slot_text(slot: SlotAssigned) -> Text:
    return Text.assemble((slot.symbol, "bold"), " ", (f"{slot.score:.1f}", "cyan"))


def _process_table(processes: Sequence[ProcessStatus]) -> Table:
    table = Table(title="processes", title_justify="left")
    for column in ("process", "state", "pid", "restarts", "CPU %", "RSS MB"):
        table.add_column(column, justify="left" if column in {"process", "state"} else "right")
    for process in processes:
        table.add_row(
            process.name,
            Text(process.state, style=_STATE_STYLES.get(process.state, "")),
            str(process.pid or ""),
            str(process.restarts),
            "" if process.cpu_percent is None else f"{process.cpu_percent:.0f}",
            "" if process.rss_bytes is None else f"{process.rss_bytes / 1e6:.0f}",
        )
    return table
