"""Ctrl-C at any moment, or the death of the first process: no process is left, and the database opens."""

import signal

import pytest

from tests.folders import short_folder
from tests.waiting import DEADLINE_S, until
from tests.whole.running import POLL_S, SYMBOLS, demo, is_sound
from tests.whole.staged import staged_day

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


def is_prepared(system):
    """The folder is filled; the first process is about to be started, and there is no database."""
    return (system.folder / "data" / "logs" / "supervisor.log").exists()


def is_starting(system):
    """The zygote and the simulator run, and what comes after them is being started."""
    return len(system.process.children()) > 2


def is_morning(system):
    return system.rows("SELECT current FROM phases ORDER BY changed_ns DESC LIMIT 1") == [("WARMUP",)]


def is_full_operation(system):
    return bool(system.rows("SELECT symbol FROM trades LIMIT 1"))


LATER = (pytest.param(each, marks=pytest.mark.slow) for each in (is_starting, is_morning, is_full_operation))


@pytest.mark.parametrize("moment", [is_prepared, *LATER])
def test_ctrl_c_leaves_no_process_and_a_database_that_opens(moment):
    with short_folder() as folder, demo(folder=folder / "d") as system:
        system.until(lambda: moment(system), moment.__name__)
        assert system.interrupt() == 130
        assert system.left_behind() == []
        assert not system.database.exists() or is_sound(system.database)
        if moment is is_full_operation:
            assert_all_is_stored(system)


def assert_all_is_stored(system):
    summary = system.summary()
    assert summary["interrupted"]
    assert summary["events_published"] == summary["events_stored"] > 0
    assert set(summary["processes"].values()) == {"STOPPED"}


@pytest.mark.slow
def test_the_death_of_the_supervisor_is_the_end_of_all():
    with staged_day(speed=60, symbols=SYMBOLS, accounts=1, begins=(9, 28)) as day:
        day.begin()
        day.system.until(lambda: is_full_operation(day.system), "the first trades")
        day.system.process.send_signal(signal.SIGKILL)
        day.system.process.wait(DEADLINE_S)
        until(lambda: day.system.left_behind() == [], "no process is left", every_s=POLL_S)
        assert is_sound(day.system.database)
