"""`python -m tests.bench sweep` as its user has it: small sweeps at a real simulated broker, which counts itself."""

import json
import subprocess
import sys
from math import ceil
from pathlib import Path
from typing import Any

import pytest

from observer.simulator.kis.authentication import CALLS_PER_S
from tests.folders import short_folder
from tests.waiting import DEADLINE_S

pytestmark = pytest.mark.system

BENCH = (sys.executable, "-m", "tests.bench")


def sweep(*words):
    with short_folder() as folder:
        arguments = [*BENCH, "sweep", *map(str, words), "--folder", folder, "--json"]
        completed = subprocess.run(arguments, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        assert completed.returncode == 0, completed.stderr
        assert list(Path(folder).iterdir()) == []
    reported: dict[str, Any] = json.loads(completed.stdout)
    return reported


@pytest.mark.slow
def test_a_sweep_is_measured_against_the_floor_and_the_broker_objects_to_nothing():
    reported = sweep("--symbols", 640, "--rounds", 1)
    assert reported["calls"] == 22
    assert reported["rate"] == CALLS_PER_S
    assert reported["floor_s"] == pytest.approx(21 / CALLS_PER_S)
    assert reported["ratio_to_floor"] == pytest.approx(reported["rounds_s"][0] / reported["floor_s"])
    assert reported["ratio_to_floor"] >= 0.95  # one slot at most is made up for
    assert reported["rate_errors"] == 0
    assert 0 < reported["busiest_second_calls"] <= CALLS_PER_S


@pytest.mark.slow
def test_accounts_share_a_sweep():
    reported = sweep("--symbols", 600, "--rate", 20, "--rounds", 1, "--accounts", 2)
    assert reported["floor_s"] == pytest.approx((ceil(reported["calls"] / 2) - 1) / 20)
    assert reported["busiest_second_calls"] < 20  # one account alone would make them all
    assert reported["rate_errors"] == 0


@pytest.mark.slow
def test_the_lines_of_all_venues_are_swept_thirty_a_call():
    reported = sweep("--symbols", 600, "--rounds", 1, "--all-venues")
    assert reported["lines"].keys() == {"KRX", "NXT"}
    assert sum(reported["lines"].values()) == reported["symbols"] > reported["lines"]["KRX"]
    assert reported["calls"] == ceil(reported["symbols"] / 30)
    assert reported["rate_errors"] == 0


@pytest.mark.slow
def test_a_sweep_beside_a_tape_takes_hardly_longer():
    reported = sweep("--symbols", 640, "--rounds", 1, "--beside-tape")
    assert len(reported["beside_tape_s"]) == 1
    assert reported["ratio_beside_tape"] == pytest.approx(reported["beside_tape_s"][0] / reported["median_s"])
    assert reported["tape_calls_per_second"] > 1
    assert reported["rate_errors"] == 0
