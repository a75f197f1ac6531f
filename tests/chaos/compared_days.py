"""A day on which the database goes back while all processes run, beside an undisturbed day with the same seed.

All slots are pinned, so that which trades are streamed does not depend on the moment of a decision. Two independent
judges speak: tests/chaos/judge.py says whether everything that was published is stored once, and the trades of the
pinned symbols are compared row by row with those of the undisturbed day, while both days streamed them.
"""

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bus.commands import Done, Pin, Reply, Request, Status, StatusReply
from observer.base.local_time import local_ns
from observer.base.settings import RunSettings
from observer.cli.system import ask_system
from observer.demo.configuration import DAY
from tests.chaos.stage import JUDGE
from tests.whole.running import OBSERVER
from tests.whole.staged import QUICK_SILENCE, StagedDay, staged_day, stopped

ENDS_S = 15 * 3600 + 6 * 60  # Track B stopped at 15:00
STREAMED_AFTER_S = 300  # from the last pin to the stream of its symbol
COMPARED_TO = (14, 55)
PINNED = 30
# What the exchange sent of a trade; the moment of its receipt is the machine's.
CONTENT = "symbol, exchange_time_ns, price, volume, cumulative_volume, side"

Report = dict[str, Any]
Disturbance = Callable[[StagedDay], Report]
"""Disturbs a running day in which everything is pinned; what it saw."""


def command(day: StagedDay, *arguments: str) -> subprocess.CompletedProcess[str]:
    """An `observer` command against the running day."""
    return subprocess.run(
        [OBSERVER, *arguments, "--config", str(day.configuration)], capture_output=True, text=True, check=False
    )


def asked(day: StagedDay, request: Request) -> Reply:
    """The system's reply, without the start of a command: a second of the machine is minutes of the day."""
    return ask_system(request, RunSettings(runtime=day.settings["run"]["runtime"]))


def pin(day: StagedDay) -> Sequence[str]:
    """Wait until there are slots, and pin as many symbols as the day's universe offers, in the order of their names;
    return them.
    """
    symbols = [str(row[0]) for row in day.system.ask("SELECT DISTINCT symbol FROM universe_members ORDER BY 1")]
    day.system.until(lambda: _is_pinned(day, symbols[0]), "Track B takes pins", 180)
    return [symbol for symbol in symbols[:PINNED] if _is_pinned(day, symbol)]


def _is_pinned(day: StagedDay, symbol: str) -> bool:
    return isinstance(asked(day, Pin(symbol)), Done)


def trades(day: StagedDay, symbols: Sequence[str]) -> list[tuple[Any, ...]]:
    """The trades of the symbols before the end of the compared time, each once, in the order of the exchange."""
    names = ",".join(f"'{symbol}'" for symbol in symbols)
    query = (
        f"SELECT {CONTENT} FROM trades WHERE symbol IN ({names}) "
        f"AND exchange_time_ns <= {local_ns(DAY, *COMPARED_TO)} ORDER BY symbol, cumulative_volume"
    )
    return day.system.ask(query)


def live(
    disturb: Disturbance, *, speed: float, symbols: int, seed: int, folder: Path | None = None, database: str = ""
) -> Report:
    """One day; its report, with the trades of the pinned symbols."""
    changes = {**QUICK_SILENCE, "simulator": {**QUICK_SILENCE["simulator"], "drops": []}}
    with staged_day(
        speed=speed, symbols=symbols, accounts=1, seed=seed, changes=changes, folder=folder, database=database
    ) as day:
        day.until_everybody_runs()
        day.begin()
        day.until_second(9 * 3600 + 5 * 60)
        pinned = pin(day)
        streamed_s = day.second() + STREAMED_AFTER_S
        seen = disturb(day)
        day.until_second(ENDS_S)
        alive, status = day.alive(), asked(day, Status())
        assert isinstance(status, StatusReply), status
        day.until_gaps_are_closed()
        exit_status = stopped(day)
        judged = subprocess.run(
            [sys.executable, str(JUDGE), day.system.url, str(day.folder / "run" / "outbox")],
            capture_output=True,
            text=True,
            check=False,
        )
        return {
            "pinned": pinned,
            "streamed_from_s": streamed_s,
            **seen,
            "every_process_lived": alive,
            "restarts": {process.name: process.restarts for process in status.processes},
            "exit_status": exit_status,
            "left_behind": day.system.left_behind(),
            "judge": json.loads(judged.stdout or "{}") or judged.stderr,
            "trades": trades(day, pinned),
        }


def compared(disturbed: Report, undisturbed: Report) -> Report:
    """Numbers and digests of both days' trades, which are taken out of the reports; the first differing ones."""
    days = (disturbed, undisturbed)
    both = [symbol for symbol in disturbed["pinned"] if symbol in undisturbed["pinned"]]
    from_ns = local_ns(DAY) + round(max(day["streamed_from_s"] for day in days) * 1e9)
    rows = [[row for row in day.pop("trades") if row[0] in both and row[1] >= from_ns] for day in days]
    return {
        "compared_symbols": len(both),
        "compared_trades": [len(each) for each in rows],
        "digests": [hashlib.sha256(repr(each).encode()).hexdigest() for each in rows],
        "differing": [sorted(set(one) - set(other))[:10] for one, other in (rows, reversed(rows))],
    }


def are_sound(days: Sequence[Report], comparison: Mapping[str, Any]) -> bool:
    """Whether everything that was published on these days is stored, every process ended in order, and the compared
    trades are the same.
    """
    return (
        all(day["judge"]["whole"] and day["judge"]["stored"] == day["judge"]["appended"] for day in days)
        and all(day["exit_status"] == 0 and not day["left_behind"] for day in days)
        and len(set(comparison["digests"])) == 1
        and comparison["compared_trades"][0] > 0
    )


def run_as_program(
    description: str, run: Callable[..., Report], is_sound: Callable[[Report], bool], *, speed: float, symbols: int
) -> int:
    """Run both days as the command line says, and print the report; the exit status. `speed` and `symbols` are the
    defaults.
    """
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--speed", type=float, default=speed, help="market seconds a second")
    parser.add_argument("--symbols", type=int, default=symbols)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="keep everything in it")
    reported = run(**vars(parser.parse_args()))
    sys.stdout.write(json.dumps(reported, indent=2, default=str) + "\n")
    return 0 if is_sound(reported) else 1
