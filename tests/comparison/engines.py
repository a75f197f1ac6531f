"""Engines read the lake as it lies: the same five questions, the same answers.

    make engines ARGS=demo/data/lake                      # installs the engines first
    python -m tests.comparison.engines demo/data/lake     # those that are installed

The right answers come from plain Python over the rows of the files. Each engine is asked about the lake and about a
copy whose newest day lacks one trade: the comparison must see that. Exit status 0: every installed engine gives the
right answers and sees the missing trade.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow.parquet as pq

from tests.comparison.engine_child import ENGINES, KINDS, MINUTE_NS, QUESTIONS, Answers, rounded

ENVIRONMENTS: Final = Path(__file__).parents[2] / ".venv" / "engines"
CHILD: Final = Path(__file__).with_name("engine_child.py")
CHILD_S: Final = 300.0
SYMBOL: Final = "005930"
FIRST: Final = 10
SEES: Final = ("largest", "price", "minutes", "quality")  # the questions that a missing trade changes


class Asked(msgspec.Struct, frozen=True):
    """What an engine answers about the lake and about the copy, and the seconds of each."""

    version: str
    answers: Sequence[Answers]
    seconds: Sequence[float]


def python_of(engine: str) -> Path | None:
    """The Python that has the engine; None where it is not installed."""
    if engine in ("duckdb", "polars", "pandas"):
        return Path(sys.executable)
    found = ENVIRONMENTS / engine / "bin" / "python"
    return found if found.exists() else None


def asked(engine: str, symbol: str, day: str, *lakes: Path) -> Asked:
    """The answers of an engine.

    Raises:
        ChildProcessError: it failed.
    """
    python = python_of(engine)
    words = [str(python), str(CHILD), engine, symbol, day, *map(str, lakes)]
    with tempfile.TemporaryDirectory() as place:
        # Spark starts its own Python by this name, and writes below its working folder.
        environment = {**os.environ, "PYSPARK_PYTHON": str(python)}
        ran = subprocess.run(
            words, capture_output=True, text=True, timeout=CHILD_S, check=False, cwd=place, env=environment
        )
    if ran.returncode != 0:
        raise ChildProcessError(ran.returncode, f"{engine}: {ran.stderr[-2000:]}")
    found = json.loads(ran.stdout.splitlines()[-1])
    lakes_found = found["lakes"]
    return Asked(found["version"], [each["answers"] for each in lakes_found], [each["seconds"] for each in lakes_found])


def rows_of(lake: Path, kind: str, day: str) -> list[dict[str, Any]]:
    """The rows of a kind of a day."""
    [path] = lake.glob(f"kind={kind}/market=*/session_date={day}/part-0.parquet")
    found: list[dict[str, Any]] = pq.read_table(path, partitioning=None).to_pylist()
    return found


def right_answers(lake: Path, symbol: str, day: str) -> Answers:
    """The answers of plain Python."""
    trades, reports, seen = (rows_of(lake, kind, day) for kind in KINDS)
    words = {row["symbol"]: row["slots_quality"] for row in sorted(reports, key=lambda row: row["judged_ns"])}
    by_symbol, by_minute, by_word = (defaultdict[Any, list[dict[str, Any]]](list) for _ in range(3))
    for row in trades:
        by_symbol[row["symbol"]].append(row)
        if row["symbol"] in words:
            by_word[words[row["symbol"]]].append(row)
    own = by_symbol[symbol]
    for row in own:
        by_minute[row["exchange_time_ns"] // MINUTE_NS].append(row)
    last = {row["symbol"]: row for row in sorted(seen, key=lambda row: row["receive_time_ns"])}
    largest = sorted(((name, len(rows), volume_of(rows)) for name, rows in by_symbol.items()), key=largest_first)
    newest = sorted(((name, row["price"], row["cumulative_volume"]) for name, row in last.items()), key=largest_first)
    prices = [row["price"] for row in own]
    value = sum(row["price"] * row["volume"] for row in own)
    return {
        "largest": rounded(largest[:FIRST]),
        "price": rounded([(len(own), value / volume_of(own), min(prices), max(prices))]),
        "minutes": rounded(
            (minute, min(row["price"] for row in rows), max(row["price"] for row in rows), volume_of(rows))
            for minute, rows in sorted(by_minute.items())
        ),
        "quality": rounded((word, len(rows), volume_of(rows)) for word, rows in sorted(by_word.items())),
        "last": rounded(newest[:FIRST]),
    }


def volume_of(rows: Sequence[dict[str, Any]]) -> float:
    return sum(row["volume"] for row in rows)


def largest_first(row: tuple[str, float, float]) -> tuple[float, str]:
    return -row[2], row[0]


def copy_without_a_trade(lake: Path, copy: Path, symbol: str, day: str) -> None:
    """Copy the asked kinds of a lake; the copy lacks the symbol's largest trade of the day."""
    for kind in KINDS:
        shutil.copytree(lake / f"kind={kind}", copy / f"kind={kind}")
    [path] = copy.glob(f"kind=trades/market=*/session_date={day}/part-0.parquet")
    table = pq.read_table(path, partitioning=None)
    rows = enumerate(zip(table["symbol"].to_pylist(), table["volume"].to_pylist(), strict=True))
    removed = max((volume, at) for at, (name, volume) in rows if name == symbol)[1]
    pq.write_table(table.take([at for at in range(table.num_rows) if at != removed]), path)


def last_day(lake: Path) -> str:
    """The newest sealed day."""
    return max(path.name.partition("=")[2] for path in lake.glob("kind=trades/market=*/session_date=*"))


def main() -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("lake", nargs="?", type=Path, default=Path("demo/data/lake"))
    parser.add_argument("--symbol", default=SYMBOL)
    given = parser.parse_args()
    lake, symbol, is_right = given.lake.absolute(), given.symbol, True
    if not list(lake.glob("kind=trades/market=*/session_date=*")):
        sys.stderr.write(f"{given.lake} has no sealed trades: `observer lake seal --all` seals the stored days\n")
        return 2
    day = last_day(lake)
    right = right_answers(lake, symbol, day)
    trades = sum(pq.read_metadata(path).num_rows for path in lake.glob("kind=trades/*/*/part-0.parquet"))
    sys.stdout.write(f"{trades:,} trades; {symbol} on {day}\n")
    columns = "".join(f"{name:<9}" for name in QUESTIONS)
    sys.stdout.write(f"{'engine':<8}{'version':<10}{columns}{'a trade less':<14}{'seconds':>7}\n")
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place)
        copy_without_a_trade(lake, copy, symbol, day)
        for engine in ENGINES:
            if python_of(engine) is None:
                sys.stdout.write(f"{engine:<8}not installed: make engines\n")
                continue
            found = asked(engine, symbol, day, lake, copy)
            of_lake, of_copy = found.answers
            same = {name: of_lake[name] == right[name] for name in QUESTIONS}
            sees = all(of_copy[name] != right[name] for name in SEES) and of_copy["last"] == right["last"]
            is_right &= sees and all(same.values())
            words = "".join(f"{'same' if each else 'OTHER':<9}" for each in same.values())
            sys.stdout.write(
                f"{engine:<8}{found.version:<10}{words}{'seen' if sees else 'NOT SEEN':<14}{found.seconds[0]:>7.2f}\n"
            )
    return int(not is_right)


if __name__ == "__main__":
    sys.exit(main())
