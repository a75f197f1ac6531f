"""The owner of a database (one instance, one system at a time) and its writer (one process)."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
from sqlalchemy import Engine, inspect, select

from observer.base.errors import ConfigError
from observer.base.instance import Instance, instance_url
from observer.store.engine import migrate, open_reader, open_writer, sqlite_path, store_errors
from observer.store.lock import WriterLock
from observer.store.owner_row import enter_owner, enter_system, refuse_living_owner
from observer.store.schema import other_owner
from observer.store.systems import System, this_system
from observer.store.tables import OWNER


class Owner(msgspec.Struct, frozen=True):
    """The instance that a database belongs to, and the names of its brokers."""

    instance: Instance
    providers: Sequence[str]


def claim(
    url: str,
    instance: Instance,
    providers: Iterable[str],
    now_ns: int,
    system: System | None = None,
    copies: Path | None = None,
) -> None:
    """Bring the database to the schema of this code, and enter the instance with its brokers as the owner.

    Args:
        url: the database.
        instance: becomes or is the owner.
        providers: the names of its brokers.
        now_ns: market time.
        system: is entered, too, and owns the database until its `WriterLock` is released. A command enters none.
        copies: the folder for a dump of an older PostgreSQL database.

    Raises:
        ConfigError: it belongs to another instance; nothing was changed.
        DatabaseInUseError: another process writes it, or another living system owns it; nothing was changed.
        StoreError: as `migrate`.
    """
    url = instance_url(url, instance)
    with only_writer(url, system) as engine:
        _refuse_other_owner(engine, instance)
        migrate(url, copies)
        with store_errors(engine), engine.begin() as connection:
            enter_owner(connection, instance, ",".join(sorted(providers)), now_ns)
            if system is not None:
                enter_system(connection, system)


def migrate_own(url: str, instance: Instance, copies: Path | None = None) -> None:
    """As `claim`, for a command: a database without an owner stays without one."""
    url = instance_url(url, instance)
    with only_writer(url) as engine:
        _refuse_other_owner(engine, instance)
        migrate(url, copies)


def _refuse_other_owner(engine: Engine, instance: Instance) -> None:
    with store_errors(engine), engine.connect() as connection:
        if not inspect(connection).has_table(OWNER.name):
            return
        owner = connection.execute(select(OWNER.c.name, OWNER.c.market)).first()
    if owner is not None and (owner.name, owner.market) != (instance.name, instance.market):
        raise ConfigError(other_owner(str(engine.url), Instance(name=owner.name, market=owner.market), instance))


def owner_of(url: str) -> Owner | None:
    """The owner of a database with the current schema; None if no instance has claimed it.

    Raises:
        StoreError: it is not there, or does not answer.
    """
    engine = open_reader(url)
    try:
        with store_errors(engine), engine.connect() as connection:
            row = connection.execute(select(OWNER)).first()
    finally:
        engine.dispose()
    if row is None:
        return None
    return Owner(Instance(name=row.name, market=row.market), row.providers.split(","))


@contextlib.contextmanager
def only_writer(url: str, system: System | None = None) -> Iterator[Engine]:
    """Yield an engine that writes the database. No other process writes the database while the block runs.

    Args:
        url: the database.
        system: the system that may own it; None for a command.

    Raises:
        DatabaseInUseError: another process writes the database, or another living system owns it.
        StoreError: the database cannot be reached.
    """
    engine = open_writer(url)
    lock = WriterLock(engine)
    try:
        lock.acquire()
        if engine.dialect.name != "sqlite" or sqlite_path(engine.url).exists():  # a look must not make the file
            refuse_living_owner(engine, system or this_system())
        yield engine
    finally:
        lock.release()


def require_unused(url: str) -> None:
    """Return if no process writes the database.

    Raises:
        DatabaseInUseError, StoreError: as `only_writer`.
    """
    with only_writer(url):
        pass
