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


def ran(folder, *options, **environment):
    """A run of FILES: its tests in their order, and what came of them."""
    for name, content in FILES.items():
        (folder / name).write_text(content)
    command = [sys.executable, "-m", "pytest", "-v", "--tb=no", "-rN", "--continue-on-collection-errors"]
    command += ["-p", "tests.conftest", "--rootdir", str(folder), *options]
    inherited = {key: value for key, value in os.environ.items() if key != "CI"}
    ours = {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # the imports of others take seconds
    run = subprocess.run(
        [*command, str(folder)],
        cwd=folder,
        env=inherited | ours | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    *lines, last = run.stdout.splitlines()
    return [line.partition(" ")[0] for line in lines if "::" in line], last.strip("= ")


def test_a_skip_without_an_allowed_reason_fails_in_continuous_integration_and_a_seed_orders_the_files_anew(
    tmp_path,
):
    usual, ended = ran(tmp_path)
    assert ended.startswith("3 passed, 3 skipped")
    assert usual == sorted(usual)
    shuffled, ended = ran(tmp_path, "--shuffle", "1", CI="true")
    assert ended.startswith("1 failed, 3 passed, 1 skipped, 1 error")
    assert usual != shuffled
    assert sorted(shuffled) == usual
    first = shuffled.index("test_running.py::test_one")
    assert shuffled[first + 1] == "test_running.py::test_two", "no test leaves its file"


def test_a_lacking_sample_is_a_reason_only_where_no_samples_are():
    reason = "the real samples are not beside the repository"
    assert is_allowed(reason, has_samples=False)
    assert not is_allowed(reason, has_samples=True)
