"""News of a running day, a line each: phases, processes that are down, cuts of the stream and what they cost.

A fold over the feed's events and the supervisor's status. Market times are UTC nanoseconds, `machine_s` are monotonic
seconds of this machine. Pure.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
from rich.text import Text

from bus.commands import ProcessStatus
from bus.events import (
    ConnectionChanged,
    ContextSynced,
    Event,
    GapDetected,
    GapRecovered,
    GapUnrecoverable,
    PhaseChanged,
    UniverseBuilt,
)
from observer.base.local_time import local_datetime

QUIET_S: Final = 5.0  # machine seconds without news of a gap or a connection: what a cut cost is known
_RUNNING: Final = "RUNNING"
_ENDED_IN_ORDER: Final = frozenset({"STOPPING", "STOPPED", "EXITED"})


class Down(msgspec.Struct, frozen=True):
    """The market time and the machine time at which a process was seen down."""

    since_ns: int
    since_s: float


class _Gaps(msgspec.Struct):
    """The gaps since the last summary, those recovered as minute bars apart, and the latest time of their events."""

    found: int = 0
    filled: int = 0
    as_bars: int = 0
    unrecoverable: int = 0
    trades: int = 0
    latest_ns: int = 0

    def summary(self) -> str:
        if not self.latest_ns:
            return "no gaps"
        bars = f", {self.as_bars:,} as minute bars" if self.as_bars else ""
        lost = f", {self.unrecoverable:,} unrecoverable" if self.unrecoverable else ""
        found = f"{self.found:,} {'gap' if self.found == 1 else 'gaps'} found"
        trades = f"{self.trades:,} {'trade' if self.trades == 1 else 'trades'}"
        return f"{found}, {self.filled:,} filled with {trades}{bars}{lost}"


class _Cut(msgspec.Struct):
    """A cut of an account's stream; `back_ns` None: not connected again yet."""

    lost_ns: int
    back_ns: int | None = None


class News:
    """The lines of a day in their order; `report` receives each. `down` has the processes that are down, by name.

    No line has an earlier time than the one before it: a summary is made after its events, and events of several
    processes come in the order of their commits.
    """

    def __init__(self, report: Callable[[Text], None]) -> None:
        self.down: dict[str, Down] = {}
        self._report_line = report
        self._known: Mapping[str, ProcessStatus] = {}
        self._cuts: dict[str, _Cut] = {}
        self._gaps = _Gaps()
        self._is_quiet = True
        self._quiet_since_s = 0.0
        self._latest_ns = 0

    def apply(self, event: Event) -> None:
        """Apply an event of the feed."""
        match event:
            case PhaseChanged():
                self._sum_up()
                self.report(event.changed_ns, f"phase {event.current}")
            case UniverseBuilt():
                self.report(event.built_ns, f"universe of {event.symbols:,} symbols")
            case ContextSynced():
                self.report(event.synced_ns, f"context synced from {event.snapshots:,} snapshots")
            case ConnectionChanged():
                self._apply_connection(event)
            case GapDetected() | GapRecovered() | GapUnrecoverable():
                self._apply_gap(event)
            case _:
                pass

    def update(self, now_ns: int, machine_s: float, processes: Sequence[ProcessStatus]) -> None:
        """Apply the supervisor's status at this moment; sum up gaps and cuts once they are quiet."""
        for process in processes:
            self._apply_process(process, Down(now_ns, machine_s))
        self._known = {process.name: process for process in processes}
        if not self._is_quiet:
            self._is_quiet, self._quiet_since_s = True, machine_s
        elif machine_s - self._quiet_since_s >= QUIET_S:
            self._sum_up()

    def report(self, moment_ns: int, text: str, style: str = "") -> None:
        """Report a line, of this moment or of the line's before it, if that is later."""
        self._latest_ns = max(self._latest_ns, moment_ns)
        time = local_datetime(self._latest_ns).strftime("%H:%M:%S")
        self._report_line(Text.assemble((time, "dim"), " ", (text, style)))

    def _apply_gap(self, event: GapDetected | GapRecovered | GapUnrecoverable) -> None:
        self._is_quiet = False
        gaps = self._gaps
        match event:
            case GapDetected():
                gaps.found += 1
                gaps.latest_ns = event.detected_ns
            case GapRecovered():
                is_bars = event.source == "minute_bars"
                gaps.as_bars += is_bars
                gaps.filled += not is_bars
                gaps.trades += 0 if is_bars else event.rows
                gaps.latest_ns = event.recovered_ns
            case GapUnrecoverable():
                gaps.unrecoverable += 1
                gaps.latest_ns = event.decided_ns

    def _apply_connection(self, event: ConnectionChanged) -> None:
        """A cut lasts from the first loss to the connection that the broker does not refuse."""
        self._is_quiet = False
        cut = self._cuts.get(event.account)
        if cut is not None:
            cut.back_ns = event.changed_ns if event.state == "connected" else None
        elif event.state in ("lost", "suspended"):
            self._sum_up()
            self._cuts[event.account] = _Cut(event.changed_ns)
            self.report(event.changed_ns, f"stream of {event.account} cut: {event.reason}", "yellow")

    def _sum_up(self) -> None:
        """Report the gaps since the last summary in one line, with the accounts whose streams are back."""
        back = {account: cut.back_ns for account, cut in self._cuts.items() if cut.back_ns is not None}
        if not back and not self._gaps.latest_ns:
            return
        cause = "recovery"
        if back:
            time = local_datetime(max(back.values())).strftime("%H:%M:%S")
            cause = f"stream of {', '.join(sorted(back))} back since {time}"
        self.report(max(self._gaps.latest_ns, *back.values(), 0), f"{cause}: {self._gaps.summary()}", "green")
        self._cuts = {account: cut for account, cut in self._cuts.items() if account not in back}
        self._gaps = _Gaps()

    def _apply_process(self, process: ProcessStatus, now: Down) -> None:
        """Report a process that went down or is back, also one that did both since the last status."""
        before = self._known.get(process.name)
        if before is None:
            return
        runs, has_restarted = process.state == _RUNNING, process.restarts > before.restarts
        is_down = not runs and process.state not in _ENDED_IN_ORDER
        if before.state == _RUNNING and (is_down or has_restarted):
            self.down[process.name] = now
            outcome = "given up" if process.state == "FATAL" else "restarting"
            cause = f" ({process.exit})" if process.exit else ""
            self.report(now.since_ns, f"{process.name} DOWN, {outcome}{cause}", "bold red")
        if runs and process.name in self.down:
            lasted_s = now.since_s - self.down.pop(process.name).since_s
            text = f"{process.name} RUNNING again after {lasted_s:.1f} s, pid {process.pid}"
            self.report(now.since_ns, text, "green")
