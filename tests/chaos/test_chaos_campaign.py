"""Under random kills and stops no event is lost, doubled or out of order; and the judge detects real losses."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import judge

ROOT = Path(__file__).parents[2]
JsonObject = dict[str, Any]


def campaign(*options: object) -> tuple[int, JsonObject]:
    """Run the campaign; return its exit status and report."""
    command = [sys.executable, "-m", "tests.chaos.campaign", *map(str, options)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.system
@pytest.mark.parametrize("kills", [30, pytest.param(100, marks=pytest.mark.slow)])
def test_kills_lose_and_double_nothing(kills: int) -> None:
    status, reported = campaign("--kills", kills)
    assert (status, reported["whole"]) == (0, True), reported
    assert reported["stored"] == reported["appended"] > 100 * kills
    assert reported["killed"] + reported["stopped"] == reported["blows"] == kills


@pytest.mark.system
def test_the_judge_finds_the_events_that_push_and_pull_sockets_lose() -> None:
    """The negative control: a judge that finds nothing here is blind."""
    status, reported = campaign("--kills", 15, "--transport", "push-pull")
    assert status == 1
    assert reported["faults"]["lost"] > 0
    assert reported["faults"]["lost_of_ledger"] > 0
    assert reported["stored"] == reported["appended"] - reported["faults"]["lost"]


ROW = ("aa", "a", "3", "3", "3", "1", "3")


@pytest.mark.parametrize(
    ("fault", "outboxes", "ledgers", "row"),
    [
        ("lost", {"aa": 4}, {}, ROW),
        ("lost", {"aa": 3, "bb": 1}, {}, ROW),
        ("lost_of_ledger", {"aa": 3}, {"aa": 4}, ROW),
        ("duplicated", {"aa": 3}, {}, ("aa", "a", "3", "4", "3", "1", "3")),
        ("holes", {"aa": 3}, {}, ("aa", "a", "3", "2", "2", "1", "3")),
        ("invented", {"aa": 2}, {}, ROW),
        ("wrong_marks", {"aa": 3}, {}, ("aa", "a", "2", "3", "3", "1", "3")),
    ],
)
def test_the_judge_reports_each_kind_of_fault(
    fault: str, outboxes: dict[str, int], ledgers: dict[str, int], row: tuple[str, ...]
) -> None:
    assert not any(judge.faults({"aa": 3}, {"aa": 3}, [ROW]).values())
    assert judge.faults(outboxes, ledgers, [row])[fault] > 0
