"""`observer run`, asked and commanded from outside while it works."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
import tomli_w

from observer.cli.demo_day import DemoOptions, prepare
from observer.clock import CLOCK_VARIABLE
from tests.system.running import PROCESSES, Completed, JsonObject, System, is_sound, observer, short_folder
from tests.system.wire import Wire, tapped

pytestmark = pytest.mark.system

ALL = ("simulator", *PROCESSES)
OPTIONS = DemoOptions(speed=400, symbols=60, database="", seed=7, data=None, keep=True, folder=Path())
DOCUMENTED = ("pid", "state", "uptime_s", "restarts", "cpu_percent", "rss_bytes", "heartbeat_age_s", "loop_lag_s")


@contextlib.contextmanager
def running() -> Iterator[tuple[System, Wire]]:
    """The system against the simulator, in full operation, with a listener in the stream's line."""
    with short_folder() as folder:
        day = prepare(msgspec.structs.replace(OPTIONS, folder=folder / "d"))
        with tapped(day.settings.kis.stream_url) as wire:
            document = msgspec.toml.decode(day.configuration.read_bytes())
            document["kis"]["stream_url"] = wire.url
            document["simulator"]["drops"] = []  # no reconnection but that of the restart
            day.configuration.write_text(tomli_w.dumps(document))
            day.clock.start()
            clock = {CLOCK_VARIABLE: day.clock.to_variable()}
            system = System(folder / "d", "run", "--config", day.configuration, environment=clock)
            try:
                system.until(lambda: len(system.rows("SELECT DISTINCT symbol FROM trades")) > 30, "full operation")
                yield system, wire
            finally:
                system.clear_away()


def command(system: System, *words: str) -> Completed:
    return observer(*words, "--config", system.folder / "observer.toml", cwd=system.folder)


def status(system: System) -> JsonObject:
    completed = command(system, "status", "--json")
    assert completed.returncode == 0, completed.stderr
    told: JsonObject = json.loads(completed.stdout)
    return told


def pids(told: JsonObject) -> dict[str, int]:
    return {process["name"]: process["pid"] for process in told["processes"]}


def is_running_anew(system: System, name: str, former_pid: int) -> bool:
    """Whether it is ready again; a command that takes longer is answered before it is done."""
    [process] = [process for process in status(system)["processes"] if process["name"] == name]
    return bool(process["state"] == "RUNNING" and process["pid"] != former_pid)


def by_priority(system: System) -> list[str]:
    """The symbols that hold places: those that a trigger brought by their score, then those that only fill up."""
    latest = {slot: row for slot, *row in system.rows(
        "SELECT slot, symbol, trigger = 'market_cap', -score FROM slot_assignments ORDER BY sequence"
    )}  # fmt: skip
    return [symbol for symbol, *_ in sorted(latest.values(), key=lambda row: row[1:])]


def test_a_running_system_is_asked_and_commanded_while_it_works() -> None:
    """One system for all of it: the time it takes to get there is the price, not the questions."""
    with running() as (system, wire):
        status_tells_of_every_process(system)
        a_restart_leaves_the_others_and_restores_the_places_by_priority(system, wire)
        an_asked_restart_is_not_counted_as_a_crash(system)
        an_unknown_process_is_refused(system)
        a_second_system_is_refused_and_disturbs_nothing(system, "demo", "--folder", system.folder)
        a_second_system_is_refused_and_disturbs_nothing(system, "run", "--config", system.folder / "observer.toml")
        shutdown_ends_everything(system)


def status_tells_of_every_process(system: System) -> None:
    told = status(system)
    assert told["phase"] == "FULL_OPERATION"
    assert told["supervisor_pid"] == system.process.pid
    assert tuple(process["name"] for process in told["processes"]) == ALL
    for process in told["processes"]:
        assert process["state"] == "RUNNING"
        assert all(process[field] is not None for field in DOCUMENTED), process


def a_restart_leaves_the_others_and_restores_the_places_by_priority(system: System, wire: Wire) -> None:
    before, held, trades = pids(status(system)), by_priority(system), len(system.rows("SELECT 1 FROM trades"))
    completed = command(system, "ctl", "restart", "track-b")
    assert completed.returncode == 0, completed.stderr
    system.until(lambda: is_running_anew(system, "track-b", before["track-b"]), "track-b runs again")
    after = pids(status(system))
    assert {name for name in ALL if after[name] != before[name]} == {"track-b"}
    system.until(lambda: len(wire.registrations) == 2, "the stream is connected again")
    system.until(lambda: still_held(system, held) <= set(wire.registrations[-1]), "every place is registered again")
    # A trigger that fires again moves its symbol up, and may take another's place, as it should; the others keep
    # their order.
    moved = {symbol for (symbol,) in system.rows("SELECT symbol FROM triggers")}
    moved |= set(wire.registrations[-1]) ^ set(held)
    restored = [symbol for symbol in wire.registrations[-1] if symbol not in moved]
    assert restored == [symbol for symbol in held if symbol not in moved]
    assert len(restored) > len(held) / 2
    system.until(lambda: len(system.rows("SELECT 1 FROM trades")) > trades, "trades go on")
    twice = "SELECT slot, symbol FROM slot_assignments WHERE reason != 'kept' GROUP BY slot, symbol HAVING count(*) > 1"
    assert system.rows(twice) == []  # taken over, not assigned anew


def still_held(system: System, symbols: Sequence[str]) -> set[str]:
    """Those that have neither been released nor replaced since, as the database tells it."""
    released = system.rows("SELECT symbol FROM slot_releases UNION SELECT replaced FROM slot_assignments")
    return set(symbols) - {symbol for (symbol,) in released}


def an_asked_restart_is_not_counted_as_a_crash(system: System) -> None:
    assert all(process["restarts"] == 0 for process in status(system)["processes"])


def an_unknown_process_is_refused(system: System) -> None:
    completed = command(system, "ctl", "restart", "track-z")
    assert completed.returncode == 1
    assert "track-z" in completed.stderr


def a_second_system_is_refused_and_disturbs_nothing(system: System, *words: object) -> None:
    before = pids(status(system))
    refused = observer(*words, cwd=system.folder)
    assert refused.returncode == 2
    assert f"pid {system.process.pid}" in refused.stderr
    assert pids(status(system)) == before
    assert system.database.exists()


def shutdown_ends_everything(system: System) -> None:
    system.remember()
    assert command(system, "ctl", "shutdown").returncode == 0
    assert system.ended() == 0
    assert system.left_behind() == []
    assert is_sound(system.database)
