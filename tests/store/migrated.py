"""A database with the current schema and no rows, in a fraction of the time that the migrations take."""

import tempfile
from functools import cache
from pathlib import Path
from typing import Final

from sqlalchemy import create_engine, event, make_url

from observer.store.engine import migrate
from observer.store.schema import SCHEMA_REVISION
from observer.store.tables import METADATA
from observer.store.views import make_view
from tests.store.raw import execute


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
    """One text after the first time: SQLAlchemy takes longer than the server for its two hundred statements."""
    if _CREATED:
        execute(url, ";\n".join(_CREATED))
        return
    engine = create_engine(url)
    with engine.begin() as connection:
        event.listen(connection, "before_cursor_execute", lambda *words: _CREATED.append(words[2]))
        METADATA.create_all(connection, checkfirst=False)
        make_view(connection)
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
        connection.exec_driver_sql(f"INSERT INTO alembic_version VALUES ('{SCHEMA_REVISION}')")
    engine.dispose()


_CREATED: Final[list[str]] = []  # what this process's first creation sent
