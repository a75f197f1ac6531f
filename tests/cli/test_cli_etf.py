"""`observer etf list|show|report|update`: what a user sees of ETFs."""

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


def test_the_list_sorts_and_filters_etfs_as_requested(configuration):
    assert [etf["symbol"] for etf in asked(configuration, "list")] == ["069500", "252670", "Q500001"]
    assert [etf["symbol"] for etf in asked(configuration, "list", "--group", "EN")] == ["Q500001"]
    assert [etf["symbol"] for etf in asked(configuration, "list", "--sort", "expense", "--limit", "1")] == ["252670"]
    assert [etf["symbol"] for etf in asked(configuration, "list", "--sort", "aum")][:2] == ["069500", "252670"]
    assert [etf["symbol"] for etf in asked(configuration, "list", "--issuer", "인버스")] == ["252670"]


def test_an_etf_with_an_unknown_figure_comes_last_after_negative_figures(configuration):
    etfs = asked(configuration, "list", "--sort", "premium")
    assert [etf["premium_20d_percent"] for etf in etfs] == [0.1, -0.3, None]


def test_the_table_shows_value_premium_and_range(configuration):
    shown = ask(configuration, "list").stdout
    assert "KODEX 200 TR" in shown
    assert all(figure in shown for figure in ("9,430.0", "0.10", "40,000", "60,000", "50,050.00"))


@pytest.mark.parametrize(("price", "low", "high"), [(61_500.0, "40,000", "61,500"), (39_990.0, "39,990", "60,000")])
def test_the_range_of_52_weeks_holds_a_price_beyond_all_closes(configuration, price, low, high):
    writer = StoreWriter(f"sqlite:///{configuration.parent}/observer.db")
    writer.commit([Delivered("etf", "6" * 32, 1, [etf_valued(valued_ns=60, price=price)])])
    writer.close()
    [line] = [line for line in ask(configuration, "list").stdout.splitlines() if line.startswith("069500")]
    assert line.split()[-2:] == [low, high]


def test_a_days_list_is_shown_as_it_was(configuration):
    [etf] = asked(configuration, "list", SESSION)
    assert (etf["symbol"], etf["change"]) == ("069500", "changed")
    assert "KODEX 200 TR" in ask(configuration, "list", SESSION).stdout


def test_one_etf_is_shown_with_the_sources_of_its_fields_and_its_history(configuration):
    shown = ask(configuration, "show", "069500").stdout
    assert "csv" in shown
    assert f"{SESSION} changed: name" in shown
    reported = asked(configuration, "show", "069500")
    assert reported["etf"]["aum"] == 9.43e12
    assert reported["etf"]["sources"] == {"name": "master_files", "expense_ratio_percent": "csv"}
    assert [change["change"] for change in reported["changes"]] == ["new", "changed"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [(["show", "999999"], "no list of ETFs ever had"), (["list", "2026-01-01"], "no list of ETFs of 2026-01-01")],
)
def test_an_etf_or_a_list_that_is_not_stored_is_an_error(configuration, arguments, why):
    found = ask(configuration, *arguments)
    assert isinstance(found.exception, NoDataError)
    assert why in str(found.exception)


def test_an_issuer_without_an_etf_is_a_sentence(configuration):
    assert ask(configuration, "list", "--issuer", "elsewhere").stdout == "no ETF or ETN matches\n"
    assert asked(configuration, "list", "--issuer", "elsewhere") == []


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
        (["list", "--sort", "size"], "there are symbol, aum, premium, expense"),
    ],
)
def test_an_impossible_request_is_refused_with_the_valid_choices(configuration, arguments, why):
    result = ask(configuration, *arguments)
    assert result.exit_code != 0
    assert why in str(result.exception)
