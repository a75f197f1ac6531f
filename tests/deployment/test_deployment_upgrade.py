"""An upgrade in place and the way back, as OPERATIONS.md prints them: two versions of the wheel, two schemas (slow)."""

import os
import subprocess
from datetime import date
from pathlib import Path

import msgspec
import pytest

from observer.base.clock import CLOCK_VARIABLE, HeldClock
from observer.base.local_time import local_ns
from observer.store.schema import SCHEMA_REVISION
from tests.deployment.installing import LATER, LATER_SCHEMA, VERSION, all_run, build, install, put
from tests.folders import short_folder
from tests.waiting import DEADLINE_S
from tests.whole.running import System, ask

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(900)]  # several systems in turn


class Machine(msgspec.Struct, frozen=True):
    """An environment with the earlier version, a system's folder with a day in it, and the next morning's clock."""

    environment: Path
    earlier: Path
    later: Path
    folder: Path
    clock: str

    @property
    def program(self):
        return str(self.environment / "bin" / "observer")

    def typed(self, *words):
        return subprocess.run(
            [self.program, *words],
            cwd=self.folder,
            env={**os.environ, CLOCK_VARIABLE: self.clock},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def done(self, *words):
        ran = self.typed(*words)
        assert ran.returncode == 0, [words, ran.stdout, ran.stderr]
        return ran.stdout

    def runs_for_a_while(self):
        """Start the system, wait for every process, end it by its own command."""
        system = System(
            self.folder / "demo",
            "run",
            "--config",
            "demo/observer.toml",
            environment={CLOCK_VARIABLE: self.clock},
            program=self.program,
        )
        try:
            system.until(lambda: all_run(self.typed("status", "--json").stdout), "all processes")
            self.done("ctl", "shutdown")
            assert system.ended() == 0
        finally:
            system.clear_away()

    def schema(self):
        [(version,)] = ask(self.folder / "demo" / "data" / "observer.db", "SELECT version_num FROM alembic_version")
        return str(version)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH")  # else the programs of the wheel would run the checkout's modules
    with short_folder() as folder:
        earlier, later = build(folder), build(folder, is_later=True)
        install(earlier, folder / "venv")
        clock = HeldClock(local_ns(date(2026, 11, 19), 6), tmp_path / "started", 1.0)
        clock.start()
        found = Machine(folder / "venv", earlier, later, folder / "s", clock.to_variable())
        found.folder.mkdir()
        day = [found.program, "demo", "--symbols", "60", "--speed", "480", "--keep", "--json"]
        assert subprocess.run(day, cwd=found.folder, capture_output=True, check=False).returncode == 0
        yield found


def test_a_new_wheel_brings_the_database_to_its_schema_and_the_earlier_one_comes_back_with_the_package(
    machine,
):
    machine.done("backup", "now")
    put(machine.later, machine.environment)
    assert machine.done("--version").strip() == f"observer {LATER}"
    machine.runs_for_a_while()
    assert machine.schema() == LATER_SCHEMA
    machine.done("doctor", "--recount")

    put(machine.earlier, machine.environment)
    refused = machine.typed("run", "--config", "demo/observer.toml")
    assert refused.returncode != 0, "a newer schema is not written by an earlier version"
    [line] = refused.stderr.splitlines()
    assert line.startswith("observer: ")
    machine.done("backup", "restore", "--yes")
    machine.runs_for_a_while()
    assert (machine.done("--version").strip(), machine.schema()) == (f"observer {VERSION}", SCHEMA_REVISION)
    machine.done("doctor", "--recount")
