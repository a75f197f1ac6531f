"""A look at a database before a system starts: it admits this user, this program, this instance and this system.

Read-only and without SQLAlchemy, which the supervisor's process does not load. A locked or silent database may come
back: the writer waits for it and reports it.
"""

import re
import sqlite3
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

import msgspec

from observer.base.errors import ConfigError, DatabaseInUseError, StoreError, StoreFailedError
from observer.base.instance import Instance
from observer.store.identity import FileIdentity, require_encoding, server_identity, was_sqlite
from observer.store.schema import ESCAPES, SCHEMA_REVISION, other_owner, unknown_schema
from observer.store.systems import Ownership, System, owned_by_another, owns

_WAIT_S: Final = 1.0  # for a lock
_ADMISSION_S: Final = 5
# What a PostgreSQL server or its client says of a user, a password or a database that another attempt does not change.
_REFUSALS: Final = ("authentication failed", "does not exist", "no password supplied", "no pg_hba.conf entry")
# Up to the last @ before the options, as a wrong URL may have several.
_PASSWORD: Final = re.compile(r"://[^:/@]*:(.*?)@[^@?]*(?:\?.*)?$", re.DOTALL)
_OPTION: Final = re.compile(r"[?&]password=([^&]*)")
_SEPARATORS: Final = re.compile(r"[@:/?#%]")
_SHORTEST_SECRET: Final = 3

_TABLES: Final = {
    "sqlite": "SELECT name FROM sqlite_schema WHERE type = 'table'",
    "postgresql": "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()",
}


class Stated(msgspec.Struct, frozen=True):
    """The statements of a database: its tables, the revision of its schema, its owning instance and system."""

    tables: Collection[str]
    revision: str | None = None
    instance: Instance | None = None
    ownership: Ownership | None = None


def require_own_file(path: Path, instance: Instance, system: System, now_ns: int) -> None:
    """Return if the file is absent, empty, or a database that this program, instance and system may write.

    Raises:
        StoreError: it is no database, holds something else, or has a schema that this code does not know.
        ConfigError: it belongs to another instance.
        DatabaseInUseError: another living system owns it.
    """
    if not path.exists() or not path.stat().st_size:
        return
    try:
        address = f"file:{quote(str(path.absolute()))}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=_WAIT_S)) as database:
            stated = stated_in(database, "sqlite")
    except sqlite3.OperationalError:
        return
    except sqlite3.DatabaseError as error:
        if "malformed" in str(error) or was_sqlite(path):  # it was a database: the writer reports it, and waits
            return
        raise StoreError(f"{path}: {error}: give another [store] url") from error
    if stated.revision is None and stated.tables:
        raise StoreError(f"{path} holds tables of something else than Observer: give another [store] url")
    require_own(str(path), stated, instance)
    require_unowned(str(path), stated.ownership, system, FileIdentity.of(path).place, now_ns)


def require_admission(url: str, instance: Instance, system: System) -> None:
    """Return if the PostgreSQL server admits this user to this database and the database is as `require_own_file` says,
    or if the server does not answer.

    Raises:
        ConfigError: the server refuses the user or the database, or the URL cannot be used.
        StoreError, ConfigError, DatabaseInUseError: as `require_own_file`; or it does not store Unicode.
    """
    import psycopg  # only where the database is PostgreSQL

    address = f"postgresql{url[url.index('://') :]}"
    shown = _without_password(url)
    if (found := _PASSWORD.search(url)) and {"@", "/"} & set(found[1]):
        raise ConfigError(f"store.url: the address cannot be used: {ESCAPES}")
    try:
        connection: Any = psycopg.connect(address, connect_timeout=_ADMISSION_S)
        with closing(connection) as database:
            require_encoding(shown, database.info.parameter_status("server_encoding"))
            database.execute(f"SET lock_timeout = {_WAIT_S * 1_000:.0f}".encode())
            stated = stated_in(database, "postgresql")
            require_own(shown, stated, instance)
            if stated.ownership is not None:
                [(schema, now_ns)] = database.execute(
                    "SELECT current_schema(), (extract(epoch FROM clock_timestamp()) * 1000000000)::bigint"
                ).fetchall()
                place = server_identity(database).place_in(schema)
                require_unowned(shown, stated.ownership, system, place, now_ns)
    except psycopg.OperationalError as error:
        text = _without_secret(error, url)
        if any(words in text for words in _REFUSALS):
            raise ConfigError(f"store.url: {text}: correct [store] url, or make the user or the database") from None
    except psycopg.errors.InsufficientPrivilege as error:
        raise ConfigError(f"store.url: {_on_one_line(error)}: grant it to this user, or correct [store] url") from None
    except (psycopg.Error, ValueError) as error:
        raise ConfigError(f"store.url: {_without_secret(error, url)}: correct [store] url") from None
    except StoreFailedError:
        return  # a standby, say, which may be promoted


def require_own(database: str, stated: Stated, instance: Instance) -> None:
    """Return if this program knows the schema, and no other instance owns the database.

    Raises:
        StoreError, ConfigError: as `require_own_file`.
    """
    if stated.revision is not None and stated.revision > SCHEMA_REVISION:
        raise StoreError(f"{database}: {unknown_schema(stated.revision)}")
    if stated.instance not in (None, instance):
        raise ConfigError(other_owner(database, stated.instance, instance))


def require_unowned(database: str, found: Ownership | None, system: System, place: str, now_ns: int) -> None:
    """Return if no other living system owns the database at `place`; raises DatabaseInUseError."""
    if found is not None and owns(found, system, place, now_ns):
        raise DatabaseInUseError(owned_by_another(database, found, now_ns))


def stated_in(database: Any, kind: str) -> Stated:
    """What a database states of itself, read by a driver's connection; `kind` is the name of the SQLAlchemy dialect."""
    revision: str | None = None
    row: dict[str, Any] = {}
    with closing(database.cursor()) as cursor:
        cursor.execute(_TABLES[kind])
        tables = {name for (name,) in cursor.fetchall()}
        if "alembic_version" in tables:
            cursor.execute("SELECT version_num FROM alembic_version")
            [revision] = cursor.fetchone() or (None,)
        if "owner" in tables:
            cursor.execute("SELECT * FROM owner")
            if found := cursor.fetchone():
                row = dict(zip([column[0] for column in cursor.description], found, strict=True))
    if not {"name", "market"} <= row.keys():  # none, or a table of something else
        return Stated(tables, revision)
    return Stated(tables, revision, Instance(name=row["name"], market=row["market"]), _ownership(row))


def _ownership(row: dict[str, Any]) -> Ownership | None:
    """Return the owner; None without a system in the row, and in a database of an older schema."""
    if row.get("host") is None:
        return None
    system = System(*(row[name] for name in System.__struct_fields__))
    return Ownership(system, row["place"], row["started_ns"], row["heartbeat_ns"])


# --- texts -----------------------------------------------------------------------------------------------------


def _without_password(url: str) -> str:
    for found in filter(None, (pattern.search(url) for pattern in (_OPTION, _PASSWORD))):
        url = f"{url[: found.start(1)]}***{url[found.end(1) :]}"
    return url


def _without_secret(error: Exception, url: str) -> str:
    """The error in one line; a text that repeats a part of the URL's password is left out."""
    text = _on_one_line(error)
    passwords = [found[1] for pattern in (_OPTION, _PASSWORD) if (found := pattern.search(url))]
    parts = {part for each in passwords for part in (each, unquote(each), *_SEPARATORS.split(each))}
    if any(part in text for part in parts if len(part) >= _SHORTEST_SECRET):
        return f"the address cannot be used: {ESCAPES}"
    return text


def _on_one_line(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error)).strip()
