"""Sealing and removal that are killed at any moment: what is visible is whole, and nothing is lost or doubled."""

import json
import subprocess
import sys

import pytest

from tests.chaos.lake_kills import FIRST_ROWS, Campaign
from tests.waiting import DEADLINE_S

KINDS = ("trades", "snapshots", "universes", "triggers", "gaps", "gap_recoveries")
"""Of both kinds of removal, and of each way in which a row belongs to a day."""

LIFE_S_MAX = 60.0


@pytest.mark.slow
def test_killed_sealings_and_removals_lose_and_double_nothing(tmp_path):
    ended = Campaign(tmp_path, seed=1, kinds=KINDS).run(8)
    assert ended.kills == 8
    assert ended.scans >= 8
    assert ended.killed_scanning >= 1, "the path of large days is killed, too"
    assert ended.restored >= 1
    assert ended.versions >= 2
    assert ended.rows >= 2 * len(KINDS) * FIRST_ROWS
    assert ended.hot == 0


def test_an_aimed_kill_is_amid_a_scan_and_another_is_not_counted_as_one(tmp_path):
    campaign = Campaign(tmp_path, seed=1, kinds=KINDS)
    assert campaign._is_killed(campaign._seal, 0.0, is_aimed=False)
    assert campaign.ended.killed_scanning == 0, "it was killed in front of its first scan"
    assert not campaign._is_killed(campaign._remove, LIFE_S_MAX, is_aimed=True), "it scans nothing, and runs to its end"
    assert campaign._is_killed(campaign._seal, LIFE_S_MAX, is_aimed=True)
    assert campaign.ended.killed_scanning == 1


@pytest.mark.slow
def test_killed_publications_lose_and_double_nothing():
    """In a process of its own: what it forks must find no threads of the object store's library."""
    words = [sys.executable, "-m", "tests.chaos.lake_kills", "--target", "--kills", "6", "--kinds", *KINDS]
    ended = json.loads(subprocess.run(words, check=True, capture_output=True, timeout=2 * DEADLINE_S).stdout)
    assert sum(ended["killed"].values()) == 6
    assert ended["killed"]["publish"] >= 1
    assert ended["wholes"] >= 1
    assert ended["rows"] >= 2 * len(KINDS) * FIRST_ROWS
    assert ended["hot"] == 0
