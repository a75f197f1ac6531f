"""`observer quality`, `gaps` and `slots` as they are typed, over a database with one short day."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bus.delivery import Delivered
from bus.events import Pinned, SelectionAdvanced, SlotAssigned, WatchChanged, WatchStarted
from observer.cli.app import command_line
from observer.clock import CLOCK_VARIABLE, HeldClock
from observer.demo.configuration import DemoConfiguration, write_demo_configuration
from observer.store.writer import StoreWriter
from tests.builders import day_began
from tests.store.exporting import DAY, START_NS, recovery, refusal
from tests.store.migrated import make_database

Typed = Callable[..., Result]
TRIGGERED = ("volume_surge", 9.5, "free_slot", None)


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Types a command for a system that does not run; its database has a slot, a refusal and a filled gap."""
    monkeypatch.setenv("COLUMNS", "80")
    configuration = write_demo_configuration(tmp_path, DemoConfiguration(symbols=10, seed=7))
    (tmp_path / "data").mkdir()
    url = f"sqlite:///{tmp_path / 'data' / 'observer.db'}"
    make_database(url)
    writer = StoreWriter(url)
    writer.open()
    slot = SlotAssigned("a:01", "000001", START_NS, *TRIGGERED)
    began = SelectionAdvanced(DAY, START_NS, day_began(DAY))
    acknowledged = WatchChanged("kis", "000001", DAY, START_NS, WatchStarted())
    pin = SelectionAdvanced(DAY, START_NS, Pinned("000003", "halted"))
    other = SlotAssigned("main:41", "000004", START_NS, *TRIGGERED)
    reported = [began, slot, acknowledged, other, refusal(2), pin]
    writer.commit([Delivered("track-b", "5" * 32, 1, [*reported, *recovery(1)])])
    writer.close()

    def run(*words: str) -> Result:
        app = command_line()
        return CliRunner().invoke(app, [*words, "--config", str(configuration)])

    return run


def test_quality_fits_eighty_columns_and_says_that_nothing_was_stored(typed: Typed) -> None:
    reported = typed("quality", DAY)
    assert reported.exit_code == 0
    assert max(len(line) for line in reported.stdout.splitlines()) <= 80
    assert "000001" in reported.stdout
    assert "computed now" in reported.stdout


def test_quality_tells_the_gap_rate_beside_its_limit_and_how_much_the_slots_were_used(typed: Typed) -> None:
    reported = typed("quality", DAY).stdout
    assert "gap rate: 100.00 % (limit 5 %)" in reported
    assert "slot utilization: not known" in reported, "no phase of the day is stored"
    document = json.loads(typed("quality", DAY, "--json").stdout)
    assert (document["gap_rate_percent"], document["gap_rate_limit_percent"]) == (100, 5)
    assert document["slot_utilization_percent"] is None


def test_quality_as_json_names_every_field_of_a_report(typed: Typed) -> None:
    document = json.loads(typed("quality", DAY, "--json").stdout)
    assert document["stored"] is False
    report, _ = document["symbols"]
    assert report["symbol"] == "000001"
    assert report["quality"] in {"complete", "recovered", "degraded", "missing"}


def test_gaps_are_listed_shown_and_filtered(typed: Typed) -> None:
    assert "gap-1" in typed("gaps", "list", "--date", DAY).stdout
    assert json.loads(typed("gaps", "list", "--date", DAY, "--open", "--json").stdout) == []
    assert json.loads(typed("gaps", "show", "gap-1", "--json").stdout)["outcome"] == "recovered"


def test_slots_tell_a_history_and_why(typed: Typed) -> None:
    assert "refused" in typed("slots", "history", "000002", "--date", DAY).stdout
    assert json.loads(typed("slots", "why", "000001", "--date", DAY, "--json").stdout)["slot"] == "a:01"


def test_slots_show_who_has_a_slot_and_who_is_pinned_and_waits(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CLOCK_VARIABLE, HeldClock(START_NS, Path("/nowhere"), 1.0).to_variable())
    shown = json.loads(typed("slots", "show", "--json").stdout)
    assert [(each["event"], each["symbol"], each["reason"]) for each in shown if each["event"] != "free"] == [
        ("assigned", "000004", "free_slot"),
        ("assigned", "000001", "free_slot"),
        ("waits", "000003", "halted"),
    ]
    assert "000003 is pinned; halted: gets a slot when trading resumes" in typed("slots", "show").stdout


def test_slots_show_whether_the_broker_streams_who_has_a_slot(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CLOCK_VARIABLE, HeldClock(START_NS, Path("/nowhere"), 1.0).to_variable())
    states = Counter(each.get("state") for each in json.loads(typed("slots", "show", "--json").stdout))
    assert states == {"active": 1, "allocated": 1, "available": 40, None: 1}
    table = typed("slots", "show").stdout
    assert "2 slots taken, 40 available" in table
    assert max(len(line) for line in table.splitlines()) <= 80


def test_exports_are_rebuilt_where_the_configuration_says(typed: Typed, tmp_path: Path) -> None:
    paths = [Path(path) for path in json.loads(typed("exports", "rebuild", DAY, "--json").stdout)]
    assert len(paths) == 2
    assert all(path.is_relative_to(tmp_path / "data" / "observer") and path.read_bytes() for path in paths)
