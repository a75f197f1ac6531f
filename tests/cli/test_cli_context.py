"""Which system a command is about, of those configured in its folder, and what it says of the choice."""

import json
from pathlib import Path

import pytest
import tomli_w

from bus.delivery import Delivered
from bus.events import SweepCompleted
from observer.base.errors import ConfigError
from observer.cli.context import Candidate, chosen, parsed_day
from observer.store.writer import StoreWriter
from tests.cli.test_cli_control import exit_status
from tests.store.migrated import make_database

OURS, DEMO = Path("config/observer.toml"), Path("demo/observer.toml")
DAY = "2026-11-18"


@pytest.mark.parametrize(
    ("ours", "demo", "expected"),
    [
        ("", "", OURS),
        ("database", "", OURS),
        ("", "database", DEMO),
        ("database", "database", OURS),
        ("database", "runs", DEMO),
        ("runs", "runs database", OURS),
        ("runs", "database", OURS),
    ],
)
def test_a_running_system_is_chosen_before_a_database_and_ours_before_the_demo_s(ours, demo, expected):
    states = ((OURS, ours), (DEMO, demo))
    candidates = [Candidate(path, "runs" in state, "database" in state) for path, state in states]
    assert chosen(candidates).path == expected


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def configure(path, *, day=None, url=""):
    """A configuration; with a day also its database, with one sweep of that day."""
    path.parent.mkdir(exist_ok=True)
    url = url or f"sqlite:///{path.parent}/observer.db"
    path.write_text(tomli_w.dumps({"run": {"runtime": str(path.parent / "run")}, "store": {"url": url}}))
    if day is not None:
        make_database(url)
        writer = StoreWriter(url)
        writer.open()
        writer.commit([Delivered("track-a", "5" * 32, 1, [SweepCompleted("kis", day, 1, 1, 2, 1, 1, 0)])])
        writer.close()


def test_after_a_demo_commands_find_its_database_and_say_so_once(here, monkeypatch, capsys):
    configure(OURS)
    configure(DEMO, day=DAY)
    assert exit_status(monkeypatch, "gaps") == 0
    answer = capsys.readouterr()
    assert answer.out == f"no gaps on {DAY} (the last stored session)\n"
    assert answer.err == "observer: using demo/observer.toml\n"
    assert exit_status(monkeypatch, "gaps", "--json") == 0
    answer = capsys.readouterr()
    assert json.loads(answer.out) == []
    assert answer.err == ""


def test_slots_and_quality_of_a_day_without_a_slot_are_sentences(here, monkeypatch, capsys):
    configure(OURS, day=DAY)
    assert exit_status(monkeypatch, "slots", "show") == 0
    assert exit_status(monkeypatch, "coverage") == 0
    assert exit_status(monkeypatch, "exports", "rebuild") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{DAY} (the last stored session): 0 slots taken, 41 available",
        f"no symbol had a slot on {DAY} (the last stored session)",
        f"nothing was refused or recovered on {DAY} (the last stored session)",
    ]
    assert exit_status(monkeypatch, "decisions", "verify") == 1
    assert "no decisions of 2026-11-18 are stored" in capsys.readouterr().err


def test_without_ours_the_demo_s_is_used_even_before_it_has_a_database(here, monkeypatch, capsys):
    configure(DEMO)
    assert exit_status(monkeypatch, "gaps") == 2
    using, error = capsys.readouterr().err.splitlines()
    assert using == "observer: using demo/observer.toml"
    assert "there is no database" in error
    assert "the first run, or demo, makes one" in error


def test_without_any_configuration_the_error_says_what_makes_one(here, monkeypatch, capsys):
    assert exit_status(monkeypatch, "quality") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "observer demo" in line
    assert "--config" in line


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_where_both_have_a_database_the_other_is_named_when_ours_has_no_answer(here, monkeypatch, capsys, form):
    configure(OURS, day="2026-11-16")
    configure(DEMO, day=DAY)
    assert exit_status(monkeypatch, "gaps", *form) == 0
    assert capsys.readouterr().err == ""
    assert exit_status(monkeypatch, "gaps", DAY, *form) == 1
    answer = capsys.readouterr()
    assert answer.out == ""
    assert answer.err == (
        f"observer: {DAY} is not stored: stored are 2026-11-16; days() lists them; "
        "there is another database: --config demo/observer.toml\n"
    )
    assert exit_status(monkeypatch, "gaps", "2026-11-17", "--config", str(OURS)) == 1
    assert "another database" not in capsys.readouterr().err


def test_a_configured_server_counts_as_a_database(here, monkeypatch, capsys):
    configure(OURS, url="postgresql+psycopg://reader@127.0.0.1:1/none")
    configure(DEMO, day=DAY)
    assert exit_status(monkeypatch, "gaps") == 1
    assert "127.0.0.1" in capsys.readouterr().err


def test_a_demo_s_configuration_that_cannot_be_read_does_not_matter_to_ours(here, monkeypatch, capsys):
    configure(OURS, day=DAY)
    configure(DEMO)
    DEMO.write_text("[")
    assert exit_status(monkeypatch, "gaps") == 0
    assert capsys.readouterr().err == ""
    OURS.unlink()
    assert exit_status(monkeypatch, "gaps") == 2
    assert "demo/observer.toml:1: is not TOML" in capsys.readouterr().err


def test_a_database_without_a_session_says_what_stores_one(here, monkeypatch, capsys):
    configure(OURS)
    make_database("sqlite:///config/observer.db")
    assert exit_status(monkeypatch, "quality") == 1
    assert capsys.readouterr().err == (
        "observer: no session is stored yet: `observer run` or `observer demo` stores one\n"
    )


@pytest.mark.parametrize(
    ("typed", "expected"),
    [("2026-11-18", DAY), ("20261118", DAY), ("today", "today"), ("Yesterday", "yesterday"), ("LAST", "last")],
)
def test_a_day_is_a_date_or_a_word(typed, expected):
    assert parsed_day(typed) == expected


@pytest.mark.parametrize("typed", ["tomorrow", "2026-13-01", "18.11.2026", ""])
def test_what_is_no_day_is_refused_with_the_forms(typed):
    with pytest.raises(ConfigError, match="2026-11-18, 20261118, today, yesterday or last"):
        parsed_day(typed)
