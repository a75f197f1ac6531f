"""Runs one target in a process of its own, and prints what came out as JSON.

python -m tests.fuzz.engine TARGET --executions N --seed N     guided by coverage where atheris is installed
python -m tests.fuzz.engine TARGET --input FILE                one input, for a finding
"""

import argparse
import importlib.util
import logging
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path
from random import Random
from typing import Final

import msgspec

HEAP_BYTES: Final = 512 * 1024 * 1024  # beyond what the process has at its start; more is a MemoryError
RSS_MB_MAX: Final = 512
ARTIFACT: Final = "observer-fuzz-input-"  # in the folder of temporary files: the input that ended the process
_HANGS_AFTER_S: Final = (
    60  # of one input, by the clock: the machine may be slow, the decoder's own limit is processor time
)
_FINDINGS_MAX: Final = 20


class Found(msgspec.Struct, frozen=True):
    """A finding, with the first input that made it."""

    place: str
    text: str
    content: bytes


class Report(msgspec.Struct, frozen=True):
    """The result of one target; `cpu_s` is of its inputs, without the start of the process."""

    target: str
    executions: int
    cpu_s: float
    rss_bytes_max: int
    findings: list[Found]


class Run:
    """Executes inputs until their number is reached; then it prints the report and ends the process."""

    def __init__(self, name: str, executions: int) -> None:
        from tests.fuzz.target import limited_memory
        from tests.fuzz.targets import named

        self.target = named(name)
        self._executions = executions
        self._done = 0
        self._findings: dict[str, Found] = {}
        self._limit = limited_memory(HEAP_BYTES)
        self._limit.__enter__()
        self._began_s = time.process_time()

    def one(self, content: bytes) -> None:
        from tests.fuzz.target import finding_of

        found = finding_of(self.target, content)
        self._done += 1
        if found is not None and found.place not in self._findings:
            self._findings[found.place] = Found(found.place, found.text, content)
        if self._done >= self._executions or len(self._findings) >= _FINDINGS_MAX:
            self.finish()

    def finish(self) -> None:
        """Print and leave at once: libFuzzer has no other end."""
        from tests.fuzz import folder
        from tests.fuzz.target import peak_bytes

        cpu_s, found = time.process_time() - self._began_s, list(self._findings.values())
        report = Report(self.target.name, self._done, cpu_s, peak_bytes(), found)
        os.write(1, msgspec.json.encode(report) + b"\n")
        folder.remove()
        os._exit(0)


def is_guided() -> bool:
    """Whether atheris is installed."""
    return importlib.util.find_spec("atheris") is not None


def run_unguided(name: str, executions: int, seed: int) -> None:
    """Mutations of the corpus at random."""
    from tests.fuzz.mutation import mutated

    run = Run(name, executions)
    seeds, rng = run.target.seeds(), Random(f"{name} {seed}")
    for content in seeds:
        run.one(content)
    while True:
        run.one(mutated(seeds, rng, run.target.length_max))


def run_guided(name: str, executions: int, seed: int) -> None:
    """libFuzzer's mutations, guided by the coverage of our code."""
    import atheris

    with atheris.instrument_imports(include=["bus", "observer"]):
        from tests.fuzz import folder, targets  # noqa: F401 - instrumented here
    run = Run(name, executions)
    corpus = [folder.file_of("corpus", str(number), content) for number, content in enumerate(run.target.seeds())]
    options = {
        "seed": seed,
        "runs": 2**31 - 1,  # `Run` ends it
        "max_len": run.target.length_max,
        "rss_limit_mb": RSS_MB_MAX,
        "timeout": _HANGS_AFTER_S,
        "verbosity": 0,
        "artifact_prefix": f"{tempfile.gettempdir()}/{ARTIFACT}",
    }
    arguments = [f"-{name}={value}" for name, value in options.items()]
    atheris.Setup([sys.argv[0], *arguments, str(corpus[0].parent)], run.one)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target")
    parser.add_argument("--executions", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--input", type=Path)
    options = parser.parse_args()
    logging.disable()
    warnings.simplefilter("ignore")
    if options.input is not None:
        from tests.fuzz.targets import named

        named(options.target).run(options.input.read_bytes())
        return
    run = run_guided if is_guided() else run_unguided
    run(options.target, options.executions, options.seed)


if __name__ == "__main__":
    main()
