"""A database of one measurement: a file in its folder, or a schema of its own in the given PostgreSQL database."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from observer.base.instance import Instance, instance_url
from observer.store.engine import migrate, open_writer, store_errors


@contextmanager
def scratch_database(folder: Path, server: str | None) -> Iterator[str]:
    """The URL of an empty database with the current schema; a schema on the server is dropped at the end.

    Raises:
        StoreError: the server does not answer, or this user may make no schema there.
    """
    if server is None:
        folder.mkdir(parents=True, exist_ok=True)
        url = f"sqlite:///{folder / 'observer.db'}"
        migrate(url)
        yield url
        return
    name = f"bench_{secrets.token_hex(6)}"
    url = instance_url(server, Instance(name=name))
    try:
        migrate(url)
        yield url
    finally:
        engine = open_writer(server)
        with store_errors(engine), engine.begin() as connection:
            connection.exec_driver_sql(f"DROP SCHEMA IF EXISTS {name} CASCADE")
        engine.dispose()
