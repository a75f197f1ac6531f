"""The wheel outside the checkout: what is in it, and a new system's first hour in an empty folder (slow)."""

import subprocess
from pathlib import Path

import msgspec
import pytest

from observer.base.shipped_files import configuration_files
from tests.deployment.installing import ROOT, SECRET, all_run, build, holds, install, names_in
from tests.folders import short_folder
from tests.waiting import DEADLINE_S
from tests.whole.running import System

pytestmark = [pytest.mark.system, pytest.mark.slow]

# Nothing of ours: neither the checkout nor its environment is on a path.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
TRIED = (
    "run",
    "doctor",
    "status",
    "init",
    "demo",
    "db digest",
    "backup list",
    "simulator",
    "enrich run",
)


class Installed(msgspec.Struct, frozen=True):
    """The wheel, and the program of the environment that has it; `folder` is empty."""

    wheel: Path
    program: Path
    folder: Path

    def typed(self, *words, cwd, environment=None):
        return subprocess.run(
            [str(self.program), *map(str, words)],
            cwd=cwd,
            env={**ENVIRONMENT, "HOME": str(self.folder), **(environment or {})},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )


@pytest.fixture(scope="module")
def installed():
    with short_folder() as folder:
        wheel = build(folder)
        (folder / "e").mkdir()
        yield Installed(wheel, install(wheel, folder / "venv"), folder / "e")


def test_the_wheel_has_each_shipped_file_and_no_file_of_a_person(installed):
    names = set(names_in(installed.wheel))
    assert {f"observer/shipped/{name}" for name in configuration_files()} <= names
    assert {"observer/shipped/observer.service", "observer/shipped/supervisord.conf"} <= names
    assert {
        "migrations/env.py",
        *(f"migrations/versions/{name}.py" for name in ("0001_baseline", "0002_indexes_by_day")),
    } <= names
    assert [name for name in names if "keys.toml" in name or "mine.json" in name] == []
    assert not holds(installed.wheel, SECRET)


def test_the_program_imports_nothing_of_the_checkout(installed):
    code = (
        "import sys, pkgutil, observer, workers, bus, migrations\n"
        "from observer.base.shipped_files import shipped_folder\n"
        "print(observer.__file__, shipped_folder(), *sys.path)"
    )
    ran = subprocess.run(
        [str(installed.program.with_name("python")), "-c", code],
        cwd=installed.folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    packages = str(ROOT / ".venv")
    assert [path for path in ran.stdout.split() if str(ROOT) in path and not path.startswith(packages)] == []


@pytest.mark.parametrize("words", TRIED)
def test_each_command_loads_outside_the_checkout(installed, words):
    ran = installed.typed(*words.split(), "--help", cwd=installed.folder)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_new_folder_has_a_day_in_it_and_its_database_answers(installed):
    made = installed.typed("init", "first", cwd=installed.folder)
    assert made.returncode == 0, made.stderr
    first = installed.folder / "first"
    without_keys = installed.typed("run", cwd=first)
    assert without_keys.returncode == 2
    assert "give [main] with app_key and app_secret in config/keys.toml" in without_keys.stderr
    day = installed.typed("demo", "--json", "--symbols", "60", "--speed", "480", "--keep", cwd=first)
    assert day.returncode == 0, [day.stdout, day.stderr]  # all that was published is stored
    doctor = installed.typed("doctor", "--recount", "--config", "demo/observer.toml", cwd=first)
    assert doctor.returncode == 0, doctor.stdout
    digest = installed.typed("db", "digest", "--db", f"sqlite:///{first}/demo/data/observer.db", cwd=first)
    assert digest.returncode == 0, digest.stderr
    a_system_runs_and_stops_in_order(installed, first / "demo" / "observer.toml")


def a_system_runs_and_stops_in_order(installed, configuration):
    """Against the simulated broker of the demo, with its database."""
    system = System(
        configuration.parent, "run", "--config", configuration, environment=ENVIRONMENT, program=str(installed.program)
    )
    try:
        asked = ("status", "--json", "--config", str(configuration))
        system.until(lambda: all_run(installed.typed(*asked, cwd=configuration.parent).stdout), "all processes")
        assert system.interrupt() == 0
    finally:
        system.clear_away()
    assert system.left_behind() == []
