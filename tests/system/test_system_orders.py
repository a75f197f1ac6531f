"""Orders to a day that runs: a reload touches one process, a pin outlives a restart, a recording is whole."""

import json
from pathlib import Path

import pytest

from tests.system.running import System, demo, observer, short_folder

pytestmark = pytest.mark.system

INTERRUPTED = 130  # nothing more is asked of this day; that one ends well is shown by test_system_day


def test_a_day_obeys_and_its_counts_stay_equal() -> None:
    with short_folder() as folder, demo(folder=folder / "d") as system:
        configuration = system.folder / "observer.toml"
        system.until(lambda: "track-b" in system.pids(), "every process runs")
        recording = folder / "recording"
        start = ("capture", "start", "--out", recording)
        system.until(lambda: ordered(configuration, *start), "everything is started, and the recorder")

        before = system.pids()
        with configuration.open("a") as file:
            file.write("\n[track_b]\nevaluation_s = 20.0\n")
        assert ordered(configuration, "reload")
        system.until(lambda: system.pids().get("track-b", before["track-b"]) != before["track-b"], "track-b is another")
        assert {name: pid for name, pid in system.pids().items() if name in before and name != "track-b"} == {
            name: pid for name, pid in before.items() if name != "track-b"
        }

        [(smallest,)] = wait_for(system, "SELECT symbol FROM universe_members ORDER BY rank DESC LIMIT 1")
        system.until(lambda: pinned(configuration, smallest), "Track B has places")
        ordered(configuration, "restart", "track-b")
        system.until(lambda: "already" in pinned(configuration, smallest), "the pin is taken over")

        system.until(lambda: "is whole" in told(configuration, "capture", "stop"), "the recording is whole")
        assert system.interrupt() == INTERRUPTED
        summary = system.summary()
        assert summary["events_published"] == summary["events_stored"]
        assert summary["triggers"]["manual"] == 1


def wait_for(system: System, query: str) -> list[tuple[str]]:
    system.until(lambda: system.rows(query), query)
    return system.rows(query)


def ordered(configuration: Path, *words: object) -> bool:
    """Whether it was done or is under way."""
    return observer("ctl", *words, "--config", configuration, cwd=configuration.parent).returncode == 0


def pinned(configuration: Path, symbol: str) -> str:
    """What the answer says; nothing when it was refused."""
    return detail_of("slots", "pin", symbol, configuration=configuration)


def told(configuration: Path, *words: object) -> str:
    """What the answer says; nothing when it was refused."""
    return detail_of("ctl", *words, configuration=configuration)


def detail_of(*words: object, configuration: Path) -> str:
    completed = observer(*words, "--json", "--config", configuration, cwd=configuration.parent)
    return str(json.loads(completed.stdout).get("detail", "")) if completed.returncode == 0 else ""
