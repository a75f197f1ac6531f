"""Ctrl-C at any moment, or the death of the first process: nobody is left, and the database opens."""

import contextlib
import signal
from collections.abc import Callable

import pytest

from tests.system.running import END_S, System, demo, eventually, is_sound, short_folder

pytestmark = pytest.mark.system


def is_prepared(system: System) -> bool:
    """The folder is filled; the first process is about to be started, and there is no database."""
    return (system.folder / "data" / "logs" / "supervisor.log").exists()


def is_starting(system: System) -> bool:
    """The simulator runs, and what comes after it is being started."""
    return len(system.process.children()) > 1


def is_morning(system: System) -> bool:
    return system.rows("SELECT current FROM phases ORDER BY changed_ns DESC LIMIT 1") == [("WARMUP",)]


def is_full_operation(system: System) -> bool:
    return bool(system.rows("SELECT symbol FROM trades LIMIT 1"))


MOMENTS = (is_prepared, is_starting, is_morning, is_full_operation)


def test_ctrl_c_leaves_no_process_and_a_database_that_opens() -> None:
    """Each system is started when the one before was interrupted: one may end while the next begins."""
    with contextlib.ExitStack() as running:
        ending = [interrupted(running, moment) for moment in MOMENTS]
        for moment, system in zip(MOMENTS, ending, strict=True):
            assert system.ended(END_S) == 130, moment.__name__
            assert system.left_behind() == [], moment.__name__
            assert not system.database.exists() or is_sound(system.database), moment.__name__
        assert_all_is_stored(ending[-1])


def interrupted(running: contextlib.ExitStack, moment: Callable[[System], bool]) -> System:
    """A system that was asked to end at this moment."""
    folder = running.enter_context(short_folder())
    system = running.enter_context(demo(folder=folder / "d"))
    system.until(lambda: moment(system), moment.__name__)
    system.process.send_signal(signal.SIGINT)
    return system


def assert_all_is_stored(system: System) -> None:
    summary = system.summary()
    assert summary["interrupted"]
    assert summary["events_published"] == summary["events_stored"] > 0
    assert set(summary["processes"].values()) == {"STOPPED"}


def test_the_death_of_the_supervisor_is_the_end_of_all() -> None:
    with short_folder() as folder, demo(folder=folder / "d") as system:
        system.until(lambda: is_full_operation(system), "the first trades")
        system.process.send_signal(signal.SIGKILL)
        system.process.wait(5)
        eventually(lambda: system.left_behind() == [], "nobody is left")
        assert is_sound(system.database)
