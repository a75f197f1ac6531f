"""Databases for the suites that run on both kinds; each test has one of its own, and it is gone afterwards."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from observer.store.engine import migrate

SERVER_URL = os.environ.get("OBSERVER_TEST_POSTGRES", "postgresql+psycopg://root@127.0.0.1:5432/test")


def run_on_server(*statements: sql.Composed) -> None:
    address = make_url(SERVER_URL).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address, autocommit=True, connect_timeout=5) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database in which nothing is yet."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'observer.sqlite3'}"
        return
    name = f"observer_test_{uuid.uuid4().hex}"
    try:
        run_on_server(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg.OperationalError as error:
        pytest.skip(f"no PostgreSQL at OBSERVER_TEST_POSTGRES ({make_url(SERVER_URL)}): {error}")
    yield make_url(SERVER_URL).set(database=name).render_as_string(hide_password=False)
    run_on_server(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def database_url(empty_database_url: str) -> str:
    """The URL of a database with the current schema and no rows."""
    migrate(empty_database_url)
    return empty_database_url
