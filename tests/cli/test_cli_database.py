"""`observer db stats`, `check` and `upgrade`, as a person types them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from observer.errors import StoreError
from observer.store.ownership import only_writer
from observer.store.schema import SCHEMA_REVISION
from tests.builders import trades
from tests.cli.typed import Typed, typed_system
from tests.folders import short_folder
from tests.store.filled import events
from tests.store.raw import execute, query


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as made:
        yield made


@pytest.fixture
def typed(folder: Path) -> Typed:
    return typed_system(folder, *events(), *trades(100))


def url_in(folder: Path) -> str:
    return f"sqlite:///{folder}/data/observer.db"


def test_stats_list_the_tables_with_rows_and_the_last_days(typed: Typed) -> None:
    ran = typed("db", "stats", "--days", "1")
    assert ran.exit_code == 0, ran.output
    assert "trade_rows" in ran.stdout
    assert "Rows without trades" in ran.stdout
    found = json.loads(typed("db", "stats", "--json").stdout)
    assert {"size_bytes", "free_bytes", "log_bytes", "tables"} == set(found["database"])
    assert next(iter(found["days"].values()))["sweeps"] >= 1


def test_a_whole_database_passes_the_check(typed: Typed) -> None:
    ran = typed("db", "check", "--recount", "--json")
    assert ran.exit_code == 0, ran.output
    found = json.loads(ran.stdout)
    assert {each["check"] for each in found} == {"database", "losses", "integrity", "schema", "rows"}
    assert {each["level"] for each in found} == {"ok"}


def test_a_changed_schema_is_exit_status_1_with_a_remedy(typed: Typed, folder: Path) -> None:
    execute(url_in(folder), "DROP INDEX ix_phases_session_date_current")
    ran = typed("db", "check", "--json")
    assert ran.exit_code == 1
    [found] = [each for each in json.loads(ran.stdout) if each["level"] != "ok"]
    assert found["text"] == "differs from this version's: add_index phases.ix_phases_session_date_current"
    assert found["remedy"]


def test_a_damaged_file_is_exit_status_1(typed: Typed, folder: Path) -> None:
    path = folder / "data" / "observer.db"
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = b"\xff" * (len(content) - len(content) // 2)
    path.write_bytes(content)
    ran = typed("db", "check", "--json")
    assert ran.exit_code == 1, ran.output
    assert [each for each in json.loads(ran.stdout) if each["level"] == "critical" and each["remedy"]]


def test_a_current_database_needs_no_upgrade(typed: Typed) -> None:
    ran = typed("db", "upgrade")
    assert ran.exit_code == 0, ran.output
    assert f"its schema is {SCHEMA_REVISION}, as this version needs it: nothing to do" in ran.stdout


def test_an_unknown_schema_is_refused(typed: Typed, folder: Path) -> None:
    execute(url_in(folder), "UPDATE alembic_version SET version_num = '9999'")
    assert isinstance(typed("db", "upgrade").exception, StoreError)


def test_a_check_reads_beside_a_writer(typed: Typed, folder: Path) -> None:
    with only_writer(url_in(folder)) as engine, engine.connect():
        assert typed("db", "check").exit_code == 0
        assert typed("db", "stats").exit_code == 0
    assert query(url_in(folder), "SELECT count(*) FROM streams") == [(1,)]
