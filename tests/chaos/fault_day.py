"""A day with every fault of the simulator in it: `python -m tests.chaos.fault_day --speed 240 --symbols 200`.

Three accounts stream; every kind of fault strikes at least once, some together. An independent judge
(tests/chaos/ledger_judge.py) then says whether the trades stored are the trades that the simulator sent while they were
subscribed, less what lies in recorded gaps, exactly.

Prints one JSON object. Exit status 0: both accounts balance, every fault struck, every process lived to the end.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from observer.demo.ledger import write_offered
from observer.simulator.kis.simulator import market_of
from observer.simulator.settings import SimulatorSettings
from tests.chaos.ledger_judge import finding
from tests.whole.running import JsonObject
from tests.whole.staged import QUICK_SILENCE, StagedDay, captured, staged_day, stopped

# All times KST.
SCRIPT: Sequence[JsonObject] = (
    {"kind": "clock_skew", "at": "08:00", "for_s": 8 * 3600.0, "by_s": 120.0},
    {"kind": "rest_latency", "at": "09:05", "for_s": 3600.0, "share": 0.3, "by_s": 0.02},
    {"kind": "rest_error", "at": "09:20", "for_s": 3600.0, "share": 0.4},
    {"kind": "malformed", "at": "09:40", "for_s": 600.0, "share": 0.2},
    {"kind": "truncated", "at": "09:50", "for_s": 600.0, "share": 0.2},
    {"kind": "wrong_count", "at": "10:00", "for_s": 600.0, "share": 0.2},
    {"kind": "duplicated", "at": "10:10", "for_s": 600.0, "share": 0.5},
    {"kind": "stream_cut", "at": "10:25", "for_s": 20.0},
    {"kind": "half_open", "at": "10:40"},
    {"kind": "token_revoked", "at": "11:20"},
    {"kind": "approval_revoked", "at": "11:30"},
    {"kind": "stream_cut", "at": "11:31", "for_s": 5.0},
    {"kind": "rest_reset", "at": "11:50", "for_s": 600.0, "share": 0.3},
    {"kind": "stream_cut", "at": "11:55", "for_s": 30.0},
    {"kind": "rest_refused", "at": "12:10", "for_s": 120.0},
    {"kind": "token_expired", "at": "12:30"},
    {"kind": "maintenance", "at": "12:40", "for_s": 120.0},
    {"kind": "rest_stall", "at": "13:00", "for_s": 300.0, "share": 0.2},
    {"kind": "stream_cut", "at": "13:20", "for_s": 60.0},
    {"kind": "malformed", "at": "13:40", "for_s": 300.0, "share": 0.1},
    {"kind": "duplicated", "at": "13:40", "for_s": 300.0, "share": 0.1},
    {"kind": "half_open", "at": "14:00"},
)
ENDS_S = 15 * 3600 + 6 * 60  # Track B stopped at 15:00


def changes() -> Mapping[str, JsonObject]:
    """The configuration of the day."""
    simulator = {**QUICK_SILENCE["simulator"], "drops": [], "faults": list(SCRIPT)}
    return {**QUICK_SILENCE, "simulator": simulator}


def judged(day: StagedDay, folder: Path) -> dict[str, Any]:
    """The independent judge's report on a finished day, from ledger, database and market."""
    ledger, offered = day.subscriptions(), folder / "offered.csv"
    counters = day.counters()
    (folder / "ledger.json").write_text(json.dumps(ledger))
    write_offered(market_of(msgspec.convert(day.settings["simulator"], SimulatorSettings)), offered)
    return {**finding(ledger, day.database, offered), "faults": counters["faults"], "drops": counters["drops"]}


def never_struck(reported: Mapping[str, Any]) -> list[str]:
    """The faults of the script that did not happen."""
    struck = {kind for kind, count in reported["faults"].items() if count} | (
        {"stream_cut"} if reported["drops"] else set()
    )
    return sorted({fault["kind"] for fault in SCRIPT} - struck)


def run(*, speed: float, symbols: int, seed: int = 7, folder: Path | None = None) -> dict[str, Any]:
    """Run one day of faults; return its report. With `folder`, all files and captures stay in `folder`/d."""
    with staged_day(speed=speed, symbols=symbols, accounts=3, seed=seed, changes=changes(), folder=folder) as day:
        day.until_everybody_runs()
        with captured(day) if folder else contextlib.nullcontext():
            day.begin()
            day.until_second(ENDS_S)
            alive = day.alive()
            day.until_gaps_are_closed()
            day.until_judged()
        reported = judged(day, day.folder)
        reported["every_process_lived"] = alive
        reported["never_struck"] = never_struck(reported)
        reported["exit_status"] = stopped(day)
        reported["left_behind"] = day.system.left_behind()
        return reported


def is_sound(reported: Mapping[str, Any]) -> bool:
    """Whether the day's report passes."""
    fine = reported["balances"] and reported["every_process_lived"] and reported["exit_status"] == 0
    return bool(fine) and not reported["never_struck"] and not reported["left_behind"]


def main() -> int:
    """Run a day of faults and print its report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--speed", type=float, default=240, help="market seconds a second")
    parser.add_argument("--symbols", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    reported = run(speed=arguments.speed, symbols=arguments.symbols, seed=arguments.seed)
    sys.stdout.write(json.dumps(reported, indent=2) + "\n")
    return 0 if is_sound(reported) else 1


if __name__ == "__main__":
    sys.exit(main())
