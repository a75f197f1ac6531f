"""A whole day by the command line: its output, its files, and its database."""

import csv
import json
import shutil
import sqlite3
import subprocess
import threading
from contextlib import closing

import pytest

from observer.archive.package import verify
from observer.cli.demo import TRADES_QUERY
from observer.demo.day import MARKER
from observer.gaps.recovery import RecoverySettings
from observer.store.tables import EVENT_TABLES
from tests.waiting import DEADLINE_S
from tests.whole.running import PROCESSES, SYMBOLS, ask, is_sound, observer, observer_here

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

DOCUMENTED_KEYS = {
    "universe", "sweeps", "snapshots", "trades", "triggers", "slots", "gaps", "listings", "events_published",
    "events_stored", "duplicates", "restarts", "processes", "wall_s", "database",
}  # fmt: skip


def test_a_day_ends_with_status_0_and_leaves_no_process(day):
    assert day.exit_status == 0, day.errors
    assert day.errors == ""
    assert day.left_behind == []


def test_the_summary_has_the_documented_keys(day):
    assert day.summary.keys() >= DOCUMENTED_KEYS
    assert day.summary["slots"].keys() == {"allocated", "replaced", "released", "overflow"}
    assert day.summary["gaps"].keys() == {"found", "recovered", "recovered_as_bars", "unrecoverable"}
    assert day.summary["listings"].keys() == {"new", "removed"}
    assert day.summary["database"] == day.database_reported


def test_every_published_event_is_stored_once(day):
    rows = sum(day.value(f"SELECT count(*) FROM {table.name}") for table in EVENT_TABLES.values())
    assert day.summary["events_published"] == day.summary["events_stored"] == rows
    assert day.summary["duplicates"] == 0
    assert day.value("SELECT count(*) FROM quarantine") == 0


def test_no_stream_of_events_has_a_gap(day):
    slots = " UNION ALL ".join(f"SELECT stream, sequence FROM {table.name}" for table in EVENT_TABLES.values())
    streams = day.rows(f"SELECT stream, count(*), min(sequence), max(sequence) FROM ({slots}) GROUP BY stream")
    assert all((first, last) == (1, rows) for _, rows, first, last in streams)
    kept = day.rows("SELECT id, high_water_mark FROM streams WHERE high_water_mark > 0 ORDER BY id")
    assert [(stream, last) for stream, _, _, last in streams] == kept


def test_every_process_ran_the_whole_day_and_was_stopped(day):
    assert day.summary["processes"] == dict.fromkeys(("simulator", *PROCESSES), "STOPPED")
    assert day.summary["restarts"] == 0


def test_the_phases_follow_on_each_other(day):
    phases = [current for (current,) in day.rows("SELECT current FROM phases ORDER BY changed_ns")]
    until_shutdown = phases[: phases.index("SHUTDOWN") + 1]
    # A host on a busy machine may look so late that a phase is over: it never goes back, and repeats none.
    in_order = ["WARMUP", "TRACK_A_ONLY", "FULL_OPERATION", "TRACK_A_CLOSING", "SHUTDOWN"]
    assert until_shutdown == [phase for phase in in_order if phase in until_shutdown]
    assert "FULL_OPERATION" in until_shutdown


@pytest.mark.parametrize(
    ("what", "query"),
    [
        ("token", "SELECT * FROM token_renewals WHERE succeeded"),
        ("health check", "SELECT * FROM account_checks WHERE healthy"),
        ("context sync", "SELECT * FROM context_syncs"),
        ("universe", "SELECT * FROM universes"),
        ("backup", "SELECT * FROM backups"),
        ("slots", "SELECT * FROM slot_assignments"),
        ("triggers", "SELECT * FROM triggers"),
        ("sweeps", "SELECT * FROM sweeps"),
    ],
)
def test_the_database_has_the_events_of_every_ordinary_day(day, what, query):
    assert day.rows(query), what


def test_the_stream_was_lost_and_connected_again_once_the_broker_let_go_of_the_key(day):
    reported = day.rows("SELECT state, reason FROM connections ORDER BY sequence")
    states, early = (
        [state for state, _ in reported],
        [reason.startswith("OPSP8996") for _, reason in reported].count(True),
    )
    assert states[0] == "connected"
    assert states.count("lost") == 2
    assert early > 0
    ends = early + states.count("lost") + states.count("closed")  # closed: for a new approval key, and at the end
    assert states.count("connected") == ends
    assert states[-1] == "closed"


def test_every_gap_was_found_for_a_reason_and_filled(day):
    gaps = day.summary["gaps"]
    assert gaps["found"] == gaps["recovered"] > 0
    assert day.value("SELECT count(*) FROM gap_recoveries") == gaps["found"]
    # On a busy machine a cut of seconds may be one of minutes in the market, with more trades than are fetched singly.
    few = RecoverySettings().max_trades_of_long_gap
    partly = (
        f"SELECT gap_id FROM gap_recoveries JOIN gaps USING (gap_id) WHERE NOT complete AND missing_trades <= {few}"
    )
    assert day.rows(partly) == []
    assert day.value("SELECT count(*) FROM trades WHERE gap_id IS NOT NULL") == day.summary["trades_recovered"]


def test_a_filled_gap_holds_exactly_the_missing_volume(day):
    assert day.rows(
        "SELECT gap_id, missing_volume, sum(volume) FROM gaps JOIN trades USING (gap_id) GROUP BY gap_id "
        "HAVING missing_volume <> sum(volume)"
    ) == []  # fmt: skip


def test_the_new_listing_was_found(day):
    assert day.summary["listings"] == {"new": 1, "removed": 0}
    first_import = "SELECT exchange, min(checked_ns) AS checked_ns FROM master_file_checks GROUP BY exchange"
    later = f"SELECT symbol FROM listing_changes JOIN ({first_import}) USING (exchange) WHERE changed_ns > checked_ns"
    [(symbol,)] = day.rows(later)
    assert day.rows(f"SELECT active FROM listings WHERE symbol = '{symbol}'") == [(1,)]


def test_the_day_s_package_is_whole_and_has_a_database_of_its_own(day):
    [package] = (day.folder / "data" / "backup").glob("*-daily-main")
    assert is_sound(package / "database.sqlite3")
    assert verify(package, 1, threading.Event()) == []
    assert {path.name for path in package.iterdir()} >= {"universe", "master", "configuration"}


def test_after_an_orderly_end_the_database_s_file_alone_has_every_row(day, tmp_path):
    shutil.copy(day.database, copy := tmp_path / "copy.db")
    for table in ("trades", "snapshots", "alerts", "backups"):
        assert ask(copy, f"SELECT count(*) FROM {table}") == day.rows(f"SELECT count(*) FROM {table}")


def test_every_slot_that_was_given_was_given_back(day):
    counts = "SELECT slot, symbol, count(*) FROM {} GROUP BY slot, symbol ORDER BY slot, symbol"
    assert day.rows(counts.format("slot_assignments")) == day.rows(counts.format("slot_releases"))


def test_every_trigger_that_fired_ended_and_held_at_most_until_then(day):
    fired = "SELECT symbol, kind, fired_ns FROM triggers WHERE kind != 'manual' ORDER BY symbol, kind, fired_ns"
    assert day.rows(fired) == day.rows(
        "SELECT symbol, kind, fired_ns FROM trigger_ends ORDER BY symbol, kind, fired_ns"
    )
    assert day.value("SELECT count(*) FROM trigger_ends WHERE held_until_ns > ended_ns") == 0


def test_only_triggers_that_fired_label_slots_with_their_kind(day):
    assert day.rows(
        "SELECT symbol, trigger FROM slot_assignments WHERE trigger NOT IN ('context', 'market_cap') "
        "EXCEPT SELECT symbol, kind FROM triggers"
    ) == []  # fmt: skip


def test_a_day_without_keep_leaves_the_database_its_outboxes_the_configuration_and_the_universe(day):
    configuration = {"observer.toml", "provider_pool.json", "symbol_selection.json"}
    assert {path.name for path in day.folder.iterdir()} == {*configuration, MARKER, "data", "run", "universe"}
    assert {path.name for path in (day.folder / "run").iterdir()} == {"outbox"}
    assert {path.name for path in (day.folder / "data").iterdir()} >= {"observer.db", "backup", "simulator.json"}


def test_every_file_and_folder_of_the_day_is_its_owners_alone(day):
    """Database, package, master files, universe, ledgers, settings; the folder was copied with its modes."""
    paths = [path for path in day.folder.rglob("*") if not path.is_symlink()]
    assert {path.name for path in paths} >= {"observer.db", "observer.toml", "universe", "backup", "manifest.json"}
    assert [str(path) for path in paths if path.stat().st_mode & 0o077] == []


def test_the_universe_file_has_the_symbols_of_the_database(day):
    [path] = (day.folder / "universe").iterdir()
    assert path.name == "20261118_kr_stocks.json"
    codes = [symbol["code"] for symbol in json.loads(path.read_bytes())["symbols"]]
    assert [(code,) for code in codes] == day.rows("SELECT symbol FROM universe_members ORDER BY rank")


def test_the_database_opens(day):
    assert is_sound(day.database)


def test_the_query_that_a_demo_prints_returns_trades_of_the_best_known_share(day):
    assert day.rows(TRADES_QUERY.format("005930"))


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="the sqlite3 shell is not installed")
def test_the_sqlite_shell_answers_it_too(day):
    command = ["sqlite3", "-readonly", str(day.database), TRADES_QUERY.format("005930")]
    shell = subprocess.run(command, capture_output=True, text=True, check=True, timeout=DEADLINE_S)
    assert shell.stdout.strip()


def test_every_etf_has_a_price_a_nav_and_a_premium_before_the_day_ends(day):
    [(etfs,)] = day.rows("SELECT count(*) FROM etfs WHERE active AND \"group\" = 'EF'")
    complete = "active AND price > 0 AND nav > 0 AND premium_20d_percent IS NOT NULL AND highest_close_52w > 0"
    assert day.rows(f"SELECT count(*) FROM etfs WHERE {complete}") == [(etfs,)]
    assert etfs >= 6


@pytest.fixture(scope="module")
def offered(tmp_path_factory):
    """Digest and trades of the same market, from a process that knows only its seed."""
    path = tmp_path_factory.mktemp("offered") / "offered.csv"
    completed = observer("simulator", "offered", "--symbols", SYMBOLS, "--out", path, cwd=path.parent)
    return completed.stdout.strip(), path


def test_the_market_is_a_function_of_its_seed(day, offered):
    assert day.summary["market_digest"] == offered[0]


def test_another_seed_is_another_market(day, tmp_path):
    other = observer_here("simulator", "offered", "--symbols", SYMBOLS, "--seed", 8, cwd=tmp_path)
    assert other.stdout.strip() != day.summary["market_digest"]


def test_every_stored_trade_was_offered_unaltered(day, offered):
    with closing(sqlite3.connect(":memory:")) as market:
        _load(market, offered[1])
        market.execute("ATTACH ? AS kept", (str(day.database),))
        altered = market.execute(
            "SELECT symbol, exchange_time_ns / 1000000000, price, volume, cumulative_volume FROM kept.trades EXCEPT "
            "SELECT symbol, exchange_time_ns / 1000000000, price, volume, cumulative_volume FROM offered"
        ).fetchall()
        miscounted = market.execute(
            "SELECT symbol, cumulative_volume, cumulative_trades, side FROM kept.trades WHERE gap_id IS NULL EXCEPT "
            "SELECT symbol, cumulative_volume, cumulative_sells + cumulative_buys, side FROM offered"
        ).fetchall()
    assert altered == []
    assert miscounted == []


def _load(database, path):
    with path.open(newline="") as file:
        header, *records = csv.reader(file)
    numbers = ("exchange_time_ns", "price", "volume", "cumulative_volume", "cumulative_sells", "cumulative_buys")
    columns = ", ".join(f"{name} {'INTEGER' if name in numbers else 'TEXT'}" for name in header)
    database.execute(f"CREATE TABLE offered ({columns})")
    database.executemany(f"INSERT INTO offered VALUES ({', '.join('?' * len(header))})", records)
