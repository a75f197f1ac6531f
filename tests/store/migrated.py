"""A database with the current schema and no rows, in a fraction of the time that the migrations take."""

import tempfile
from functools import cache
from pathlib import Path

from sqlalchemy import create_engine, make_url

from observer.store.engine import migrate
from observer.store.schema import SCHEMA_REVISION
from observer.store.tables import METADATA
from observer.store.views import make_views


def make_database(url: str) -> None:
    """Migrate an empty database: on SQLite copy a migrated file, on PostgreSQL create the final schema
    (tests/conformance/test_store_schema.py checks that it equals the migrations).
    """
    address = make_url(url)
    if address.get_backend_name() == "sqlite":
        assert address.database is not None
        path = Path(address.database)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(migrated_file())
    else:
        _create_tables(url)


@cache
def migrated_file() -> bytes:
    """The file that the migrations make."""
    with tempfile.TemporaryDirectory() as folder:
        migrate(f"sqlite:///{folder}/observer.db")
        return Path(folder, "observer.db").read_bytes()


def _create_tables(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        METADATA.create_all(connection)
        make_views(connection)
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
        connection.exec_driver_sql(f"INSERT INTO alembic_version VALUES ('{SCHEMA_REVISION}')")
    engine.dispose()
