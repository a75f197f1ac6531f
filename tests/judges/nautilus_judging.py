"""Compares what Nautilus Trader loads of an exported day with the store that it was exported from.

    python -m tests.judges.nautilus_judging [FOLDER]     # the last day of a store (demo); after `make judges`

Prints the numbers of both, and those of a copy that lacks one file: the comparison must see it. Exit status 1 if
Nautilus Trader has anything else than the store, or if the comparison does not see the missing file.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

import observer
from observer.base.units import NS_PER_MINUTE
from observer.research.by_line import lines_of_day
from observer.research.store import Store
from tests.judges.judging import ENVIRONMENTS

NAME: Final = "nautilus"
CHILD: Final = Path(__file__).with_name("nautilus_child.py")
CHILD_S: Final = 300.0
SIDES: Final = {"buy": "BUYER", "sell": "SELLER"}


class Loaded(msgspec.Struct, frozen=True):
    """By instrument its trades and bars, sorted, and what a backtest passed on."""

    trades: dict[str, list[list[Any]]]
    bars: dict[str, list[list[Any]]]
    passed_on: int
    volume_passed_on: float

    def numbers(self) -> str:
        counts = (len(self.trades), sum(map(len, self.trades.values())), sum(map(len, self.bars.values())))
        return "{:,} instruments, {:,} trades, {:,} bars; ".format(*counts) + (
            f"a backtest passed on {self.passed_on:,} trades of {self.volume_passed_on:,.0f} shares"
        )


def loaded(folder: Path) -> Loaded:
    """What Nautilus Trader loads of a catalogue."""
    python = ENVIRONMENTS / NAME / "bin" / "python"
    environment = {"HOME": str(folder), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    ran = subprocess.run(
        [python, CHILD, folder], capture_output=True, text=True, timeout=CHILD_S, env=environment, check=False
    )
    if ran.returncode != 0:
        raise ChildProcessError(ran.returncode, ran.stderr[-2000:])
    found = json.loads(ran.stdout.splitlines()[-1])
    instruments = found["instruments"]
    return Loaded(
        {name: sorted(each["trades"]) for name, each in instruments.items()},
        {name: sorted(each["bars"]) for name, each in instruments.items()},
        found["passed_on"],
        found["volume_passed_on"],
    )


def stored(store: Store, day: str) -> Loaded:
    """The same of the store."""
    trades, bars = {}, {}
    for line in lines_of_day(store._days, day):
        name, of_day = f"{line.symbol}.{line.venue}", day.replace("-", "")
        unit = 10**line.volume_decimals
        trades[name] = sorted(
            [ns, price, volume, SIDES.get(side, "NO_AGGRESSOR"), f"{of_day}-{total * unit:.0f}"]
            for ns, price, volume, side, total in line.trades.select(
                pl.col("time").to_physical(), "price", "volume", "side", "cumulative_volume"
            ).iter_rows()
        )
        bars[name] = sorted(
            list(row)
            for row in line.bars.select(
                pl.col("time").to_physical() + NS_PER_MINUTE, "open", "high", "low", "close", "volume"
            ).iter_rows()
        )
    every = [trade for each in trades.values() for trade in each]
    return Loaded(trades, bars, len(every), sum(trade[2] for trade in every))


def main() -> int:
    """Print both, and the control; returns the exit status."""
    with observer.open_store(*sys.argv[1:2] or ["demo"]) as store, tempfile.TemporaryDirectory() as place:
        day = str(store.days().collect()["day"][-1])
        folder = Path(place)
        files = store.export(day, folder, "nautilus")
        expected, found = stored(store, day), loaded(folder)
        next(path for path in files if path.parts[-3] == "trade_tick").unlink()
        control = loaded(folder)
    sys.stdout.write(f"{day}, {len(files):,} files\n")
    for name, each in (("the store", expected), ("Nautilus Trader", found), ("with a file less", control)):
        sys.stdout.write(f"{name:<17} {each.numbers()}\n")
    is_right = found == expected != control
    sys.stdout.write("each trade and bar is the same\n" if is_right else "DIFFERENT\n")
    return int(not is_right)


if __name__ == "__main__":
    sys.exit(main())
