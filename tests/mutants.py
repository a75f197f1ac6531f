"""Mutants of the files that hold the promises: how many of them the tests of each file kill (make mutation).

The files and their tests stand in pyproject.toml, `[tool.mutmut.tests]`. mutmut has one choice of tests for all files,
and would run the tests of all of them for hours: so each file has a run of its own, in a folder with links to this
checkout. A mutant whose tests do not end in five times their time counts as killed.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import tomli_w
from mutmut.mutation.diff_apply import get_diff_for_mutant

ROOT: Final = Path(__file__).parents[1]
WORK: Final = ROOT / "mutants"
MUTMUT: Final = str(Path(sys.executable).with_name("mutmut"))
KILLED_MIN: Final = 0.9
DEADLINE_S: Final = 20  # of a wait: a mutant that never does what a test waits for is no rarity here


def prepared(project: Mapping[str, Any], subject: str) -> Path:
    """A new folder in which mutmut changes this file alone, and runs its tests alone."""
    folder = WORK / subject.removesuffix(".py").replace("/", ".")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    settings = project["tool"]["mutmut"]
    of_subject = {"only_mutate": [subject], "pytest_add_cli_args_test_selection": settings["tests"][subject]}
    tool = {**project["tool"], "mutmut": {**settings, **of_subject}}
    (folder / "pyproject.toml").write_text(tomli_w.dumps({**project, "tool": tool}))
    for name in (*settings["source_paths"], *settings["also_copy"], "tests"):
        if "/" not in name:
            (folder / name).symlink_to(ROOT / name)
    return folder


def is_ended(command: Sequence[str], folder: Path, seconds: float) -> bool:
    """Run a command and what it starts; False if it did not end in that time, and was ended."""
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return True


def said(folder: Path, *words: str) -> str:
    """What mutmut says."""
    return subprocess.run([MUTMUT, *words], cwd=folder, capture_output=True, text=True, check=True).stdout


def judged(subject: str, folder: Path, seconds: float) -> bool:
    """Run the mutants of one file, and print how many were killed and what the others change; whether it is enough."""
    began_s = time.monotonic()
    is_whole = is_ended([MUTMUT, "run", "--max-children", "1"], folder, seconds)
    minutes = (time.monotonic() - began_s) / 60
    said(folder, "export-cicd-stats")
    counts: Mapping[str, int] = json.loads((folder / "mutants/mutmut-cicd-stats.json").read_text())
    total, killed = counts["total"], counts["killed"] + counts["timeout"]
    lived, untested = counts["survived"], counts["no_tests"]
    left = total - killed - lived - untested
    is_enough = is_whole and killed >= KILLED_MIN * total > 0
    write(
        f"{subject}: {killed} of {total} killed ({killed / total:.1%}), {lived} survived, {untested} without a test, "
        f"{left} not judged, {minutes:.1f} min{'' if is_enough else ': too few'}"
    )
    with contextlib.chdir(folder):
        for line in said(folder, "results").splitlines():
            name, _, state = line.strip().partition(": ")
            if state in ("survived", "no tests"):
                write(f"  {name}: {state}", *changed_lines(get_diff_for_mutant(name, path=subject)))
    return is_enough


def changed_lines(diff: str) -> Sequence[str]:
    """The lines that a mutant takes away, and those that it has instead."""
    return [line for line in diff.splitlines()[2:] if line[0] in "+-"]


def write(*lines: str) -> None:
    """Print lines, each below the first one further in."""
    sys.stdout.write("\n    ".join(lines) + "\n")
    sys.stdout.flush()


def main() -> int:
    """0 if enough mutants of each file were killed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    subjects: Mapping[str, Sequence[str]] = project["tool"]["mutmut"]["tests"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", help="all by default")
    parser.add_argument("--minutes", type=float, default=60.0, help="of one file at most; what is not judged counts")
    arguments = parser.parse_args()
    if unknown := set(arguments.files) - set(subjects):
        parser.error(f"pyproject.toml, [tool.mutmut.tests], names no tests of {', '.join(sorted(unknown))}")
    os.environ["OBSERVER_TEST_DEADLINE_S"] = str(DEADLINE_S)
    os.nice(19)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or the mutants at work would stay
    verdicts = [judged(each, prepared(project, each), 60 * arguments.minutes) for each in arguments.files or subjects]
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
