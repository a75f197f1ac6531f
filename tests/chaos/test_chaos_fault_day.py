"""A day with every fault of the simulator through the whole system; its judge detects one wrong share."""

import json
import shutil
import sqlite3
import tomllib
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import pytest

from tests.chaos import cut_day, fault_day
from tests.chaos.ledger_judge import finding
from tests.folders import short_folder
from tests.store.writable import with_writable_trades
from tests.whole.secrets import search, secrets_of

# Nightly: at a load of 12 its judge once found trades beside a cut that no gap states (test_streaming_cuts.py has why).
pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.nightly]

Reported = dict[str, Any]


@pytest.fixture(scope="module")
def day():
    """The report of a day of faults, and the folder with its database, ledger and market."""
    with short_folder() as folder:
        yield fault_day.run(speed=400, symbols=60, folder=folder), folder / "d"


def test_the_stored_trades_are_the_trades_sent_while_subscribed_less_the_gaps(day):
    reported, _ = day
    assert reported["balances"], json.dumps({**reported["wrong"], "symbols": reported["symbols"]})
    assert reported["totals"]["streamed_trades"] > 10_000
    assert reported["totals"]["recovered_trades"] > 1_000


def test_every_fault_struck_and_every_process_lived(day):
    reported, _ = day
    assert reported["never_struck"] == []
    assert reported["every_process_lived"]
    assert reported["exit_status"] == 0
    assert reported["left_behind"] == []


ONE_STREAMED = "(SELECT stream, sequence FROM trades WHERE gap_id IS NULL ORDER BY symbol, cumulative_volume LIMIT 1)"
ONE_RECOVERED = "(SELECT stream, sequence FROM trades WHERE gap_id IS NOT NULL LIMIT 1)"
LARGEST_GAP = "missing_volume = (SELECT max(missing_volume) FROM gaps)"
TAMPERINGS = (
    (f"DELETE FROM trades WHERE (stream, sequence) IN {ONE_STREAMED}", "lost"),
    (f"DELETE FROM trades WHERE (stream, sequence) IN {ONE_RECOVERED}", "false_words"),
    (f"UPDATE trades SET price = price + 1 WHERE (stream, sequence) IN {ONE_STREAMED}", "altered"),
    (f"UPDATE trades SET cumulative_trades = 99999999 WHERE (stream, sequence) IN {ONE_STREAMED}", "unsent_trades"),
    (f"UPDATE trades SET cumulative_volume = 2e12 WHERE (stream, sequence) IN {ONE_STREAMED}", "unsent"),
    (f"UPDATE gaps SET before_volume = before_volume + 1 WHERE {LARGEST_GAP}", "stored_though_missing"),
    (f"DELETE FROM gaps WHERE {LARGEST_GAP}", "missing_unrecorded"),
    ("UPDATE quality SET slots_quality = 'complete'", "missing_and_judged_whole"),
    ("DELETE FROM slot_releases", "never_ended"),
    ("DELETE FROM gaps WHERE gap_id = (SELECT gap_id FROM trades WHERE gap_id IS NOT NULL)", "recovered_outside_gaps"),
    ("INSERT INTO trades SELECT stream, -sequence, {rest} FROM trades WHERE gap_id IS NULL LIMIT 1", "doubled"),
)


@pytest.mark.parametrize(("tampering", "wrong"), TAMPERINGS)
def test_the_judge_notices_each_kind_of_tampering(day, tmp_path, tampering, wrong):
    _, folder = day
    ledger = json.loads((folder / "ledger.json").read_text())
    tampered = tmp_path / "tampered.db"
    with (
        closing(sqlite3.connect(folder / "data" / "observer.db")) as original,
        closing(sqlite3.connect(tampered)) as database,
        database,
    ):
        original.backup(database)  # also what is in its log
        columns = [name for _, name, *_ in database.execute("PRAGMA table_info(trades)")]
        with_writable_trades(database).execute(tampering.replace("{rest}", ", ".join(columns[2:])))
    reported = finding(ledger, tampered, folder / "offered.csv")
    assert reported["wrong"][wrong] > 0
    assert not reported["balances"]


def test_no_secret_is_in_anything_that_the_day_left(day):
    _, folder = day
    reported = search(folder)
    assert reported["leaks"] == {}
    assert {".log", ".db", ".journal", ".toml", ".sqlite3"} <= set(reported["kinds"])
    assert list((folder / "raw").iterdir()), "there is no raw capture"
    assert reported["files"] > 20


def test_the_secret_search_covers_the_keys_and_tokens_in_force(day):
    _, folder = day
    secrets = secrets_of(folder)
    notes = [json.loads(path.read_text()) for path in (folder / "run" / "tokens").glob("*.json")]
    issued = [note[name].encode() for note in notes for name in ("access_token", "approval_key") if name in note]
    keys = [text.encode() for line in (folder / "keys.toml").read_text().splitlines() for text in line.split('"')[1:2]]
    assert len(issued) >= 3
    assert len(keys) == 6
    assert all(secrets.found_in(b"Bearer " + text + b"a") for text in (*issued, *keys))


PLANTS: Mapping[str, Callable[[bytes], bytes]] = {
    "data/logs/track-b.log": lambda secret: b'{"event": "sent ' + secret + b'"}',
    "raw/planted.journal": lambda secret: b"\x00\x01" + secret,
    "data/planted.txt": lambda secret: secret[:40],
}


@pytest.mark.parametrize("index", PLANTS)
def test_a_planted_secret_is_found(day, tmp_path, index):
    _, folder = day
    [token, *_] = (folder / "run" / "tokens").glob("*.json")
    secret = json.loads(token.read_text())["access_token"].encode()
    shutil.copy(folder / "observer.toml", tmp_path)
    planted = tmp_path / index
    planted.parent.mkdir(parents=True)
    planted.write_bytes(PLANTS[index](secret))
    assert search(tmp_path)["leaks"] == {index: 1}


def test_a_secret_in_a_database_is_found_even_in_a_blob(day, tmp_path):
    _, folder = day
    [app_key, *_] = tomllib.loads((folder / "observer.toml").read_text())["simulator"]["app_keys"]
    shutil.copy(folder / "observer.toml", tmp_path)
    with closing(sqlite3.connect(tmp_path / "planted.db")) as database, database:
        database.execute("CREATE TABLE inputs (content BLOB)")
        database.execute("INSERT INTO inputs VALUES (?)", (b"x" * 4060 + app_key.encode() + b"x" * 9000,))
    assert search(tmp_path)["leaks"] == {"planted.db": 1}


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_day_of_cuts_and_kills_reconciles_to_the_share():
    reported = cut_day.run(cuts=25, speed=300, symbols=60, kills=1, seed=7, stops_s=10 * 3600 + 30 * 60)
    assert cut_day.is_sound(reported), json.dumps(reported)
