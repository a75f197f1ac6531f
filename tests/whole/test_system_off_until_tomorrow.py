"""The machine goes off in the middle of a day and returns the next morning: it records and fills the gaps."""

import json
import os
import signal
import tomllib
from contextlib import closing, contextmanager
from datetime import timedelta
from sqlite3 import connect

import msgspec
import pytest

from observer.base.clock import HeldClock
from observer.base.local_time import local_ns
from observer.demo.configuration import DAY
from observer.demo.ledger import write_offered
from observer.simulator.kis.simulator import market_of
from observer.simulator.settings import SimulatorSettings
from tests.chaos.ledger_judge import read_kept, read_tapes
from tests.chaos.shares import united, volume, without
from tests.waiting import DEADLINE_S
from tests.whole.running import ask
from tests.whole.staged import StagedDay, staged_day

pytestmark = [pytest.mark.system, pytest.mark.slow]

OFF_S = 10 * 3600.0
STOP_NS = local_ns(DAY, 15)
SPEED = 200.0


def power_off(day):
    """Kill all processes of the system at once, without a request to stop."""
    pids = [day.system.process.pid, *day.system.pids().values()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    day.system.process.wait(DEADLINE_S)


@contextmanager
def next_morning(before):
    """The same machine the day after."""
    clock = HeldClock(local_ns(DAY + timedelta(days=1), 8), before.folder / "data" / "clock-next", SPEED)
    day = StagedDay(before.folder, before.configuration, clock, DAY + timedelta(days=1))
    try:
        yield day
    finally:
        day.system.clear_away()


def unaccounted(kept, tape):
    """Volume traded between the first stored trade and Track B's stop that is neither stored nor in a gap."""
    stored = united([*kept.streamed, *kept.conflated])
    if not stored:
        return 0
    should = united([(stored[0][0], tape.volume_at(STOP_NS))])
    return volume(without(without(should, stored), united(kept.gaps)))


@pytest.mark.timeout(600)
def test_trades_missed_by_a_machine_that_was_off_until_the_next_day_lie_in_gaps(tmp_path):
    with staged_day(speed=SPEED, symbols=30, accounts=1, begins=(9, 20)) as day:
        day.begin()
        day.until_second(OFF_S)
        power_off(day)
        settings = tomllib.loads(day.configuration.read_text())["simulator"]
        write_offered(market_of(msgspec.convert(settings, SimulatorSettings)), tmp_path / "offered.csv")
        with next_morning(day) as later:
            later.begin()
            open_slots = "SELECT count(*) FROM slot_releases WHERE reason = 'unfinished'"
            later.system.until(lambda: later.system.rows(open_slots)[0][0] > 0, "its slots are given up", 60)
            later.until_gaps_are_closed()
            later.until_judged()
        tapes = read_tapes(tmp_path / "offered.csv")
        with closing(connect(day.database)) as database:
            kept = read_kept(database)
        found = ask(day.database, "SELECT DISTINCT released_ns FROM slot_releases WHERE reason = 'unfinished'")
        assert found == [(STOP_NS,)]
        assert {symbol: rest for symbol in kept if (rest := unaccounted(kept[symbol], tapes[symbol]))} == {}
        held_to_the_end = ask(day.database, "SELECT symbol FROM slot_releases WHERE reason = 'unfinished'")
        reports = {symbol: kept[symbol].finding for (symbol,) in held_to_the_end}
        assert set(reports.values()) == {"degraded"}, json.dumps(reports)
