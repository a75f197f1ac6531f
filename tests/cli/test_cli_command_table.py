"""The table of commands: complete, in step with the commands' own help, and cheap to print."""

import resource
import subprocess
import sys

import pytest
from click.testing import CliRunner

from observer.base.errors import ConfigError
from observer.cli.app import command_line, function_of
from observer.cli.commands import COMMANDS, Command, Group
from observer.cli.completion import install
from tests.waiting import DEADLINE_S

HEAVY = ("rich", "sqlalchemy", "httpx", "msgspec", "zmq", "asyncio", "aiohttp", "psutil", "typer", "pydantic")
READING = ("rich", "httpx", "aiohttp", "websockets", "psutil", "alembic", "pydantic", "exchange_calendars", "psycopg")


def walk(group, path=()):
    for name, entry in group.commands.items():
        yield (*path, name), entry
        if isinstance(entry, Group):
            yield from walk(entry, (*path, name))


COMMAND_PATHS = [(path, entry) for path, entry in walk(COMMANDS) if isinstance(entry, Command)]
GROUP_PATHS = [(), *(path for path, entry in walk(COMMANDS) if isinstance(entry, Group) and not entry.options)]


@pytest.mark.parametrize(("path", "entry"), COMMAND_PATHS, ids=lambda each: " ".join(each) if each else "")
def test_a_command_s_line_of_help_begins_its_docstring(path, entry):
    docstring = " ".join((function_of(entry.function).__doc__ or "").split())
    assert docstring.startswith(entry.help)
    ran = CliRunner().invoke(command_line(), [*path, "--help"])
    assert ran.exit_code == 0, ran.output
    assert entry.help.split(".")[0] in " ".join(ran.output.split())


def test_lines_of_help_are_short_sentences():
    for path, entry in walk(COMMANDS):
        assert entry.help.endswith("."), path
        assert len(entry.help) <= 66, path  # one line of 80 columns, beside the name


@pytest.mark.parametrize("words", [(), *GROUP_PATHS], ids=" ".join)
def test_help_fits_80_columns_and_names_every_command(words):
    ran = CliRunner().invoke(command_line(), [*words, "-h"])
    group: Group = COMMANDS
    for word in words:
        found = group.commands[word]
        assert isinstance(found, Group)
        group = found
    shown = [line.split()[0] for line in ran.output.partition("Commands:")[2].splitlines() if line.strip()]
    assert shown == list(group.commands)
    assert max(map(len, ran.output.splitlines())) <= 80


HELPS = (("--help",), ("--version",), *((*path, "--help") for path in GROUP_PATHS[1:]))
STATUS = ("status",)
READERS = (
    ("gaps",),
    ("gaps", "retry", "x"),
    ("etf", "report"),
    ("universe", "file"),
    ("slots", "why", "005930"),
    ("master", "tradable", "--region", "US"),
    ("master", "status"),
)


def imported_by(*lines, but):
    """By the command line that imports first one of these packages, what is imported then. One interpreter runs all
    lines; their exit status does not matter.
    """
    code = (
        "import sys\n"
        "from observer.cli.app import main\n"
        f"for words in {list(lines)!r}:\n"
        "    sys.argv = ['observer', *words]\n"
        "    try:\n        main()\n    except SystemExit:\n        pass\n"
        f"    found = {set(but)!r} & {{name.partition('.')[0] for name in sys.modules}}\n"
        "    sys.stderr.write(f\"\\nafter {' '.join(words)}: {' '.join(sorted(found))}\\n\")\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=DEADLINE_S)
    after = [line.removeprefix("after ") for line in ran.stderr.splitlines() if line.startswith("after ")]
    assert len(after) == len(lines), ran.stderr
    return {words: found.split() for words, _, found in (line.partition(": ") for line in after) if found}


def test_help_of_a_group_imports_none_of_its_commands():
    assert imported_by(*HELPS, but=HEAVY) == {}


@pytest.mark.parametrize(("lines", "but"), [([STATUS], {*READING, "sqlalchemy"}), (READERS, {*READING, "zmq"})])
def test_a_command_that_reads_imports_no_network_no_tables_and_no_supervision(lines, but, tmp_path, monkeypatch):
    """The status needs no database, the others no socket."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "observer.toml").touch()
    assert imported_by(*lines, but=but) == {}


def test_a_wrong_word_ends_with_2_and_names_the_nearest():
    ran = CliRunner().invoke(command_line(), ["master", "upate"])
    assert ran.exit_code == 2
    assert "update" in ran.output


def test_a_wrong_option_ends_with_2_and_names_it():
    ran = CliRunner().invoke(command_line(), ["master", "tradable", "--region", "MARS"])
    assert ran.exit_code == 2
    assert "MARS" in ran.output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_of_the_shell(shell, tmp_path, monkeypatch):
    monkeypatch.setenv("SHELL", f"/bin/{shell}")
    monkeypatch.setenv("HOME", str(tmp_path))
    shown = CliRunner().invoke(command_line(), ["--show-completion"])
    assert "_OBSERVER_COMPLETE" in shown.output
    ran = CliRunner().invoke(command_line(), ["--install-completion"])
    assert ran.exit_code == 0, ran.output
    assert CliRunner().invoke(command_line(), ["--install-completion"]).exit_code == 0, "again changes nothing"
    written = {path.name: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert any("_OBSERVER_COMPLETE" in content for content in written.values())
    if shell == "zsh":
        assert written[".zshrc"].count("source") == 1


def install_for_zsh(home, monkeypatch):
    monkeypatch.setenv("SHELL", "/bin/zsh")
    monkeypatch.setenv("HOME", str(home))
    install("observer")


def test_completion_adds_one_line_to_the_file_of_the_user_and_changes_no_other(tmp_path, monkeypatch):
    home, before = tmp_path / "a home", b"\n  # caf\xe9, and no line end\nsetopt nobeep"
    home.mkdir()
    (home / ".zshrc").write_bytes(before)
    for _ in range(2):
        install_for_zsh(home, monkeypatch)
    assert (home / ".zshrc").read_bytes() == before + f"\nsource '{home}/.observer-completion.zsh'\n".encode()


def test_a_full_disk_costs_no_line_of_the_user(tmp_path, monkeypatch):
    before = b"alias ll='ls -l'\n" * 4_000
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    (tmp_path / ".zshrc").write_bytes(before)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        with pytest.raises(ConfigError, match=r"cannot write .*\.zshrc: File too large"):
            install_for_zsh(tmp_path, monkeypatch)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / ".zshrc").read_bytes() == before


def test_completion_lists_commands_without_importing_them(monkeypatch):
    monkeypatch.setenv("COMP_WORDS", "observer master ")
    monkeypatch.setenv("COMP_CWORD", "2")
    monkeypatch.setenv("_OBSERVER_COMPLETE", "bash_complete")
    ran = subprocess.run(
        [sys.executable, "-m", "observer"], capture_output=True, text=True, check=False, timeout=DEADLINE_S
    )
    assert "tradable" in ran.stdout
