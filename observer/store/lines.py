"""The lines of a table: its distinct symbols, each found by one search in an index that begins with the symbol.

A table of many rows has few symbols. So a day of all symbols needs no index that begins with the date: it is read line
by line, in proportion to the day, however many days the table holds.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import CTE, Column, ColumnElement, Connection, Table, func, select, union_all

from observer.base.lines import SEPARATOR, stock_of
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


def lines_of_stock(connection: Connection, stock: str, *tables: Table) -> Sequence[str]:
    """The symbols in these tables that are lines of the stock, in order. Each table has an index that begins with the
    symbol: the search reads only symbols that begin with the stock's, and the first symbol after them.
    """
    found = [_beginning_with(table_of_lines(table).c.symbol, stock) for table in tables]
    symbols = connection.scalars(union_all(*(select(each.c.value) for each in found)))
    return sorted({symbol for symbol in symbols if symbol is not None and stock_of(symbol) == stock})


def _beginning_with(symbol: Column[Any], stock: str) -> CTE:
    """The distinct symbols, as `value`, from the stock's own symbol up to the first symbol that is no line of the
    stock. An order that ignores the separator or the case sorts other symbols among the lines; they do not end the
    search.
    """
    least = select(func.min(symbol).label("value")).where(symbol >= stock)
    found = least.cte(f"lines_of_{symbol.table.name}", recursive=True)
    larger = select(func.min(symbol)).where(symbol > found.c.value).correlate(found).scalar_subquery()
    letters = func.upper(func.replace(found.c.value, SEPARATOR, ""))
    return found.union_all(select(larger).where(func.substr(letters, 1, len(stock)) == stock.upper()))
