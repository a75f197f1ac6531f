"""Compressed days in a row for a given time: `python -m tests.chaos.soak --minutes 60`.

Each day is `observer demo` as its user has it. Once a second the memory and the descriptors of every process are read
from outside. A process whose memory still rises in the second half of a day, or that has more descriptors at its end
than in its middle, fails the run; so does a day that says it failed, and a judge (tests/chaos/judge.py) who finds other
events stored than were published.

Prints a line a day on stderr and one JSON object in the end. Exit status 0: all days were sound; 1: one was not, and
its folder is kept and named.
"""

import argparse
import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import psutil

OBSERVER = Path(sys.executable).parent / "observer"
JUDGE = Path(__file__).with_name("judge.py")
POLL_S = 1.0
CACHES_MB = {"workers.core_writer": 16}  # SQLite's page cache fills up to its size, observer/store/engine.py
SAMPLES_MIN = 20  # a slope through fewer points says nothing
MEGABYTE = 1024 * 1024


class Limits(msgspec.Struct, frozen=True):
    """The growth allowed to a process in the second half of a day."""

    memory_mb: float
    descriptors: int


class Sample(msgspec.Struct, frozen=True):
    """One look at one process."""

    at_s: float
    memory_mb: float
    descriptors: int


class Growth(msgspec.Struct, frozen=True):
    """A process's growth in the second half of its day; memory by the slope of all samples, not of two."""

    memory_mb_max: float
    memory_mb_grown: float
    descriptors_grown: int


def growth(samples: Sequence[Sample]) -> Growth | None:
    """None for a process that did not live long enough to judge."""
    late = samples[len(samples) // 2 :]
    if len(late) < SAMPLES_MIN:
        return None
    fit = statistics.linear_regression([s.at_s for s in late], [s.memory_mb for s in late])
    third = len(late) // 3
    before, after = late[:third], late[-third:]
    return Growth(
        memory_mb_max=round(max(s.memory_mb for s in samples), 1),
        memory_mb_grown=round(fit.slope * (late[-1].at_s - late[0].at_s), 2),
        descriptors_grown=round(
            statistics.median(s.descriptors for s in after) - statistics.median(s.descriptors for s in before)
        ),
    )


def check(root: psutil.Process) -> Mapping[str, Sample]:
    """Every living process of the system, by its worker's name and pid."""
    found: dict[str, Sample] = {}
    for process in [root, *root.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied), process.oneshot():
            name = f"{_name(process.cmdline())} {process.pid}"
            memory_mb = process.memory_info().rss / MEGABYTE
            found[name] = Sample(time.monotonic(), memory_mb, process.num_fds())
    return found


def _name(command: Sequence[str]) -> str:
    return command[command.index("-m") + 1] if "-m" in command else "supervisor"


def run_day(folder: Path, speed: float, symbols: int) -> tuple[int, Mapping[str, list[Sample]]]:
    """One day; its exit status, and what was seen of each process."""
    seen: dict[str, list[Sample]] = {}
    options = ["--json", "--keep", "--speed", speed, "--symbols", symbols, "--folder", folder]
    with (folder.parent / "summary.json").open("w") as summary:
        day = psutil.Popen([OBSERVER, "demo", *map(str, options)], stdout=summary, cwd=folder.parent)
        try:
            while day.poll() is None:
                for name, sample in check(day).items():
                    seen.setdefault(name, []).append(sample)
                time.sleep(POLL_S)  # the samples are taken at this interval
        finally:
            if day.poll() is None:
                day.terminate()
            day.wait()
    return int(day.returncode), seen


def complaints(status: int, reported: Mapping[str, object], grown: Mapping[str, Growth], limits: Limits) -> list[str]:
    """Everything that was wrong with a day."""
    wrong = [f"the day ended with status {status}"] if status else []
    wrong += [] if reported["whole"] else [f"stored is not what was published: {reported['faults']}"]
    wrong += [] if grown else ["the day was too short to judge its memory: choose a lower --speed"]
    for name, found in grown.items():
        if found.memory_mb_grown > limits.memory_mb + CACHES_MB.get(name.partition(" ")[0], 0):
            wrong.append(f"{name} grew by {found.memory_mb_grown} MB in the second half of the day")
        if found.descriptors_grown > limits.descriptors:
            wrong.append(f"{name} kept {found.descriptors_grown} descriptors")
    return wrong


def judged_day(folder: Path, arguments: argparse.Namespace) -> dict[str, object]:
    """One day with its exit status, samples and problems."""
    began_s = time.monotonic()
    status, seen = run_day(folder, arguments.speed, arguments.symbols)
    command = [sys.executable, JUDGE, f"sqlite:///{folder}/data/observer.db", folder / "run" / "outbox"]
    judged = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    reported = json.loads(judged.stdout or json.dumps({"whole": False, "faults": judged.stderr}))
    grown = {name: found for name, samples in seen.items() if (found := growth(samples))}
    limits = Limits(arguments.memory_mb, arguments.descriptors)
    return {
        "seconds": round(time.monotonic() - began_s, 1),
        **reported,
        "processes": msgspec.to_builtins(grown),
        "complaints": complaints(status, reported, grown, limits),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10, help="no new day is begun after these")
    parser.add_argument("--speed", type=float, default=240, help="market seconds a second")
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--memory-mb", type=float, default=8, help="what a process may grow by in half a day")
    parser.add_argument("--descriptors", type=int, default=2, help="the same for its descriptors")
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    end_s = time.monotonic() + arguments.minutes * 60
    days: list[dict[str, object]] = []
    while not days or (time.monotonic() < end_s and not days[-1]["complaints"]):
        folder = Path(tempfile.mkdtemp(prefix="soak"))
        day = judged_day(folder / "d", arguments)
        days.append(day)
        sys.stderr.write(
            f"day {len(days)}: {day['stored']} stored, {day['seconds']} s, {day['complaints'] or 'sound'}\n"
        )
        if day["complaints"]:
            day["folder"] = str(folder)
        else:
            shutil.rmtree(folder)
    sound = not days[-1]["complaints"]
    sys.stdout.write(json.dumps({"days": days, "sound": sound}, indent=2) + "\n")
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
