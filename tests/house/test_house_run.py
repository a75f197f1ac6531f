"""The order of a run's files and what it may skip: rules of tests/conftest.py."""

import os
import subprocess
import sys
from pathlib import Path

from tests.skips import is_allowed

ROOT = Path(__file__).parents[2]
FILES = {
    "test_lacking.py": "import pytest\n\n\ndef test_one():\n    pytest.skip('promtool is not installed')\n",
    "test_container.py": "import pytest\n\n\ndef test_one():\n    pytest.skip('only root can do this')\n",
    "test_whole_file.py": "import pytest\n\npytest.importorskip('no_such_library')\n",
    "test_running.py": "def test_one(): ...\ndef test_two(): ...\n",
    "test_zzz.py": "def test_one(): ...\n",
}


def ran(folder: Path, *options: str, **environment: str) -> list[str]:
    """What a run of FILES printed, in lines."""
    for name, content in FILES.items():
        (folder / name).write_text(content)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "--rootdir", str(folder), *options]
    inherited = {key: value for key, value in os.environ.items() if key != "CI"}
    run = subprocess.run(
        [*command, str(folder)],
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return run.stdout.splitlines()


def test_in_continuous_integration_a_skip_without_an_allowed_reason_fails(tmp_path: Path) -> None:
    options = ("--continue-on-collection-errors",)
    assert ran(tmp_path, *options)[-1].startswith("3 passed, 3 skipped")
    assert ran(tmp_path, *options, CI="true")[-1].startswith("1 failed, 3 passed, 1 skipped, 1 error")


def test_a_lacking_sample_is_a_reason_only_where_no_samples_are() -> None:
    reason = "the real samples are not beside the repository"
    assert is_allowed(reason, has_samples=False)
    assert not is_allowed(reason, has_samples=True)


def test_a_seed_orders_the_files_anew_and_no_test_leaves_its_file(tmp_path: Path) -> None:
    usual, shuffled = (
        [line for line in ran(tmp_path, "--collect-only", *options) if "::" in line]
        for options in ((), ("--shuffle", "1"))
    )
    assert usual == sorted(usual)
    assert usual != shuffled
    assert sorted(shuffled) == usual
    first = shuffled.index("test_running.py::test_one")
    assert shuffled[first + 1] == "test_running.py::test_two"
