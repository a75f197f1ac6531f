"""A separate process recomputes a day's decisions from the database alone, event for event."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.whole.running import observer_here

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

TABLES = (
    *("triggers", "trigger_ends", "slot_assignments", "slot_extensions", "slot_releases", "slot_overflows"),
    *("churn_guard_changes", "gap_openings", "gaps", "empty_gaps"),
)


def verify(day, database, folder, *options, **slots):
    """With the day's own configuration, or other settings of the slots, and the database where it is now."""
    ran_in = Path(day.database_reported.removeprefix("sqlite:///")).parents[1]
    configuration = folder / "observer.toml"
    reported = (day.folder / "observer.toml").read_text().replace(str(ran_in / "data" / "observer.db"), str(database))
    configuration.write_text(reported.replace(str(ran_in), str(day.folder)))
    if slots:
        selection = json.loads((day.folder / "symbol_selection.json").read_text())
        selection["slots"] = selection.get("slots", {}) | slots
        (folder / "symbol_selection.json").write_text(json.dumps(selection))
        own = str(day.folder / "symbol_selection.json")
        assert own in configuration.read_text()
        configuration.write_text(configuration.read_text().replace(own, str(folder / "symbol_selection.json")))
    [[session_date]] = day.rows("SELECT DISTINCT session_date FROM selection_steps")
    return observer_here("decisions", "verify", session_date, "--config", configuration, *options, cwd=folder)


def test_a_replay_of_the_day_makes_the_same_decisions_event_for_event(day, tmp_path):
    reported = verify(day, day.database, tmp_path, "--json")
    assert reported.returncode == 0, reported.stdout + reported.stderr
    comparison = json.loads(reported.stdout)
    assert comparison["is_same"]
    assert comparison["settings_differ"] == []
    assert sum(comparison["same"].values()) == sum(day.value(f"SELECT count(*) FROM {table}") for table in TABLES)
    assert {"TriggerFired", "SlotAssigned", "SlotReleased"} <= comparison["same"].keys()


def test_a_changed_decision_is_named(day, tmp_path):
    database = tmp_path / "changed.db"
    shutil.copy(day.database, database)
    with closing(sqlite3.connect(database)) as connection, connection:
        changed = "UPDATE slot_assignments SET score = score + 0.001 WHERE sequence = (SELECT max(sequence) FROM"
        connection.execute(f"{changed} slot_assignments)")
    reported = verify(day, database, tmp_path, "--json")
    assert reported.returncode == 1, reported.stdout + reported.stderr
    difference = json.loads(reported.stdout)["difference"]
    assert difference["recorded"]["kind"] == difference["replayed"]["kind"] == "SlotAssigned"
    assert difference["recorded"]["score"] != difference["replayed"]["score"]


def test_the_settings_of_the_day_decide_and_those_of_today_are_only_compared(day, tmp_path):
    reported = verify(day, day.database, tmp_path, "--json", churn_max_replacements=3)
    assert reported.returncode == 0, reported.stdout + reported.stderr
    comparison = json.loads(reported.stdout)
    assert comparison["is_same"]
    [differing] = comparison["settings_differ"]
    assert differing.startswith("selection.slots.churn_max_replacements: ")
    assert differing.endswith(", 3 now")


@pytest.mark.slow  # the test before it has the comparison that the line is made of
def test_one_line_names_the_keys_in_which_the_configuration_of_today_differs(day, tmp_path):
    reported = verify(day, day.database, tmp_path, churn_max_replacements=3, overflow_alert_rate=1)
    assert reported.returncode == 0, reported.stdout + reported.stderr
    [line] = [line for line in reported.stdout.splitlines() if "configuration" in line]
    assert line.startswith("configuration differs from the day's, which was used: ")
    assert "slots.churn_max_replacements" in line
    assert "slots.overflow_alert_rate" in line


def test_stored_settings_that_were_changed_are_noticed(day, tmp_path):
    database = tmp_path / "changed.db"
    shutil.copy(day.database, database)
    with closing(sqlite3.connect(database)) as connection, connection:
        other = """replace(step, '"churn_ttl_factor":2.0', '"churn_ttl_factor":3.0')"""
        changed = connection.execute(f"UPDATE selection_steps SET step = {other} WHERE step != {other}").rowcount
    assert changed > 0
    reported = verify(day, database, tmp_path, "--json")
    assert reported.returncode == 3, reported.stdout + reported.stderr
    assert "do not have their digest" in json.loads(reported.stdout)["unclear"]
