"""A day on which the database file is deleted twice and restored while all processes run:
`python -m tests.chaos.deleted_day --speed 120 --symbols 200`.

A package is made at 10:30. The file is deleted at 11:00 and at 14:00; `observer backup restore` puts the package back
some market minutes later. All slots are pinned, so that which trades are streamed does not depend on the moment of a
decision. A second day with the same seed, the same pins and no deletion is the comparison.

Two independent judges speak: tests/chaos/judge.py says whether everything that was published is stored once, and the
trades of the pinned symbols are compared row by row with those of the undisturbed day, over the time in which both days
streamed them.

Prints one JSON object. Exit status 0: nothing lost, the same trades, the status showed both outages.
"""

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from observer.demo.configuration import DAY
from observer.local_time import local_ns
from tests.chaos.stage import JUDGE
from tests.system.running import OBSERVER, ask
from tests.system.staged import QUICK_SILENCE, StagedDay, staged_day, stopped

BACKUP_S = 10 * 3600 + 30 * 60
DELETIONS_S = (11 * 3600, 14 * 3600)
GONE_FOR_S = 300
ENDS_S = 15 * 3600 + 6 * 60  # Track B stopped at 15:00
COMPARED_FROM, COMPARED_TO = (10, 30), (14, 55)  # before that the pins wait for slots
PINNED = 30
# What the exchange sent of a trade; the moment of its receipt is the machine's.
CONTENT = "symbol, exchange_time_ns, price, volume, cumulative_volume, side"


def command(day: StagedDay, *arguments: str) -> subprocess.CompletedProcess[str]:
    """An `observer` command against the running day."""
    return subprocess.run(
        [OBSERVER, *arguments, "--config", str(day.configuration)], capture_output=True, text=True, check=False
    )


def pin(day: StagedDay) -> Sequence[str]:
    """Pin as many symbols as the day's universe offers, in the order of their names; return them."""
    symbols = [str(row[0]) for row in ask(day.database, "SELECT DISTINCT symbol FROM universe_members ORDER BY 1")]
    pinned = []
    for symbol in symbols:
        if len(pinned) < PINNED and command(day, "slots", "pin", symbol).returncode == 0:
            pinned.append(symbol)
    return pinned


def delete_and_restore(day: StagedDay, at_s: float) -> Mapping[str, Any]:
    """Delete the database under the running system, and restore it later; what the commands said."""
    day.until_second(at_s)
    for path in day.database.parent.glob(f"{day.database.name}*"):
        if path.name in (day.database.name, f"{day.database.name}-wal", f"{day.database.name}-shm"):
            path.unlink()
    day.until_second(at_s + GONE_FOR_S)
    status = command(day, "status")
    restored = command(day, "backup", "restore", "--yes")
    return {
        "status_exit": status.returncode,
        "status_last_lines": status.stdout.splitlines()[-3:],
        "restore_exit": restored.returncode,
        "restore_said": (restored.stdout + restored.stderr).splitlines()[-6:],
    }


def trades(day: StagedDay, symbols: Sequence[str]) -> list[tuple[Any, ...]]:
    """The trades of the symbols within the compared time, each once, in the order of the exchange."""
    names = ",".join(f"'{symbol}'" for symbol in symbols)
    from_ns, to_ns = (local_ns(DAY, *moment) for moment in (COMPARED_FROM, COMPARED_TO))
    query = (
        f"SELECT {CONTENT} FROM trades WHERE symbol IN ({names}) "
        f"AND exchange_time_ns BETWEEN {from_ns} AND {to_ns} ORDER BY symbol, cumulative_volume"
    )
    return ask(day.database, query)


def live(*, deletions: Sequence[float], speed: float, symbols: int, seed: int, folder: Path | None) -> dict[str, Any]:
    """One day; its report, with the trades of the pinned symbols."""
    changes = {**QUICK_SILENCE, "simulator": {**QUICK_SILENCE["simulator"], "drops": []}}
    with staged_day(speed=speed, symbols=symbols, accounts=1, seed=seed, changes=changes, folder=folder) as day:
        day.until_everybody_runs()
        day.begin()
        day.until_second(9 * 3600 + 5 * 60)
        pinned = pin(day)
        day.until_second(BACKUP_S)
        packaged = command(day, "backup", "now")
        events = [delete_and_restore(day, at_s) for at_s in deletions]
        day.until_second(ENDS_S)
        alive = day.alive()
        day.until_gaps_are_closed()
        found = trades(day, pinned)
        exit_status = stopped(day)
        judged = subprocess.run(
            [sys.executable, str(JUDGE), f"sqlite:///{day.database}", str(day.folder / "run" / "outbox")],
            capture_output=True,
            text=True,
            check=False,
        )
        return {
            "pinned": pinned,
            "package_exit": packaged.returncode,
            "events": events,
            "every_process_lived": alive,
            "exit_status": exit_status,
            "left_behind": day.system.left_behind(),
            "judge": json.loads(judged.stdout or "{}") or judged.stderr,
            "trades": found,
        }


def run(*, speed: float, symbols: int, seed: int, folder: Path | None = None) -> dict[str, Any]:
    """Both days; their comparison."""
    folders = [None, None] if folder is None else [folder / "deleted", folder / "undisturbed"]
    deleted = live(deletions=DELETIONS_S, speed=speed, symbols=symbols, seed=seed, folder=folders[0])
    undisturbed = live(deletions=(), speed=speed, symbols=symbols, seed=seed, folder=folders[1])
    both = [symbol for symbol in deleted["pinned"] if symbol in undisturbed["pinned"]]
    rows = [[row for row in day.pop("trades") if row[0] in both] for day in (deleted, undisturbed)]
    return {
        "deleted": deleted,
        "undisturbed": undisturbed,
        "compared_symbols": len(both),
        "compared_trades": [len(each) for each in rows],
        "digests": [hashlib.sha256(repr(each).encode()).hexdigest() for each in rows],
    }


def is_sound(reported: Mapping[str, Any]) -> bool:
    """Whether both days pass."""
    days = (reported["deleted"], reported["undisturbed"])
    return (
        all(day["judge"]["whole"] and day["exit_status"] == 0 and not day["left_behind"] for day in days)
        and all(event["restore_exit"] == 0 and event["status_exit"] == 1 for event in reported["deleted"]["events"])
        and len(set(reported["digests"])) == 1
        and reported["compared_trades"][0] > 0
    )


def main() -> int:
    """Run both days and print the report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--speed", type=float, default=120, help="market seconds a second")
    parser.add_argument("--symbols", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="keep everything in it")
    reported = run(**vars(parser.parse_args()))
    sys.stdout.write(json.dumps(reported, indent=2, default=str) + "\n")
    return 0 if is_sound(reported) else 1


if __name__ == "__main__":
    sys.exit(main())
