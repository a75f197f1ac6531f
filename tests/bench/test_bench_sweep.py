"""`observer bench sweep` as its user has it: small sweeps at a real simulated broker, which counts for itself."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.system

OBSERVER = str(Path(sys.executable).parent / "observer")


def sweep(*words: object) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="ob") as folder:
        arguments = [OBSERVER, "bench", "sweep", *map(str, words), "--folder", folder, "--json"]
        completed = subprocess.run(arguments, capture_output=True, text=True, timeout=110, check=False)
        assert completed.returncode == 0, completed.stderr
        assert list(Path(folder).iterdir()) == []
    told: dict[str, Any] = json.loads(completed.stdout)
    return told


@pytest.mark.slow
def test_a_sweep_is_measured_against_the_floor_and_the_broker_objects_to_nothing() -> None:
    told = sweep("--symbols", 640, "--rate", 20, "--rounds", 1)
    assert told["calls"] == 22
    assert told["floor_s"] == pytest.approx(21 / 20)
    assert told["ratio_to_floor"] == pytest.approx(told["rounds_s"][0] / told["floor_s"])
    assert told["ratio_to_floor"] >= 0.95  # one slot at most is made up for
    assert told["rate_errors"] == 0
    assert 0 < told["busiest_second_calls"] <= 20


@pytest.mark.slow
def test_accounts_share_a_sweep() -> None:
    told = sweep("--symbols", 600, "--rate", 20, "--rounds", 1, "--accounts", 2)
    assert told["floor_s"] == pytest.approx(9 / 20)
    assert told["busiest_second_calls"] < 20  # one account alone would make them all
    assert told["rate_errors"] == 0
