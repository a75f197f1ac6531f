"""The command that a message names for a missing extra: right in a checkout, for a wheel, and under pipx."""

import tomllib
from pathlib import Path

import pytest

from observer.base.extras import install_command

ROOT = Path(__file__).parents[2]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


@pytest.mark.parametrize("extra", ["sectors", "research", "lake", "alerts"])
def test_the_command_installs_the_packages_of_the_extra(extra, tmp_path):
    packages = [f"'{each}'" for each in EXTRAS[extra]]
    program = tmp_path / "venv" / "bin" / "python"
    assert install_command(extra, tmp_path / "venv") == " ".join([str(program), "-m pip install", *packages])


def test_an_environment_below_this_folder_is_named_as_it_is_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert install_command("alerts", tmp_path / ".venv").startswith(".venv/bin/python -m pip install")


def test_pipx_adds_the_packages_itself(tmp_path):
    (tmp_path / "pipx_metadata.json").touch()
    assert install_command("alerts", tmp_path).startswith("pipx inject observer 'apprise")
