"""Changes of the schema beside other connections: none waits for ever for a lock, and none stays when its program dies.

A statement that changes a table or a view waits behind a reader of it, and all later readers wait behind the statement.
So each try waits as long as `lock_timeout` says (`observer.store.engine`), and leaves all as it was; after some tries
the error says what to do.
"""

import logging
from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection, Engine, inspect
from sqlalchemy.exc import OperationalError

from observer.base.errors import StoreError
from observer.store import engine as opened
from observer.store.engine import store_errors
from observer.store.views import VIEW, is_view_stale, renew_view

logger = logging.getLogger(__name__)

_TRIES: Final = 3
_WAITED_FOR: Final = ("55P03", "40P01")  # a lock that was not given, and a deadlock
# A server that works for a program that was killed ends its statement within this, and with it the transaction and the
# locks. Versions before 14 do not know the setting, and a server on another system than Linux refuses it.
_CLIENT_CHECK_MS: Final = 500
_CHECK_CLIENT: Final = (
    f"SELECT set_config(name, '{_CLIENT_CHECK_MS}', true) FROM pg_settings "  # noqa: S608 - a number of our own
    "WHERE name = 'client_connection_check_interval' AND position('linux' IN version()) > 0"
)


def upgrade_to_newest(engine: Engine) -> None:
    """Run the migrations that the database lacks.

    Raises:
        StoreError: as `change_schema`.
    """
    from alembic import command

    def upgrade(connection: Connection) -> None:
        config = opened.alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    change_schema(engine, upgrade)


def change_schema(engine: Engine, change: Callable[[Connection], None]) -> None:
    """Make a change in one transaction.

    Raises:
        StoreError: it failed, or another connection kept a lock in every try; nothing was changed.
    """
    for _ in range(_TRIES):
        with store_errors(engine):
            try:
                with engine.begin() as connection:
                    if engine.dialect.name == "postgresql":
                        connection.exec_driver_sql(_CHECK_CLIENT)
                    change(connection)
            except OperationalError as error:
                if getattr(error.orig, "sqlstate", None) not in _WAITED_FOR:
                    raise
            else:
                return
    raise StoreError(
        f"{engine.url}: another connection keeps a lock on a table or view that has to change, so nothing was changed: "
        "end it (pg_stat_activity names it, pg_terminate_backend(pid) ends it) and try again"
    )


def bring_view_up_to_date(engine: Engine) -> None:
    """Make an outdated view of trades anew. One that cannot be replaced, as a person's view reads it, stays unchanged
    with a warning, and `observer db check` names it: the system works with the old view.

    Raises:
        StoreError: the database does not answer, or lacks the view and it cannot be made.
    """
    with store_errors(engine), engine.connect() as connection:
        if not is_view_stale(connection):
            return
    try:
        change_schema(engine, renew_view)
    except StoreError as error:
        with store_errors(engine), engine.connect() as connection:
            if VIEW not in inspect(connection).get_view_names():
                raise
        logger.warning("the view stays as an earlier version made it (`observer db check` names it): %s", error)
