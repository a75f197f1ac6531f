"""Sealing and removal that are killed at any moment: what is visible is whole, and nothing is lost or doubled."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.lake_kills import FIRST_ROWS, Campaign

KINDS = ("trades", "snapshots", "universes", "triggers", "gaps", "gap_recoveries")
"""Of both kinds of removal, and of each way in which a row belongs to a day."""


@pytest.mark.parametrize("kills", [5, pytest.param(8, marks=pytest.mark.slow)])
def test_killed_sealings_and_removals_lose_and_double_nothing(tmp_path: Path, kills: int) -> None:
    ended = Campaign(tmp_path, seed=1, kinds=KINDS).run(kills)
    assert ended.kills == kills
    assert ended.scans >= kills
    assert ended.killed_scanning >= 1, "the path of large days is killed, too"
    assert ended.restored >= 1
    assert ended.versions >= 2
    assert ended.rows >= 2 * len(KINDS) * FIRST_ROWS
    assert ended.hot == 0


def test_killed_publications_lose_and_double_nothing() -> None:
    """In a process of its own: what it forks must find no threads of the object store's library."""
    words = [sys.executable, "-m", "tests.chaos.lake_kills", "--target", "--kills", "6", "--kinds", *KINDS]
    ended = json.loads(subprocess.run(words, check=True, capture_output=True, timeout=240).stdout)
    assert sum(ended["killed"].values()) == 6
    assert ended["killed"]["publish"] >= 1
    assert ended["wholes"] >= 1
    assert ended["rows"] >= 2 * len(KINDS) * FIRST_ROWS
    assert ended["hot"] == 0
