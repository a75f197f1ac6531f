"""News of a day: a line for a phase, a cut and what it cost, and for each process that goes down and comes back."""

import msgspec
import pytest

from bus.commands import ProcessStatus
from bus.events import ConnectionChanged, GapDetected, GapRecovered, GapUnrecoverable, PhaseChanged
from observer.demo.news import QUIET_S, News

TEN_NS = 1_794_963_600_000_000_000  # 10:00 in Seoul
SECOND_NS = 1_000_000_000
TRACK_B = ProcessStatus("track-b", "RUNNING", pid=17)


class Day:
    """A day's news at one market second a machine second."""

    def __init__(self):
        self.lines: list[str] = []
        self.news = News(self._take)

    def _take(self, line):
        self.lines.append(line.plain)

    def apply(self, *events):
        for event in events:
            self.news.apply(event)

    def at(self, second, *processes):
        self.news.update(TEN_NS + round(second * SECOND_NS), 1_000 + second, processes)

    def is_quiet(self, second):
        """Two looks at the machine's clock, far enough apart."""
        self.at(second)
        self.at(second + QUIET_S)


def connection(second, state, account="main", reason=""):
    at_ns = TEN_NS + round(second * SECOND_NS)
    return ConnectionChanged("kis", account, at_ns, state, reason, 0)


def gap(number, second=60.0):
    at_ns = TEN_NS + round(second * SECOND_NS)
    return GapDetected(str(number), "kis", "A", "2026-11-18", at_ns, 0, 0, 0.0, 9.0, 9.0, 3, "volume_jump")


def filled(number, second=70.0):
    return GapRecovered(str(number), "A", TEN_NS + round(second * SECOND_NS), "time_and_sales", 3, 9.0, True)


def test_a_phase_is_a_line():
    day = Day()
    day.apply(PhaseChanged("2026-11-18", TEN_NS, "IDLE", "WARMUP"))
    assert day.lines == ["10:00:00 phase WARMUP"]


def test_all_gaps_of_a_cut_are_one_line_once_they_are_quiet():
    day = Day()
    day.apply(connection(0, "lost", reason="no close frame"), connection(60, "connected"))
    day.apply(*[gap(number) for number in range(40)], *[filled(number) for number in range(38)])
    day.apply(msgspec.structs.replace(filled(38), source="minute_bars"))
    day.apply(GapUnrecoverable("39", "A", TEN_NS + 71 * SECOND_NS, "too old"))
    assert day.lines == ["10:00:00 stream of main cut: no close frame"]
    day.is_quiet(72)
    assert day.lines[1:] == [
        (
            "10:01:11 stream of main back since 10:01:00: 40 gaps found, 38 filled with 114 trades, 1 as minute bars, "
            "1 unrecoverable"
        )
    ]
    day.is_quiet(100)
    assert len(day.lines) == 2


def test_gaps_wait_for_more_of_them_until_they_are_quiet():
    day = Day()
    for second in range(0, 40, 4):
        day.apply(gap(second))
        day.at(second)
    assert day.lines == []
    day.is_quiet(40)
    assert day.lines == ["10:01:00 recovery: 10 gaps found, 0 filled with 0 trades"]


def test_one_gap_is_one_gap():
    day = Day()
    day.apply(gap(1), msgspec.structs.replace(filled(1), rows=1))
    day.is_quiet(75)
    assert day.lines == ["10:01:10 recovery: 1 gap found, 1 filled with 1 trade"]


def test_the_lines_are_in_the_order_of_time_a_summary_after_what_came_meanwhile():
    day = Day()
    day.apply(gap(1, second=60))
    day.at(62, TRACK_B)
    day.at(64, msgspec.structs.replace(TRACK_B, state="BACKOFF"))
    day.is_quiet(66)
    assert [line[:8] for line in day.lines] == ["10:01:04", "10:01:04"]
    assert day.lines[1].endswith("recovery: 1 gap found, 0 filled with 0 trades")


def test_a_connection_that_the_broker_refuses_does_not_end_a_cut_and_a_second_loss_does_not_begin_one():
    day = Day()
    day.apply(connection(0, "lost", reason="reset"), connection(10, "connected"), connection(11, "refused"))
    day.is_quiet(12)
    assert len(day.lines) == 1
    day.apply(connection(30, "lost"), connection(40, "connected"))
    day.is_quiet(41)
    assert day.lines[1:] == ["10:00:40 stream of main back since 10:00:40: no gaps"]


def test_a_phase_comes_after_the_gaps_before_it():
    day = Day()
    day.apply(gap(1), filled(1), PhaseChanged("2026-11-18", TEN_NS + 80 * SECOND_NS, "IDLE", "SHUTDOWN"))
    assert [line[9:17] for line in day.lines] == ["recovery", "phase SH"]


def test_a_process_that_is_down_is_a_line_at_once_and_another_when_it_runs_again():
    day = Day()
    day.at(0, TRACK_B)
    day.at(1, msgspec.structs.replace(TRACK_B, state="BACKOFF", pid=None, restarts=1, exit="killed by SIGKILL"))
    assert day.lines == ["10:00:01 track-b DOWN, restarting (killed by SIGKILL)"]
    assert day.news.down["track-b"].since_ns == TEN_NS + SECOND_NS
    day.at(2, msgspec.structs.replace(TRACK_B, state="STARTING", pid=18, restarts=1))
    day.at(3.5, msgspec.structs.replace(TRACK_B, pid=18, restarts=1))
    assert day.lines[1:] == ["10:00:03 track-b RUNNING again after 2.5 s, pid 18"]
    assert day.news.down == {}


def test_a_restart_between_two_looks_is_news_too():
    day = Day()
    day.at(0, TRACK_B)
    day.at(1, msgspec.structs.replace(TRACK_B, pid=18, restarts=1))
    assert [line.split()[2] for line in day.lines] == ["DOWN,", "RUNNING"]


@pytest.mark.parametrize("state", ["STOPPING", "STOPPED", "EXITED"])
def test_a_process_that_was_stopped_in_order_is_not_down(state):
    day = Day()
    day.at(0, TRACK_B)
    day.at(1, msgspec.structs.replace(TRACK_B, state=state))
    assert day.lines == []


def test_a_process_that_is_given_up_is_called_so():
    day = Day()
    day.at(0, TRACK_B)
    day.at(1, msgspec.structs.replace(TRACK_B, state="FATAL", pid=None))
    assert day.lines == ["10:00:01 track-b DOWN, given up"]
