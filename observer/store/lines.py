"""The lines of a table: its distinct symbols, each found by one search in an index that begins with the symbol.

A table of many rows has few symbols. So a day of all symbols needs no index that begins with the date: it is read line
by line, in proportion to the day, however many days the table holds.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import CTE, Column, ColumnElement, Connection, Table, func, select

from observer.store.tables import table_of_lines


def distinct_values(column: Column[Any], *conditions: ColumnElement[bool]) -> CTE:
    """The distinct values of an indexed column, as `value`: the smallest one, then each time the next larger one. NULL
    ends them. `conditions` are equalities on the index's columns before this one.
    """
    least = select(func.min(column).label("value")).where(*conditions)
    found = least.cte(f"distinct_{column.table.name}_{column.name}", recursive=True)
    larger = select(func.min(column)).where(*conditions, column > found.c.value).correlate(found).scalar_subquery()
    return found.union_all(select(larger).where(found.c.value.is_not(None)))


def lines_of(connection: Connection, table: Table) -> Sequence[str]:
    """The distinct symbols of a table with an index that begins with the symbol, in order. `symbol IN` these beside a
    condition on the index's next column (the day) is a search for each line, in both databases.
    """
    found = distinct_values(table_of_lines(table).c.symbol)
    return connection.scalars(select(found.c.value).where(found.c.value.is_not(None)).order_by(found.c.value)).all()
