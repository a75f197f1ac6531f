"""kill -9 of every process in turn, the core writer twice: the day goes on, nothing is lost or doubled, and what was
decided on it, by two processes of Track B, can be decided again.
"""

import json
import os
import signal

import pytest

from tests.system.conftest import Day
from tests.system.running import PROCESSES, System, demo, is_sound, observer, short_folder

pytestmark = pytest.mark.system

VICTIMS = ("track-b", "core-writer", "gap-recovery", "funds", "accounts", "track-a", "master-file", "core-writer")
LAST_SWEEP = 41  # every ten minutes from 09:00 to 15:30, and the one after the close
SPEED = 800  # the day in 35 s: enough for all kills between 09:30 and 15:00


def kill(system: System, victim: str) -> None:
    """Kill it, and wait until its successor works, told by what is committed after the kill."""
    before = system.pids()
    os.kill(before[victim], signal.SIGKILL)
    system.until(lambda: system.pids().get(victim, before[victim]) != before[victim], f"{victim} is back")
    assert {name: pid for name, pid in system.pids().items() if name != victim} == {
        name: pid for name, pid in before.items() if name != victim
    }


def is_in_full_operation(system: System) -> bool:
    return bool(system.rows("SELECT slot FROM slot_assignments LIMIT 1"))


@pytest.mark.timeout(240)
def test_a_day_of_kills_ends_as_a_day_without(day: Day) -> None:
    assert set(VICTIMS) == set(PROCESSES)
    with short_folder() as folder, demo(folder=folder / "d", speed=SPEED) as system:
        system.until(lambda: is_in_full_operation(system), "the first slots")
        for victim in VICTIMS:
            kill(system, victim)
        assert system.rows("SELECT current FROM phases ORDER BY changed_ns DESC LIMIT 1") == [("FULL_OPERATION",)]
        exit_status = system.ended()
        summary = system.summary()
        assert summary["restarts"] == len(VICTIMS)
        assert summary["events_published"] == summary["events_stored"]
        assert summary["duplicates"] == summary["quarantined"] == 0
        assert summary["trades"] == summary["trades_offered"]
        assert system.rows("SELECT max(sweep) FROM sweeps") == [(LAST_SWEEP,)]
        assert summary["market_digest"] == day.summary["market_digest"]
        assert exit_status == 0, system.errors
        assert is_sound(system.database)
        assert system.left_behind() == []
        decisions_are_made_again(system)


def decisions_are_made_again(system: System) -> None:
    steps = "SELECT step FROM selection_steps WHERE step IN ('began', 'opened', 'taken_over') ORDER BY stream, sequence"
    assert system.rows(steps) == [("began",), ("opened",), ("began",), ("taken_over",)]
    [[session_date]] = system.rows("SELECT DISTINCT session_date FROM selection_steps")
    words = ("decisions", "verify", session_date, "--json", "--config", system.folder / "observer.toml")
    told = observer(*words, cwd=system.folder)
    assert told.returncode == 0, told.stdout + told.stderr
    same = json.loads(told.stdout)["same"]
    assert [(same["SlotAssigned"],)] == system.rows("SELECT count(*) FROM slot_assignments")
