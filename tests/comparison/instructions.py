"""Instructions of the processor for each trade, of one or several checkouts: a figure that a busy machine leaves alone.

    python -m tests.comparison.instructions --checkout ../before --checkout .

callgrind (of valgrind) counts the instructions of the programs in `instructed.py`. Each runs once to warm up; only its
second run is counted, so start-up is not in it. Each checkout runs with the interpreter of its own `.venv` and its own
code. Instructions of the kernel (the disk, the sockets) are not counted, nor what processor caches do.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.comparison.instructed import TRADES

CHILD: Final = "tests/comparison/instructed.py"  # each checkout's own, as its modules and their arguments are
RATIO_MAX: Final = 1.03
_MARK: Final = "getpriority"  # `instructed.mark` calls it before and after each measured part
_TOTALS: Final = re.compile(rb"^(?:summary|totals): (\d+)$", re.MULTILINE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; status 1 when the last checkout needs over `RATIO_MAX` of the first one's instructions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkout", type=Path, action="append", required=True, help="a folder; again for each one")
    parser.add_argument("--through", default="", help="a command that starts valgrind, such as 'nice -n 19'")
    asked = parser.parse_args(arguments)
    if not shutil.which("valgrind"):
        parser.error("valgrind is not installed: apt-get install valgrind")
    checkouts = [path.absolute() for path in asked.checkout]
    measured = [per_trade(path, asked.through.split()) for path in checkouts]
    _row("a trade", *(path.name for path in checkouts), *(["ratio"] if len(checkouts) > 1 else []))
    ratios = {name: measured[-1][name] / measured[0][name] for name in TRADES}
    for name, ratio in ratios.items():
        figures = (f"{each[name]:,.0f}" for each in measured)
        _row(name, *figures, *([f"{ratio:.3f}"] if len(checkouts) > 1 else []))
    return int(max(ratios.values()) > RATIO_MAX)


def per_trade(checkout: Path, through: Sequence[str] = ()) -> Mapping[str, float]:
    """Instructions of each program for one trade, with the code of this checkout."""
    with tempfile.TemporaryDirectory(prefix="instructions-") as name:
        for step in ("warm", "counted"):  # the first one compiles the code
            folder = Path(name) / step
            folder.mkdir(mode=0o700)
            _run(_child(checkout, "prepare", folder), checkout)
            if step == "warm":
                _run(_child(checkout, "measure", folder), checkout)
        output = Path(name) / "callgrind.out"
        valgrind = ["valgrind", "--tool=callgrind", "--quiet", f"--dump-before={_MARK}"]
        counted = [*through, *valgrind, f"--callgrind-out-file={output}", *_child(checkout, "measure", folder)]
        _run(counted, checkout)
        # A dump at each mark: of what was before a measured part, and of the part.
        dumps = [output.with_name(f"{output.name}.{number}") for number in range(1, 2 * len(TRADES) + 1)]
        counts = [int(_TOTALS.findall(dump.read_bytes())[-1]) for dump in dumps[1::2]]
    return {name: count / trades for (name, trades), count in zip(TRADES.items(), counts, strict=True)}


def _child(checkout: Path, step: str, folder: Path) -> list[str]:
    return [str(checkout / ".venv" / "bin" / "python"), str(checkout / CHILD), step, str(folder)]


def _run(argv: Sequence[str], checkout: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONHASHSEED": "0"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(argv, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(argv)}\nended with status {done.returncode}:\n{done.stderr[-2000:]}")


def _row(name: str, *cells: str) -> None:
    sys.stdout.write(f"{name:12}" + "".join(f"{cell:>18}" for cell in cells) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
