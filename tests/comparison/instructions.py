"""Instructions of the processor for each trade, of one or several checkouts: a figure that a busy machine leaves alone.

    python -m tests.comparison.instructions --checkout ../before --checkout .

callgrind (of valgrind) counts the instructions of `instructed.py` with N and with 2 N trades; the difference, divided
by N, has no start-up in it. Each checkout runs with the interpreter of its own `.venv` and its own code. Instructions
of the kernel (the disk, the sockets) are not counted, nor what processor caches do.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

CHILD: Final = Path(__file__).with_name("instructed.py")
SIZES: Final = {"ingest": 10_000, "latency": 400, "frames_of_1": 20_000, "frames_of_4": 20_000}  # N, in trades
RATIO_MAX: Final = 1.03
_SUMMARY: Final = re.compile(rb"^(?:summary|totals): (\d+)$", re.MULTILINE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; status 1 when the last checkout needs over `RATIO_MAX` of the first one's instructions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkout", type=Path, action="append", required=True, help="a folder; again for each one")
    parser.add_argument("--program", choices=SIZES, action="append", help="only this one; again for several")
    parser.add_argument("--through", default="", help="a command that starts each run, such as 'nice -n 19'")
    asked = parser.parse_args(arguments)
    if not shutil.which("valgrind"):
        parser.error("valgrind is not installed: apt-get install valgrind")
    checkouts = [path.resolve() for path in asked.checkout]
    _row("program", *(path.name for path in checkouts), *(["ratio"] if len(checkouts) > 1 else []))
    worst = 0.0
    for program in asked.program or SIZES:
        counts = [per_trade(path, program, asked.through.split()) for path in checkouts]
        ratio = counts[-1] / counts[0]
        worst = max(worst, ratio)
        _row(program, *(f"{count:,.0f}" for count in counts), *([f"{ratio:.3f}"] if len(counts) > 1 else []))
    return int(worst > RATIO_MAX)


def per_trade(checkout: Path, program: str, through: Sequence[str] = ()) -> float:
    """Instructions of the program for one trade, with the code of this checkout."""
    size = SIZES[program]
    with tempfile.TemporaryDirectory(prefix="instructions-") as name:
        folder = Path(name)
        _run([*through, *_child(checkout, "prepare", folder, 2 * size)], checkout)
        once, twice = (_counted(checkout, program, folder, count, through) for count in (size, 2 * size))
    return (twice - once) / size


def _counted(checkout: Path, program: str, prepared: Path, size: int, through: Sequence[str]) -> int:
    """The instructions of one run, on a copy of the prepared folder. A first run without valgrind compiles the code."""
    for warming in (True, False):
        with tempfile.TemporaryDirectory(prefix="instructions-") as name:
            folder, output = Path(name) / "run", Path(name) / "callgrind.out"
            shutil.copytree(prepared, folder)
            valgrind = ["valgrind", "--tool=callgrind", "--quiet", f"--callgrind-out-file={output}"]
            _run([*through, *([] if warming else valgrind), *_child(checkout, program, folder, size)], checkout)
            found = [] if warming else _SUMMARY.findall(output.read_bytes())
    return int(found[-1])


def _child(checkout: Path, program: str, folder: Path, size: int) -> list[str]:
    return [str(checkout / ".venv" / "bin" / "python"), str(CHILD), program, str(folder), str(size)]


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
