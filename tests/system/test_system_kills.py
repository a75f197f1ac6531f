"""kill -9 of every process, the core writer twice: the day continues, no event is lost or doubled, and the decisions of
both Track B processes can be recomputed.
"""

import json
import os
import signal

import pytest

from tests.folders import short_folder
from tests.system.conftest import Day
from tests.system.running import PROCESSES, SYMBOLS, System, demo, is_sound, observer_here
from tests.system.staged import EVERYBODY, staged_day, status, stopped, summary_of

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

VICTIMS = (*PROCESSES, "core-writer")  # the writer first and again
LAST_SWEEP = 41  # every ten minutes from 09:00 to 15:30, and the one after the close
SPEED = 200  # 99 s between 09:30 and 15:00 for all kills in turn


def is_in_full_operation(system: System) -> bool:
    return bool(system.rows("SELECT slot FROM slot_assignments LIMIT 1"))


def test_kills_of_all_at_once_and_of_the_writer_again_lose_and_double_nothing() -> None:
    """All processes restart together; the second time only the writer is down."""
    with staged_day(speed=60, symbols=SYMBOLS, accounts=1, begins=(9, 28)) as day:
        day.begin()
        day.system.until(lambda: day.system.rows("SELECT symbol FROM trades LIMIT 1"), "the first trades")
        kill_at_once(day.system, *PROCESSES)
        kill_at_once(day.system, "core-writer")
        known = len(day.system.rows("SELECT symbol FROM trades"))
        day.system.until(lambda: len(day.system.rows("SELECT symbol FROM trades")) > known, "trades go on")
        final = status(day)
        assert stopped(day) == 0
        summary = summary_of(day, final)
        assert summary.restarts == len(VICTIMS)
        assert summary.events_published == summary.events_stored > 0
        assert summary.duplicates == summary.quarantined == 0
        assert summary.trades == summary.trades_offered > 0
        assert is_sound(day.database)
        assert day.system.left_behind() == []
        decisions_are_made_again(day.system)


def kill_at_once(system: System, *victims: str) -> None:
    """Kill them and wait until their successors work; no other process changes its pid."""
    before = system.pids()
    assert set(before) == set(EVERYBODY)
    for victim in victims:
        os.kill(before[victim], signal.SIGKILL)

    def are_back() -> bool:
        pids = system.pids()
        return set(pids) == set(EVERYBODY) and all(pids[victim] != before[victim] for victim in victims)

    system.until(are_back, f"{', '.join(victims)} are back")
    assert {name for name, pid in system.pids().items() if pid != before[name]} == set(victims)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_day_of_kills_in_turn_ends_as_a_day_without(day: Day) -> None:
    with short_folder() as folder, demo(folder=folder / "d", speed=SPEED) as system:
        system.until(lambda: is_in_full_operation(system), "the first slots")
        for victim in VICTIMS:
            kill_at_once(system, victim)
        assert system.rows("SELECT current FROM phases ORDER BY changed_ns DESC LIMIT 1") == [("FULL_OPERATION",)]
        exit_status = system.ended(240)
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
    kinds = "SELECT step ->> '$.kind' AS kind, stream, sequence FROM selection_steps"
    steps = f"SELECT kind FROM ({kinds}) WHERE kind IN ('began', 'opened', 'resumed') ORDER BY stream, sequence"
    assert system.rows(steps) == [("began",), ("opened",), ("began",), ("resumed",)]
    [[session_date]] = system.rows("SELECT DISTINCT session_date FROM selection_steps")
    words = ("decisions", "verify", session_date, "--json", "--config", system.folder / "observer.toml")
    reported = observer_here(*words, cwd=system.folder)
    assert reported.returncode == 0, reported.stdout + reported.stderr
    same = json.loads(reported.stdout)["same"]
    assert [(same["SlotAssigned"],)] == system.rows("SELECT count(*) FROM slot_assignments")
