"""The owner row: the instance that a database belongs to, and the system that writes it (`observer.store.systems`)."""

import logging
import uuid
from typing import TYPE_CHECKING, Final

import msgspec
from sqlalchemy import Connection, Engine, Update, inspect, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from observer.base.clock import RealClock
from observer.base.errors import DatabaseInUseError
from observer.base.instance import Instance
from observer.store.engine import sqlite_path, store_errors
from observer.store.identity import FileIdentity, ServerIdentity, server_identity
from observer.store.systems import Ownership, System, described, is_same, owned_by_another, owns
from observer.store.tables import OWNER

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection

logger = logging.getLogger(__name__)

_ONLY_ROW: Final = 1
_SYSTEM_COLUMNS: Final = (*System.__struct_fields__, "place", "started_ns", "heartbeat_ns")


def enter_owner(connection: Connection, instance: Instance, providers: str, now_ns: int) -> None:
    """Enter the instance as the owner. An entered instance gets these brokers, names separated by commas."""
    insert = sqlite.insert(OWNER) if connection.dialect.name == "sqlite" else postgresql.insert(OWNER)
    entered = insert.values(
        id=_ONLY_ROW,
        name=instance.name,
        market=instance.market,
        providers=providers,
        created_ns=now_ns,
        database_id=uuid.uuid4().hex,
    )
    connection.execute(entered.on_conflict_do_update(index_elements=[OWNER.c.id], set_={"providers": providers}))


def refuse_living_owner(engine: Engine, system: System) -> None:
    """Return if no other living system owns the database; logs which dead one is replaced.

    Raises:
        DatabaseInUseError: another living system owns it.
        StoreError: no answer.
    """
    with store_errors(engine), engine.connect() as connection:
        found = ownership_in(connection)
        if found is None or is_same(found.system, system):
            return
        place, now_ns = _place(connection), machine_ns(connection)
    if owns(found, system, place, now_ns):
        raise DatabaseInUseError(owned_by_another(str(engine.url), found, now_ns))
    if found.place == place:
        logger.warning("the system that owned %s is dead and is replaced: %s", engine.url, described(found, now_ns))


def ownership_in(connection: Connection) -> Ownership | None:
    """The system in the owner row; None without a system, and in a database of an older schema."""
    inspection = inspect(connection)
    if not inspection.has_table(OWNER.name):
        return None
    if not {column["name"] for column in inspection.get_columns(OWNER.name)} >= set(OWNER.columns.keys()):
        return None
    row = connection.execute(select(OWNER)).first()
    if row is None or row.host is None:
        return None
    system = System(row.host, row.machine, row.pid, row.pid_started, row.runtime)
    return Ownership(system, row.place, row.started_ns, row.heartbeat_ns)


def enter_system(connection: Connection, system: System) -> None:
    """Enter the system that writes the database from now on."""
    now_ns = machine_ns(connection)
    values = msgspec.structs.asdict(system) | {"place": _place(connection)}
    connection.execute(update(OWNER).values(**values, started_ns=now_ns, heartbeat_ns=now_ns))


def leave(connection: Connection, system: System) -> None:
    """Remove the system from the owner row, if the row names it."""
    connection.execute(of_system(system).values(dict.fromkeys(_SYSTEM_COLUMNS)))


def machine_ns(connection: Connection) -> int:
    """UTC nanoseconds: by the server's clock, which all hosts share, or for SQLite by this machine's clock."""
    if connection.dialect.name == "sqlite":
        return RealClock().now_ns()
    now_ns = connection.scalar(text("SELECT (extract(epoch FROM clock_timestamp()) * 1000000000)::bigint"))
    return int(now_ns or 0)


def _place(connection: Connection) -> str:
    if connection.dialect.name == "sqlite":
        return FileIdentity.of(sqlite_path(connection.engine.url)).place
    return identity_of_server(connection).place_in(str(connection.scalar(text("SELECT current_schema()"))))


def identity_of_server(connection: Connection) -> ServerIdentity:
    """The identity of the PostgreSQL database of this connection.

    Raises:
        StoreFailedError: as `server_identity`.
    """
    driver_connection: DBAPIConnection = connection.connection.dbapi_connection  # type: ignore[assignment]
    return server_identity(driver_connection)


def of_system(system: System) -> Update:
    """An update of the owner row as long as this system is in it."""
    ours = (OWNER.c[name] == value for name, value in msgspec.structs.asdict(system).items())
    return update(OWNER).where(*ours)
