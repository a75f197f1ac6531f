"""`observer init`: what it writes, what it refuses, and that everything in it is for its owner alone."""

import contextlib
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from supervisor.options import ServerOptions

from observer.base.errors import ConfigError, MissingKeysError
from observer.base.shipped_files import configuration_files, shipped_file
from observer.brokers.accounts.keys import read_keys
from observer.brokers.accounts.pool import MAIN
from observer.cli.app import command_line
from observer.cli.init_files import InitOptions, is_hidden, new_files
from observer.system.config import load_settings

PROGRAM = Path("/opt/observer/.venv/bin/observer")
CONFIGURATION = Path("config/observer.toml")


def init(folder, *words):
    return CliRunner().invoke(command_line(), ["init", str(folder), *words])


def written(folder, *words):
    """What a successful init says in JSON."""
    ran = init(folder, *words, "--json")
    assert ran.exit_code == 0, ran.exception
    said: dict[str, object] = msgspec.json.decode(ran.stdout)
    return said


def test_the_new_configuration_is_the_documented_one_word_for_word(tmp_path):
    written(tmp_path / "new")
    for name in configuration_files():
        assert (tmp_path / "new" / "config" / name).read_bytes() == shipped_file(name).read_bytes()


def test_everything_in_the_new_folder_is_for_its_owner_alone(tmp_path):
    with contextlib.chdir(tmp_path):
        written(Path("new"), "--systemd", "--supervisord")
    for path in (tmp_path / "new").rglob("*"):
        expected = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == expected, path
    assert {path.name for path in (tmp_path / "new").iterdir() if path.is_dir()} == {"config", "data", "run"}


def test_the_next_commands_are_three_and_can_be_typed_from_here(tmp_path):
    said = written(tmp_path / "a folder")
    commands = said["next"]
    assert isinstance(commands, list)
    assert commands[0] == f"cd '{tmp_path / 'a folder'}'"
    assert [command.rpartition(" ")[2] for command in commands[1:]] == ["demo", "run"]


def test_the_folder_of_the_person_needs_no_other_folder(tmp_path):
    with contextlib.chdir(tmp_path):
        commands = written(Path())["next"]
    assert isinstance(commands, list)
    assert [command.rpartition(" ")[2] for command in commands] == ["demo", "run"]


def test_an_instance_for_practice_with_figures_loads_with_what_was_asked(tmp_path):
    written(tmp_path, "--instance", "second", "--paper", "--metrics")
    with contextlib.chdir(tmp_path):
        settings = load_settings(CONFIGURATION)
    assert settings.instance.name == "second"
    assert settings.metrics is not None
    assert settings.brokers["kis"].notice, "only the host for practice has one"
    assert settings.brokers["kis"].rate_limit.calls_per_second == 1
    assert "calls_per_second = 1.0 " in (tmp_path / CONFIGURATION).read_text()


def test_a_name_that_no_instance_may_have_is_refused_and_nothing_is_written(tmp_path):
    ran = init(tmp_path / "new", "--instance", "Not So")
    assert isinstance(ran.exception, ConfigError)
    assert "instance.name" in str(ran.exception)
    assert not (tmp_path / "new").exists()


def test_an_earlier_configuration_is_listed_and_not_touched(tmp_path):
    written(tmp_path)
    (tmp_path / "config" / "trading_days.toml").write_text("# mine\n")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    ran = init(tmp_path)
    assert isinstance(ran.exception, ConfigError)
    first, *lines = str(ran.exception).splitlines()
    assert "nothing was written: --force replaces" in first
    assert f"{tmp_path}/config/trading_days.toml differs" in lines
    assert f"{tmp_path}/config/observer.toml is the same" in lines
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_force_replaces_what_differs_keeps_the_replaced_and_never_a_key(tmp_path):
    written(tmp_path)
    days, keys = tmp_path / "config" / "trading_days.toml", tmp_path / "config" / "keys.toml"
    keys.write_text('[main]\napp_key = "PSmine"\napp_secret = "hush"\n')
    for mine in ("# first\n", "# second\n"):
        days.write_text(mine)
        assert written(tmp_path, "--force")["written"] == ["config/trading_days.toml"]
    assert days.read_bytes() == shipped_file("trading_days.toml").read_bytes()
    kept = [(tmp_path / "config" / f"trading_days.toml.before{number}").read_text() for number in ("", ".2")]
    assert kept == ["# first\n", "# second\n"]
    assert "PSmine" in keys.read_text()


def test_the_template_of_keys_is_private_enough_and_says_what_is_missing(tmp_path):
    written(tmp_path)
    with contextlib.chdir(tmp_path), pytest.raises(MissingKeysError, match=r"give \[main\] with app_key"):
        read_keys([MAIN], {})


def test_a_file_in_the_folders_place_is_refused(tmp_path):
    (tmp_path / "new").touch()
    assert isinstance(init(tmp_path / "new").exception, OSError)


# --- service managers --------------------------------------------------------------------------------------


def unit_of(folder, program=PROGRAM):
    return new_files(InitOptions(systemd=True), folder, program)["config/observer.service"]


def test_the_unit_names_the_folder_and_the_program_everywhere():
    unit = unit_of(Path("/srv/second"), Path("/opt/wheel/bin/observer"))
    assert "ExecStart=/opt/wheel/bin/observer run" in unit
    assert "ReadWritePaths=/srv/second/data /srv/second/run /srv/second/config/universe" in unit
    assert "WorkingDirectory=/srv/second\n" in unit
    assert "/opt/observer" not in unit.partition("#   useradd")[2]


def test_no_number_of_failed_starts_ends_the_unit_for_good():
    unit = unit_of(Path("/srv/second")).splitlines()
    assert {"StartLimitIntervalSec=0", "Restart=on-failure", "RestartSec=10"} <= set(unit)


@pytest.mark.parametrize("folder", ["/home/me/observer", "/root/x"])
def test_a_unit_is_refused_where_it_could_see_no_file(folder):
    with pytest.raises(ConfigError, match="the unit hides all home folders"):
        unit_of(Path(folder))


def test_a_python_in_a_home_folder_is_hidden_from_the_unit_and_one_of_the_system_is_not():
    """An environment that root makes with a Python of its own is a link into root's home folder."""
    assert is_hidden(Path("/root/.pyenv/versions/3.11.7/bin/python3.11"))
    assert not is_hidden(Path("/usr/bin/python3.11"))


@pytest.mark.parametrize("folder", ["/srv/two words", "/srv/100%", "/srv/a$b"])
def test_a_unit_is_refused_for_a_path_that_systemd_reads_in_another_way(folder):
    with pytest.raises(ConfigError, match="would read this path of the folder in another way"):
        unit_of(Path(folder))


def test_supervisord_reads_its_file_and_finds_the_program(tmp_path):
    written(tmp_path, "--supervisord")
    options = ServerOptions()
    options.realize(args=["-c", str(tmp_path / "supervisord.conf")])
    [program] = [program for group in options.process_group_configs for program in group.process_configs]
    assert program.command == f"{Path(sys.executable).parent / 'observer'} run --config config/observer.toml"
    assert (program.directory, program.umask) == (str(tmp_path), 0o077)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
def test_systemd_accepts_the_written_unit(tmp_path):
    written(tmp_path, "--systemd")
    unit = str(tmp_path / "config" / "observer.service")
    judged = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (judged.returncode, judged.stderr) == (0, "")
