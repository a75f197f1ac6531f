"""Whatever is killed, damaged or put back: every event is stored once and in order, or stated as lost."""

import contextlib
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.actors import set_up
from tests.chaos.judge import ask, noted
from tests.chaos.push_pull import pull, push
from tests.chaos.stage import Actor, judge
from tests.conformance.conftest import postgresql_schema
from tests.folders import short_folder
from tests.store.migrated import make_database

ROOT = Path(__file__).parents[2]
JsonObject = dict[str, Any]


def campaign(*options):
    """Run the campaign; return its exit status and report."""
    command = [sys.executable, "-m", "tests.chaos.campaign", *map(str, options)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    reported: JsonObject = json.loads(done.stdout)
    return done.returncode, reported | {"stderr": done.stderr}


@contextlib.contextmanager
def database(kind):
    """The options that name an empty database of this kind."""
    if kind == "sqlite":
        yield []
    else:
        with postgresql_schema() as url:
            yield ["--db", url]


# The default run has the damage on one database; that nothing is lost without it, `test_chaos_machine.py` has there.
LATER = pytest.param("sqlite", marks=pytest.mark.slow)
MANY = pytest.param(1000, 3, marks=[pytest.mark.slow, pytest.mark.nightly, pytest.mark.timeout(3600)])


@pytest.mark.system
@pytest.mark.parametrize("kind", [LATER, "postgresql"])
@pytest.mark.parametrize(("faults", "producers"), [(25, 2), MANY])
def test_every_event_is_stored_once_or_stated_as_lost_whatever_is_killed_damaged_or_put_back(kind, faults, producers):
    with database(kind) as options:
        status, reported = campaign("--faults", faults, "--producers", producers, "--seed", 2026, *options)
    assert (status, reported["whole"]) == (0, True), reported
    assert reported["stored"] + reported["stated_losses"] == reported["appended"] > 0
    assert sum(reported["faults_by_kind"].values()) >= faults


@pytest.mark.slow
@pytest.mark.system
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_without_damage_nothing_is_lost(kind):
    with database(kind) as options:
        status, reported = campaign("--faults", 25, "--producers", 2, "--seed", 11, "--undamaged", *options)
    assert (status, reported["whole"]) == (0, True), reported
    assert reported["stored"] == reported["appended"] > 0
    assert not {"bit flip", "segment removed"} & reported["faults_by_kind"].keys()


@pytest.mark.system
def test_the_judge_finds_the_events_that_push_and_pull_sockets_lose():
    """The negative control: a judge that finds nothing here is blind."""
    with short_folder() as folder:
        url = f"sqlite:///{folder}/observer.db"
        make_database(url)
        scene = set_up(folder, url, events_a_second=500)
        producer, writer = Actor("producer-1", push, scene, "producer-1"), Actor("writer", pull, scene)
        writer.wait_for(lambda: ask(url, "SELECT 1 FROM trades LIMIT 1"))
        writer.send(signal.SIGSTOP)
        before = sum(noted(scene.folder / "ledger").values())
        producer.wait_for(lambda: sum(noted(scene.folder / "ledger").values()) > before + 100)
        writer.kill()
        writer.start()
        producer.finish()
        writer.finish()
        reported = judge(scene)
    assert reported["faults"]["lost"] > 0, reported
    assert reported["faults"]["lost_of_ledger"] > 0
    assert reported["stored"] == reported["appended"] - reported["faults"]["lost"]
