"""A sealing that is killed at any moment: what is visible is whole, and in the end nothing is lost or doubled."""

from pathlib import Path

from tests.chaos.lake_kills import Campaign


def test_a_killed_sealing_loses_and_doubles_nothing(tmp_path: Path) -> None:
    ended = Campaign(tmp_path, seed=1).run(kills=8)
    assert ended.kills == 8
    assert ended.versions >= 2
    assert ended.rows >= 1_200
