"""A day on which writer, Track B and gap filler are killed at random, judged from outside: `outside_judge.py` compares
the rows with the segments as they were written and with the market. It finds each damage that is done to the result.
"""

import json
import os
import shutil
import signal
import sqlite3
from contextlib import closing
from random import Random

import msgspec
import pytest

from observer.demo.ledger import write_offered
from observer.simulator.kis.simulator import market_of
from observer.simulator.settings import SimulatorSettings
from tests.chaos import ledger_judge
from tests.chaos.cut_day import session_rules_until
from tests.chaos.outside_judge import Linker, finding
from tests.conformance.private_server import private_server
from tests.folders import short_folder
from tests.whole.staged import QUICK_SILENCE, staged_day, stopped

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(600)]

VICTIMS = ("core-writer", "track-b", "gap-recovery")
STRIKES = 8  # at each, one to three of them
SPEED, SYMBOLS = 120, 60
FIRST_S, LAST_S, STOPS_S = 9 * 3600 + 32 * 60, 11 * 3600 + 20 * 60, 11 * 3600 + 30 * 60
SEED = os.urandom(4).hex()  # in the text of each failure


def strike(day, victims):
    """Kill them at once, and wait until their successors run."""
    before = day.system.pids()
    for victim in victims:
        os.kill(before[victim], signal.SIGKILL)
    day.system.until(
        lambda: all(day.system.pids().get(each, before[each]) != before[each] for each in victims),
        f"{', '.join(victims)} are back",
        150,
    )


def killed_day(folder, database=""):
    """Runs the day; leaves database, segments, the market's trades and the ledger in `folder`/d."""
    rng = Random(SEED)
    quiet = {**QUICK_SILENCE["simulator"], "drops": []}
    changes = {**QUICK_SILENCE, "simulator": quiet, "track_b": {"sessions": ["cut-day"]}}
    with (
        session_rules_until(STOPS_S) as rules,
        staged_day(
            speed=SPEED,
            symbols=SYMBOLS,
            begins=(9, 28),
            changes={**changes, "run": {"sessions": str(rules)}},
            folder=folder,
            database=database,
        ) as day,
    ):
        with Linker(day.folder / "run" / "outbox", day.folder / "segments"):
            day.begin()
            for moment in sorted(rng.uniform(FIRST_S, LAST_S) for _ in range(STRIKES)):
                day.until_second(moment)
                strike(day, rng.sample(VICTIMS, rng.randint(1, 3)))
            day.until_second(STOPS_S + 120)
            day.until_gaps_are_closed()
            (day.folder / "ledger.json").write_text(json.dumps(day.subscriptions()))
            assert stopped(day) == 0, day.system.errors
        assert day.system.left_behind() == []
    market = market_of(msgspec.convert(day.settings["simulator"], SimulatorSettings))
    write_offered(market, day.folder / "offered.csv")


def judged(folder, url):
    ledger = json.loads((folder / "ledger.json").read_text())
    return finding(url, folder / "segments", folder / "offered.csv", ledger)


def is_whole(reported):
    return reported["whole"] and reported["events"] > 10_000 < reported["trades"] and reported["gaps"] > 10


@pytest.fixture(scope="module")
def day():
    """The folder of the ended day."""
    with short_folder() as folder:
        killed_day(folder)
        yield folder / "d"


def test_after_a_day_of_kills_every_row_is_as_it_was_published_and_every_share_of_a_slot_is_explained(day):
    database = day / "data" / "observer.db"
    reported = judged(day, f"sqlite:///{database}")
    assert is_whole(reported), json.dumps([SEED, reported])
    balanced = ledger_judge.finding(json.loads((day / "ledger.json").read_text()), database, day / "offered.csv")
    assert balanced["balances"], json.dumps([SEED, balanced])


@pytest.mark.nightly
def test_a_day_of_kills_on_postgresql_is_whole_too():
    with short_folder() as folder, private_server() as server:
        killed_day(folder, server.url)
        reported = judged(folder / "d", server.url)
    assert is_whole(reported), json.dumps([SEED, reported])


STREAMED = "group_id IN (SELECT id FROM trade_groups WHERE gap_id IS NULL)"
ONE_TRADE = f"(SELECT stream, sequence FROM trade_rows WHERE {STREAMED} ORDER BY stream, sequence LIMIT 1 OFFSET 1000)"
ONE_STEP = "(SELECT stream, max(sequence) FROM selection_steps WHERE step LIKE '%1%')"
LARGEST_GAP = "missing_volume = (SELECT max(missing_volume) FROM gaps)"
OTHERS = "exchange_time_ns, receive_time_ns, price, volume, cumulative_volume, cumulative_trades, bid, ask"
COPIED = f"group_id, stream, 9000000, {OTHERS} FROM trade_rows"
IS_ONE_TRADE = f"(stream, sequence) = {ONE_TRADE}"
TAMPERINGS = {
    "a trade is gone": (
        f"DELETE FROM trade_rows WHERE {IS_ONE_TRADE}",
        {"lost", "unexplained_shares"},
    ),
    "a trade is doubled": (
        f"INSERT INTO trade_rows (group_id, stream, sequence, {OTHERS}) SELECT {COPIED} WHERE {IS_ONE_TRADE}",
        {"unpublished", "stored_twice"},
    ),
    "a position is doubled": (
        "INSERT INTO sampling_changes SELECT stream, sequence, provider, 0, NULL, '' FROM trades LIMIT 1",
        {"altered", "doubled"},
    ),
    "a price is altered": (
        f"UPDATE trade_rows SET price = price + 1 WHERE {IS_ONE_TRADE}",
        {"altered", "unlike_the_market"},
    ),
    "a quote is altered": (
        f"UPDATE trade_rows SET bid = bid + 1 WHERE {IS_ONE_TRADE}",
        {"altered"},
    ),
    "a document is altered": (
        f"UPDATE selection_steps SET step = replace(step, '1', '2') WHERE (stream, sequence) = {ONE_STEP}",
        {"altered"},
    ),
    "a gap is gone": (
        "DELETE FROM gaps WHERE gap_id = (SELECT min(gap_id) FROM trades)",
        {"lost", "unexplained_shares", "recovered_outside"},
    ),
    "a gap is shorter": (
        f"UPDATE gaps SET before_volume = before_volume - 1 WHERE {LARGEST_GAP}",
        {"altered", "unexplained_shares"},
    ),
}


def test_the_judge_finds_each_tampering(day, tmp_path):
    found = {
        name: wrong_of(day, tmp_path / f"{number}.db", TAMPERINGS[name][0]) for number, name in enumerate(TAMPERINGS)
    }
    assert found == {name: expected for name, (_, expected) in TAMPERINGS.items()}


def wrong_of(day, tampered, statement):
    """What the judge finds wrong in a copy of the database after this statement."""
    shutil.copy(day / "data" / "observer.db", tampered)
    with closing(sqlite3.connect(tampered)) as database, database:
        assert database.execute(statement).rowcount == 1, statement
    return {name for name, count in judged(day, f"sqlite:///{tampered}")["wrong"].items() if count}
