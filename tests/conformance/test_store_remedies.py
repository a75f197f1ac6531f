"""Each failure of a PostgreSQL server is one line with a remedy."""

import socket
import threading
import uuid
from contextlib import closing, contextmanager

import psycopg
import pytest
from sqlalchemy import make_url

from observer.base.errors import StoreError, StoreFailedError
from observer.base.instance import Instance
from observer.store.engine import open_reader, open_writer, store_errors
from observer.store.owner import claim
from observer.store.reader import StoreReader
from observer.store.systems import this_system
from observer.store.writer import StoreWriter
from tests.conformance.conftest import SERVER_URL, postgresql_schema, run_on_server
from tests.store.migrated import make_database
from tests.store.raw import execute, query

KOREA = Instance()


@contextmanager
def refusing_server(code, message):
    """The URL of a server that answers each start of a session with this error, as a restarting one does."""
    fields = b"SFATAL\0" + b"VFATAL\0" + f"C{code}\0M{message}\0".encode() + b"\0"
    answer = b"E" + (len(fields) + 4).to_bytes(4, "big") + fields

    def serve():
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            with client:
                client.recv(4096)
                client.sendall(answer)

    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            port = listening.getsockname()[1]
            yield f"postgresql+psycopg://reader:secret@127.0.0.1:{port}/observer?sslmode=disable&gssencmode=disable"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    ("code", "message", "remedy"),
    [
        ("57P03", "the database system is starting up", "wait until it has started"),
        ("57P03", "the database system is shutting down", "wait until it has started"),
        ("57P03", "the database system is in recovery mode", "wait until it has started"),
        ("53300", "sorry, too many clients already", "raise max_connections"),
        ("53300", "remaining connection slots are reserved", "raise max_connections"),
        ("28P01", 'password authentication failed for user "reader"', r"the password in \[store\] url or in ~/.pgpass"),
    ],
)
def test_a_server_that_takes_no_session_is_reported_with_the_remedy(code, message, remedy):
    with (
        refusing_server(code, message) as url,
        pytest.raises(StoreFailedError, match=f"(?s)^[^\n]*{message}.*: .*{remedy}[^\n]*$") as caught,
    ):
        StoreReader(url)
    assert "secret" not in str(caught.value)


def test_an_unknown_user_is_reported_with_the_remedy():
    run_on_server("SELECT 1 AS {}", "here")  # skips without a server
    url = SERVER_URL.set(username="nobody_" + uuid.uuid4().hex).render_as_string(hide_password=False)
    with pytest.raises(StoreFailedError, match=r'role "nobody_.* does not exist: .*createuser'):
        StoreReader(url)


def test_a_host_without_an_address_is_reported_with_the_remedy():
    with pytest.raises(StoreFailedError, match=r": correct the host in \[store\] url$"):
        StoreReader("postgresql+psycopg://reader@no-such-host.invalid/observer")


@pytest.fixture
def url():
    with postgresql_schema() as found:
        make_database(found)
        yield found


def test_a_server_that_takes_no_changes_is_reported_with_the_remedy(url):
    address = make_url(url)
    read_only = address.update_query_dict(
        {"options": f"{address.query['options']} -cdefault_transaction_read_only=on"}
    ).render_as_string(hide_password=False)
    with pytest.raises(StoreFailedError, match=r"read-only transaction: .*promote it, or give the primary"):
        claim(read_only, KOREA, ["kis"], 0, this_system())


def test_a_session_that_the_server_ended_is_reported_with_the_remedy(url):
    writer = StoreWriter(url)
    writer.open()
    others = "application_name = current_setting('application_name') AND pid != pg_backend_pid()"
    execute(url, f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {others}")
    with pytest.raises(StoreFailedError, match="the server was stopped or restarted, see its log"):
        writer.high_water_marks(["5" * 32])
    assert writer.high_water_marks(["5" * 32]) == {"5" * 32: 0}
    writer.close()


def test_a_reader_connects_again_when_the_server_ended_its_idle_connection(url):
    with StoreReader(url) as reader:
        assert reader.last_session() is None
        others = "application_name = current_setting('application_name') AND pid != pg_backend_pid()"
        execute(url, f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {others}")
        assert reader.last_session() is None


def test_a_full_disk_of_the_server_is_reported_with_the_remedy(url):
    remedy = r"No space left.*: free some space on the server's disk$"
    said = 'could not extend file "base/16386/16712": No space left on device\nHINT:  Check free disk space.'
    with pytest.raises(StoreFailedError, match=remedy), store_errors(open_writer(url)):
        raise psycopg.errors.DiskFull(said)


def test_a_user_without_rights_is_reported_with_the_remedy(url):
    name = "observer_test_" + uuid.uuid4().hex
    run_on_server("CREATE ROLE {}", name)
    schema = query(url, "SELECT current_schema()")[0][0]
    execute(url, f"GRANT USAGE ON SCHEMA {schema} TO {name}")
    try:
        with pytest.raises(StoreError, match=r"permission denied for .*: grant it to this user"):
            count_trades_as(url, name)
    finally:
        execute(url, f"REVOKE USAGE ON SCHEMA {schema} FROM {name}")
        run_on_server("DROP ROLE {}", name)


def count_trades_as(url, role):
    engine = open_reader(url)
    with store_errors(engine), engine.connect() as connection:
        connection.exec_driver_sql(f"SET ROLE {role}")
        connection.exec_driver_sql("SELECT count(*) FROM trades")
