"""A database with an older schema is copied before the migration, and stays as it is without the copy."""

import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from observer.base.errors import DatabaseInUseError, StoreError
from observer.base.instance import Instance
from observer.store import engine, owner
from observer.store.engine import migrate
from observer.store.owner import only_writer
from observer.store.schema import SCHEMA_REVISION
from observer.store.upgrade import planned_upgrade, upgrade
from tests.archive.scene import commit
from tests.store.migrated import make_database
from tests.store.raw import execute, query

OLDER = "0000"


@pytest.fixture
def url(empty_database_url, tmp_path, monkeypatch):
    """A database of an older schema with ten trades, and a migration from there that adds a table."""
    make_database(empty_database_url)
    commit(empty_database_url, 10)
    execute(empty_database_url, f"UPDATE alembic_version SET version_num = '{OLDER}'")
    scripts = tmp_path / "migrations"
    shutil.copytree(
        Path(engine.__file__).parents[2] / "migrations", scripts, ignore=lambda _folder, names: ["versions"]
    )
    (scripts / "versions").mkdir()
    for revision, before, change in (
        (OLDER, "None", "pass"),
        (SCHEMA_REVISION, repr(OLDER), "op.execute('CREATE TABLE newer (number INTEGER)')"),
    ):
        (scripts / "versions" / f"v{revision}.py").write_text(
            f"from alembic import op\nrevision = '{revision}'\ndown_revision = {before}\ndef upgrade():\n    {change}\n"
        )
    configuration = engine.alembic_config()
    configuration.set_main_option("script_location", str(scripts))
    monkeypatch.setattr(engine, "alembic_config", lambda: configuration)
    assert ScriptDirectory.from_config(configuration).get_current_head() == SCHEMA_REVISION
    return empty_database_url


def test_an_older_database_is_copied_before_its_schema_changes(url, tmp_path):
    migrate(url, tmp_path / "copies")
    assert query(url, "SELECT version_num FROM alembic_version") == [(SCHEMA_REVISION,)]
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(f"{tmp_path}/observer.sqlite3.before-{OLDER}")) as copy:
            assert copy.execute("SELECT version_num FROM alembic_version").fetchall() == [(OLDER,)]
            assert copy.execute("SELECT count(*) FROM trades").fetchall() == [(10,)]
        return
    [dump] = (tmp_path / "copies").iterdir()
    assert dump.name.endswith(f".before-{OLDER}.dump")
    command = ["pg_restore", "--data-only", "--table=alembic_version", "--file=-", str(dump)]
    assert f"\n{OLDER}\n" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_without_the_copy_the_schema_stays_as_it_is(url, tmp_path):
    (tmp_path / f"observer.sqlite3.before-{OLDER}" / "in the way").mkdir(parents=True)
    with pytest.raises(
        StoreError, match=r"no copy before the change|`observer run` brings it up to date, after a copy"
    ):
        migrate(url)
    assert query(url, "SELECT version_num FROM alembic_version") == [(OLDER,)]


def test_a_planned_upgrade_names_the_steps_and_the_copy_and_changes_nothing(url, tmp_path):
    plan = planned_upgrade(url, Instance(), tmp_path / "copies")
    assert (plan.revision, plan.target, plan.refused) == (OLDER, SCHEMA_REVISION, "")
    assert [step.revision for step in plan.steps] == [SCHEMA_REVISION]
    assert not Path(plan.copy).exists()
    assert query(url, "SELECT version_num FROM alembic_version") == [(OLDER,)]


def test_an_upgrade_makes_the_copy_that_was_planned(url, tmp_path):
    plan = planned_upgrade(url, Instance(), tmp_path / "copies")
    upgrade(url, Instance(), tmp_path / "copies")
    assert Path(plan.copy).is_file()
    assert query(url, "SELECT version_num FROM alembic_version") == [(SCHEMA_REVISION,)]
    assert planned_upgrade(url, Instance(), tmp_path / "copies").steps == ()


def test_a_database_that_a_process_writes_is_not_upgraded(url, tmp_path, monkeypatch):
    monkeypatch.setattr(owner, "_LOCK_WAIT_MS", 50)
    with only_writer(url) as held, held.connect():
        assert "another process writes" in planned_upgrade(url, Instance(), tmp_path).refused
        with pytest.raises(DatabaseInUseError):
            upgrade(url, Instance(), tmp_path)
    assert query(url, "SELECT version_num FROM alembic_version") == [(OLDER,)]


def test_an_unknown_schema_has_no_plan(url, tmp_path):
    execute(url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match="its schema is 9999"):
        planned_upgrade(url, Instance(), tmp_path)
