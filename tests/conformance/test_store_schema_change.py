"""Changes of the schema on both databases: views follow the code; no reader or killed program stops them for ever."""

from contextlib import contextmanager

import psycopg
import pytest
from sqlalchemy import make_url

from observer.base.errors import StoreError
from observer.store import engine
from observer.store.engine import migrate, open_writer
from observer.store.integrity import schema_problems
from observer.store.schema_change import change_schema
from observer.store.views import make_view
from tests.privileges import at_work
from tests.store.migrated import make_database
from tests.store.raw import execute, query
from tests.waiting import until

STALE = "CREATE VIEW trades AS SELECT 1 AS stale"
LOCK_WAIT_MS = 300


@pytest.fixture
def stale_url(empty_database_url):
    """A database with the current revision and a view of an earlier program."""
    make_database(empty_database_url)
    execute(empty_database_url, "DROP VIEW trades")
    execute(empty_database_url, STALE)
    return empty_database_url


@contextmanager
def transaction(url):
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address) as connection:
        yield connection
        connection.rollback()


@contextmanager
def opened_for_writing(url):
    database = open_writer(url)
    try:
        yield database
    finally:
        database.dispose()


def test_views_of_an_earlier_program_are_made_anew_at_the_same_revision(stale_url):
    migrate(stale_url)
    assert query(stale_url, "SELECT price, venue FROM trades") == []


@pytest.mark.parametrize("empty_database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("has_other_columns", [False, True])
def test_what_was_granted_on_a_view_outlives_its_renewal(empty_database_url, has_other_columns):
    make_database(empty_database_url)
    execute(empty_database_url, "COMMENT ON VIEW trades IS 'of an earlier program'")
    if has_other_columns:
        execute(empty_database_url, "DROP VIEW trades")
        execute(empty_database_url, STALE)
    execute(empty_database_url, "GRANT SELECT ON trades TO PUBLIC")
    execute(empty_database_url, "GRANT SELECT ON trades TO pg_monitor WITH GRANT OPTION")
    migrate(empty_database_url)
    granted = "SELECT relacl::text LIKE '%,=r/%' FROM pg_class WHERE oid = 'trades'::regclass"
    assert query(empty_database_url, granted) == [(True,)]
    passed_on = "SELECT has_table_privilege('pg_monitor', 'trades', 'SELECT WITH GRANT OPTION')"
    assert query(empty_database_url, passed_on) == [(True,)]
    assert schema_problems(empty_database_url) == []


@pytest.mark.parametrize("empty_database_url", ["postgresql"], indirect=True)
def test_a_start_succeeds_with_views_of_a_person_s_own(stale_url, caplog):
    execute(stale_url, "CREATE VIEW mine AS SELECT * FROM trades")
    migrate(stale_url)
    assert query(stale_url, "SELECT stale FROM mine") == [(1,)]
    assert "the view stays as an earlier version made it" in caplog.text
    [problem] = schema_problems(stale_url)
    assert problem.startswith("view trades is an earlier version's: drop the views of your own")
    execute(stale_url, "DROP VIEW mine")
    migrate(stale_url)
    assert schema_problems(stale_url) == []


def test_views_of_this_code_are_left_alone(stale_url):
    def identities():
        if stale_url.startswith("sqlite"):
            return query(stale_url, "PRAGMA schema_version")
        return query(stale_url, "SELECT 'trades'::regclass::oid")

    migrate(stale_url)
    made = identities()
    migrate(stale_url)
    assert identities() == made


@pytest.mark.parametrize("empty_database_url", ["postgresql"], indirect=True)
def test_a_reader_that_keeps_a_lock_ends_the_change_with_a_remedy_and_the_next_one_succeeds(stale_url, monkeypatch):
    waits = (*engine._POSTGRESQL_WRITER_SETTINGS, f"lock_timeout = {LOCK_WAIT_MS}")
    monkeypatch.setattr(engine, "_POSTGRESQL_WRITER_SETTINGS", waits)
    with transaction(stale_url) as reader:
        reader.execute("SELECT * FROM trades")
        with pytest.raises(StoreError, match="pg_stat_activity names it"), opened_for_writing(stale_url) as database:
            change_schema(database, make_view)
        migrate(stale_url)  # a start does not fail for a view
        assert query(stale_url, "SELECT stale FROM trades") == [(1,)]
    migrate(stale_url)
    assert query(stale_url, "SELECT price, venue FROM trades") == []


@pytest.mark.parametrize("empty_database_url", ["postgresql"], indirect=True)
def test_a_killed_change_leaves_no_lock_behind_a_reader_and_is_repeated(stale_url, tmp_path):
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'trades'::regclass"

    def wait_for_ever():
        """Only its death ends its statement."""
        engine._POSTGRESQL_WRITER_SETTINGS += ("lock_timeout = 0",)
        migrate(stale_url)

    with transaction(stale_url) as reader:
        reader.execute("SELECT * FROM trades")
        with at_work(wait_for_ever, tmp_path):
            until(lambda: query(stale_url, waiting) == [(1,)], "the change waits")
        until(lambda: query(stale_url, waiting) == [(0,)], "the server ends the change", 30)
        assert query(stale_url, "SELECT stale FROM trades") == [(1,)]
    migrate(stale_url)
    assert query(stale_url, "SELECT price, venue FROM trades") == []
