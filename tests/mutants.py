"""Mutants of the files that hold the promises: how many of them the tests of each file kill (make mutation).

The files and their tests stand in pyproject.toml, `[tool.mutmut.tests]`. mutmut makes the mutants, and this runs them:
one process imports the file with all of them and collects the tests once. Each mutant is a fork of it, in which those
tests that reach the changed function run, the quickest first, until one fails; what children of a test do is judged
without a mutant. The order of the mutants is random: a run that is cut is a sample of all. A mutant whose tests do not
end in five times their time, of the processor or of the clock, counts as killed.
"""

import argparse
import contextlib
import difflib
import importlib.util
import json
import math
import os
import random
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, settings
from mutmut.mutation.file_mutation import mutate_file_contents
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.state import state
from mutmut.utils.format_utils import mangled_name_from_mutant_name

ROOT: Final = Path(__file__).parents[1]
WORK: Final = ROOT / "mutants"
KILLED_MIN: Final = 0.9
SAMPLE_MIN: Final = 100  # of the mutants of a file, or all
PATIENCE: Final = 5.0  # times the time of the tests
DEADLINE_S: Final = 20  # of a wait: a mutant that never does what a test waits for is no rarity here

# As in the default run (tests/conftest.py); but a failed example is not made smaller, because nobody reads it, and no
# test fails because the machine is slow.
settings.register_profile(
    "mutants",
    deadline=None,
    derandomize=True,
    max_examples=50,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


class Reached(NamedTuple):
    """The functions that a test reaches without a mutant, and its seconds of the processor and of the clock."""

    functions: Sequence[str]
    processor_s: float
    clock_s: float


class Mutants:
    """A plugin of pytest, which runs the collected tests once for each mutant instead of once."""

    def __init__(self, subject: str, named: str, seconds: float, seed: int) -> None:
        self._subject = subject
        self._module = subject.removesuffix(".py").replace("/", ".")
        self._named = named
        self._seconds = seconds
        self._seed = seed
        self._mutated = mutate_file_contents(subject, (ROOT / subject).read_text())
        self.folder = WORK / self._module
        self.is_enough = False

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        """The file with its mutants in the place of the file: this is a finder of `sys.meta_path`, too."""
        if name != self._module:
            return None
        file = self.folder / "mutated.py"
        file.write_text(self._mutated.code)
        return importlib.util.spec_from_file_location(name, file)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Judge the mutants, in a random order, as many as there is time for."""
        if databases := sys.modules.get("tests.store.migrated"):
            databases.migrated_file()  # or each fork would migrate one
        if lakes := sys.modules.get("tests.archive.stored"):
            lakes.two_sealed_days()  # or each fork would seal them
            lakes.first_day_removed()
        reached = self._reached(session)
        began_s = time.monotonic()
        names = [name for name in self._mutated.mutant_names if self._named in name]
        random.Random(self._seed).shuffle(names)
        counts: Counter[str] = Counter()
        for name in names:
            if time.monotonic() - began_s > self._seconds:
                break
            verdict = self._verdict(session, reached, name)
            counts[verdict] += 1
            if verdict in ("survived", "without a test"):
                write(f"  {name}: {verdict}", *self._changed_lines(name))
        run, killed = counts.total(), counts["killed"] + counts["without an end"]
        self.is_enough = killed >= KILLED_MIN * run > 0 and run >= min(len(names), SAMPLE_MIN)
        others = "".join(f", {count} {verdict}" for verdict, count in sorted(counts.items()) if verdict != "killed")
        write(
            f"{self._subject}: killed {killed} of {run} run ({killed / max(1, run):.1%}) of {len(names)}{others}; "
            f"seed {self._seed}, {(time.monotonic() - began_s) / 60:.1f} min{'' if self.is_enough else ': too few'}"
        )
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Say in a fork why a test failed."""
        if report.failed:
            write(report.nodeid, report.longreprtext)

    def _reached(self, session: pytest.Session) -> Mapping[str, Reached]:
        said = self.folder / "reached.json"

        def note() -> None:
            set_mutant_under_test("stats")
            found: dict[str, Reached] = {}
            for item, following in zip(session.items, [*session.items[1:], None], strict=True):
                state()._stats.clear()
                began_s = time.process_time(), time.monotonic()
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                ended_s = time.process_time(), time.monotonic()
                found[item.nodeid] = Reached(sorted(state()._stats), ended_s[0] - began_s[0], ended_s[1] - began_s[1])
                if session.testsfailed:
                    return
            said.write_text(json.dumps(found))

        if self._forked(session, note) != "survived":
            raise pytest.UsageError(f"a test fails without a mutant: {self.folder / 'log.txt'}")
        return {test: Reached(*each) for test, each in json.loads(said.read_text()).items()}

    def _verdict(self, session: pytest.Session, reached: Mapping[str, Reached], name: str) -> str:
        function = f"{self._module}.{mangled_name_from_mutant_name(name)}"
        tests = [item for item in session.items if function in reached[item.nodeid].functions]
        tests.sort(key=lambda item: reached[item.nodeid].processor_s)

        def run() -> None:
            set_mutant_under_test(f"{self._module}.{name}")
            processor_s = math.ceil(PATIENCE * (1 + sum(reached[item.nodeid].processor_s for item in tests)))
            resource.setrlimit(resource.RLIMIT_CPU, (processor_s, processor_s))
            for item, following in zip(tests, [*tests[1:], None], strict=True):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if session.testsfailed:
                    return

        clock_s = 2 * DEADLINE_S + PATIENCE * sum(reached[item.nodeid].clock_s for item in tests)
        return self._forked(session, run, clock_s) if tests else "without a test"

    def _forked(self, session: pytest.Session, work: Callable[[], None], seconds: float | None = None) -> str:
        """What becomes of the tests that `work` runs in a process of its own."""
        sys.stdout.flush()
        child = os.fork()
        if not child:
            status = 1
            try:
                os.setsid()
                log = os.open(self.folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                for descriptor in (1, 2):
                    os.dup2(log, descriptor)
                work()
                status = int(session.testsfailed > 0)
                session._setupstate.teardown_exact(None)
            except Exception:  # noqa: BLE001 - whatever it is, it kills the mutant
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(status)
        handle = os.pidfd_open(child)
        try:
            ended, _, _ = select.select([handle], [], [], seconds)
        finally:
            os.close(handle)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        if not ended or os.WIFSIGNALED(status):
            return "without an end"
        return "killed" if status else "survived"

    def _changed_lines(self, name: str) -> Sequence[str]:
        """The lines that a mutant takes away, and those that it has instead."""
        lines = self._mutated.code.splitlines()
        spans = self._mutated.line_span_by_function_name
        found = []
        for each in (f"{mangled_name_from_mutant_name(name)}__mutmut_orig", name):
            own = lines[spans[each].start - 1 : spans[each].end]
            found.append([line.replace(each, "") for line in own])
        return [line for line in difflib.ndiff(*found) if line[0] in "+-" and line[1:].strip()]


def write(*lines: str) -> None:
    """Print lines, each below the first one further in."""
    sys.stdout.write("\n    ".join(lines) + "\n")
    sys.stdout.flush()


def judged(subject: str, tests: Sequence[str], arguments: argparse.Namespace) -> bool:
    """Whether enough mutants of one file were killed."""
    mutants = Mutants(subject, arguments.named, 60 * arguments.minutes, arguments.seed)
    shutil.rmtree(mutants.folder, ignore_errors=True)
    mutants.folder.mkdir(parents=True)
    sys.meta_path.insert(0, mutants)
    options = [
        "-s",
        "-qq",
        "--disable-warnings",
        "-p",
        "no:cacheprovider",
        "--timeout=0",
        "--hypothesis-profile=mutants",
    ]
    pytest.main([*options, f"--basetemp={mutants.folder / 'tests'}", *tests], plugins=[mutants])
    return mutants.is_enough


def main() -> int:
    """0 if enough mutants of each file were killed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    subjects: Mapping[str, Sequence[str]] = project["tool"]["mutmut"]["tests"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", help="all by default")
    parser.add_argument("--minutes", type=float, default=60.0, help="for the mutants of one file at most")
    parser.add_argument("--seed", type=int, default=1, help="of the order of the mutants")
    parser.add_argument("--named", default="", help="only the mutants with this in their name")
    arguments = parser.parse_args()
    if unknown := set(arguments.files) - set(subjects):
        parser.error(f"pyproject.toml, [tool.mutmut.tests], names no tests of {', '.join(sorted(unknown))}")
    files = arguments.files or list(subjects)
    if len(files) > 1:  # each in a process of its own: its tests import the one file with mutants
        options = [f"--{name}={getattr(arguments, name)}" for name in ("minutes", "seed", "named")]
        command = [sys.executable, "-m", "tests.mutants", *options]
        return max(subprocess.run([*command, each], cwd=ROOT, check=False).returncode for each in files)
    os.environ["OBSERVER_TEST_DEADLINE_S"] = str(DEADLINE_S)
    os.nice(19)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or the mutant at work would stay
    return 0 if judged(files[0], subjects[files[0]], arguments) else 1


if __name__ == "__main__":
    sys.exit(main())
