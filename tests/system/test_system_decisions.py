"""A day's decisions are made again from the database alone, by another process than made them: event for event."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.system.conftest import Day
from tests.system.running import Completed, observer

pytestmark = pytest.mark.system

TABLES = ("triggers", "slot_assignments", "slot_releases", "slot_overflows", "churn_guard_changes", "gaps")


def verify(day: Day, database: Path, folder: Path) -> Completed:
    """With the day's own configuration, and the database where it is now."""
    ran_in = Path(day.database_told.removeprefix("sqlite:///")).parents[1]
    configuration = folder / "observer.toml"
    told = (day.folder / "observer.toml").read_text().replace(str(ran_in / "data" / "observer.db"), str(database))
    configuration.write_text(told.replace(str(ran_in), str(day.folder)))
    [[session_date]] = day.rows("SELECT DISTINCT session_date FROM selection_steps")
    return observer("decisions", "verify", session_date, "--config", configuration, "--json", cwd=folder)


def test_a_replay_of_the_day_makes_the_same_decisions_event_for_event(day: Day, tmp_path: Path) -> None:
    told = verify(day, day.database, tmp_path)
    assert told.returncode == 0, told.stdout + told.stderr
    verdict = json.loads(told.stdout)
    assert verdict["is_same"]
    assert sum(verdict["same"].values()) == sum(day.value(f"SELECT count(*) FROM {table}") for table in TABLES)
    assert {"TriggerFired", "SlotAssigned", "SlotReleased"} <= verdict["same"].keys()


def test_a_decision_that_was_another_one_is_named(day: Day, tmp_path: Path) -> None:
    database = tmp_path / "changed.db"
    shutil.copy(day.database, database)
    with closing(sqlite3.connect(database)) as connection, connection:
        changed = "UPDATE slot_assignments SET score = score + 0.001 WHERE sequence = (SELECT max(sequence) FROM"
        connection.execute(f"{changed} slot_assignments)")
    told = verify(day, database, tmp_path)
    assert told.returncode == 1, told.stdout + told.stderr
    difference = json.loads(told.stdout)["difference"]
    assert difference["recorded"]["kind"] == difference["replayed"]["kind"] == "SlotAssigned"
    assert difference["recorded"]["score"] != difference["replayed"]["score"]
