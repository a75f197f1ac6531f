"""The live display: it shows the reported figures, and no event can stop it."""

import io
from typing import TYPE_CHECKING

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bus.commands import ProcessStatus
from bus.events import (
    ConnectionChanged,
    PhaseChanged,
    SlotAssigned,
    SlotReleased,
    Snapshot,
    Trade,
    kind_of,
)
from observer.demo.display import DayView
from tests.builders import trades
from tests.strategies import events

if TYPE_CHECKING:
    from rich.text import Text

EIGHT_NS = 1_794_956_400_000_000_000
TWENTY_TO_FOUR_NS = EIGHT_NS + 27_600_000_000_000
PROCESSES = (
    ProcessStatus("track-a", "RUNNING", pid=17, cpu_percent=3.4, rss_bytes=52_000_000),
    ProcessStatus("track-b", "BACKOFF", restarts=2),
    ProcessStatus("no-such-state", "DREAMING"),
)


NOTHING_YET_S = 1_000.0


def view():
    return DayView(EIGHT_NS, TWENTY_TO_FOUR_NS)


def shown(of, now_ns=EIGHT_NS, processes=PROCESSES, width=80):
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(of.render(now_ns, processes))
    return console.export_text()


@given(st.lists(events(), max_size=20))
def test_the_display_renders_any_sequence_of_events(seen):
    display = view()
    for event in seen:
        display.apply(event)
    display.update(EIGHT_NS, NOTHING_YET_S, PROCESSES)
    assert "trades" in shown(display)
    assert sum(display.counts.values()) == len(seen)


def test_the_display_shows_the_clock_the_phase_and_the_processes():
    display = view()
    display.apply(PhaseChanged("2026-11-18", EIGHT_NS, "IDLE", "WARMUP"))
    text = shown(display, EIGHT_NS + 61_000_000_000)
    assert "2026-11-18 08:01:01 KST" in text
    assert "WARMUP" in text
    assert all(process.name in text for process in PROCESSES)


def test_a_time_outside_the_day_is_shown_as_well():
    assert "KST" in shown(view(), TWENTY_TO_FOUR_NS * 2 - EIGHT_NS)
    assert "KST" in shown(view(), 0)


def test_the_display_counts_stored_events():
    display = view()
    for event in trades(1234):
        display.apply(event)
    assert "1,234 trades" in shown(display)


def test_a_slot_is_shown_from_its_assignment_to_its_release():
    display = view()
    display.apply(SlotAssigned("main:01", "005930", EIGHT_NS, "volume_surge", 21.3, "free_slot", None))
    assert "slots (1)" in shown(display)
    assert "005930" in shown(display)
    display.apply(SlotReleased("main:01", "005930", EIGHT_NS, 21.3, "closed"))
    assert "slots (0)" in shown(display)


def full_day():
    """A display with as much in it as a day can bring, and with everything at its widest."""
    display = view()
    display.apply(PhaseChanged("2026-11-18", EIGHT_NS, "IDLE", "TRACK_A_CLOSING"))
    for slot in range(41):
        display.apply(SlotAssigned(f"main:{slot:02}", f"{slot:06}", EIGHT_NS, "volume_surge", 21.3, "free_slot", None))
    for kind in (Trade, Snapshot, SlotAssigned):
        display.counts[kind_of(kind)] = 1_234_567
    for account in range(9):
        display.apply(ConnectionChanged("kis", f"account_{account:03}", EIGHT_NS, "lost", "no close frame " * 6, 0))
    return display


ALL_PROCESSES = [
    ProcessStatus(name, "RUNNING", pid=1, restarts=12, cpu_percent=100.0, rss_bytes=999_000_000)
    for name in ("simulator", "core-writer", "accounts", "master-file", "etf", "track-a", "track-b", "gap-recovery")
]


def test_a_full_day_fits_a_terminal_of_80_columns_and_24_lines():
    lines = shown(full_day(), processes=ALL_PROCESSES).splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "…" not in text.split("process")[1]
    assert all(f"{process.name} " in text for process in ALL_PROCESSES)
    assert text.count("12 100 999") == len(ALL_PROCESSES)
    assert text.index("1,234,567 trades") < text.index("news") < text.index("process") < text.index("slots (41)")
    assert "000040" in text


def test_a_process_that_is_down_is_shown_with_the_time_since_which_it_is():
    display = view()
    display.update(EIGHT_NS, NOTHING_YET_S, ALL_PROCESSES)
    killed = [msgspec.structs.replace(each, state="BACKOFF", pid=None) for each in ALL_PROCESSES[4:8]]
    display.update(EIGHT_NS + 61_000_000_000, NOTHING_YET_S + 1, killed)
    text = shown(display, processes=[*ALL_PROCESSES[:4], *killed])
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert text.count("DOWN 08:01 ") == 4
    assert "DOWN 08:01 " in text
    assert "08:01:01 track-b DOWN, restarting" in text


def lines_of(reported):
    return [line.plain for line in reported]


def test_the_display_prints_phase_changes_as_lines_without_a_terminal():
    reported: list[Text] = []
    display = DayView(EIGHT_NS, TWENTY_TO_FOUR_NS, report=reported.append)
    display.apply(PhaseChanged("2026-11-18", EIGHT_NS, "IDLE", "WARMUP"))
    display.apply(trades(1)[0])
    assert lines_of(reported) == ["08:00:00 phase WARMUP"]


def test_half_a_minute_without_news_is_a_line_where_there_is_no_terminal():
    reported: list[Text] = []
    display = DayView(EIGHT_NS, TWENTY_TO_FOUR_NS, report=reported.append)
    display.apply(PhaseChanged("2026-11-18", EIGHT_NS, "IDLE", "WARMUP"))
    display.apply(trades(1)[0])
    for second in range(0, 100, 10):
        display.update(EIGHT_NS, NOTHING_YET_S + second, PROCESSES)
    line = "08:00:00 WARMUP: 1 trades, 0 sweeps, 0 slots, 1 of 3 processes running"
    assert lines_of(reported)[1:] == [line] * 3
