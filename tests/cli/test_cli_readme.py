"""README.md and the pages of the start, commands and data: commands exist with their arguments, examples run."""

import contextlib
import re
import shlex
from datetime import date
from pathlib import Path

import click
import pytest

from bus.delivery import Delivered
from bus.events import GapDetected
from observer.base.local_time import local_ns
from observer.cli.app import command_line
from observer.store.writer import StoreWriter
from tests.builders import trade
from tests.store.migrated import make_database
from tests.store.raw import query

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/start.md", "docs/commands.md", "docs/data.md")
README = "".join((ROOT / page).read_text() for page in PAGES)
PROGRAM = ".venv/bin/observer "
COMMANDS = [line.removeprefix(PROGRAM) for line in README.splitlines() if line.startswith(PROGRAM)]
DAY = "2026-11-18"


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_readme_is_understood_as_it_is_printed(line):
    words = shlex.split(line, comments=True)
    command: click.Command = command_line()
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        _, found, words = command.resolve_command(click.Context(command), words)
        assert found is not None
        command = found
    with contextlib.suppress(click.exceptions.Exit):  # --help
        command.make_context("observer", words)


def test_the_readme_names_commands():
    assert len(COMMANDS) > 20


def test_every_query_of_the_readme_runs(tmp_path):
    url = f"sqlite:///{tmp_path / 'observer.db'}"
    make_database(url)
    statements = [each for block in re.findall(r"```sql\n(.*?)```", README, re.DOTALL) for each in block.split(";\n")]
    assert len(statements) > 7
    for statement in statements:
        query(url, statement)


def test_the_python_example_of_the_start_prints_the_trades_of_the_last_session(tmp_path, monkeypatch, capsys):
    [example] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "start.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo" / "data").mkdir(parents=True)
    url = "sqlite:///demo/data/observer.db"
    make_database(url)
    writer = StoreWriter(url)
    at_ns = local_ns(date.fromisoformat(DAY), 10)
    gap = GapDetected("gap-1", "kis", "005930", DAY, at_ns, at_ns, at_ns, 1, 2, 1, 1, "reconnect")
    writer.commit([Delivered("track-b", "5" * 32, 1, [trade(1), trade(2), gap])])
    writer.close()
    exec(example, {})
    first, *trades = capsys.readouterr().out.splitlines()
    assert first == f"{DAY} 2 trades of 005930, not judged yet"
    assert len(trades) == 2
