"""`observer etfs`, `etf report` and `etf update`: what a user sees of ETFs."""

import json
from datetime import date

import pytest
from click.testing import CliRunner

from bus.delivery import Delivered
from bus.events import PhaseChanged
from observer.base.errors import NoDataError
from observer.base.local_time import local_ns
from observer.base.units import NS_PER_S
from observer.cli.app import command_line
from observer.store.writer import StoreWriter
from tests.store.etf import (
    SESSION,
    etf_job_ended,
    etf_listed,
    etf_measured,
    etf_range_found,
    etf_valued,
)
from tests.store.migrated import make_database

NOON_NS = local_ns(date.fromisoformat(SESSION), 12)
EVENTS = [
    etf_listed(),
    etf_listed(symbol="252670", name="KODEX 200선물인버스2X", leverage=-2.0, expense_ratio_percent=0.64),
    etf_listed(symbol="Q500001", name="신한 ETN", group="EN"),
    etf_valued(),
    etf_valued(symbol="252670", aum=1e12),
    etf_measured(),
    etf_measured(symbol="252670", premium_20d_percent=-0.3),
    etf_range_found(),
    etf_listed(listed_ns=50, change="changed", name="KODEX 200 TR", changed_fields="name"),
    etf_job_ended(),
]


@pytest.fixture
def configuration(tmp_path):
    """Runs a command of a stopped system whose database holds some ETFs."""
    url = f"sqlite:///{tmp_path}/observer.db"
    make_database(url)
    writer = StoreWriter(url)
    writer.commit([Delivered("etf", "5" * 32, 1, EVENTS)])
    writer.close()
    path = tmp_path / "observer.toml"
    path.write_text(f'[run]\nruntime = "{tmp_path}/run"\n[store]\nurl = "{url}"\n')
    return path


def ask(configuration, *arguments):
    return CliRunner().invoke(
        command_line(), ["etf", *arguments, "--config", str(configuration)], env={"COLUMNS": "200"}
    )


def asked(configuration, *arguments):
    return json.loads(ask(configuration, *arguments, "--json").stdout)


def shown(configuration, *words):
    ran = CliRunner().invoke(command_line(), [*words, "--json", "--config", str(configuration)])
    return json.loads(ran.stdout)


def test_etfs_are_sorted_and_chosen(configuration):
    def symbols(*words):
        return [each["symbol"] for each in shown(configuration, "etfs", *words)]

    assert symbols() == ["069500", "252670", "Q500001"]
    assert symbols("--where", "\"group\" = 'EN' AND active") == ["Q500001"]
    assert symbols("--sort", "-expense_ratio_percent")[0] == "252670"
    assert symbols("--where", "name LIKE '%인버스%'") == ["252670"]


def test_an_etf_with_an_unknown_figure_comes_last_after_negative_figures(configuration):
    etfs = shown(configuration, "etfs", "--sort", "-premium_20d_percent")
    assert [etf["premium_20d_percent"] for etf in etfs] == [0.1, -0.3, None]


def test_one_etf_has_the_sources_of_its_fields_and_its_changes(configuration):
    [etf] = shown(configuration, "etfs", "069500")
    assert (etf["aum"], etf["name"]) == (9.43e12, "KODEX 200 TR")
    assert json.loads(etf["sources"]) == {"name": "master_files", "expense_ratio_percent": "csv"}
    assert [each["change"] for each in shown(configuration, "etf_changes", "069500")] == ["new", "changed"]


def test_each_days_list_can_be_read_again(configuration):
    append(
        configuration,
        etf_listed(session_date="2026-11-19", listed_ns=90, change="same"),
        etf_listed(session_date="2026-11-19", listed_ns=90, symbol="252670", change="removed"),
    )
    assert [each["symbol"] for each in shown(configuration, "etf_lists", SESSION)] == ["069500"], "the last of the day"
    assert [each["symbol"] for each in shown(configuration, "etf_lists", "2026-11-19")] == ["069500"]
    assert [each["change"] for each in shown(configuration, "etf_changes", "252670")] == ["new", "removed"]
    ran = CliRunner().invoke(command_line(), ["etf_lists", "2026-01-01", "--config", str(configuration)])
    assert isinstance(ran.exception, NoDataError)


def append(configuration, *events):
    writer = StoreWriter(f"sqlite:///{configuration.parent}/observer.db")
    writer.commit([Delivered("etf", "7" * 32, 1, events)])
    writer.close()


def test_the_report_shows_stale_jobs_and_missing_fields_and_ends_with_status_1(configuration):
    append(configuration, PhaseChanged(SESSION, NOON_NS, "IDLE", "WARMUP"))
    result = ask(configuration, "report")
    assert result.exit_code == 1
    assert "never" in result.stdout
    assert "\nobserver: not up to date: list, values, " in result.stderr
    reported = asked(configuration, "report")
    assert {job["job"]: job["freshness"] for job in reported["jobs"]}["etf_list"] == "stale"
    assert {field["field"]: field["known"] for field in reported["fields"]}["aum"] == 2
    assert (reported["products"], reported["etfs"]) == (3, 2)


def test_the_age_of_a_job_of_a_stopped_system_counts_to_the_newest_event(configuration):
    ended = etf_job_ended(started_ns=NOON_NS - NS_PER_S, ended_ns=NOON_NS)
    append(configuration, ended, PhaseChanged(SESSION, NOON_NS + 2 * 3_600 * NS_PER_S, "CLOSED", "IDLE"))
    [job] = [job for job in asked(configuration, "report")["jobs"] if job["job"] == "etf_list"]
    assert (job["age_hours"], job["freshness"]) == (2.0, "fresh")
    assert f"as of {SESSION} 14:00:00 KST" in ask(configuration, "report").stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["update", "prices"], "there are list, values, measures, ranges"),
        (["update"], "no system runs here"),
    ],
)
def test_an_impossible_request_is_refused_with_the_valid_choices(configuration, arguments, why):
    result = ask(configuration, *arguments)
    assert result.exit_code != 0
    assert why in str(result.exception)
