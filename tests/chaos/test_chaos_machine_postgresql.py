"""The machine of `test_chaos_machine` on PostgreSQL: the server is put back under living connections."""

import contextlib
from typing import ClassVar, Final

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import make_url

from observer.store import engine
from tests.chaos.test_chaos_machine import Delivery
from tests.conformance.conftest import postgresql_schema
from tests.properties import examples
from tests.reach import run_machine
from tests.store.migrated import make_database

FLOORS: Final = {
    "step": 600,
    "step_with_anything_stored": 240,
    "group_committed": 35,
    "acknowledged": 50,
    "commit_refused": 3,
    "answer_lost": 10,
    "rewind": 17,
    "later_epoch_began": 3,
    "live_stream_put_back": 3,
    "archive_revived": 2,
}

TABLES = ("delivery_losses", "database_epochs", "trade_rows", "trade_groups", "streams")  # what the machine fills


class ServerDelivery(Delivery):
    """All examples share one schema, emptied at the start of each."""

    schema_url: ClassVar[str]

    def make_database(self):
        quick = (*engine._POSTGRESQL_WRITER_SETTINGS, "lock_timeout = 20", "synchronous_commit = off")
        self.patches.setattr(engine, "_POSTGRESQL_WRITER_SETTINGS", quick)
        address = make_url(self.schema_url).set(drivername="postgresql").render_as_string(hide_password=False)
        self.database = psycopg.connect(address, autocommit=True)
        self.database.execute("SET synchronous_commit = off")
        self.database.execute(f"TRUNCATE {', '.join(TABLES)}".encode())
        return self.schema_url

    def rows(self, statement):
        return self.database.execute(statement.encode()).fetchall()

    @contextlib.contextmanager
    def locked_database(self):
        with self.database.transaction():
            self.database.execute("LOCK TABLE streams")
            yield

    def refuse_rows(self):
        with self.writer.store._engine.connect() as connection:
            connection.exec_driver_sql("SET default_transaction_read_only = on")
            connection.commit()

    def back_up(self):
        self.backups.append({table: self.rows(f"SELECT * FROM {table}") for table in TABLES})

    def put_back(self, extent):
        """The rows are those of an earlier copy; the writer's connection stays."""
        with self.database.transaction(), self.database.cursor() as cursor:
            cursor.execute(f"TRUNCATE {', '.join(TABLES)}".encode())
            for table, rows in self.backups[-1 - extent % len(self.backups)].items():
                with cursor.copy(f"COPY {table} FROM STDIN".encode()) as copy:
                    for row in rows:
                        copy.write_row(row)

    def teardown(self):
        try:
            super().teardown()
        finally:
            self.database.close()


@pytest.mark.hypothesis
def test_every_event_is_stored_exactly_once_and_in_order_whatever_happens_on_a_server():
    """A fifth of a second each."""
    how = settings(examples(0.3), stateful_step_count=50, suppress_health_check=[*HealthCheck])
    with postgresql_schema() as ServerDelivery.schema_url:
        make_database(ServerDelivery.schema_url)
        run_machine(ServerDelivery, how, **FLOORS)
