"""Checks whether a database calls itself whole, and has exactly the schema of this code.

SQLite reads its whole file. PostgreSQL reports what it noticed: failed checksums, indexes that it gave up; with the
extension `amcheck` each index is compared with its order.
"""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import DBAPIError

from bus.commands import Refused
from observer.base.errors import StoppedError, StoreError
from observer.base.remedies import DATABASE_IS_DAMAGED
from observer.base.text import plain_text
from observer.monitoring.alerts.process import DATABASE_DAMAGED, Alerts
from observer.store.engine import (
    POSTGRESQL_DAMAGE,
    describe,
    failure_of,
    open_reader,
    parse_url,
    reading,
    require_current_schema,
    store_errors,
)
from observer.store.tables import METADATA

_PROBLEMS_MAX: Final = 20
_STEPS_AT_ONCE: Final = 100_000  # instructions of SQLite's virtual machine, some milliseconds
_OUR_INDEXES: Final = (
    "FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
    "WHERE c.relnamespace = quote_ident(current_schema())::regnamespace"
)
_CHECKSUMS: Final = (
    "SELECT checksum_failures, checksum_last_failure FROM pg_stat_database WHERE datname = current_database()"
)
_AMCHECK: Final = (
    "SELECT quote_ident(n.nspname), "
    "has_function_privilege(quote_ident(n.nspname) || '.bt_index_check(regclass)', 'EXECUTE') "
    "FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'amcheck'"
)
_NAMED_MAX: Final = 3  # problems of a damaged database

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
        words, disordered = _compared_indexes(connection, stop)
        _read_tables(connection, stop)
        return Integrity(f"every page of the tables; {words}", [*_server_problems(connection), *disordered])


def require_whole(url: str, stop: threading.Event, *, reads_rows: bool = False) -> str:
    """Return what was examined, if no page of the database is found damaged now. What a server noted of an earlier time
    does not count: it stays after a repair. With `reads_rows` every page of a server's tables is read, as a dump does.

    Raises:
        DatabaseDamagedError: a page is damaged.
        StoreError, StoppedError: as `check_integrity`.
    """
    with reading(url) as connection:
        if connection.dialect.name == "sqlite":
            words, problems = "every page of the file (quick_check)", _sqlite_problems(connection, stop)
        else:
            words, problems = _compared_indexes(connection, stop)
            if reads_rows:
                _read_tables(connection, stop)
                words = f"every page of the tables; {words}"
    if problems:
        raise failure_of(f"{parse_url(url)}: {'; '.join(problems[:_NAMED_MAX])}", is_damage=True)
    return words


async def report_integrity(url: str, alerts: Alerts) -> str | Refused:
    """Check the database, and begin or end the alert that it is damaged; one that does not answer leaves the alert."""
    stop = threading.Event()
    try:
        examined = await asyncio.to_thread(partial(require_whole, url, stop, reads_rows=True))
    except StoreError as error:
        if DATABASE_IS_DAMAGED in str(error):
            alerts.report(DATABASE_DAMAGED, "critical", str(error))
        return Refused("failed", str(error))
    finally:
        stop.set()
    alerts.resolve(DATABASE_DAMAGED, f"the database is whole: {examined}")
    return f"whole: {examined}"


def _sqlite_problems(connection: Connection, stop: threading.Event) -> Sequence[str]:
    driver = connection.connection.dbapi_connection
    assert driver is not None, "the connection is open"
    driver.execute("PRAGMA mmap_size = 0")  # in a mapped file, a page that the disk cannot read would be a SIGBUS
    driver.set_progress_handler(lambda: int(stop.is_set()), _STEPS_AT_ONCE)
    try:
        rows = connection.exec_driver_sql(f"PRAGMA quick_check({_PROBLEMS_MAX})").scalars().all()
    except Exception as error:
        if stop.is_set():
            raise StoppedError("the check was interrupted") from error
        raise
    return [str(row) for row in rows if row != "ok"]


def _server_problems(connection: Connection) -> Iterator[str]:
    failures, last = connection.exec_driver_sql(_CHECKSUMS).one()
    if failures:
        over = "once it is repaired, `SELECT pg_stat_reset()` ends this line"
        yield f"{failures} pages of the database failed their checksum, the last at {last}; {over}"
    given_up = f"SELECT c.relname {_OUR_INDEXES} AND NOT (i.indisvalid AND i.indisready) ORDER BY 1"
    for name in connection.exec_driver_sql(given_up).scalars():
        yield f"index {name} is not valid: REINDEX INDEX {name}"


def _compared_indexes(connection: Connection, stop: threading.Event) -> tuple[str, Sequence[str]]:
    """What was examined, in words, and the indexes that are damaged; amcheck where it is there and allowed."""
    amcheck, words = connection.exec_driver_sql(_AMCHECK).first(), "checksums and indexes by the server's statistics"
    if amcheck is None:
        return f"{words}; `CREATE EXTENSION amcheck` adds their order", ()
    schema, is_allowed = amcheck
    if not is_allowed:
        grant = f"`GRANT EXECUTE ON FUNCTION {schema}.bt_index_check(regclass) TO` this user"
        return f"{words}; amcheck is not allowed: {grant} adds their order", ()
    return "checksums, and the order of every index (amcheck)", list(_disordered(connection, schema, stop))


def _read_tables(connection: Connection, stop: threading.Event) -> None:
    for way in ("indexscan", "indexonlyscan", "bitmapscan"):
        connection.exec_driver_sql(f"SET LOCAL enable_{way} = off")  # they pass pages over
    for table in METADATA.sorted_tables:
        if stop.is_set():
            raise StoppedError("the check was interrupted")
        connection.execute(select(func.count()).select_from(table))


def _disordered(connection: Connection, schema: str, stop: threading.Event) -> Iterator[str]:
    wanted = f"SELECT i.indexrelid, c.relname {_OUR_INDEXES} AND i.indisvalid AND c.relam = 403 ORDER BY 2"
    for number, name in connection.exec_driver_sql(wanted).all():
        if stop.is_set():
            raise StoppedError("the check was interrupted")
        savepoint = connection.begin_nested()
        try:
            connection.exec_driver_sql(f"SELECT {schema}.bt_index_check({int(number)}::oid::regclass)")
        except DBAPIError as error:
            savepoint.rollback()
            if getattr(error.orig, "sqlstate", "") not in POSTGRESQL_DAMAGE:
                raise
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
