"""Millions of inputs through every decoder of outside bytes (`make fuzz`).

    python -m tests.fuzz.campaign --executions 10000000 --processes 2 [--target NAME ...] [--seed N]

shares the executions over the targets by their weights, runs each target in processes of its own, and prints a table:
executions, executions a second, the largest memory, findings. Exit status 1 with a finding; its inputs are kept in the
folder `--findings`, for `python -m tests.fuzz.engine TARGET --input FILE`.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from tests.fuzz.engine import ARTIFACT, Found, Report, is_guided
from tests.fuzz.target import Target
from tests.fuzz.targets import ALL

PORTION: Final = 500_000  # executions of one process: a target's memory must not grow with them
_SHOWN_BYTES: Final = 200
_SAID_LENGTH: Final = 500
_MEMORY: Final = Path("/dev/shm")  # the targets write a file for each input


class Job(NamedTuple):
    """One process: a target, its executions, and the seed of its random numbers."""

    target: Target
    executions: int
    seed: int


def jobs(targets: Sequence[Target], executions: int, seed: int) -> list[Job]:
    """The executions in portions, the targets with the most first: the last processes to end are short ones."""
    total = sum(target.weight for target in targets)
    found = []
    for target in targets:
        left, number = max(1, round(executions * target.weight / total)), 0
        while left > 0:
            found.append(Job(target, min(left, PORTION), seed + number))
            left, number = left - PORTION, number + 1
    return sorted(found, key=lambda job: -job.executions)


def report_of(job: Job, folder: str) -> Report:
    """Run the process, whose files are in the folder. One that ends without a report (a crash, a hang, too much memory)
    is a finding by itself.
    """
    command = [sys.executable, "-m", "tests.fuzz.engine", job.target.name]
    options = ["--executions", str(job.executions), "--seed", str(job.seed)]
    with tempfile.TemporaryDirectory(dir=folder) as own:
        environment = {**os.environ, "TMPDIR": own}
        ended = subprocess.run([*command, *options], capture_output=True, check=False, env=environment)
        try:
            return msgspec.json.decode(ended.stdout, type=Report)
        except msgspec.DecodeError:
            contents = [path.read_bytes() for path in Path(own).glob(f"{ARTIFACT}*")]
    said = [line for line in ended.stderr.decode(errors="replace").splitlines() if line[:4] not in ("INFO", "WARN")]
    text = f"ended with status {ended.returncode}: {' '.join(said)[-_SAID_LENGTH:]}"
    return Report(job.target.name, 0, 0.0, 0, [Found("process", text, *contents[:1] or [b""])])


def added(reports: Iterable[Report]) -> dict[str, Report]:
    """One report for each target."""
    sums: dict[str, Report] = {}
    for each in reports:
        before = sums.get(each.target, Report(each.target, 0, 0.0, 0, []))
        places = {found.place: found for found in [*each.findings, *before.findings]}
        sums[each.target] = Report(
            each.target,
            before.executions + each.executions,
            before.cpu_s + each.cpu_s,
            max(before.rss_bytes_max, each.rss_bytes_max),
            list(places.values()),
        )
    return sums


def table(sums: Iterable[Report]) -> Iterable[str]:
    yield f"{'target':18} {'executions':>12} {'a second':>10} {'max RSS':>8} {'findings':>9}"
    for each in sums:
        rate, rss_mb = each.executions / each.cpu_s if each.cpu_s else 0, each.rss_bytes_max / 2**20
        yield f"{each.target:18} {each.executions:12,} {rate:10,.0f} {rss_mb:5.0f} MB {len(each.findings):9}"


def kept(folder: Path, report: Report) -> Iterable[str]:
    """Write the inputs of the findings; yields a line for each."""
    for found in report.findings:
        path = folder / f"{report.target}-{hashlib.sha256(found.content).hexdigest()[:12]}"
        folder.mkdir(exist_ok=True)
        path.write_bytes(found.content)
        yield f"{report.target}: {found.place}: {found.text}\n    {path}: {found.content[:_SHOWN_BYTES]!r}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executions", type=int, default=10_000_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", action="append", choices=[target.name for target in ALL])
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"))
    options = parser.parse_args()
    targets = [target for target in ALL if not options.target or target.name in options.target]
    with (
        tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as folder,
        ThreadPoolExecutor(options.processes) as processes,
    ):
        run = partial(report_of, folder=folder)
        sums = added(processes.map(run, jobs(targets, options.executions, options.seed)))
    reports = [sums[target.name] for target in targets]
    findings = [line for report in reports for line in kept(options.findings, report)]
    how = "guided by coverage" if is_guided() else "at random: atheris is not installed"
    done, rss_bytes = sum(each.executions for each in reports), max(each.rss_bytes_max for each in reports)
    last = f"{done:,} executions, {how}; {len(findings)} findings; max RSS {rss_bytes / 2**20:.0f} MB"
    sys.stdout.write("\n".join([*table(reports), *findings, last, ""]))
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
