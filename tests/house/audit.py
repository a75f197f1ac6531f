"""Compares the pinned packages with the published advisories: `python -m tests.house.audit [FILE] [--database URL]`.

FILE is a requirement file with hashes; requirements-dev.txt has every package. Exit status 0: no advisory concerns one
of them, or the database is not reached, which is said; 1: there are such advisories; 2: the comparison failed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
OSV = "https://api.osv.dev/v1/query"
ANSWER_S = 15
PROBE = {"package": {"name": "pip", "ecosystem": "PyPI"}, "version": "26.3"}


def unreachable(database: str) -> str | None:
    """Why the database does not answer a question; None when it does."""
    try:
        answer = httpx.post(database, json=PROBE, timeout=ANSWER_S).raise_for_status()
        return None if isinstance(answer.json(), dict) else "its answer is no JSON object"
    except (httpx.HTTPError, ValueError) as error:
        return str(error) or type(error).__name__


def audited(requirements: Path, database: str) -> list[dict[str, Any]] | str:
    """The packages with their advisories, or why pip-audit failed.

    Its exit status says neither whether it failed or found something, nor whether it could ask about each package.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [str(Path(sys.executable).parent / "pip-audit"), "--vulnerability-service", "osv"]
        command += ["--osv-url", database, "--requirement", str(requirements), "--require-hashes", "--disable-pip"]
        command += ["--progress-spinner", "off", "--format", "json", "--output", str(report)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not report.exists():
            return (done.stderr.strip().splitlines() or ["it wrote no report"])[-1]
        packages: list[dict[str, Any]] = json.loads(report.read_text())["dependencies"]
    skipped = [each["name"] for each in packages if "skip_reason" in each]
    return f"not audited: {', '.join(skipped)}" if skipped else packages


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", nargs="?", type=Path, default=ROOT / "requirements-dev.txt")
    parser.add_argument("--database", default=OSV, help="the address of OSV's query call")
    asked = parser.parse_args()
    if (reason := unreachable(asked.database)) is not None:
        sys.stdout.write(f"skipped: no advisory database is reached ({asked.database}: {reason})\n")
        return 0
    packages = audited(asked.file, asked.database)
    if isinstance(packages, str):
        sys.stderr.write(f"audit: {packages}\n")
        return 2
    concerned = [each for each in packages if each["vulns"]]
    for package in concerned:
        for advisory in package["vulns"]:
            remedy = " or ".join(advisory["fix_versions"]) or "no version without it yet"
            sys.stdout.write(f"{package['name']} {package['version']}: {advisory['id']}, mended in: {remedy}\n")
    sys.stdout.write(f"{len(packages)} packages, {len(concerned)} with advisories\n")
    return 1 if concerned else 0


if __name__ == "__main__":
    sys.exit(main())
