"""Sealing and removal that are killed at any moment: what is visible is whole, and nothing is lost or doubled."""

from pathlib import Path

from tests.chaos.lake_kills import FIRST_ROWS, Campaign

KINDS = ("trades", "snapshots", "universes", "triggers", "gaps", "gap_recoveries")
"""Of both kinds of removal, and of each way in which a row belongs to a day."""


def test_killed_sealings_and_removals_lose_and_double_nothing(tmp_path: Path) -> None:
    ended = Campaign(tmp_path, seed=1, kinds=KINDS).run(kills=8)
    assert ended.kills == 8
    assert ended.restored >= 1
    assert ended.versions >= 2
    assert ended.rows >= 2 * len(KINDS) * FIRST_ROWS
    assert ended.hot == 0
