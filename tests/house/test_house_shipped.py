"""The shipped files: each is once in the repository, and in the wheel by its name."""

import fnmatch
import subprocess
import tomllib
from pathlib import Path

import pytest

from observer.base.shipped_files import configuration_files, shipped_file, shipped_folder

ROOT = Path(__file__).parents[2]
DATA = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["observer"]
OF_A_PERSON = ("keys.toml", "alert_targets.toml", "lake_keys.toml", "universe/day.json", "sectors/mine.json")


def is_in_the_wheel(name):
    """Patterns match within one folder, as those of setuptools."""
    parts = f"shipped/{name}".split("/")
    return any(
        len(parts) == len(pattern.split("/"))
        and all(fnmatch.fnmatch(*pair) for pair in zip(parts, pattern.split("/"), strict=True))
        for pattern in DATA
    )


def test_the_packages_folder_is_a_link_to_the_one_in_the_repository():
    assert (ROOT / "observer" / "shipped").readlink() == Path("../config")
    assert shipped_folder().resolve() == ROOT / "config"


def test_every_file_of_the_repositorys_folder_is_in_the_wheel():
    tracked = subprocess.run(["git", "ls-files", "config"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = [name.removeprefix("config/") for name in tracked.splitlines()]
    assert {*configuration_files(), "observer.service", "supervisord.conf", "OPERATIONS.md"} <= set(names)
    assert [name for name in names if not is_in_the_wheel(name)] == [], "name it in pyproject.toml's package-data"


@pytest.mark.parametrize("name", OF_A_PERSON)
def test_no_file_of_a_person_is_in_the_wheel(name):
    assert not is_in_the_wheel(name)


@pytest.mark.parametrize("name", configuration_files())
def test_a_shipped_file_is_read_as_data_of_the_package(name):
    assert shipped_file(name).read_bytes() == (ROOT / "config" / name).read_bytes()
