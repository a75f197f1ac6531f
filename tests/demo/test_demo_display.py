"""The live display: it shows the reported figures, and no event can stop it."""

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from bus.commands import ProcessStatus
from bus.events import Event, PhaseChanged, SlotAssigned, SlotReleased
from observer.demo.display import DayView
from tests.builders import trades
from tests.strategies import events

EIGHT_NS = 1_794_956_400_000_000_000
TWENTY_TO_FOUR_NS = EIGHT_NS + 27_600_000_000_000
PROCESSES = (
    ProcessStatus("track-a", "RUNNING", pid=17, cpu_percent=3.4, rss_bytes=52_000_000),
    ProcessStatus("track-b", "BACKOFF", restarts=2),
    ProcessStatus("no-such-state", "DREAMING"),
)


def view() -> DayView:
    return DayView(EIGHT_NS, TWENTY_TO_FOUR_NS)


def shown(of: DayView, now_ns: int = EIGHT_NS) -> str:
    console = Console(file=io.StringIO(), width=160, record=True)
    console.print(of.render(now_ns, PROCESSES))
    return console.export_text()


@given(st.lists(events(), max_size=20))
def test_it_renders_whatever_was_seen(seen: list[Event]) -> None:
    display = view()
    for event in seen:
        display.apply(event)
    assert "events" in shown(display)
    assert sum(display.counts.values()) == len(seen)


def test_it_shows_the_clock_the_phase_and_the_processes() -> None:
    display = view()
    display.apply(PhaseChanged("2026-11-18", EIGHT_NS, "IDLE", "WARMUP"))
    text = shown(display, EIGHT_NS + 61_000_000_000)
    assert "2026-11-18 08:01:01 KST" in text
    assert "WARMUP" in text
    assert all(process.name in text for process in PROCESSES)


def test_a_time_outside_the_day_is_shown_as_well() -> None:
    assert "KST" in shown(view(), TWENTY_TO_FOUR_NS * 2 - EIGHT_NS)
    assert "KST" in shown(view(), 0)


def test_it_counts_what_was_stored() -> None:
    display = view()
    for event in trades(1234):
        display.apply(event)
    assert "1,234" in shown(display)


def test_a_slot_is_shown_from_its_assignment_to_its_release() -> None:
    display = view()
    display.apply(SlotAssigned("main:01", "005930", EIGHT_NS, "volume_surge", 21.3, "free_slot", None))
    assert "slots (1)" in shown(display)
    assert "005930 21.3" in shown(display)
    display.apply(SlotReleased("main:01", "005930", EIGHT_NS, 21.3, "closed"))
    assert "slots (0)" in shown(display)


def test_news_are_reported_as_lines_where_there_is_no_terminal() -> None:
    reported: list[Text] = []
    display = DayView(EIGHT_NS, TWENTY_TO_FOUR_NS, report=reported.append)
    display.apply(PhaseChanged("2026-11-18", EIGHT_NS, "IDLE", "WARMUP"))
    display.apply(trades(1)[0])
    assert [line.plain for line in reported] == ["08:00:00 phase WARMUP"]
