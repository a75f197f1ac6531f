"""`observer quality`, `gaps` and `slots` as they are typed, over a database with one short day."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bus.delivery import Delivered
from bus.events import SelectionAdvanced, SlotAssigned, WatchChanged
from observer.cli.app import command_line
from observer.clock import CLOCK_VARIABLE, HeldClock
from observer.practice import Practice, write_practice
from observer.store.writer import StoreWriter
from tests.store.exporting import DAY, START_NS, recovery, refusal
from tests.store.migrated import make_database

Typed = Callable[..., Result]
TRIGGERED = ("volume_surge", 9.5, "free_place", None)


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Types a command for a system that does not run; its database has a place, a refusal and a filled gap."""
    monkeypatch.setenv("COLUMNS", "80")
    configuration = write_practice(tmp_path, Practice(symbols=10, seed=7))
    (tmp_path / "data").mkdir()
    url = f"sqlite:///{tmp_path / 'data' / 'observer.db'}"
    make_database(url)
    writer = StoreWriter(url)
    writer.open()
    place = SlotAssigned("a:01", "000001", START_NS, *TRIGGERED)
    began = SelectionAdvanced(DAY, START_NS, "began", "", 0, 0, DAY)
    acknowledged = WatchChanged("kis", "000001", DAY, START_NS, "started", "", None, None, None)
    wish = SelectionAdvanced(DAY, START_NS, "pinned", "000003", 0, 0, "halted")
    other = SlotAssigned("main:41", "000004", START_NS, *TRIGGERED)
    told = [began, place, acknowledged, other, refusal(2), wish]
    writer.commit([Delivered("track-b", "5" * 32, 1, [*told, *recovery(1)])])
    writer.close()

    def run(*words: str) -> Result:
        app = command_line([words[0]])
        return CliRunner().invoke(app, [*words, "--config", str(configuration)])

    return run


def test_quality_fits_eighty_columns_and_says_that_nothing_was_stored(typed: Typed) -> None:
    told = typed("quality", DAY)
    assert told.exit_code == 0
    assert max(len(line) for line in told.stdout.splitlines()) <= 80
    assert "000001" in told.stdout
    assert "computed now" in told.stdout


def test_quality_tells_the_gap_rate_beside_its_limit_and_how_much_the_places_were_used(typed: Typed) -> None:
    told = typed("quality", DAY).stdout
    assert "gap rate: 100.00 % (limit 5 %)" in told
    assert "slot utilization: not known" in told, "no phase of the day is stored"
    document = json.loads(typed("quality", DAY, "--json").stdout)
    assert (document["gap_rate_percent"], document["gap_rate_limit_percent"]) == (100, 5)
    assert document["slot_utilization_percent"] is None


def test_quality_as_json_names_every_field_of_a_verdict(typed: Typed) -> None:
    document = json.loads(typed("quality", DAY, "--json").stdout)
    assert document["stored"] is False
    verdict, _ = document["symbols"]
    assert verdict["symbol"] == "000001"
    assert verdict["verdict"] in {"complete", "recovered", "degraded", "missing"}


def test_gaps_are_listed_shown_and_filtered(typed: Typed) -> None:
    assert "gap-1" in typed("gaps", "list", "--date", DAY).stdout
    assert json.loads(typed("gaps", "list", "--date", DAY, "--open", "--json").stdout) == []
    assert json.loads(typed("gaps", "show", "gap-1", "--json").stdout)["outcome"] == "recovered"


def test_slots_tell_a_history_and_why(typed: Typed) -> None:
    assert "refused" in typed("slots", "history", "000002", "--date", DAY).stdout
    assert json.loads(typed("slots", "why", "000001", "--date", DAY, "--json").stdout)["slot"] == "a:01"


def test_slots_show_who_has_a_place_and_who_is_pinned_and_waits(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CLOCK_VARIABLE, HeldClock(START_NS, Path("/nowhere"), 1.0).to_variable())
    shown = json.loads(typed("slots", "show", "--json").stdout)
    assert [(each["event"], each["symbol"], each["reason"]) for each in shown if each["event"] != "free"] == [
        ("assigned", "000004", "free_place"),
        ("assigned", "000001", "free_place"),
        ("waits", "000003", "halted"),
    ]
    assert "000003 is pinned; halted: gets a place when trading resumes" in typed("slots", "show").stdout


def test_slots_show_whether_the_broker_streams_who_has_a_place(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CLOCK_VARIABLE, HeldClock(START_NS, Path("/nowhere"), 1.0).to_variable())
    states = Counter(each.get("state") for each in json.loads(typed("slots", "show", "--json").stdout))
    assert states == {"active": 1, "allocated": 1, "available": 40, None: 1}
    table = typed("slots", "show").stdout
    assert "2 places taken, 40 available" in table
    assert max(len(line) for line in table.splitlines()) <= 80


def test_exports_are_rebuilt_where_the_configuration_says(typed: Typed, tmp_path: Path) -> None:
    paths = [Path(path) for path in json.loads(typed("exports", "rebuild", DAY, "--json").stdout)]
    assert len(paths) == 2
    assert all(path.is_relative_to(tmp_path / "data" / "observer") and path.read_bytes() for path in paths)
