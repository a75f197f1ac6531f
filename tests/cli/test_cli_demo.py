"""`observer demo`: the commands that it prints at its end, and its streams in the help."""

import shutil
import sys
from pathlib import Path

import click
import pytest

from observer.base.errors import TransportError
from observer.cli.demo import MoreRecords, demo, faults, next_commands, program_of
from observer.cli.frame import command_of
from tests.demo.test_demo_summary import but

HERE = Path("demo")
DATABASE = "sqlite:////elsewhere/observer.db"


def test_the_commands_need_no_configuration_where_every_command_finds_the_demo():
    assert not any("--config" in command for command in next_commands(".venv/bin/observer", HERE, DATABASE))


def test_after_a_demo_in_another_folder_the_commands_name_its_configuration():
    commands = next_commands(".venv/bin/observer", Path("other place"), DATABASE)
    assert len([command for command in commands if "--config 'other place/observer.toml'" in command]) >= 2


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="the sqlite3 shell is not installed")
def test_the_query_is_one_for_the_shell_and_for_the_best_known_share(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shell = next_commands("observer", HERE, f"sqlite:///{tmp_path}/demo/data/observer.db")[-1]
    assert shell.startswith('sqlite3 demo/data/observer.db "SELECT ')
    assert "symbol = '005930'" in shell


def test_without_the_database_s_shell_the_third_command_is_one_of_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    for database in (DATABASE, "postgresql+psycopg://user:***@127.0.0.1/empty"):
        assert next_commands("observer", HERE, database)[-1] == "observer slots why 005930"


def test_the_program_is_printed_as_it_can_be_typed_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    on_path = tmp_path / "bin" / "observer"
    on_path.parent.mkdir()
    on_path.touch(mode=0o755)
    assert program_of(".venv/bin/observer") == ".venv/bin/observer"
    assert program_of(str(tmp_path / ".venv" / "bin" / "observer")) == ".venv/bin/observer"
    assert program_of("/packages/observer/__main__.py") == f"{sys.executable} -m observer"
    monkeypatch.setenv("PATH", str(on_path.parent))
    assert program_of(str(on_path)) == "observer"


@pytest.mark.parametrize("failure", [TransportError("the simulator does not give its ledger"), OSError(28, "no space")])
def test_a_day_without_the_broker_s_ledger_has_one_line_with_the_cause(failure):
    day = but(overstated=None)
    assert not day.succeeded
    assert list(faults(day, HERE, failure)) == [f"no comparison with the broker's ledger: {failure}"]


def test_the_help_names_every_stream():
    command = command_of("demo", demo)
    text = command.get_help(click.Context(command, max_content_width=200))
    assert all(kind in text for kind in MoreRecords.__args__)
