"""The schema's revision, and a check of an SQLite file before a system starts.

Without SQLAlchemy: the process that hosts the supervisor does not load it.
"""

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from bus.events import SCHEMA_VERSION
from observer.errors import ConfigError, StoreError
from observer.store.instance import Instance

SCHEMA_REVISION: Final = f"{SCHEMA_VERSION:04}"
"""The newest migration, and the only schema that this code reads and writes. A change of the events changes it with
their version; for a change of the store's own tables or of an index append the next letter."""


_ADMISSION_S: Final = 5
# What a PostgreSQL server or its client says of a user, a password or a database that another attempt does not change.
_REFUSALS: Final = ("authentication failed", "does not exist", "no password supplied", "no pg_hba.conf entry")


def require_own_file(path: Path, instance: Instance) -> None:
    """Return if the file is absent, empty, or a database that this program and this instance may write.

    Raises:
        StoreError: it is no database, holds something else, or has a schema that this code does not know.
        ConfigError: it belongs to another instance.
    """
    if not path.exists() or not path.stat().st_size:
        return
    try:
        revision, owner = _stated(path)
    except sqlite3.OperationalError:
        return  # locked, say: the writer waits for it and reports it
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{path}: {error}: give another [store] url") from error
    if revision is None:
        raise StoreError(f"{path} holds tables of something else than Observer: give another [store] url")
    if revision > SCHEMA_REVISION:
        raise StoreError(f"{path}: {unknown_schema(revision)}")
    if owner not in (None, (instance.name, instance.market)):
        raise ConfigError(other_owner(str(path), Instance(name=owner[0], market=owner[1]), instance))


def require_admission(url: str) -> None:
    """Return if the PostgreSQL server admits this user to this database, or does not answer: it may come back.

    Raises:
        ConfigError: the server refuses the user or the database, or the URL cannot be used.
    """
    import psycopg  # only where the database is PostgreSQL

    address = f"postgresql{url[url.index('://') :]}"
    try:
        psycopg.connect(address, connect_timeout=_ADMISSION_S).close()
    except psycopg.OperationalError as error:
        text = _on_one_line(error)
        if any(words in text for words in _REFUSALS):
            raise ConfigError(f"store.url: {text}: correct [store] url, or make the user or the database") from None
    except (psycopg.Error, ValueError) as error:
        raise ConfigError(f"store.url: {_on_one_line(error)}: correct [store] url") from None


def _on_one_line(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error)).strip()


def unknown_schema(revision: str) -> str:
    """The text of an error about a database of another program."""
    return (
        f"its schema is {revision}, this program knows {SCHEMA_REVISION} and cannot convert it: "
        "use the version of Observer that wrote it, or give another [store] url"
    )


def other_owner(database: str, owner: Instance, instance: Instance) -> str:
    """The text of an error about a database of another instance."""
    return (
        f"{database}: this database belongs to instance '{owner.name}' (market {owner.market}), "
        f"not to '{instance.name}' (market {instance.market}); use another [store] url or [instance] name"
    )


def _stated(path: Path) -> tuple[str | None, tuple[str, str] | None]:
    """The revision and the owner that a file states."""
    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if "alembic_version" not in tables:
            return None if tables else SCHEMA_REVISION, None
        [(revision,)] = database.execute("SELECT version_num FROM alembic_version")
        owner = database.execute("SELECT name, market FROM owner").fetchone() if "owner" in tables else None
        return revision, owner
