"""`observer run`, asked and commanded from outside while it works, and killed whole: it answers, its counts stay equal,
and the decisions of both Track B processes can be recomputed.
"""

import contextlib
import json
from pathlib import Path

import msgspec
import pytest
import tomli_w

from bus.segments import published_by_stream
from observer.base.clock import HeldClock
from observer.base.local_time import local_ns
from observer.demo.configuration import DAY
from observer.demo.day import DemoOptions, prepare
from observer.store.reader import StoreReader
from tests.folders import short_folder
from tests.whole.running import PROCESSES, SYMBOLS, JsonObject, is_sound, observer, observer_here
from tests.whole.staged import StagedDay, decisions_are_made_again, kill_at_once, make_empty_database
from tests.whole.wire import tapped

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

ALL = ("simulator", *PROCESSES)
SPEED = 30  # from Track B's first minute to the close in twelve minutes: a busy machine needs half of them
BEGINS = (9, 28)
OPTIONS = DemoOptions(speed=SPEED, symbols=SYMBOLS, database="", seed=7, data=None, keep=True, folder=Path())
DOCUMENTED = ("pid", "state", "uptime_s", "restarts", "cpu_percent", "rss_bytes", "heartbeat_age_s", "loop_lag_s")


@contextlib.contextmanager
def running():
    """A system in full operation against the simulator, with a relay in the stream connection."""
    with short_folder() as folder:
        prepared = prepare(msgspec.structs.replace(OPTIONS, folder=folder / "d"))
        make_empty_database(prepared.settings)
        with tapped(prepared.settings.broker.stream_url) as wire:
            document = msgspec.toml.decode(prepared.configuration.read_bytes())
            document["kis"]["stream_url"] = wire.url
            document["simulator"]["drops"] = []  # no reconnection but that of the restart
            prepared.configuration.write_text(tomli_w.dumps(document))
            clock = HeldClock(local_ns(DAY, *BEGINS), folder / "d" / "data" / "clock", SPEED)
            day = StagedDay(folder / "d", prepared.configuration, clock)
            try:
                day.begin()
                day.system.until(
                    lambda: day.system.rows("SELECT count(DISTINCT symbol) > 30 FROM trades") == [(1,)],
                    "full operation",
                )
                yield day.system, wire
            finally:
                day.system.clear_away()


def command(system, *words):
    return observer_here(*words, "--config", system.folder / "observer.toml", cwd=system.folder)


def typed(system, *words):
    """As `command`, by a process of its own."""
    return observer(*words, "--config", system.folder / "observer.toml", cwd=system.folder)


def status(system, ask=command):
    completed = ask(system, "status", "--json")
    reported: JsonObject = json.loads(completed.stdout)
    is_alarming = any(alert["severity"] == "critical" for alert in reported["alerts"])
    assert completed.returncode == int(is_alarming), completed.stderr
    return reported


def pids(reported):
    return {process["name"]: process["pid"] for process in reported["processes"]}


def is_running_anew(system, name, former_pid):
    """Whether the process is ready again; a slow command is answered before it is done."""
    return system.pids().get(name, former_pid) != former_pid


JUDGED = 5  # symbols at least whose order a restart is judged by
RESUMED = 4  # Track B's lives after the first: of the restart, the reload, the pin's restart and the kill
LAST_CLOSED = (
    "SELECT stream, sequence FROM connections WHERE state = 'closed' ORDER BY stream DESC, sequence DESC LIMIT 1"
)


def by_priority_at_the_stop(system):
    """Symbols with slots when the stream was closed last: triggered ones by score, then fillers."""
    latest = {slot: row for slot, *row in system.rows(
        "SELECT slot, symbol, trigger = 'market_cap', -score FROM ("
        "SELECT slot, symbol, trigger, score, stream, sequence FROM slot_assignments UNION ALL "
        "SELECT slot, symbol, trigger, score, stream, sequence FROM slot_extensions) WHERE (stream, sequence) < "
        f"({LAST_CLOSED}) ORDER BY stream, sequence"
    )}  # fmt: skip
    return [symbol for symbol, *_ in sorted(latest.values(), key=lambda row: row[1:])]


def test_a_running_system_is_asked_and_commanded_while_it_works():
    """One system for all checks: the start of a system costs the time, not the checks."""
    with running() as (system, wire):
        status_has_every_process(system)
        the_database_names_the_supervisor_as_its_owner(system)
        a_restart_leaves_the_others_and_restores_the_slots_by_priority(system, wire)
        an_asked_restart_is_not_counted_as_a_crash(system)
        an_unknown_process_is_refused(system)
        a_second_system_is_refused_and_disturbs_nothing(system, "demo", "--folder", system.folder)
        a_second_system_is_refused_and_disturbs_nothing(system, "run", "--config", system.folder / "observer.toml")
        with_a_recording(system, a_reload_touches_one_process, a_pin_outlives_a_restart)
        all_are_killed_at_once_and_trades_go_on(system)
        shutdown_ends_everything(system)
        its_counts_are_equal(system)
        decisions_are_made_again(system, resumed=RESUMED)


def status_has_every_process(system):
    reported = status(system, typed)
    assert reported["phase"] == "FULL_OPERATION"
    assert reported["supervisor_pid"] == system.process.pid
    assert tuple(process["name"] for process in reported["processes"]) == ALL
    for process in reported["processes"]:
        assert process["state"] == "RUNNING"
        assert all(process[field] is not None for field in DOCUMENTED), process


def the_database_names_the_supervisor_as_its_owner(system):
    found = system.rows("SELECT pid, runtime FROM owner")
    assert found == [(system.process.pid, str((system.folder / "run").resolve()))]


def a_restart_leaves_the_others_and_restores_the_slots_by_priority(system, wire):
    # After 09:35, when the opening's slots get their next trigger: else a busy machine is overtaken by that.
    opening_ends_ns = local_ns(DAY, 9, 35, 30)
    later = f"SELECT 1 FROM trades WHERE exchange_time_ns > {opening_ends_ns} LIMIT 1"
    system.until(lambda: system.rows(later), "the opening is over")
    before, [(trades,)] = pids(status(system)), system.rows("SELECT count(*) FROM trades")
    completed = command(system, "ctl", "restart", "track-b")
    assert completed.returncode == 0, completed.stderr
    system.until(lambda: is_running_anew(system, "track-b", before["track-b"]), "track-b runs again")
    after = pids(status(system))
    assert {name for name in ALL if after[name] != before[name]} == {"track-b"}
    system.until(lambda: len(wire.subscriptions) == 2, "the stream is connected again")
    held = by_priority_at_the_stop(system)
    system.until(lambda: still_held(system, held) <= set(wire.subscriptions[-1]), "every slot is subscribed again")
    # A trigger that fires again moves its symbol up, and may take another's slot, as it should, and an extension by
    # another trigger moves it, too; the others keep their order.
    since = f"(stream, sequence) > ({LAST_CLOSED})"
    movers = f"SELECT symbol FROM triggers WHERE {since} UNION SELECT symbol FROM slot_extensions WHERE {since}"
    moved = {symbol for (symbol,) in system.rows(movers)}
    streamed = tuple(wire.subscriptions[-1])  # it goes on
    moved |= set(streamed) ^ set(held)
    restored = [symbol for symbol in streamed if symbol not in moved]
    assert restored == [symbol for symbol in held if symbol not in moved]
    assert len(restored) >= JUDGED  # on a busy machine many triggers fire before this is asked
    system.until(lambda: system.rows(f"SELECT count(*) > {trades} FROM trades") == [(1,)], "trades go on")
    twice = (
        "SELECT first.slot, first.symbol FROM slot_assignments first JOIN slot_assignments second USING (slot, symbol) "
        "WHERE second.assigned_ns > first.assigned_ns AND NOT EXISTS (SELECT 1 FROM slot_releases WHERE "
        "slot = first.slot AND symbol = first.symbol AND released_ns BETWEEN first.assigned_ns AND second.assigned_ns)"
    )
    assert system.rows(twice) == []  # resumed, not assigned anew


def still_held(system, symbols):
    """The symbols without a release in the database."""
    released = system.rows("SELECT symbol FROM slot_releases")
    return set(symbols) - {symbol for (symbol,) in released}


def an_asked_restart_is_not_counted_as_a_crash(system):
    assert all(process["restarts"] == 0 for process in status(system)["processes"])


def an_unknown_process_is_refused(system):
    completed = command(system, "ctl", "restart", "track-z")
    assert completed.returncode == 1
    assert "track-z" in completed.stderr


def a_second_system_is_refused_and_disturbs_nothing(system, *words):
    before = pids(status(system))
    refused = observer(*words, cwd=system.folder)
    assert refused.returncode == 2
    assert f"pid {system.process.pid}" in refused.stderr
    assert pids(status(system)) == before
    assert system.database.exists()


def with_a_recording(system, *orders):
    """Run the orders during a capture, and check that the capture is whole."""
    start = ("ctl", "capture", "start", "--out", str(system.folder / "data" / "recording"))
    assert command(system, *start).returncode == 0
    for obeyed in orders:
        obeyed(system)
    system.until(lambda: "is whole" in detail(system, "ctl", "capture", "stop"), "the recording is whole")


def a_reload_touches_one_process(system):
    before = pids(status(system))
    with (system.folder / "observer.toml").open("a") as file:
        file.write("\n[track_b]\nevaluation_s = 20.0\n")
    assert command(system, "ctl", "reload").returncode == 0
    system.until(lambda: is_running_anew(system, "track-b", before["track-b"]), "track-b is another")
    after = pids(status(system))
    assert {name for name in ALL if after[name] != before[name]} == {"track-b"}


def a_pin_outlives_a_restart(system):
    [(smallest,)] = system.rows("SELECT symbol FROM universe_members ORDER BY rank DESC LIMIT 1")
    pin = ("slots", "pin", smallest)
    system.until(lambda: "is pinned" in detail(system, *pin), "Track B has slots")  # a slow answer has a detail, too
    former = pids(status(system))["track-b"]
    assert command(system, "ctl", "restart", "track-b").returncode == 0
    system.until(lambda: is_running_anew(system, "track-b", former), "track-b is another")
    system.until(lambda: "already" in detail(system, *pin), "the pin is taken over")
    assert system.rows("SELECT count(*) FROM triggers WHERE kind = 'manual'") == [(1,)]


def all_are_killed_at_once_and_trades_go_on(system):
    until_resumed(system, RESUMED - 1)  # else the kill ends a life of Track B that has published nothing
    kill_at_once(system, *PROCESSES)
    [(trades,)] = system.rows("SELECT count(*) FROM trades")
    system.until(lambda: system.rows(f"SELECT count(*) > {trades} FROM trades") == [(1,)], "trades go on")
    # Trades on their way at the kill count, too: the last life of Track B must have begun its work before the shutdown.
    until_resumed(system, RESUMED)


def until_resumed(system, lives):
    resumed = "SELECT count(*) FROM selection_steps WHERE step ->> '$.kind' = 'resumed'"
    system.until(lambda: system.rows(resumed) == [(lives,)], "Track B has its slots again")


def detail(system, *words):
    """The reply's text; empty for a refusal."""
    completed = command(system, *words, "--json")
    return str(json.loads(completed.stdout).get("detail", "")) if completed.returncode == 0 else ""


def shutdown_ends_everything(system):
    system.remember()
    assert typed(system, "ctl", "shutdown").returncode == 0
    assert system.ended() == 0
    assert system.left_behind() == []
    assert is_sound(system.database)
    assert system.rows("SELECT pid, runtime FROM owner") == [(None, None)]


def its_counts_are_equal(system):
    outboxes = (system.folder / "run" / "outbox").iterdir()
    with StoreReader(f"sqlite:///{system.database}") as reader:
        assert reader.total_rows() == sum(sum(published_by_stream(path).values()) for path in outboxes) > 0
        assert reader.duplicate_trades(DAY.isoformat()) == 0
