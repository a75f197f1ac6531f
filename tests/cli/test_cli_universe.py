"""`observer universe`: what the database has of a day's universe, and how two days differ."""

import json

import pytest

from bus.delivery import Delivered
from bus.events import UniverseBuilt
from observer.demo.configuration import DemoConfiguration, write_demo_configuration
from observer.reference.universe.eligibility import KOREAN_STOCKS
from observer.reference.universe.files import universe_content
from observer.store.reader import StoreReader
from observer.store.writer import StoreWriter
from observer.system.config import load_settings
from tests.cli.test_cli_control import exit_status
from tests.selection.builders import member
from tests.store.listings import listing_changed
from tests.store.migrated import make_database

EARLIER, LATER = "2026-11-17", "2026-11-18"


def universe(date, symbols):
    members = [member(symbol, session_date=date, rank=rank) for rank, symbol in enumerate(symbols, start=1)]
    return [*members, UniverseBuilt("kis", KOREAN_STOCKS, date, "2026-11-16", 5, len(members), 9, 4_000.0)]


@pytest.fixture
def configuration(tmp_path):
    """B was delisted since, C is suspended; D is new."""
    (tmp_path / "data").mkdir()
    path = write_demo_configuration(tmp_path, DemoConfiguration(symbols=60, seed=7))
    url = load_settings(path).store.url
    make_database(url)
    writer = StoreWriter(url)
    writer.open()
    listings = [listing_changed(symbol="A"), listing_changed(symbol="C", suspended=True), listing_changed(symbol="D")]
    events = [*listings, *universe(EARLIER, "ABC"), *universe(LATER, "DA")]
    writer.commit([Delivered("master-file", "7" * 32, 1, events)])
    writer.close()
    return path


def asked(configuration, monkeypatch, *words):
    return exit_status(monkeypatch, "universe", *words, "--config", str(configuration))


def test_the_universe_is_shown_by_rank(configuration, monkeypatch, capsys):
    assert asked(configuration, monkeypatch, "20261117", "--json") == 0
    reported = json.loads(capsys.readouterr().out)
    assert [(each["symbol"], each["rank"], each["considered"]) for each in reported] == [
        ("A", 1, 9), ("B", 2, 9), ("C", 3, 9),
    ]  # fmt: skip
    assert asked(configuration, monkeypatch, EARLIER) == 0
    assert f"universe on {EARLIER}: 3 rows" in capsys.readouterr().out


def test_the_file_of_a_day_can_be_rebuilt_from_the_database(configuration, monkeypatch, capfdbinary):
    assert asked(configuration, monkeypatch, "file", EARLIER) == 0
    with StoreReader(load_settings(configuration).store.url) as reader:
        assert capfdbinary.readouterr().out == universe_content(reader, EARLIER, KOREAN_STOCKS)


def test_diff_lists_the_symbols_that_came_and_the_symbols_that_left_with_the_reason(configuration, monkeypatch, capsys):
    assert asked(configuration, monkeypatch, "diff", EARLIER, LATER, "--json") == 0
    reported = json.loads(capsys.readouterr().out)
    assert [(each["symbol"], each["rank"]) for each in reported["came"]] == [("D", 1)]
    assert {each["symbol"]: each["reason"] for each in reported["left"]} == {"B": "delisted", "C": "suspended"}
    assert asked(configuration, monkeypatch, "diff", EARLIER, LATER) == 0
    assert "- B Samsung: was rank 2; delisted" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "status"),
    [(("file", "2026-11-16"), 1), (("diff", "2026-11-16", LATER), 1), (("file", "tomorrow"), 2)],
)
def test_a_day_without_a_universe_is_reported(
    configuration,
    monkeypatch,
    capsys,
    words,
    status,
):
    assert asked(configuration, monkeypatch, *words) == status
    assert words[1] in capsys.readouterr().err


def test_the_last_universe_is_shown_and_is_what_a_day_is_compared_with(configuration, monkeypatch, capsys):
    assert asked(configuration, monkeypatch) == 0
    assert capsys.readouterr().out.startswith(f"universe on {LATER} (the last stored session): 2 rows")
    assert asked(configuration, monkeypatch, "diff", EARLIER) == 0
    assert capsys.readouterr().out.startswith(f"from {EARLIER} to {LATER} (the last stored session)\n")


def test_nothing_is_built_where_no_system_runs(configuration, monkeypatch, capsys):
    assert asked(configuration, monkeypatch, "build") == 2
    assert "start one with `observer run`" in capsys.readouterr().err
