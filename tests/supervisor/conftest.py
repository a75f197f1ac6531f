"""Both ways to start a child; each guarantee of the supervisor holds for both."""

import pytest

from tests.supervisor.scenes import ROOT, Way


@pytest.fixture(params=["spawned", "forked"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test once with children that are fresh interpreters, and once with children that a zygote forks."""
    monkeypatch.chdir(ROOT)  # where `python -m tests.supervisor.code` finds it
    monkeypatch.setattr(Way, "forked", request.param == "forked")
