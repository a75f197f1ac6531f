"""A whole day of both venues with circuit breakers, and the judge's negative controls."""

import json
import shutil
import sqlite3
from contextlib import closing

import pytest

from tests.chaos import breaker_day
from tests.folders import short_folder

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.nightly, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def day():
    """The report of the day, and its database."""
    with short_folder() as folder:
        reported = breaker_day.run(speed=200, symbols=40, accounts=3, seed=1, folder=folder)
        yield reported, folder / "d" / "data" / "observer.db"


def test_a_day_with_circuit_breakers_loses_no_slot_and_no_trade_and_has_no_gap(
    day,
):
    assert breaker_day.is_sound(day[0]), json.dumps(day[0])


ONE_RELEASE = f"""UPDATE slot_releases SET released_ns = {breaker_day.STOPPED[1][1]}
WHERE (stream, sequence) = (SELECT stream, sequence FROM slot_releases LIMIT 1)"""
ONE_NOTICE = "DELETE FROM market_states WHERE market_notice = 'breaker_to_close' AND venue = 'NXT'"


@pytest.mark.parametrize(
    ("statement", "wrong"),
    [
        (ONE_RELEASE, "slots_released"),
        ("DELETE FROM alert_resolutions WHERE identity = 'market_stopped:KRX KOSPI'", "alerts of KRX KOSPI"),
        ("DELETE FROM alerts WHERE identity = 'market_stopped:NXT KOSDAQ'", "alerts of NXT KOSDAQ"),
        (ONE_NOTICE, "no row NXT breaker_to_close"),
        ("DELETE FROM expected_prices WHERE auction = 'intraday'", "no expected price of an auction intraday"),
    ],
)
def test_the_judge_notices_each_kind_of_tampering(day, tmp_path, statement, wrong):
    tampered = tmp_path / "tampered.db"
    shutil.copy(day[1], tampered)
    with closing(sqlite3.connect(tampered)) as database, database:
        database.execute(statement)
    assert wrong in breaker_day.finding(tampered)["wrong"]
