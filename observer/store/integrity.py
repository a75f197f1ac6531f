"""Checks whether a database calls itself whole, and has exactly the schema of this code.

SQLite reads its whole file. PostgreSQL reports what it noticed: failed checksums, indexes that it gave up; with the
extension `amcheck` each index is compared with its order.
"""

import threading
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Engine

from observer.base.errors import StoppedError, StoreError
from observer.base.text import plain_text
from observer.store.engine import describe, open_reader, reading, require_current_schema, store_errors

_PROBLEMS_MAX: Final = 20
_STEPS_AT_ONCE: Final = 100_000  # instructions of SQLite's virtual machine, some milliseconds
_OUR_INDEXES: Final = (
    "FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
    "WHERE c.relnamespace = quote_ident(current_schema())::regnamespace"
)
_CHECKSUMS: Final = "SELECT checksum_failures FROM pg_stat_database WHERE datname = current_database()"
_AMCHECK: Final = (
    "SELECT e.extname, quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
    "WHERE e.extname = 'amcheck'"
)

_STALE_VIEW: Final = (
    "view {} is an earlier version's: drop the views of your own that read it, and start the system again"
)


class Integrity(msgspec.Struct, frozen=True):
    """The examined parts, in words, and the problems."""

    examined: str
    problems: Sequence[str]


def check_integrity(url: str, stop: threading.Event) -> Integrity:
    """The database's own word about itself.

    Raises:
        StoreError: it is not there, or does not answer.
        StoppedError: `stop` was set.
    """
    with reading(url) as connection:
        if connection.dialect.name == "sqlite":
            return Integrity("every page of the file (quick_check)", _sqlite_problems(connection, stop))
        has_amcheck = connection.exec_driver_sql(_AMCHECK).first()
        problems = [*_server_problems(connection)]
        if has_amcheck is None:
            words = "checksums and indexes by the server's statistics; `CREATE EXTENSION amcheck` adds their order"
            return Integrity(words, problems)
        problems += _disordered(connection, str(has_amcheck[1]), stop)
        return Integrity("checksums, and the order of every index (amcheck)", problems)


def _sqlite_problems(connection: Connection, stop: threading.Event) -> Sequence[str]:
    driver = connection.connection.dbapi_connection
    assert driver is not None, "the connection is open"
    driver.set_progress_handler(lambda: int(stop.is_set()), _STEPS_AT_ONCE)
    try:
        rows = connection.exec_driver_sql(f"PRAGMA quick_check({_PROBLEMS_MAX})").scalars().all()
    except Exception as error:
        if stop.is_set():
            raise StoppedError("the check was interrupted") from error
        raise
    return [str(row) for row in rows if row != "ok"]


def _server_problems(connection: Connection) -> Iterator[str]:
    failures = connection.exec_driver_sql(_CHECKSUMS).scalar()
    if failures:
        yield f"{failures} pages of the database failed their checksum"
    given_up = f"SELECT c.relname {_OUR_INDEXES} AND NOT (i.indisvalid AND i.indisready) ORDER BY 1"
    for name in connection.exec_driver_sql(given_up).scalars():
        yield f"index {name} is not valid: REINDEX INDEX {name}"


def _disordered(connection: Connection, schema: str, stop: threading.Event) -> Iterator[str]:
    wanted = f"SELECT i.indexrelid, c.relname {_OUR_INDEXES} AND i.indisvalid AND c.relam = 403 ORDER BY 2"
    for number, name in connection.exec_driver_sql(wanted).all():
        if stop.is_set():
            raise StoppedError("the check was interrupted")
        savepoint = connection.begin_nested()
        try:
            connection.exec_driver_sql(f"SELECT {schema}.bt_index_check({int(number)}::oid::regclass)")
        except Exception as error:  # noqa: BLE001 - whatever the extension says of an index is its finding
            savepoint.rollback()
            yield f"index {name}: {plain_text(describe(error))}"
        else:
            savepoint.commit()


def schema_problems(url: str) -> Sequence[str]:
    """What differs from the schema that this code expects: the revision, else every table, column, index and view.

    Raises:
        StoreError: it is not there, or does not answer.
    """
    engine = open_reader(url)
    try:
        try:
            require_current_schema(engine)
        except StoreError as error:
            return [str(error)]
        return _differences(engine)
    finally:
        engine.dispose()


def _differences(engine: Engine) -> Sequence[str]:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from observer.store.tables import METADATA
    from observer.store.views import VIEW, is_view_stale

    with store_errors(engine), engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        views = [_STALE_VIEW.format(VIEW)] if is_view_stale(connection) else []
        return [*(_worded(each) for each in compare_metadata(context, METADATA)), *views]


def _worded(difference: Any) -> str:
    """Word a difference of Alembic as the operation that would correct the database."""
    steps: Sequence[Any] = difference if isinstance(difference, list) else [difference]
    return "; ".join(" ".join(_name(part) for part in step if part is not None) for step in steps)


def _name(part: object) -> str:
    name = getattr(part, "name", None)
    table = getattr(getattr(part, "table", None), "name", None)
    return f"{table}.{name}" if name and table else str(name or part)
