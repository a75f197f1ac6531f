"""Help shows what was written: every command and parameter has a sentence, and nothing in brackets is lost."""

import re

import click
import pytest

from observer.cli.app import Unloaded, command_line

BRACKETED = re.compile(r"\[[^\]\n]*\]|\([^)\n]*\)|<[^>\n]*>")


def commands(command, path=()):
    loaded = command.load() if isinstance(command, Unloaded) else command
    yield path, loaded
    for name, each in loaded.commands.items() if isinstance(loaded, click.Group) else ():
        yield from commands(each, (*path, name))


ALL = list(commands(command_line()))


def shown(path, command):
    """The help at 80 columns, with single blanks. Folding splits a word at its hyphens, too."""
    context = click.Context(command, info_name=" ".join(("observer", *path)), terminal_width=80, max_content_width=80)
    text = command.get_help(context)
    assert max(map(len, text.splitlines())) <= 80
    return without_blanks(text)


def without_blanks(text):
    return "".join(text.replace("\b", "").split())  # \b: click's mark of lines that are not folded


def written(command):
    """The texts that the code states for a command and its parameters."""
    yield command.help or ""
    for each in command.params:
        yield getattr(each, "help", None) or ""


@pytest.mark.parametrize(("path", "command"), ALL, ids=lambda each: " ".join(each) if isinstance(each, tuple) else "")
def test_help_has_every_word_that_was_written(path, command):
    output = shown(path, command)
    for text in written(command):
        for paragraph in text.split("\n\n"):
            assert without_blanks(paragraph) in output
        assert all(without_blanks(bracketed) in output for bracketed in BRACKETED.findall(text))


@pytest.mark.parametrize(("path", "command"), ALL, ids=lambda each: " ".join(each) if isinstance(each, tuple) else "")
def test_every_command_and_every_parameter_has_a_sentence(path, command):
    del path
    for text in written(command):
        assert re.search(r"[.)]$", text.strip()), text


@pytest.mark.parametrize(("path", "command"), ALL, ids=lambda each: " ".join(each) if isinstance(each, tuple) else "")
def test_help_shows_no_empty_default_and_a_range_once(path, command):
    output = shown(path, command)
    assert '[default:""' not in output
    assert "RANGE" not in output


def test_brackets_survive():
    command = click.Command("x", help="Keys for sockets on the network ([run.endpoints]).")
    assert "([run.endpoints])" in shown(("x",), command)
