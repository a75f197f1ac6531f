"""Each migration, over a database of the schema before it with rows: up, down, and up again, on both databases."""

import hashlib
from contextlib import contextmanager

import pytest
from alembic import command
from sqlalchemy import inspect, make_url

from observer.store.engine import alembic_config, migrate, open_existing, open_writer
from observer.store.schema import SCHEMA_REVISION
from tests.conformance.test_store_schema import assert_is_current
from tests.store.filled import events
from tests.store.migrated import make_database
from tests.store.raw import execute, query
from tests.store.stored import stored

BASELINE = "0008"
INDEX = "ix_order_books_session_date"
BASELINE_SCHEMAS = {
    "sqlite": (
        "a737a7fc617dced8",
        "SELECT sql FROM sqlite_master WHERE type IN ('table', 'index') AND sql <> '' ORDER BY name",
    ),
    "postgresql": (
        "903284a3daf23ae4",
        """
        SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default)
        FROM information_schema.columns JOIN pg_class ON relname = table_name AND relkind = 'r'
        WHERE table_schema = current_schema() AND relnamespace = current_schema()::regnamespace
        ORDER BY table_name COLLATE "C", ordinal_position
        """,
        """
        SELECT replace(indexdef, current_schema() || '.', '') FROM pg_indexes
        WHERE schemaname = current_schema() ORDER BY indexname COLLATE "C"
        """,
    ),
}
"""By database the digest of what the first migration makes, and what reads it. Databases of it exist: it never changes.
"""


@contextmanager
def configured(url):
    """What Alembic's commands need, in one transaction of the database."""
    engine = open_writer(url)
    config = alembic_config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        yield config
    engine.dispose()


def to(url, revision):
    with configured(url) as config:
        command.upgrade(config, revision)


@pytest.fixture
def older_url(empty_database_url):
    """A database of the first schema with rows: those of the newest one, taken back."""
    make_database(empty_database_url)
    stored(empty_database_url, *events())
    with configured(empty_database_url) as config:
        command.downgrade(config, BASELINE)
    return empty_database_url


def rows(engine):
    """The number of each table's rows, but of those of the schema itself."""
    with engine.connect() as connection:
        names = [name for name in inspect(connection).get_table_names() if name != "alembic_version"]
        return {name: int(connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one()) for name in names}


def test_the_baseline_never_changes(empty_database_url):
    to(empty_database_url, BASELINE)
    digest, *questions = BASELINE_SCHEMAS[make_url(empty_database_url).get_backend_name()]
    made = [text for question in questions for (text,) in query(empty_database_url, question)]
    texts = "\n".join(" ".join(str(text).split()) for text in made)
    assert hashlib.sha256(texts.encode()).hexdigest()[:16] == digest


def test_a_database_of_the_baseline_with_rows_gets_the_schema_of_the_tables(older_url, tmp_path):
    engine = open_existing(older_url)
    before = rows(engine)
    migrate(older_url, tmp_path / "copies")
    with engine.connect() as connection:
        assert_is_current(connection)
    assert rows(engine) == before
    assert before["snapshots"] > 0
    assert before["trade_rows"] > 0
    assert query(older_url, "SELECT version_num FROM alembic_version") == [(SCHEMA_REVISION,)]
    engine.dispose()


def test_the_indexes_by_day_go_and_come_again(older_url):
    engine = open_existing(older_url)
    before = rows(engine)
    of_baseline = indexes(older_url)
    to(older_url, "head")
    assert INDEX in indexes(older_url) - of_baseline
    with configured(older_url) as config:
        command.downgrade(config, BASELINE)
    assert indexes(older_url) == of_baseline
    assert query(older_url, "SELECT version_num FROM alembic_version") == [(BASELINE,)]
    to(older_url, "head")
    with engine.connect() as connection:
        assert_is_current(connection)
    assert rows(engine) == before
    engine.dispose()


def test_an_index_that_a_person_made_before_stays(older_url):
    execute(older_url, f"CREATE INDEX {INDEX} ON order_books (session_date)")
    to(older_url, "head")
    assert INDEX in indexes(older_url)


@pytest.mark.parametrize("empty_database_url", ["postgresql"], indirect=True)
def test_an_index_whose_making_ended_half_way_is_made_anew(older_url):
    execute(older_url, f"CREATE INDEX {INDEX} ON order_books (session_date)")
    execute(older_url, f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{INDEX}'::regclass")
    to(older_url, "head")
    assert query(older_url, f"SELECT indisvalid FROM pg_index WHERE indexrelid = '{INDEX}'::regclass") == [(True,)]


def test_rows_from_before_the_market_notices_have_none(older_url):
    assert not {"market_notice", "auction"} & columns(older_url)
    before = query(older_url, "SELECT count(*) FROM market_states")
    to(older_url, "head")
    assert {"market_notice", "auction"} <= columns(older_url)
    assert query(older_url, "SELECT count(*) FROM market_states WHERE market_notice IS NULL") == before


@pytest.mark.parametrize("is_read", [False, True])
def test_views_that_no_program_reads_go_and_one_that_a_person_s_view_reads_stays(older_url, is_read):
    execute(older_url, "CREATE VIEW consolidated_trades AS SELECT symbol AS stock FROM trades")
    execute(older_url, "CREATE VIEW best_quotes AS SELECT 1 AS bid")
    if is_read:
        execute(older_url, "CREATE VIEW mine AS SELECT stock FROM consolidated_trades")
    to(older_url, "head")
    there = set(inspect(open_existing(older_url)).get_view_names())
    is_kept = is_read and older_url.startswith("postgresql")  # SQLite forbids no such drop
    assert there == {"trades"} | ({"mine"} if is_read else set()) | ({"consolidated_trades"} if is_kept else set())


def columns(url):
    """The names of the columns of market states and expected prices."""
    inspector = inspect(open_existing(url))
    return {column["name"] for table in ("market_states", "expected_prices") for column in inspector.get_columns(table)}


def indexes(url):
    """The names of the indexes."""
    is_sqlite = url.startswith("sqlite")
    where = "sqlite_master WHERE type = 'index'" if is_sqlite else "pg_indexes WHERE schemaname = current_schema()"
    return {str(name) for (name,) in query(url, f"SELECT {'name' if is_sqlite else 'indexname'} FROM {where}")}
