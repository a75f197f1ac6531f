"""A command that a text of the product names exists, with its options: an error's remedy, a help text, a hint."""

import re
from pathlib import Path

import click
import pytest

from observer.cli.app import command_line
from observer.cli.demo import next_commands

ROOT = Path(__file__).parents[2]
_NAMED = re.compile(r"`observer ([a-z][^`]*)`")


def wrong_in(command):
    """What is wrong with a command as a text names it; empty if nothing is. Capitals and braces stand for values."""
    found: click.Command = command_line()
    words = command.split()
    while isinstance(found, click.Group) and words and re.fullmatch(r"[a-z][a-z-]*", words[0]):
        try:
            _, resolved, words = found.resolve_command(click.Context(found), words)
        except click.UsageError as error:
            return str(error)
        assert resolved is not None
        found = resolved
    options = {name for each in found.params for name in (*each.opts, *each.secondary_opts)}
    return " ".join(word for word in words if word.startswith("--") and word.partition("=")[0] not in options)


def named_in(text):
    """The commands that a source names; a name over two of its lines is joined."""
    joined = re.sub(r'"\s*\n\s*f?"', "", text)
    return {command for command in _NAMED.findall(joined) if "\n" not in command}


SOURCES = [path for room in ("observer", "bus", "workers") for path in sorted((ROOT / room).rglob("*.py"))]
COMMANDS = sorted({command for path in SOURCES for command in named_in(path.read_text())})


def test_the_sources_name_commands():
    assert len(COMMANDS) > 100


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_a_text_names_exists_with_its_options(command):
    assert wrong_in(command) == ""


@pytest.mark.parametrize("command", next_commands("observer", ROOT / "demo", "sqlite:////nowhere/observer.db")[:2])
def test_a_command_that_the_demo_prints_exists_with_its_options(command):
    assert wrong_in(command.removeprefix("observer ")) == ""


@pytest.mark.parametrize("command", ["etf list", "master history", "quality --venue all", "nothing"])
def test_a_command_that_is_gone_is_found(command):
    assert wrong_in(command)


def test_a_name_over_two_lines_of_source_is_found():
    assert named_in('"do it by `observer backup "\n    f"restore {name}` now"') == {"backup restore {name}"}
