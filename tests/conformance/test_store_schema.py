"""The schema, on both databases: stated once in the events, made by the migrations, and never mistaken."""

import hashlib
import os
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import main as alembic_command
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from bus.events import EVENT_TYPES
from observer.base.errors import StoreError
from observer.store import engine as engine_module
from observer.store.engine import migrate, open_reader, open_writer, require_current_schema
from observer.store.kinds import TABLE_NAMES
from observer.store.reader import StoreReader
from observer.store.schema import SCHEMA_REVISION
from observer.store.tables import EVENT_TABLES, METADATA
from observer.store.writer import StoreWriter
from tests.privileges import in_a_fork
from tests.store.raw import execute, query

ROOT = Path(__file__).parents[2]


def alembic(*arguments, environment_url=""):
    """What the command does in the repository's folder (tests/store/test_store_engine.py starts it as a program)."""

    def command():
        os.environ["OBSERVER_DATABASE_URL"] = environment_url
        alembic_command(arguments, "alembic")

    return in_a_fork(command, ROOT)


def test_the_migrations_make_the_schema_of_the_events(empty_database_url):
    migrate(empty_database_url)
    engine = open_writer(empty_database_url)
    with engine.connect() as connection:
        assert_is_current(connection)
    engine.dispose()


def assert_is_current(connection):
    """The schema is that of `observer.store.tables`, with exactly its indexes."""
    inspector = inspect(connection)
    assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    assert set(inspector.get_table_names()) == {*METADATA.tables, "alembic_version"}
    found = {str(index["name"]) for name in METADATA.tables for index in inspector.get_indexes(name)}
    unique = {str(key.name) for table in METADATA.tables.values() for key in table.constraints}
    assert found - unique == {str(index.name) for table in METADATA.tables.values() for index in table.indexes}


def test_every_kind_of_event_has_a_table():
    assert set(TABLE_NAMES) == set(EVENT_TYPES)


def test_the_newest_migration_is_the_schema_that_the_code_needs():
    assert ScriptDirectory(str(ROOT / "migrations")).get_current_head() == SCHEMA_REVISION


def test_a_change_of_the_events_or_of_the_stores_own_tables_is_another_revision():
    event_tables = {table.name for table in EVENT_TABLES.values()}
    lines = [line for name in sorted(METADATA.tables) for line in own_part(METADATA.tables[name], event_tables)]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    assert (SCHEMA_REVISION, digest) == ("0011", "949c2eb5017fcbcb"), (
        "the store's own tables or the indexes changed: add a migration with the next SCHEMA_REVISION"
    )


def own_part(table, event_tables):
    """What the store adds to a table of events, or all of a table of its own."""
    if table.name not in event_tables:
        yield f"{table.name}: {[(column.name, str(column.type), column.nullable) for column in table.columns]}"
    for index in sorted(table.indexes, key=lambda index: str(index.name)):
        yield f"{table.name}: {index.name} {[column.name for column in index.columns]}"


def test_migrating_twice_changes_nothing(database_url):
    migrate(database_url)
    assert query(database_url, "SELECT version_num FROM alembic_version") == [(SCHEMA_REVISION,)]


def test_the_alembic_command_migrates_the_given_database_and_finds_no_difference(empty_database_url):
    upgraded = alembic("-x", f"url={empty_database_url}", "upgrade", "head")
    assert upgraded.status == 0, upgraded.stderr
    checked = alembic("check", environment_url=empty_database_url)
    assert checked.status == 0, checked.stdout + checked.stderr


def test_a_database_without_schema_is_refused_with_the_remedy(empty_database_url):
    open_writer(empty_database_url).connect().close()
    with pytest.raises(StoreError, match="no schema of Observer in it"):
        StoreReader(empty_database_url)
    with pytest.raises(StoreError, match="no schema of Observer in it"):
        StoreWriter(empty_database_url).open()


def test_an_unknown_schema_is_never_touched(own_database_url):
    execute(own_database_url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match=r"its schema is 9999.*cannot convert"):
        migrate(own_database_url)
    with pytest.raises(StoreError, match="its schema is 9999"):
        StoreReader(own_database_url)


def test_a_read_of_an_older_schema_names_the_command_that_brings_it_up_to_date(own_database_url, monkeypatch):
    monkeypatch.setattr(engine_module, "SCHEMA_REVISION", "9998")
    with pytest.raises(
        StoreError, match=rf"is {SCHEMA_REVISION}, this program needs 9998: `observer run` brings it up"
    ):
        StoreReader(own_database_url)


@pytest.mark.parametrize("revision", ["0000", "9999"])
def test_a_read_of_a_schema_that_no_migration_knows_names_the_version_that_wrote_it(own_database_url, revision):
    execute(own_database_url, f"UPDATE alembic_version SET version_num = '{revision}'")
    with pytest.raises(StoreError, match="cannot convert it: use the version of Observer that wrote it"):
        StoreReader(own_database_url)


def test_a_reader_cannot_write(database_url):
    engine = open_reader(database_url)
    require_current_schema(engine)
    with pytest.raises(Exception, match=r"read-?only"), engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM trade_rows")
    engine.dispose()


def test_a_doubled_slot_is_impossible(database_url):
    insert = "INSERT INTO phases VALUES (1, 1, '2026-11-18', 1, 'IDLE', 'WARMUP')"
    execute(database_url, insert)
    with pytest.raises(Exception, match=r"(?i)unique"):
        execute(database_url, insert)


def test_a_schema_cannot_be_taken_back(own_database_url):
    result = alembic("downgrade", "base", environment_url=own_database_url)
    assert result.status != 0
    assert "restore the backup" in result.stdout + result.stderr
    assert query(own_database_url, "SELECT version_num FROM alembic_version") == [(SCHEMA_REVISION,)]
