"""Error messages for a database that cannot be opened, and the pragmas of an SQLite file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine

from observer.base.errors import StoreError
from observer.store.engine import migrate, open_reader, open_writer, parse_url, read_only_address
from observer.store.reader import StoreReader
from observer.store.tables import METADATA
from observer.store.views import make_view
from tests.privileges import in_a_fork
from tests.store.raw import query
from tests.waiting import DEADLINE_S

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("url", ["", "trades.db", "sqlite://", "sqlite:///:memory:", "mysql://localhost/observer"])
def test_only_an_sqlite_file_or_a_postgresql_is_a_database(url):
    with pytest.raises(StoreError):
        parse_url(url)


def test_postgresql_is_spoken_to_by_psycopg():
    assert parse_url("postgresql://reader@localhost/observer").drivername == "postgresql+psycopg"


def test_the_directory_of_a_new_database_is_made(tmp_path):
    migrate(f"sqlite:///{tmp_path}/deep/down/observer.sqlite3")
    assert (tmp_path / "deep/down/observer.sqlite3").is_file()


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot make the folder"):
        migrate(f"sqlite:///{tmp_path}/file/observer.sqlite3")


def test_a_directory_that_cannot_be_written_is_an_error(tmp_path):
    tmp_path.chmod(0o500)
    ran = in_a_fork(lambda: migrate(f"sqlite:///{tmp_path}/observer.sqlite3"), tmp_path, as_user=True)
    assert "StoreFailedError: cannot write to" in ran.stderr


def test_a_file_that_is_not_a_database_is_an_error_and_stays(tmp_path):
    path = tmp_path / "observer.sqlite3"
    path.write_text("my diary, " * 1000)
    with pytest.raises(StoreError, match="not a database"):
        migrate(f"sqlite:///{path}")
    assert path.read_text().startswith("my diary")


def test_a_reader_makes_no_database(tmp_path):
    with pytest.raises(StoreError, match="there is no database"):
        StoreReader(f"sqlite:///{tmp_path}/observer.sqlite3")
    assert list(tmp_path.iterdir()) == []


def test_an_unreachable_server_is_an_error_without_the_password():
    with pytest.raises(StoreError, match="refused") as caught:
        StoreReader("postgresql://reader:secret@127.0.0.1:1/observer")
    assert "secret" not in str(caught.value)


def test_a_password_among_the_options_of_a_url_is_kept_as_its_password():
    url = parse_url("postgresql://reader@127.0.0.1:1/observer?password=secret&connect_timeout=3")
    assert (url.password, dict(url.query)) == ("secret", {"connect_timeout": "3"})
    assert "secret" not in str(url)


@pytest.mark.parametrize("option", ["sslpassword", "oauth_client_secret"])
def test_a_secret_among_the_options_of_a_url_goes_to_the_driver_and_is_not_shown(option):
    url = parse_url(f"postgresql://reader@127.0.0.1:1/observer?connect_timeout=3&{option}=hush")
    assert url.query[option] == "hush"
    assert open_reader(str(url.render_as_string(hide_password=False))).url.query[option] == "hush"
    for shown in (url, url.set(database="other"), open_reader(url.render_as_string(hide_password=False))):
        assert f"{option}=***" in str(shown)
        assert "hush" not in f"{shown} {shown!r}"
    with pytest.raises(StoreError) as caught:
        parse_url(f"mysql://me@host/db?{option}=hush")
    assert "hush" not in str(caught.value)


def test_a_commit_survives_a_power_cut_because_it_waits_for_the_disk(tmp_path):
    engine = open_writer(f"sqlite:///{tmp_path}/observer.sqlite3")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
    engine.dispose()


def test_a_path_may_contain_characters_with_a_meaning_in_urls(tmp_path):
    path = tmp_path / "50% of #1?.sqlite3"
    url = URL.create("sqlite", database=str(path)).render_as_string()
    migrate(url)
    assert path.is_file()
    open_reader(url).connect().close()


def test_the_migrations_make_an_sqlite_file_to_the_letter_of_the_metadata(tmp_path):
    migrated, made = f"sqlite:///{tmp_path}/migrated.sqlite3", f"sqlite:///{tmp_path}/made.sqlite3"
    migrate(migrated)
    with create_engine(made).begin() as connection:
        METADATA.create_all(connection)
        make_view(connection)
    statements = "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE '%alembic%' AND sql IS NOT NULL ORDER BY name"
    assert _spaced(query(migrated, statements)) == _spaced(query(made, statements))


def _spaced(rows):
    return [(name, " ".join(str(statement).split())) for name, statement in rows]


def test_the_alembic_command_without_a_url_names_the_variable():
    environment = {name: value for name, value in os.environ.items() if name != "OBSERVER_DATABASE_URL"}
    command = [sys.executable, "-m", "alembic", "check"]
    result = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment, timeout=DEADLINE_S
    )
    assert result.returncode != 0
    assert "OBSERVER_DATABASE_URL" in result.stdout + result.stderr


def test_a_file_is_immutable_in_a_folder_that_is_read_only_to_us_unless_a_writer_has_it_open(tmp_path):
    path = tmp_path / "observer.sqlite3"
    tmp_path.chmod(0o500)

    def address():
        return in_a_fork(lambda: sys.stdout.write(read_only_address(path)), tmp_path, as_user=True).stdout

    assert address() == f"file:{path}?mode=ro&immutable=1"
    tmp_path.chmod(0o700)
    assert address() == f"file:{path}?mode=ro"
    (tmp_path / "observer.sqlite3-wal").touch()
    tmp_path.chmod(0o500)
    assert address() == f"file:{path}?mode=ro"


def test_reading_sqlite_loads_neither_the_migrations_nor_the_other_driver():
    program = "import sys, observer.store.reader; print('alembic' in sys.modules or 'psycopg' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
