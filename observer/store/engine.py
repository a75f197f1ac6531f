"""Opening a database: SQLite (the default) or PostgreSQL, to write or to read, and bringing its schema up to date.

An address is an URL as SQLAlchemy writes them: `sqlite:////var/lib/observer/observer.sqlite3`,
`postgresql+psycopg://user@host:5432/name`. Whatever a database or its driver raises leaves this room as a `StoreError`.
"""

import logging
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, event, inspect, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool
from sqlalchemy.schema import CreateSchema

from observer.base.errors import DatabaseDamagedError, StoreError, StoreFailedError
from observer.base.instance import schema_in
from observer.base.remedies import REMEDIES, SEEN, database_damaged
from observer.base.text import CONCEALED
from observer.store.compiled_statements import make_engine
from observer.store.identity import STANDBY, require_encoding, was_sqlite
from observer.store.schema import ESCAPES, SCHEMA_REVISION, unknown_schema

if TYPE_CHECKING:  # the workers that only read should not pay for Alembic
    from alembic.config import Config

logger = logging.getLogger(__name__)

BEGIN_WRITING: Final = "BEGIN IMMEDIATE"  # SQLite's
_LOCK_WAIT_MS: Final = 5_000  # a writer's longest wait for another one's transaction
_SQLITE_CACHE_KIB: Final = 16 * 1024  # the hot ends of some thirty trees; measured: 64 MiB writes no faster
_SQLITE_MAPPED_BYTES: Final = 128 * 1024 * 1024  # a reader's; what it has touched counts as its memory
_SQLITE_WAL_BYTES_KEPT: Final = 64 * 1024 * 1024  # a log that a long reader made grow is cut to this afterwards

# WAL lets readers go on while the writer commits; FULL makes each commit wait for the disk, so that what was
# acknowledged survives a power cut. Foreign keys are off because there are none (see `observer.store.tables`).
_SQLITE_WRITER_PRAGMAS: Final = (
    "journal_mode=WAL",
    "synchronous=FULL",
    f"busy_timeout={_LOCK_WAIT_MS}",
    "foreign_keys=OFF",
    f"cache_size=-{_SQLITE_CACHE_KIB}",
    f"journal_size_limit={_SQLITE_WAL_BYTES_KEPT}",
)
_SQLITE_READER_PRAGMAS: Final = ("query_only=ON", f"busy_timeout={_LOCK_WAIT_MS}", f"mmap_size={_SQLITE_MAPPED_BYTES}")

# A connection whose other end is gone without a word (power cut, cable, sleep) ends after LOST_CONNECTION_S on both
# sides instead of two hours: until then the server keeps the writer's lock. A machine that came back refuses the next
# probe, so its own lost connection ends _PROBE_S later: sooner than its new writer gives up (observer.store.readiness).
_PROBE_S: Final = 5
_PROBES: Final = 6
LOST_CONNECTION_S: Final = _PROBE_S + _PROBES * _PROBE_S
_POSTGRESQL_CLIENT_OPTIONS: Final[Mapping[str, int]] = {
    "keepalives_idle": _PROBE_S,
    "keepalives_interval": _PROBE_S,
    "keepalives_count": _PROBES,
    "tcp_user_timeout": LOST_CONNECTION_S * 1_000,
}
# Options of libpq that are secrets; `password` is a part of the address itself.
SECRET_OPTIONS: Final = frozenset({"sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"})
_POSTGRESQL_WRITER_SETTINGS: Final = (
    "synchronous_commit = on",
    f"lock_timeout = {_LOCK_WAIT_MS}",
    f"tcp_keepalives_idle = {_PROBE_S}",
    f"tcp_keepalives_interval = {_PROBE_S}",
    f"tcp_keepalives_count = {_PROBES}",
    f"tcp_user_timeout = {LOST_CONNECTION_S * 1_000}",
)
_POSTGRESQL_READER_SETTINGS: Final = (
    "default_transaction_read_only = on",
    "default_transaction_isolation = 'repeatable read'",  # one query sees one state, as in SQLite
)
_OTHER_BUILD: Final = ": another build of Observer wrote this database, use that one or give another database"
_OTHER_TABLES: Final = ": the database holds tables of something else, give another [store] url"
POSTGRESQL_DAMAGE: Final = frozenset({"XX001", "XX002"})  # data_corrupted, index_corrupted
_DAMAGE: Final = ("disk image is malformed", "invalid page in block", "could not read block")
_STANDBY: Final = f": {STANDBY}"
_CONNECTIONS: Final = ": end other clients, or raise max_connections of the server"
# What SQLite and PostgreSQL say -> what to do.
_REMEDIES: Final = {
    "readonly database": ": make the file and its folder writable (chmod), or run as their owner",
    "disk is full": ": free some space on its disk",
    "disk I/O error": ": see whether its disk is full or broken",
    "unable to open database file": ": make the file readable and its folder writable (chmod), or run as their owner",
    "database is locked": ": another program holds it, find that with `fuser` and end it",
    "file is not a database": ": give a database of Observer, or a file that is not there yet",
    "already exists": _OTHER_TABLES,
    "no such table": _OTHER_BUILD,
    "no such column": _OTHER_BUILD,
    'relation "': _OTHER_BUILD,
    'column "': _OTHER_BUILD,
    'database "': ": make it with createdb, or correct [store] url",
    "Connection refused": " Start the server, or correct [store] url.",
    "read-only transaction": _STANDBY,
    "the database system is": ": wait until it has started, see the server's log if it does not",
    "terminating connection": ": the server was stopped or restarted, see its log if it does not come back",
    "server closed the connection": ": the server was stopped or restarted, see its log if it does not come back",
    "No space left on device": ": free some space on the server's disk",
    "remaining connection slots": _CONNECTIONS,
    "too many connections": _CONNECTIONS,
    "too many clients": _CONNECTIONS,
    'role "': ": make it with createuser, or correct the user in [store] url",
    "authentication failed": ": correct the user and the password in [store] url or in ~/.pgpass",
    "no password supplied": ": give the password in [store] url or in ~/.pgpass",
    "failed to resolve host": ": correct the host in [store] url",
    "permission denied for": ": grant it to this user, or make the user the owner (ALTER ... OWNER TO)",
}


class DatabaseUrl(URL):
    """A database's address. Its text shows no secret, also none of its options."""

    def render_as_string(self, hide_password: bool = True) -> str:
        """The text; with the secrets only where it goes to a driver."""
        found = SECRET_OPTIONS & self.query.keys() if hide_password else ()
        shown = self.query.union(dict.fromkeys(found, CONCEALED))
        return URL.render_as_string(self._replace(query=shown), hide_password).replace("%2A%2A%2A", CONCEALED)


def parse_url(url: str) -> DatabaseUrl:
    """The address as a value.

    Raises:
        StoreError: it is none, or of a database that is not supported.
    """
    try:
        parsed = DatabaseUrl(*make_url(url))
    except (ArgumentError, ValueError):  # both quote the text, which may hold a password
        raise StoreError("not a database URL: give sqlite:///PATH or postgresql+psycopg://USER@HOST/NAME") from None
    if "@" in (parsed.host or ""):
        raise StoreError(f"not a database URL: {ESCAPES}")
    if secret := parsed.query.get("password"):  # an option would be in errors and in the arguments of programs
        parsed = DatabaseUrl(*parsed.difference_update_query(["password"]).set(password=str(secret)))
    match parsed.get_backend_name():
        case "sqlite" if parsed.database and parsed.database != ":memory:":
            return parsed
        case "postgresql":
            return DatabaseUrl(*parsed.set(drivername="postgresql+psycopg"))
    raise StoreError(f"{parsed}: give sqlite:///PATH or postgresql+psycopg://USER@HOST/NAME")


def sqlite_path(url: URL) -> Path:
    assert url.database, "parse_url accepts no SQLite database without a file"
    return Path(url.database)


def schema_of(url: URL) -> str | None:
    """The PostgreSQL schema that the URL selects; None if the URL leaves the choice to the server."""
    options = url.query.get("options", "")
    return schema_in(options if isinstance(options, str) else " ".join(options))


def open_writer(url: str) -> Engine:
    """An engine whose transactions may write. Connects at its first use; does not check the schema.

    Raises:
        StoreError: the URL is wrong, or the SQLite file or its directory cannot be written.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        _require_writable(sqlite_path(parsed).absolute())
        return _with_sqlite_rules(make_engine(parsed), _SQLITE_WRITER_PRAGMAS, begin=BEGIN_WRITING)
    return _with_postgresql_rules(parsed, _POSTGRESQL_WRITER_SETTINGS)


def open_existing(url: str) -> Engine:
    """As `open_writer`, but the engine never creates the SQLite file, also when it was removed."""
    engine = open_writer(url)
    if engine.dialect.name == "sqlite":
        path = sqlite_path(engine.url).absolute()

        @event.listens_for(engine, "do_connect")
        def connect(_: Dialect, _entry: ConnectionPoolEntry, arguments: list[str], named: dict[str, object]) -> None:
            arguments[0] = f"file:{quote(str(path))}?mode=rw"
            named["uri"] = True

    return engine


def open_reader(url: str) -> Engine:
    """An engine that can only read. Connects at its first use; does not check the schema.

    Raises:
        StoreError: the URL is wrong, or there is no such SQLite file.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        path = sqlite_path(parsed).absolute()
        if path.is_dir():
            raise StoreError(f"{path} is a folder: give the database file in it")
        if not path.exists():
            text = "the first run, or demo, makes one; if there was one,"
            raise StoreError(f"there is no database {path}: {text} {REMEDIES['database missing']}")
        # A connection is closed after each use. An idle one to a file that was removed or replaced would show that file
        # for ever; and one that found the new file beside the log of the old one keeps the writer from making its log.
        engine = _opening_read_only(make_engine(parsed, poolclass=NullPool), path)
        return _with_sqlite_rules(engine, _SQLITE_READER_PRAGMAS, begin="BEGIN")
    # An idle connection may be one to a server that was restarted since: a query of its own finds that out.
    return _with_postgresql_rules(parsed, _POSTGRESQL_READER_SETTINGS, tests_idle_connections=True)


@contextmanager
def reading(url: str) -> Iterator[Connection]:
    """A connection that can only read, of whichever schema; all queries of the block see one state.

    Raises:
        StoreError: as `open_reader`, or the database does not answer.
    """
    engine = open_reader(url)
    try:
        with store_errors(engine), engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _require_writable(path: Path) -> None:
    directory = path.parent
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder of the database: {error.filename}: {error.strerror}") from error
    if not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        raise StoreFailedError(
            f"cannot write to {directory}: SQLite needs the folder, not only its file; run as its owner or chmod it"
        )
    if path.exists() and not os.access(path, os.W_OK, effective_ids=True):
        raise StoreFailedError(f"cannot write to {path}: run as its owner or chmod it")


def _opening_read_only(engine: Engine, path: Path) -> Engine:
    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Dialect, _entry: ConnectionPoolEntry, arguments: list[str], named: dict[str, object]) -> None:
        arguments[0] = read_only_address(path)
        named["uri"] = True

    return engine


def read_only_address(path: Path) -> str:
    """The URI of an SQLite file to read. In a folder that is read-only to us, SQLite cannot make the files beside it
    that it needs to share it: the file is then immutable, unless a writer has it open.
    """
    is_shared = path.with_name(f"{path.name}-wal").exists() or os.access(path.parent, os.W_OK, effective_ids=True)
    return f"file:{quote(str(path))}?mode=ro{'' if is_shared else '&immutable=1'}"


def _with_sqlite_rules(engine: Engine, pragmas: tuple[str, ...], begin: str) -> Engine:
    """Transactions begin and end where SQLAlchemy says, DDL and savepoints included; the driver's own habit of opening
    one before some statements is turned off.
    """

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin_explicitly(connection: Connection) -> None:
        driver_connection: Any = connection.connection.driver_connection
        if not driver_connection.in_transaction:  # as one of `observer.store.transaction` is
            connection.exec_driver_sql(begin)

    return engine


def _with_postgresql_rules(url: URL, settings: tuple[str, ...], *, tests_idle_connections: bool = False) -> Engine:
    options = {name: value for name, value in _POSTGRESQL_CLIENT_OPTIONS.items() if name not in url.query}
    engine = make_engine(url, connect_args=options, pool_pre_ping=tests_idle_connections)

    @event.listens_for(engine, "do_connect")
    def connect(
        dialect: Dialect, _entry: ConnectionPoolEntry, arguments: list[str], named: dict[str, object]
    ) -> object:
        connection: Any = dialect.connect(*arguments, **named)
        try:
            require_encoding(str(url), connection.info.parameter_status("server_encoding"))
        except StoreError:
            connection.close()
            raise
        return connection

    @event.listens_for(engine, "connect")
    def prepare(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        for setting in settings:
            cursor.execute(f"SET {setting}")
        cursor.close()
        connection.commit()

    return engine


@contextmanager
def store_errors(engine: Engine) -> Iterator[None]:
    """Turn what the database raises into a `StoreError`, and forget the connections: the next use makes new ones."""
    driver = engine.dialect.loaded_dbapi
    try:
        yield
    except (SQLAlchemyError, driver.Error) as error:  # the driver's own come from raw COPY
        engine.dispose()
        what = re.sub(r"\s+", " ", describe(error))
        if _is_damage(error, what, engine.url):
            raise failure_of(f"{engine.url}: {what}", is_damage=True) from error
        remedy = next((remedy for words, remedy in _REMEDIES.items() if words in what), "")
        is_operational = isinstance(getattr(error, "orig", error), driver.OperationalError) or remedy == _STANDBY
        has_failed = is_operational and remedy not in (_OTHER_BUILD, _OTHER_TABLES)
        raise (StoreFailedError if has_failed else StoreError)(f"{engine.url}: {what}{remedy}") from error


def failure_of(what: str, *, is_damage: bool = False) -> StoreError:
    """The error for what a database, or its program, said. Damage is noted for the alerts of this process."""
    if not is_damage and not any(words in what for words in _DAMAGE):
        return StoreError(what)
    SEEN.damage = text = database_damaged(what)
    return DatabaseDamagedError(text)


def _is_damage(error: Exception, what: str, url: URL) -> bool:
    if getattr(getattr(error, "orig", error), "sqlstate", "") in POSTGRESQL_DAMAGE or any(
        words in what for words in _DAMAGE
    ):
        return True
    return "file is not a database" in what and url.get_backend_name() == "sqlite" and was_sqlite(sqlite_path(url))


def describe(error: Exception) -> str:
    """The database's own message, without SQLAlchemy's statement and parameters."""
    return str(getattr(error, "orig", None) or error).strip()


# --- the schema ----------------------------------------------------------------------------------------------


def require_current_schema(engine: Engine) -> None:
    """Return if the database has exactly the schema of this code.

    Raises:
        StoreError: the database has another schema or none, or cannot be read.
    """
    revision = schema_revision(engine)
    if revision == SCHEMA_REVISION:
        return
    if revision is None:
        raise StoreError(f"{engine.url}: there is no schema of Observer in it: `observer run` makes one")
    if revision not in known_revisions():
        raise StoreError(f"{engine.url}: {unknown_schema(revision)}")
    raise StoreError(
        f"{engine.url}: its schema is {revision}, this program needs {SCHEMA_REVISION}: `observer run` brings it up to "
        "date (a copy first: `observer backup now`), or use the version of Observer that wrote it"
    )


def schema_revision(engine: Engine) -> str | None:
    """The revision of the database's schema; None where there is none of ours."""
    with store_errors(engine), engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
        return revision


def migrate(url: str, copies: Path | None = None) -> None:
    """Bring the database to the schema of this code, making it where there is none; then make the view of trades anew
    where it is not that of this code. Does nothing to a current one.

    A database with an older schema is copied first: SQLite to `<file>.before-<revision>`, PostgreSQL to a dump in the
    folder `copies`.

    Raises:
        StoreError: it cannot be opened, is not a database, has a schema that this code does not know, or cannot be
            copied.
    """
    from observer.store.schema_change import (
        bring_view_up_to_date,
        upgrade_to_newest,
    )  # it opens transactions by this module

    engine = open_writer(url)
    try:
        if (revision := schema_revision(engine)) != SCHEMA_REVISION:  # on most days Alembic is not even loaded
            _refuse_unknown_schema(engine, revision)
            if revision is not None:
                from observer.store.backup import keep_before_migration  # it opens databases by this module

                logger.warning("copied to %s before its schema changes", keep_before_migration(url, revision, copies))
            _make_instance_schema(engine)
            upgrade_to_newest(engine)
        bring_view_up_to_date(engine)
    finally:
        engine.dispose()


def _refuse_unknown_schema(engine: Engine, revision: str | None) -> None:
    if revision is not None and revision not in known_revisions():
        raise StoreError(f"{engine.url}: {unknown_schema(revision)}")


def known_revisions() -> AbstractSet[str]:
    """The schemas that the migrations bring up to date."""
    from alembic.script import ScriptDirectory

    return {script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()}


def _make_instance_schema(engine: Engine) -> None:
    """Make the PostgreSQL schema that the URL selects. An existing schema needs no permission to make one."""
    name = schema_of(engine.url)
    if name is not None:
        with store_errors(engine), engine.begin() as connection:
            if not inspect(connection).has_schema(name):
                connection.execute(CreateSchema(name, if_not_exists=True))


def alembic_config() -> "Config":
    """The configuration of [tool.alembic] as an installed program has it: only the place of the migrations."""
    from alembic.config import Config

    import migrations

    # Not __file__: an editable install may find the folder as a namespace package, whose path has a hook beside it.
    [folder] = {Path(entry) for entry in migrations.__path__ if Path(entry).is_dir()}
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    return config
