"""`observer accounts`: what the files and the database say of each account, and never a secret."""

import json
from pathlib import Path

import msgspec
import pytest

from bus.commands import StatusReply
from bus.delivery import Delivered
from bus.events import ConnectionChanged, PhaseChanged, SlotAssigned
from observer.base.local_time import local_ns
from observer.brokers.accounts.health import Health, HealthDecision
from observer.brokers.accounts.health_file import HealthFile
from observer.brokers.accounts.token_cache import TokenRecord, TokenStore
from observer.calendar.day_file import write_trading_days
from observer.calendar.trading_day import TradingDay
from observer.cli.accounts import states_of
from observer.demo.configuration import DAY, DemoConfiguration, write_demo_configuration
from observer.store.writer import StoreWriter
from observer.system.config import load_settings
from tests.cli.test_cli_control import answering, exit_status
from tests.store.migrated import make_database

NOON_NS = local_ns(DAY, 12)
FIRST, SECOND, THIRD = "account_001", "account_002", "account_003"
HOUR_NS = 3600 * 10**9


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "data").mkdir()
    return load_settings(write_demo_configuration(tmp_path, DemoConfiguration(symbols=60, seed=7, accounts=3)))


def write_files(settings):
    folder = Path(settings.run.runtime) / "tokens"
    record = TokenRecord(
        access_token="hush",
        approval_key="hush",
        issued_ns=NOON_NS - 4 * HOUR_NS,
        expires_ns=NOON_NS + 20 * HOUR_NS,
        renewed_ns=NOON_NS - 4 * HOUR_NS,
    )
    TokenStore(folder, FIRST).write(record)
    HealthFile(folder, FIRST).write(Health(checked_ns=NOON_NS - 30 * 10**9))
    HealthFile(folder, SECOND).write(Health(checked_ns=NOON_NS, calls=HealthDecision(fit=False, failures=3)))
    HealthFile(folder, THIRD).write(Health(checked_ns=NOON_NS - HOUR_NS))


def test_without_files_and_database_nothing_is_known(settings, capsys):
    states = states_of(settings, NOON_NS)
    assert [state.account_id for state in states] == [FIRST, SECOND, THIRD]
    assert {(state.healthy, state.token_age_s, state.stream, state.slots_held) for state in states} == {(None,) * 4}
    assert "streams and slots are unknown" in capsys.readouterr().err


def test_health_and_token_come_from_the_files(settings):
    write_files(settings)
    first, second, third = states_of(settings, NOON_NS)
    assert (first.healthy, first.checked_s_ago) == (True, 30.0)
    assert (first.token_age_s, first.token_expires_in_s) == (4 * 3600.0, 20 * 3600.0)
    assert (second.healthy, second.token_age_s) == (False, None)
    assert third.healthy is None, "a quality report of an hour ago is none"


def test_streams_and_slots_come_from_the_database(settings):
    make_database(settings.store.url)
    writer = StoreWriter(settings.store.url)
    writer.open()
    slots = [
        SlotAssigned(slot, symbol, NOON_NS, "manual", 1.0, "pinned", None)
        for slot, symbol in ((f"{FIRST}:01", "005930"), (f"{FIRST}:02", "000660"), (f"{SECOND}:01", "035720"))
    ]
    changes = [ConnectionChanged("kis", FIRST, NOON_NS - 1, "connected", "", 0)]
    writer.commit([Delivered("track-b", "5" * 32, 1, [*slots, *changes])])
    writer.close()
    found = [(state.slots_held, state.stream, state.max_slots) for state in states_of(settings, NOON_NS)]
    assert found == [(2, "connected", 41), (1, None, 41), (0, None, 41)]


@pytest.mark.parametrize(
    ("hour", "text"), [(3, "market closed, next 08:00"), (22, "market closed"), (12, ""), (None, "")]
)
def test_at_night_no_stream_is_due(
    settings,
    monkeypatch,
    capsys,
    tmp_path,
    hour,
    text,
):
    write_files(settings)
    make_database(settings.store.url)
    if hour == 22:
        writer = StoreWriter(settings.store.url)
        writer.open()
        closed = ConnectionChanged("kis", THIRD, local_ns(DAY, 20), "closed", "", 0)
        writer.commit([Delivered("track-b", "5" * 32, 1, [closed])])
        writer.close()
    if hour is not None:
        write_trading_days(Path(settings.run.runtime), [TradingDay(DAY, True, "test")])
    monkeypatch.setattr("observer.cli.accounts.age_time_ns", lambda *_: local_ns(DAY, hour or 3))
    assert exit_status(monkeypatch, "accounts", "--config", f"{tmp_path}/observer.toml") == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith(THIRD))
    assert row.partition("of 41")[2].strip() == text


def test_the_command_prints_one_array_without_a_secret(settings, monkeypatch, capsys, tmp_path):
    write_files(settings)
    make_database(settings.store.url)
    assert exit_status(monkeypatch, "accounts", "--config", f"{tmp_path}/observer.toml", "--json") == 0
    reported = capsys.readouterr().out
    assert [each["account_id"] for each in json.loads(reported)] == [FIRST, SECOND, THIRD]
    assert exit_status(monkeypatch, "accounts", "--config", f"{tmp_path}/observer.toml") == 0
    table = capsys.readouterr().out
    assert "slots used" in table
    assert "0 of 41" in table
    secrets = ["hush", *msgspec.toml.decode((tmp_path / "keys.toml").read_bytes())[FIRST].values()]
    assert not any(secret in reported + table for secret in secrets)


@pytest.mark.parametrize(
    ("stored_ns", "age_s", "as_of"), [(NOON_NS + HOUR_NS, 5 * 3600.0, "13:00"), (None, 4 * 3600.0, "12:00")]
)
def test_ages_of_a_stopped_system_count_to_the_newest_event_or_file(
    settings,
    monkeypatch,
    capsys,
    tmp_path,
    stored_ns,
    age_s,
    as_of,
):
    write_files(settings)
    if stored_ns is not None:
        make_database(settings.store.url)
        writer = StoreWriter(settings.store.url)
        writer.open()
        phase = PhaseChanged("2026-11-18", stored_ns, "CLOSED", "IDLE")
        writer.commit([Delivered("supervisor", "5" * 32, 1, [phase])])
        writer.close()
    assert exit_status(monkeypatch, "accounts", "--config", f"{tmp_path}/observer.toml", "--json") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)[0]["token_age_s"] == age_s
    assert f"no system answers here: as of 2026-11-18 {as_of}:00 KST" in printed.err


def test_ages_of_a_running_system_count_to_its_market_time(settings, monkeypatch, capsys, tmp_path):
    write_files(settings)
    make_database(settings.store.url)
    status = StatusReply([], "IDLE", NOON_NS + 2 * HOUR_NS, 1, 1.0)
    with answering(Path(settings.run.runtime).parent, lambda _: status):
        assert exit_status(monkeypatch, "accounts", "--config", f"{tmp_path}/observer.toml", "--json") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)[0]["token_age_s"] == 6 * 3600.0
    assert printed.err == ""
