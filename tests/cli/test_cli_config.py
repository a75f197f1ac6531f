"""`observer config`: effective values with their origins and without secrets, all errors at once, differences."""

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from bus.commands import Reload, ReloadReply
from observer.base.errors import ConfigError
from observer.cli.app import command_line
from observer.cli.config_values import DEFAULT, values_of, with_origins
from observer.system.config import Settings, load_settings
from tests.cli.test_cli_control import answering
from tests.folders import short_folder

SHIPPED = Path(__file__).parents[2] / "config" / "observer.toml"
PASSWORD = "p4ss-w0rd"
TEXT = f"""[store]
url = "postgresql+psycopg://observer:{PASSWORD}@db/market"

[kis.rate_limit]
calls_per_second = 12.0

[simulator]
seed = 1
session_date = "2026-11-18"
app_keys = {{ PSfirst0123456789 = "hush-hush-hush" }}
"""


@pytest.fixture
def folder(monkeypatch):
    """The working directory, with a configuration in its usual place."""
    with short_folder() as made:
        monkeypatch.chdir(made)
        (made / "config").mkdir()
        (made / "config" / "observer.toml").write_text(TEXT)
        (made / "config" / "trading_days.toml").touch()
        (made / "config" / "keys.toml").touch()
        yield made


def typed(*words):
    return CliRunner().invoke(command_line(), ["config", *words])


def test_every_value_is_shown_with_the_file_and_the_line_that_state_it(folder):
    (folder / "pool.json").write_text(
        '{"provider_pool": {"accounts": [\n {"account_id": "one", "keys_file": "k", "priority": 2}]}}'
    )
    configuration = folder / "config" / "observer.toml"
    configuration.write_text(f'{TEXT}\n[run]\nprovider_pool = "pool.json"\n')
    values = {each["key"]: each for each in json.loads(typed("show", "--origin", "--json").stdout)}
    assert values["kis.rate_limit.calls_per_second"] == {
        "key": "kis.rate_limit.calls_per_second",
        "value": 12.0,
        "origin": "config/observer.toml:5",
    }
    assert values["kis.rate_limit.penalty_s"]["origin"] == DEFAULT
    assert values["provider_pool.accounts[0].priority"]["origin"] == "pool.json:2"
    assert values["provider_pool.failover_enabled"]["origin"] == DEFAULT
    assert values["symbol_selection.slots.max_slots"]["origin"] == DEFAULT


def test_every_setting_of_the_shipped_files_comes_from_them(monkeypatch):
    monkeypatch.chdir(SHIPPED.parents[1])
    path = SHIPPED.relative_to(SHIPPED.parents[1])
    values = with_origins(path, load_settings(path))
    from_defaults = {each.key.partition(".")[0] for each in values if each.origin == DEFAULT}
    commented = {"run", "store", "kis", "lake", "tape", "metrics", "web", "simulator", "alerts", "upbit"}
    assert from_defaults <= commented | {"provider_pool"} | {
        each for each in from_defaults if each in load_settings(path).brokers
    }


def test_values_are_those_of_the_settings(folder):
    settings = load_settings(folder / "config" / "observer.toml")
    values = values_of(settings)
    assert values["track_a.interval_s"] == settings.track_a.interval_s
    assert values["symbol_selection.slots.max_slots"] == settings.selection.slots.max_slots
    assert values["metrics"] is None


@pytest.mark.parametrize(
    "words", [("show",), ("show", "--json"), ("show", "--origin", "--json"), ("diff", "--defaults"), ("check",)]
)
def test_no_secret_is_shown(folder, words):
    ran = typed(*words)
    assert ran.exit_code == 0, ran.output
    assert PASSWORD not in ran.output
    assert "hush" not in ran.output
    assert "PSfirst" not in ran.output


def test_one_section_is_shown_and_an_unknown_one_names_the_nearest(folder):
    shown = json.loads(typed("show", "kis.rate_limit", "--json").stdout)
    assert set(shown) == {f"kis.rate_limit.{key}" for key in ("calls_per_second", "calls_per_minute", "penalty_s")}
    with pytest.raises(ConfigError, match="no such section or key; did you mean schedule"):
        CliRunner().invoke(command_line(), ["config", "show", "shedule"], catch_exceptions=False, standalone_mode=False)


def test_a_right_configuration_is_status_0(folder):
    ran = typed("check")
    assert (ran.exit_code, ran.stdout) == (0, "config/observer.toml: nothing is wrong\n")


def test_the_shipped_configuration_has_no_key_that_nothing_reads(monkeypatch):
    monkeypatch.chdir(SHIPPED.parents[1])
    ran = typed("check", "--json")
    assert ran.exit_code == 0
    found = json.loads(ran.stdout)
    assert found["problems"] == []
    assert [each for each in found["notices"] if "keys.toml" not in each] == []


def test_the_errors_of_all_files_are_named_at_once(folder):
    (folder / "pool.json").write_text('{"provider_pool": {"accounts": []}}')
    (folder / "other.toml").write_text('[track_a]\ninterval_s = 0\n[run]\nprovider_pool = "pool.json"\nlogs = "x"\n')
    ran = typed("check", "other.toml")
    assert ran.exit_code == 1
    first, second = ran.stdout.splitlines()
    assert first.startswith("error: other.toml:2: track_a.interval_s = 0: must be >= 1")
    assert second.startswith("error: other.toml:5: run.logs: unknown key")


def test_the_accounts_are_checked_beside_wrong_sections(folder):
    (folder / "pool.json").write_text('{"provider_pool": {"accounts": []}}')
    (folder / "other.toml").write_text('[track_a]\ninterval_s = 0\n[run]\nprovider_pool = "pool.json"\n')
    found = json.loads(typed("check", "other.toml", "--json").stdout)["problems"]
    assert [each.partition(":")[0] for each in found] == ["other.toml", "pool.json"]


def test_keys_that_nothing_reads_and_absent_files_are_warnings(folder):
    (folder / "other.toml").write_text(
        '[sectors]\ndaily_at = "05:00"\n[backup]\ncopy_to = "absent"\ncommand_limit_s = 9.0\n'
        "[universe]\neligibility_weekdays_max = 9\n[etf.krx]\ntake_over_session = true\n"
        '[alerts]\nmessages_per_hour = 3\n[run]\ntrading_days = "none.toml"\n'
    )
    ran = typed("check", "other.toml")
    assert ran.exit_code == 0
    lines = [line.removeprefix("warning: other.toml:").partition(": ")[0] for line in ran.stdout.splitlines()]
    assert lines == ["2", "4", "5", "7", "9", "11", "13"]
    assert all("nothing reads" in line or "is not there" in line for line in ran.stdout.splitlines())


def test_a_file_that_is_not_there_is_status_2(folder):
    with pytest.raises(ConfigError, match=r"cannot read absent\.toml"):
        CliRunner().invoke(
            command_line(), ["config", "check", "absent.toml"], catch_exceptions=False, standalone_mode=False
        )


def test_what_differs_from_the_defaults_is_shown(folder):
    found = json.loads(typed("diff", "--defaults", "--json").stdout)
    assert {"key": "kis.rate_limit.calls_per_second", "value": 12.0, "other": 18.0} in found
    assert {each["key"].partition(".")[0] for each in found} == {"store", "kis", "simulator"}


def test_what_differs_from_another_file_is_shown(folder):
    (folder / "other.toml").write_text(TEXT.replace("12.0", "15.0"))
    assert json.loads(typed("diff", "other.toml", "--json").stdout) == [
        {"key": "kis.rate_limit.calls_per_second", "value": 12.0, "other": 15.0}
    ]
    (folder / "other.toml").write_text(TEXT)
    assert "no difference" in typed("diff", "other.toml").stdout


def test_another_password_is_a_difference_and_is_not_shown(folder):
    assert TEXT.count(PASSWORD) == 1
    (folder / "other.toml").write_text(TEXT.replace(PASSWORD, "another-secret"))
    ran = typed("diff", "other.toml", "--json")
    [difference] = json.loads(ran.stdout)
    assert difference["key"] == "store.url"
    assert PASSWORD not in ran.stdout
    assert "another-secret" not in ran.stdout


def test_an_empty_group_is_no_difference_beside_the_keys_of_the_other_side(folder):
    (folder / "other.toml").write_text(f'{TEXT}\n[alerts.targets.phone]\nseverity = "critical"\n')
    keys = [each["key"] for each in json.loads(typed("diff", "other.toml", "--json").stdout)]
    assert "alerts.targets" not in keys
    assert all(key.startswith("alerts.targets.phone") for key in keys)
    assert keys


def test_the_running_system_is_asked_what_a_reload_would_restart_and_restarts_nothing(folder):
    planned = ReloadReply(["track-b"], [], [], [], "dry_run")
    with answering(folder, lambda _: planned) as asked:
        ran = typed("diff")
    assert (ran.exit_code, ran.stdout) == (0, "track-b: would be restarted\n")
    assert asked == [Reload(dry_run=True)]


def test_every_field_of_the_settings_is_shown(folder):
    keys = {key.partition(".")[0] for key in values_of(Settings())}
    sections = {field.name for field in msgspec.structs.fields(Settings)}
    assert sections - {"pool", "selection", "sessions", "keys_digest", "brokers"} <= keys
