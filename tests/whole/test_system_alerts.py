"""`observer run` that cannot work says so: on stderr, in `status` and its exit status, and in `observer alerts`."""

import contextlib
import json
import os
import signal
from pathlib import Path

import pytest

from tests.conformance.conftest import SERVER_URL, postgresql_schema
from tests.folders import short_folder
from tests.monitoring.targets import SECRET, listening
from tests.waiting import DEADLINE_S
from tests.whole.running import System, observer_here

pytestmark = pytest.mark.system

TRADING_DAYS = Path(__file__).parents[2] / "config" / "trading_days.toml"
UNUSED = "127.0.0.1:9"  # the port of the discard service: no one listens


def started(folder, store, target=""):
    """A system with keys of no broker at hosts that do not answer, and with a target of alerts at this URL."""
    made = folder / "d"
    made.mkdir()
    (made / "observer.toml").write_text(
        f'[run]\ndata = "{made}/data"\nruntime = "{made}/run"\nprovider_pool = "{made}/pool.json"\n'
        f'trading_days = "{TRADING_DAYS}"\nuniverse = "{made}/universe"\n[store]\nurl = "{store}"\n'
        f'[kis]\nrest_url = "http://{UNUSED}"\nstream_url = "ws://{UNUSED}"\nfiles_url = "http://{UNUSED}"\n'
    )
    if target:
        with (made / "observer.toml").open("a") as configuration:
            alerts = f'[alerts]\ntimeout_s = {DEADLINE_S}\ntargets_file = "{made}/targets.toml"\n'
            configuration.write(f"{alerts}[alerts.targets.phone]\n")
        (made / "targets.toml").touch(mode=0o600)
        (made / "targets.toml").write_text(f'phone = "{target}"\n')
    account = {"account_id": "main", "keys_file": f"{made}/keys.toml"}
    (made / "pool.json").write_text(json.dumps({"provider_pool": {"accounts": [account]}}))
    (made / "keys.toml").touch(mode=0o600)
    (made / "keys.toml").write_text('[main]\napp_key = "PSkeykeykey"\napp_secret = "sosecretsosecret"\n')
    return System(made, "run", "--config", made / "observer.toml")


def ask(system, *words):
    return observer_here(*words, "--config", system.folder / "observer.toml", cwd=system.folder)


def listed(system, *words):
    """The alerts that a command prints as JSON, by identity."""
    completed = ask(system, *words, "--json")
    return {each["identity"]: each for each in json.loads(completed.stdout or '{"alerts": []}')["alerts"]}


def has_secret(path):
    """Whether the file of a running system has the target's URL; one that is gone meanwhile has not."""
    with contextlib.suppress(FileNotFoundError):
        return path.is_file() and SECRET.encode() in path.read_bytes()
    return False


@pytest.mark.slow  # the next test's alert goes the same way; `test_cli_alerts.py` silences
def test_a_broker_that_does_not_answer_is_on_stderr_in_status_and_in_alerts_and_can_be_silenced():
    with short_folder() as folder:
        system = started(folder, f"sqlite:///{folder}/d/data/observer.db")
        try:
            system.until(lambda: "CRITICAL accounts: token:main: " in system.errors, "the line on stderr")
            shown = ask(system, "status")
            assert shown.returncode == 1
            assert "critical accounts: token:main: token of account main not renewed" in shown.stdout
            alert = listed(system, "status")["token:main"]
            assert (alert["process"], alert["severity"]) == ("accounts", "critical")
            assert listed(system, "alerts")["token:main"]["silenced_until_ns"] is None
            refused = ask(system, "alerts", "silence", "token")
            assert refused.returncode == 1
            assert "token:main" in refused.stderr, "names the open ones"
            assert ask(system, "alerts", "silence", "token:main", "--for", "1d").returncode == 0
            assert listed(system, "alerts")["token:main"]["silenced_until_ns"] is not None
            assert "silenced until" in ask(system, "status").stdout
            stored = "SELECT severity, source FROM alerts WHERE identity = 'token:main'"
            system.until(lambda: system.rows(stored) == [("critical", "accounts")], "its row")
            system.interrupt()
            assert listed(system, "alerts")["token:main"]["process"] == "accounts", "from the database"
        finally:
            system.clear_away()


def test_without_the_database_alerts_are_on_stderr_in_status_in_alerts_and_at_a_target_whose_url_no_file_has():
    with short_folder() as folder, listening() as target:
        system = started(folder, "postgresql+psycopg://root@127.0.0.1:1/test", target.url)
        try:
            line = "CRITICAL core-writer: database_unavailable: waiting for the database: "
            system.until(lambda: line in system.errors, "the line on stderr")
            assert ask(system, "status").returncode == 1
            alert = listed(system, "alerts")["database_unavailable"]
            assert (alert["process"], alert["severity"]) == ("core-writer", "critical")
            system.until(lambda: "CRITICAL core-writer: database_unavailable: " in target.text, "the message")
            shown = ask(system, "alerts", "test")
            assert (shown.returncode, shown.stdout) == (0, "phone: sent\n")
            assert "test of target phone" in target.text
            [writer] = [
                each["pid"]
                for each in json.loads(ask(system, "status", "--json").stdout)["processes"]
                if each["name"] == "core-writer"
            ]
            os.kill(writer, signal.SIGKILL)
            system.until(lambda: "WARNING supervisor: ended:core-writer: " in target.text, "the message about it")
            target.status = 500
            refused = ask(system, "alerts", "test", "--target", "phone", "--json")
            assert refused.returncode == 1
            assert "HTTP status 500" in json.loads(refused.stdout)["targets"][0]["failure"]
            assert [path for path in folder.rglob("*") if path.name != "targets.toml" and has_secret(path)] == []
        finally:
            system.clear_away()


def test_a_database_that_the_server_refuses_is_refused_before_a_process_starts():
    with short_folder() as folder, postgresql_schema():
        url = SERVER_URL.set(database="observer_test_absent", query={}).render_as_string(hide_password=False)
        system = started(folder, url)
        assert system.ended() == 2
        assert 'database "observer_test_absent" does not exist: correct [store] url' in system.errors
        assert "STARTING" not in system.errors
