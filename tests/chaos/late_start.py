"""A first start in the session, in real time: `python -m tests.chaos.late_start [--at 09:20] [--kill]`.

The real system, without a stored day, begins while both venues trade, at the simulator's limit of calls. With `--kill`
the process of the reference jobs is killed while it fetches the history, and Track B once it has taken that in.

Prints one JSON object: for each moment the seconds since the start of the system, and the calls that the simulator had
answered when the moment was seen; and whether a separate process recomputes the same decisions. Exit status 0: it does,
and every process lived or came back.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

from tests.chaos.whole_day import changes
from tests.whole.running import observer
from tests.whole.staged import StagedDay, staged_day, stopped

MOMENTS: Mapping[str, str] = {
    "master_files": "SELECT MIN(checked_ns) FROM master_file_checks",
    "universe": "SELECT MIN(built_ns) FROM universes",
    "first_slot": "SELECT MIN(assigned_ns) FROM slot_assignments",
    "first_trade": "SELECT MIN(receive_time_ns) FROM trades",
    "first_sweep": "SELECT MIN(completed_ns) FROM sweeps",
    "first_bar": "SELECT CASE WHEN COUNT(*) > 0 THEN 0 END FROM daily_bars",
    "history_complete": "SELECT MAX(built_ns) FROM universes HAVING COUNT(*) > 1",
    "history_applied": "SELECT MIN(advanced_ns) FROM selection_steps WHERE step LIKE '%\"history\"%'",
}


class LateStart:
    """What is known of a start that began at a market time."""

    def __init__(self, day: StagedDay) -> None:
        self._day = day
        self._began_ns = day.clock.now_ns()
        self.found: dict[str, dict[str, Any]] = {}

    def note(self, name: str, at_ns: int | None) -> None:
        """Keep the first moment of this name (0: now), with the calls until now."""
        if at_ns is not None and name not in self.found:
            seconds = ((at_ns or self._day.clock.now_ns()) - self._began_ns) / 1e9
            calls = sum(self._day.counters()["requests"].values())
            self.found[name] = {"after_s": round(seconds, 1), "calls_by_then": calls}
            sys.stderr.write(f"{name}: {self.found[name]}\n")

    def until(self, name: str, within_s: float) -> None:
        """Wait for the moment of this name."""
        self._day.system.until(lambda: self._is_known(name), name, within_s)

    def _is_known(self, name: str) -> bool:
        for each, question in MOMENTS.items():
            if each not in self.found:
                self.note(each, next((row[0] for row in self._day.system.ask(question)), None))
        if "first_subscription" not in self.found:
            times = [each["acknowledged_ns"] for each in self._day.subscriptions()]
            self.note("first_subscription", min(times, default=None))
        return name in self.found


def run(*, symbols: int, at: str = "09:20", kill: bool = False, limit_s: float = 900.0) -> dict[str, Any]:
    """Run one start until the selection has the history; return its report."""
    hour, minute = map(int, at.split(":"))
    plain = changes(exam_day=False, trades_times=1.0)
    quiet = {**plain, "simulator": {**plain["simulator"], "faults": [], "market_stops": []}}
    with staged_day(speed=1, symbols=symbols, accounts=1, begins=(hour, minute), changes=quiet, nxt=True) as day:
        begun = LateStart(day)
        day.clock.start()
        day.until_everybody_runs()
        begun.note("every_process_runs", 0)
        begun.until("first_subscription", limit_s)
        if kill:
            begun.until("first_bar", limit_s)
            day.kill("master-file")
        begun.until("history_applied", limit_s)
        if kill:
            day.kill("track-b")
            again = "SELECT COUNT(*) FROM selection_steps WHERE step LIKE '%\"resumed\"%'"
            day.system.until(lambda: day.system.ask(again)[0][0] > 0, "Track B resumes", limit_s)
        begun.until("first_sweep", limit_s)
        reported = {
            "moments": begun.found,
            "lines": day.system.ask("SELECT symbols FROM universes ORDER BY built_ns"),
            "bars": day.system.ask("SELECT COUNT(*), COUNT(DISTINCT symbol || session_date) FROM daily_bars")[0],
            "sweeps": day.system.ask("SELECT sweep, requested, received, requests FROM sweeps ORDER BY sweep"),
            **{key: day.counters()[key] for key in ("requests", "refusals")},
            "alive": day.alive(),
            "exit_status": stopped(day),
        }
        verified = observer("decisions", "verify", "--config", day.configuration, "--json", cwd=day.folder)
        reported["decisions"] = json.loads(verified.stdout or "{}") or verified.stderr
        reported["decisions_are_same"] = verified.returncode == 0
        return reported


def is_sound(reported: Mapping[str, Any]) -> bool:
    """Whether the start's report passes."""
    return bool(reported["decisions_are_same"] and reported["alive"] and reported["exit_status"] == 0)


def main() -> int:
    """Run one start and print its report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--symbols", type=int, default=2000, help="made-up symbols beside the well-known ones")
    parser.add_argument("--at", default="09:20", help="the market time of the start")
    parser.add_argument("--kill", action="store_true", help="kill two processes at bad moments")
    parser.add_argument("--limit-s", type=float, default=900.0, help="machine seconds for each wait")
    reported = run(**vars(parser.parse_args()))
    sys.stdout.write(json.dumps(reported, indent=2) + "\n")
    return 0 if is_sound(reported) else 1


if __name__ == "__main__":
    sys.exit(main())
