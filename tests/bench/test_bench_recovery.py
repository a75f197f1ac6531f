"""`python -m tests.bench recovery`: both sides of a round, and the figures of all rounds."""

import json
import subprocess
import sys

import pytest

from tests.bench.child import BenchError
from tests.bench.recovery import _result, _Side
from tests.folders import short_folder
from tests.waiting import DEADLINE_S

BENCH = (sys.executable, "-m", "tests.bench")


def side(*rounds_ms, calls=0):
    made = _Side()
    made.rounds_ms += rounds_ms
    made.gaps = made.complete = sum(map(len, rounds_ms))
    made.calls, made.cpu_s, made.lasted_s = calls, 2.0, 50.0
    return made


def test_figures_are_medians_of_the_rounds_and_the_tape_s_are_of_all_its_rounds(tmp_path):
    alone = side([float(ms) for ms in range(1, 101)], [10.0] * 100, [500.0] * 100)
    beside = side([105.6] * 2, [1_000.0] * 2, [1.0] * 2, calls=500)
    found = _result(tmp_path, 3, 5, alone.spans(), beside)
    assert (found.alone.p50_ms, found.alone.p95_ms, found.alone.slowest_ms) == (51.0, 96.0, 500.0)
    assert found.p95_ratio == pytest.approx(1.1)
    assert found.tape is not None
    assert (found.tape.calls_per_second, found.tape.cpu_ms_per_call) == (10.0, 4.0)
    assert _result(tmp_path, 3, 5, alone.spans(), None).p95_ratio is None


def test_a_round_without_a_gap_is_an_error():
    with pytest.raises(BenchError, match="no gap"):
        side([1.0], []).spans()


@pytest.mark.slow
@pytest.mark.system
def test_every_gap_of_a_burst_is_recovered():
    with short_folder() as folder:
        words = [*BENCH, "recovery", "--bursts", "1", "--rounds", "1", "--folder", folder, "--json"]
        completed = subprocess.run(words, capture_output=True, text=True, timeout=2 * DEADLINE_S, check=False)
        assert completed.returncode == 0, completed.stderr
    reported = json.loads(completed.stdout)
    assert reported["alone"]["gaps"] == reported["alone"]["recovered"] > 0
    assert reported["beside_tape"] is None
