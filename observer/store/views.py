"""The view of trades: rows of `TRADE_ROWS` with the texts of their groups. The same statement serves both databases."""

# ruff: noqa: S608 - the names in these queries are those of our own tables and columns

import hashlib
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from bus.events import Trade
from observer.store.tables import EVENT_TABLES, GROUP_COLUMNS, TRADE_GROUPS, TRADE_ROWS


def _stored_column(name: str) -> str:
    return f"{(TRADE_GROUPS if name in GROUP_COLUMNS else TRADE_ROWS).name}.{name}"


VIEW: Final = EVENT_TABLES[Trade].name
# An inner join: either database begins with the groups of a symbol and day, or with the rows of a stream.
_ROWS: Final = f"""
SELECT {", ".join(_stored_column(column.name) for column in EVENT_TABLES[Trade].columns)}
FROM {TRADE_GROUPS.name} JOIN {TRADE_ROWS.name} ON {TRADE_ROWS.name}.group_id = {TRADE_GROUPS.name}.id"""
_STATEMENT: Final = f"CREATE VIEW {VIEW} AS {_ROWS}"
_DIGEST: Final = hashlib.sha256(_STATEMENT.encode()).hexdigest()
_OTHER_COLUMNS: Final = "42P16"  # PostgreSQL only replaces a view by a view with the same columns, and more after them
# The grants on the view: dropping it drops them.
_GRANTS: Final = f"""
SELECT format('GRANT %s ON %I TO %s%s', privilege_type, relname,
    CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
    CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM pg_class CROSS JOIN aclexplode(relacl)
WHERE oid = '{VIEW}'::regclass AND grantee <> relowner
ORDER BY 1"""


def make_view(connection: Connection) -> None:
    """Make the view anew. A migration that changes a table behind it drops it first and calls this function afterwards.
    One that only changes the definition needs neither: `is_view_stale` finds that.
    """
    connection.exec_driver_sql(f"DROP VIEW IF EXISTS {VIEW}")
    _make(connection, _STATEMENT)


def renew_view(connection: Connection) -> None:
    """Bring the view to the definition of this code. PostgreSQL replaces it where the columns allow it: grants on it
    and other views that read it stay. Otherwise it is dropped and made, and its grants are repeated.
    """
    if connection.dialect.name != "postgresql":
        make_view(connection)
        return
    try:
        with connection.begin_nested():
            _make(connection, _STATEMENT.replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1))
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) != _OTHER_COLUMNS:
            raise
        granted = connection.execute(text(_GRANTS)).scalars().all()
        make_view(connection)
        for grant in granted:
            connection.exec_driver_sql(grant)


def _make(connection: Connection, statement: str) -> None:
    connection.exec_driver_sql(statement)
    if connection.dialect.name == "postgresql":  # it keeps no text of a view's definition
        connection.exec_driver_sql(f"COMMENT ON VIEW {VIEW} IS '{_DIGEST}'")


def is_view_stale(connection: Connection) -> bool:
    """Whether the database lacks the view or defines it in another way than this code."""
    if connection.dialect.name == "postgresql":
        stated = "SELECT obj_description(to_regclass(quote_ident(current_schema()) || '.trades'), 'pg_class')"
        return bool(connection.exec_driver_sql(stated).scalar() != _DIGEST)
    stated = f"SELECT sql FROM sqlite_schema WHERE type = 'view' AND name = '{VIEW}'"
    return bool(connection.exec_driver_sql(stated).scalar() != _STATEMENT)
