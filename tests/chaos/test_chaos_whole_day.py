"""A whole day of both venues with faults, an interruption, a halt and a stop of the market; and an exam day."""

import json
import shutil
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from tests.chaos import venue_judge, whole_day
from tests.folders import short_folder

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.nightly, pytest.mark.timeout(900)]

Reported = dict[str, Any]
SPEED = 200
ORDINARY = {
    *("KRX after", "KRX closing_auction", "KRX regular"),
    *("NXT after", "NXT pre", "NXT regular"),
}


def run(folder, *, exam_day):
    seed = whole_day.EXAM_SEED if exam_day else whole_day.SEED
    return whole_day.run(speed=SPEED, seed=seed, exam_day=exam_day, trades_times=0.3, folder=folder)


@pytest.fixture(scope="module")
def day():
    """The report of an ordinary day, and the folder with its database, ledger and market."""
    with short_folder() as folder:
        yield run(folder, exam_day=False), folder / "d"


def test_every_trade_offered_in_a_slot_is_stored_or_in_a_gap_in_each_session_of_both_venues(
    day,
):
    reported, _ = day
    assert whole_day.is_sound(reported), json.dumps(reported)
    assert set(reported["venues"]["trades"]) == ORDINARY
    assert min(row["streamed"] for row in reported["venues"]["trades"].values()) > 0


def test_the_day_had_interruptions_at_both_venues_a_halt_and_a_stop_without_a_released_slot(
    day,
):
    reported, _ = day
    assert set(reported["venues"]["halts_in_slots"]) == {"KRX disclosure", "KRX volatility", "NXT volatility"}
    assert reported["venues"]["stops"]["stops"] == 1


def test_a_trade_that_is_gone_from_the_after_market_of_nxt_is_noticed(day, tmp_path):
    _, folder = day
    tampered = tmp_path / "tampered.db"
    shutil.copy(folder / "data" / "observer.db", tampered)
    with closing(sqlite3.connect(tampered)) as database, database:
        database.execute(
            "DELETE FROM trade_rows WHERE (stream, sequence) IN (SELECT stream, sequence FROM trades "
            "WHERE venue = 'NXT' AND session = 'after' AND gap_id IS NULL LIMIT 1)"
        )
    ledger, halts = (json.loads((folder / name).read_text()) for name in ("ledger.json", "halts.json"))
    reported = venue_judge.finding(ledger, tampered, folder / "offered.csv", halts)
    assert reported["trades"]["NXT after"]["lost"] == 1


def test_on_an_exam_day_every_session_begins_an_hour_later_and_nothing_is_lost():
    with short_folder() as folder:
        reported = run(folder, exam_day=True)
    assert whole_day.is_sound(reported), json.dumps(reported)
    assert set(reported["venues"]["trades"]) == ORDINARY - {"NXT pre"}
