"""What Alembic runs: connects, and hands over the schema of `observer.store.tables`.

`observer.store.engine.migrate` passes its connection; on the command line the database is `-x url=...` or the
environment variable OBSERVER_DATABASE_URL.
"""

import os
from typing import Final

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection

from observer.base.errors import StoreError
from observer.store.engine import open_writer
from observer.store.tables import METADATA

URL_VARIABLE: Final = "OBSERVER_DATABASE_URL"


def run(connection: Connection) -> None:
    """Run the command that was asked for in one transaction: a failed migration leaves the schema as it was."""
    context.configure(connection=connection, target_metadata=METADATA, render_as_batch=True, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()


def run_from_command_line() -> None:
    """Open the database that the command line or the environment names."""
    url = context.get_x_argument(as_dictionary=True).get("url") or os.environ.get(URL_VARIABLE)
    if not url:
        raise CommandError(f"which database? Give `alembic -x url=sqlite:///PATH ...` or set {URL_VARIABLE}")
    try:
        engine = open_writer(url)
    except StoreError as error:
        raise CommandError(str(error)) from error
    with engine.begin() as connection:
        run(connection)
    engine.dispose()


if context.is_offline_mode():
    raise CommandError("migrations run against a database; --sql is not supported")
if (given := context.config.attributes.get("connection")) is not None:
    run(given)
else:
    run_from_command_line()
