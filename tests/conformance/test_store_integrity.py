"""A database's own check of itself, and the comparison of its schema with the one that this version expects."""

import threading

import psycopg
import pytest

from bus.commands import Refused
from observer.base.clock import ManualClock
from observer.base.errors import StoppedError, StoreError
from observer.monitoring.alerts.process import Alerts
from observer.store.integrity import check_integrity, report_integrity, schema_problems
from tests.archive.scene import commit
from tests.conformance.conftest import postgresql_database
from tests.conformance.private_server import private_server
from tests.store.migrated import make_database
from tests.store.raw import execute, query

GO_ON = threading.Event()


def test_a_whole_database_has_no_problem_and_the_expected_schema(database_url):
    commit(database_url, 10)
    assert check_integrity(database_url, GO_ON).problems == []
    assert schema_problems(database_url) == []


def test_a_damaged_page_is_found(tmp_path):
    url = f"sqlite:///{tmp_path}/observer.db"
    make_database(url)
    commit(url, 5_000)
    path = tmp_path / "observer.db"
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    for page in range(middle, len(content) - 4096, 4096):
        content[page : page + 16] = b"\xff" * 16
    path.write_bytes(content)
    try:
        problems = check_integrity(url, GO_ON).problems
    except StoreError as error:
        problems = [str(error)]
    assert problems


def test_a_check_is_interrupted(tmp_path):
    url = f"sqlite:///{tmp_path}/observer.db"
    make_database(url)
    commit(url, 20_000)
    stop = threading.Event()
    stop.set()
    with pytest.raises(StoppedError):
        check_integrity(url, stop)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DROP INDEX ix_snapshots_symbol_session_date", "add_index snapshots.ix_snapshots_symbol_session_date"),
        ("ALTER TABLE phases ADD COLUMN more INTEGER", "remove_column phases"),
        ("CREATE TABLE mine (number INTEGER)", "remove_table mine"),
    ],
)
def test_what_differs_from_the_expected_schema_is_named(empty_database_url, statement, words):
    make_database(empty_database_url)
    execute(empty_database_url, statement)
    [problem] = schema_problems(empty_database_url)
    assert problem.startswith(words)


def test_another_revision_is_the_one_difference(empty_database_url):
    make_database(empty_database_url)
    execute(empty_database_url, "UPDATE alembic_version SET version_num = '9999'")
    [problem] = schema_problems(empty_database_url)
    assert "its schema is 9999" in problem


def test_with_amcheck_postgresql_compares_the_order_of_every_index():
    with postgresql_database() as url:
        make_database(url)
        commit(url, 10)
        assert "CREATE EXTENSION amcheck" in check_integrity(url, GO_ON).examined
        try:
            execute(url, "CREATE EXTENSION amcheck")
        except psycopg.Error as error:
            pytest.skip(f"this server has no amcheck: {error}")
        found = check_integrity(url, GO_ON)
        assert found.examined == "every page of the tables; checksums, and the order of every index (amcheck)"
        assert found.problems == []
        execute(url, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_trade_rows_group_id'::regclass")
        assert check_integrity(url, GO_ON).problems == [
            "index ix_trade_rows_group_id is not valid: REINDEX INDEX ix_trade_rows_group_id"
        ]


@pytest.mark.slow
async def test_a_damaged_page_of_a_server_s_table_is_an_alert_until_the_table_can_be_read():
    with private_server() as server:
        make_database(server.url)
        commit(server.url, 3_000)
        [[path]] = query(server.url, "SELECT pg_relation_filepath('trade_rows')")
        server.stop(in_order=True)
        file = server.data / str(path)
        whole = file.read_bytes()
        file.write_bytes(whole[:8192] + b"\xff" * 8192 + whole[16384:])
        server.start()
        alerts = Alerts(ManualClock(0), "core-writer", lambda *_: None)
        assert isinstance(await report_integrity(server.url, alerts), Refused)
        assert [alert.identity for alert in alerts.open] == ["database_damaged"]
        server.stop(in_order=True)
        file.write_bytes(whole)
        server.start()
        assert str(await report_integrity(server.url, alerts)).startswith("whole: every page of the tables")
        assert alerts.open == []
