"""A raw capture of a whole day: decoding it again gives the day's streamed trades; it holds no secret."""

import json
import signal
import subprocess
from datetime import date

import pytest

from observer.base.local_time import local_ns
from tests.folders import short_folder
from tests.waiting import DEADLINE_S
from tests.whole.running import OBSERVER, ask, demo, observer

pytestmark = [pytest.mark.system, pytest.mark.slow]

STOP_NS = local_ns(date(2026, 11, 18), 15)  # of Track B, on the demo's day
FIELDS = ("symbol", "exchange_time_ns", "receive_time_ns", "price", "volume", "cumulative_volume", "cumulative_trades")


def secrets_of(folder):
    """App keys and secrets as they stand in the keys file, tokens and approval keys as they were issued."""
    keys = {line.split('"')[1] for line in (folder / "keys.toml").read_text().splitlines() if '"' in line}
    for path in (folder / "run" / "tokens").glob("*.json"):
        issued = json.loads(path.read_text())
        keys |= {issued[name] for name in ("access_token", "approval_key") if name in issued}
    return {key.encode() for key in keys}


@pytest.mark.timeout(600)
def test_the_streamed_trades_of_a_day_come_out_of_its_raw_capture_and_no_secret_is_in_it():
    with short_folder() as short, demo("--keep", folder=short / "d", speed=600) as system:
        config, raw, facts = short / "d" / "observer.toml", short / "raw", short / "facts"
        system.until(lambda: config.exists() and (short / "d" / "run").exists(), "the demo wrote its configuration")
        command = [OBSERVER, "capture", "--raw", str(raw), "--config", str(config), "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as capture:
            assert system.ended(200) == 0
            capture.send_signal(signal.SIGINT)
            summary = json.loads(capture.communicate(timeout=DEADLINE_S)[0])
        assert summary["files"] >= 5
        assert observer("replay", "--raw", raw, "--out", facts, cwd=short).returncode == 0
        decoded = (json.loads(line) for line in facts.open())
        trades = {tuple(fact["value"][name] for name in FIELDS) for fact in decoded if fact["kind"] == "Trade"}
        stored = ask(system.database, f"SELECT {', '.join(FIELDS)} FROM trades WHERE gap_id IS NULL")
        assert len(stored) > 10_000
        # What a stream brings behind Track B's stop, until it is closed, is not stored.
        assert trades.issuperset(stored)
        assert min((each[1] for each in trades.difference(stored)), default=STOP_NS) >= STOP_NS
        secrets = secrets_of(short / "d")
        assert len(secrets) >= 4
        for path in raw.iterdir():
            content = path.read_bytes()
            assert not [secret for secret in secrets if secret in content], path.name
