"""A day with false trades through the whole system; its judge detects one that is stored and one that is missing."""

import json
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from tests.chaos import poisoned_day
from tests.chaos.ledger_judge import read_tapes
from tests.folders import short_folder
from tests.store.writable import with_writable_trades

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.nightly]

Reported = dict[str, Any]


@pytest.fixture(scope="module")
def day():
    """The report of a poisoned day, and the folder with its database, ledger and list of false records."""
    with short_folder() as folder:
        yield poisoned_day.run(speed=600, symbols=60, folder=folder), folder / "d"


def test_true_trades_are_stored_and_false_ones_in_quarantine(day):
    reported, _ = day
    assert poisoned_day.is_sound(reported), json.dumps(reported)


ONE_QUARANTINED = "(SELECT stream, sequence FROM quarantined_inputs WHERE source = 'kis.trade' LIMIT 1)"
ONE_TRUE = "(SELECT stream, sequence FROM trades WHERE gap_id IS NULL LIMIT 1)"
TRUE_RECORD = (
    "json_array('trade', provider, symbol, session_date, exchange_time_ns, 0, price, volume, cumulative_volume)"
)
TAMPERINGS = {
    "not_in_quarantine": f"DELETE FROM quarantined_inputs WHERE (stream, sequence) IN {ONE_QUARANTINED}",
    "among_trades": "UPDATE trades SET (symbol, exchange_time_ns, price, volume, cumulative_volume) = (?, ?, ?, ?, ?) "
    f"WHERE (stream, sequence) IN {ONE_TRUE}",
    "quarantined_true": f"UPDATE quarantined_inputs SET content = (SELECT CAST({TRUE_RECORD} AS BLOB) FROM trades) "
    f"WHERE (stream, sequence) IN {ONE_QUARANTINED}",
    "alerts": "DELETE FROM alerts",
    "not_stored_shares": f"DELETE FROM trades WHERE (stream, sequence) IN {ONE_TRUE}",
}


@pytest.mark.parametrize("noticed", TAMPERINGS)
def test_the_judge_notices_each_kind_of_tampering(day, tmp_path, noticed):
    reported, folder = day
    forgeries = json.loads((folder / "forgeries.json").read_text())
    ledger = json.loads((folder / "ledger.json").read_text())
    tampered, tampering = tmp_path / "tampered.db", TAMPERINGS[noticed]
    with (
        closing(sqlite3.connect(folder / "data" / "observer.db")) as original,
        closing(sqlite3.connect(tampered)) as database,
        database,
    ):
        original.backup(database)  # also what is in its log
        false_record = poisoned_day.record_of(forgeries[0]["frame"]) if "?" in tampering else ()
        before = database.total_changes
        with_writable_trades(database).execute(tampering, false_record)
        assert database.total_changes > before
    poison = poisoned_day.finding(forgeries, tampered)
    found = {**poison, **poisoned_day.streamed(ledger, tampered, read_tapes(folder / "offered.csv"))}
    assert found[noticed] != {**reported["poison"], **reported}[noticed]
    assert poisoned_day.is_clean(poison) == (noticed == "not_stored_shares")
