"""`observer run` without a precondition: it names the missing item, exits with status 2, and starts no process."""

import os
import socket
from pathlib import Path

import pytest

from observer.base.instance import Instance
from observer.store.owner import claim
from observer.store.systems import this_system
from tests.conformance.conftest import postgresql_schema
from tests.folders import short_folder
from tests.store.migrated import make_database
from tests.store.raw import execute
from tests.whole.running import observer

pytestmark = pytest.mark.system

KEYS = '[main]\napp_key = "PSkeykeykey"\napp_secret = "sosecret"\n'
TRADING_DAYS = Path(__file__).parents[2] / "config" / "trading_days.toml"


def run_with(folder, keys, store="sqlite:///data/observer.db"):
    """`observer run` in a folder of its own; the hosts do not exist, in case a process starts after all."""
    (folder / "observer.toml").write_text(
        f'[run]\ndata = "data"\nruntime = "run"\nprovider_pool = "pool.json"\ntrading_days = "{TRADING_DAYS}"\n'
        f'[store]\nurl = "{store}"\n'
        '[kis]\nrest_url = "http://127.0.0.1:9"\nstream_url = "ws://127.0.0.1:9"\nfiles_url = "http://127.0.0.1:9"\n'
    )
    (folder / "pool.json").write_text(
        '{"provider_pool": {"accounts": [{"account_id": "main", "keys_file": "keys.toml",'
        ' "app_key_variable": "KIS_APP_KEY", "app_secret_variable": "KIS_APP_SECRET"}]}}'
    )
    if keys is not None:
        (folder / "keys.toml").write_text(keys)
        (folder / "keys.toml").chmod(0o600)
    return observer("run", "--config", "observer.toml", cwd=folder)


def was_nothing_started(folder):
    return not (folder / "data").exists() and not (folder / "run").exists()


def test_a_start_without_keys_names_the_variables_and_the_file():
    with short_folder() as folder:
        completed = run_with(folder, keys=None)
        assert completed.returncode == 2
        assert completed.stderr == (
            "observer: account main: no keys: set KIS_APP_KEY and KIS_APP_SECRET, or create keys.toml (mode 600)\n"
        )
        assert was_nothing_started(folder)


def test_a_database_that_the_writer_must_not_write_ends_the_start_with_the_writer_s_reason():
    with short_folder() as folder, postgresql_schema() as url:
        make_database(url)
        claim(url, Instance(name="second"), ["kis"], 0)
        completed = run_with(folder, KEYS, store=url)
        assert completed.returncode == 2
        reason = completed.stderr.splitlines()[-1]
        assert reason.startswith("observer: postgresql")
        assert "belongs to instance 'second'" in reason
        assert "accounts: " not in completed.stderr, "no process that calls the broker was started"


def test_a_database_of_another_living_system_is_refused_with_its_owner_before_a_process_starts():
    with short_folder() as folder, postgresql_schema() as url:
        make_database(url)
        claim(url, Instance(), ["kis"], 0, this_system(folder / "other"))
        completed = run_with(folder, KEYS, store=url)
        assert completed.returncode == 2
        [line] = completed.stderr.splitlines()
        assert f"another system owns this database: pid {os.getpid()} on {socket.gethostname()}, runtime folder" in line
        assert "stop it (observer ctl shutdown), or give another [store] url" in line


def test_a_schema_that_cannot_be_migrated_ends_the_start_with_the_remedy():
    with short_folder() as folder, postgresql_schema() as url:
        execute(url, "CREATE TABLE streams (id INTEGER)")
        completed = run_with(folder, KEYS, store=url)
        assert completed.returncode == 2
        assert completed.stderr.splitlines()[-1].endswith(
            "already exists: the database holds tables of something else, give another [store] url"
        )


def test_a_wrong_configuration_is_reported_line_by_line():
    with short_folder() as folder:
        (folder / "observer.toml").write_text("[track_a]\ninterval = 5\n[stor]\n")
        completed = observer("run", "--config", "observer.toml", cwd=folder)
        assert completed.returncode == 2
        assert completed.stderr == (
            "observer: observer.toml:2: track_a.interval: unknown key; did you mean interval_s?\n"
            "observer: observer.toml:3: stor: unknown section; did you mean store?\n"
        )
        assert was_nothing_started(folder)
