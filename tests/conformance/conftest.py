"""Databases for the suites that run on both kinds: each test finds one without a row and without another's connections.

On SQLite each test has a file of its own; on PostgreSQL all share one schema, emptied before each test, because making
its fifty tables takes twenty times as long. A module that needs a whole PostgreSQL database has one. A plan depends on
what a table had before it was emptied: a test of plans takes `own_database_url`.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import LiteralString, cast

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from observer.store.reader import StoreReader
from observer.store.tables import METADATA
from tests.store.migrated import make_database
from tests.store.stored import storing

SERVER_URL = make_url(os.environ.get("OBSERVER_TEST_POSTGRES", "postgresql+psycopg://root@127.0.0.1:5432/test"))


def run_on_server(statement: LiteralString, name: str) -> None:
    address = SERVER_URL.set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        with psycopg.connect(address, autocommit=True, connect_timeout=60) as connection:
            connection.execute(sql.SQL(statement).format(sql.Identifier(name)))
    except psycopg.OperationalError as error:
        pytest.skip(f"no PostgreSQL at OBSERVER_TEST_POSTGRES ({SERVER_URL}): {error}")


@contextmanager
def postgresql_schema() -> Iterator[str]:
    name = f"observer_test_{uuid.uuid4().hex}"
    run_on_server("CREATE SCHEMA {}", name)
    try:
        options = {"options": f"-csearch_path={name}", "application_name": name}
        yield SERVER_URL.update_query_dict(options).render_as_string(hide_password=False)
    finally:
        run_on_server("DROP SCHEMA {} CASCADE", name)


@contextmanager
def postgresql_database(options: LiteralString = "") -> Iterator[str]:
    name = f"observer_test_{uuid.uuid4().hex}"
    run_on_server("CREATE DATABASE {} " + options, name)
    try:
        yield SERVER_URL.set(database=name).render_as_string(hide_password=False)
    finally:
        run_on_server("DROP DATABASE {} WITH (FORCE)", name)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'observer.sqlite3'}"
    else:
        with postgresql_schema() as url:
            yield url


@pytest.fixture
def own_database_url(empty_database_url: str) -> str:
    """The URL of a database with the current schema, which no other test ever uses."""
    make_database(empty_database_url)
    return empty_database_url


@pytest.fixture(scope="session")
def postgresql_schema_for_all() -> Iterator[str]:
    """The URL of a schema with the current tables, with the rows of the last test that used it."""
    with postgresql_schema() as url:
        make_database(url)
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database with the current schema and no rows."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'observer.sqlite3'}"
        make_database(url)
    else:
        url = request.getfixturevalue("postgresql_schema_for_all")
        empty(url)
    return url


@pytest.fixture
def store(database_url):
    """What stores events at the end of a stream (`tests.store.stored.storing`)."""
    with storing(database_url) as append:
        yield append


@pytest.fixture
def reader(request, database_url):
    """A `StoreReader`, or what the module names as its READER."""
    with getattr(request.module, "READER", StoreReader)(database_url) as opened:
        yield opened


def empty(url: str) -> None:
    """End all other connections, wait for their locks, and delete all rows."""
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address) as connection:
        connection.execute(_emptying())


@cache
def _emptying() -> sql.SQL:
    """All statements in one text: as fifty of SQLAlchemy's they took longer than most tests."""
    others = "application_name = current_setting('application_name') AND pid != pg_backend_pid()"
    statements = [
        "SET LOCAL synchronous_commit = off",  # a test waits for no disk here
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}",
        f"LOCK TABLE {', '.join(METADATA.tables)}",
        *(f"DELETE FROM {table.name}" for table in reversed(METADATA.sorted_tables)),
        "ALTER SEQUENCE streams_id_seq RESTART",
    ]
    return sql.SQL(cast("LiteralString", "; ".join(statements)))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def whole_database_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a database with the current schema for one module's tests."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('whole') / 'observer.sqlite3'}"
        make_database(url)
        yield url
    else:
        with postgresql_database() as url:
            make_database(url)
            yield url
