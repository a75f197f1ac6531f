"""SQL over the relations, by DuckDB: read only, of all days as one. A query reads the days, symbols and columns that
its conditions leave possible.
"""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING, Final

import duckdb
import polars as pl
from polars import selectors

from observer.base.errors import ConfigError
from observer.base.lines import stock_of
from observer.research.days import DayRelations
from observer.research.frame import Schema, allowed, scanned

if TYPE_CHECKING:
    from collections.abc import Callable

_READ_ONLY: Final = {"enable_external_access": "false", "lock_configuration": "true"}
_ANSWERS: Final = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
_DAY: Final = "day"
_MEMORY: Final = "2GiB"  # of one query; what needs more fails
# The kinds of rows of the relations whose days and symbols go beyond those of the stored sessions.
_HISTORIES: Final = {"daily": "daily_bars", "etf_premium": "etf_nav_days"}
_FIRST_DAY, _LAST_DAY = "0001-01-01", "9999-12-31"


class Queries:
    """A database in memory whose tables are the relations of the days."""

    def __init__(self, days: DayRelations) -> None:
        self._days = days

    def run(self, query: str) -> pl.DataFrame:
        """The rows of one query.

        Raises:
            ConfigError: the query is wrong, is no query, or would write.
        """
        if not isinstance(query, str):
            raise ConfigError(self._refusal())
        with duckdb.connect(config={"memory_limit": _MEMORY}) as connection:
            connection.execute(f"SET TimeZone = '{self._days.zone}'")
            for name, relation in self._days.named.items():
                connection.register(name, _of_all_days(self._days, name, relation))
            connection.execute("; ".join(f"SET {name} = {value}" for name, value in _READ_ONLY.items()))
            try:
                statements = connection.extract_statements(query)
                if len(statements) != 1 or statements[0].type not in _ANSWERS:
                    raise ConfigError(self._refusal())
                found: pl.DataFrame = connection.sql(query).pl()
            except duckdb.CatalogException as error:  # its own hint names tables of the engine
                text = _first_line(str(error)).partition(" Did you mean")[0]
                raise ConfigError(f"the query failed: {text} There are {', '.join(self._days.named)}") from error
            except duckdb.Error as error:
                raise ConfigError(f"the query failed: {_first_line(str(error))}") from error
        return found

    def _refusal(self) -> str:
        return f"not one query: give one SELECT over {', '.join(self._days.named)}"


def _of_all_days(
    days: DayRelations, name: str, relation: "Callable[[str, Sequence[str] | None], pl.LazyFrame]"
) -> pl.LazyFrame:
    """A relation of all days, with the day as its first column. Its times are in microseconds: DuckDB's functions take
    no time with a zone in nanoseconds.
    """
    history = _HISTORIES.get(name)

    def of_day(day: str, lines: Sequence[str] | None) -> pl.LazyFrame:
        found = relation(day, lines)
        columns = [column for column in found.collect_schema().names() if column != _DAY]
        found = found.select(pl.lit(date.fromisoformat(day)).alias(_DAY), *columns)
        return found.with_columns(selectors.datetime("ns", time_zone="*").dt.cast_time_unit("us"))

    def source(columns: Sequence[str] | None, predicate: pl.Expr | None, rows: int | None) -> Iterator[pl.DataFrame]:
        stored = days.rows.dates_of(history, _FIRST_DAY, _LAST_DAY, None) if history else days.rows.days
        possible = [date.fromisoformat(day) for day in stored]
        for day in map(str, allowed(predicate, _DAY, possible, pl.Date)):
            found = of_day(day, None if history else _lines(days, day, predicate))
            found = found if predicate is None else found.filter(predicate)
            found = found if columns is None else found.select(columns)
            yield (found if rows is None else found.head(rows)).collect()

    schema: Schema = dict(of_day(_FIRST_DAY, None).collect_schema())
    return scanned(source, schema, name)


def _lines(days: DayRelations, day: str, predicate: pl.Expr | None) -> Sequence[str] | None:
    """The lines that the predicate leaves possible; None for all."""
    if predicate is None or "symbol" not in predicate.meta.root_names():
        return None
    lines = days.rows.lines_on(day)
    stocks = sorted({stock_of(line) for line in lines})
    possible = allowed(predicate, "symbol", stocks, pl.String)
    return None if len(possible) == len(stocks) else days.rows.lines_of(possible, day)


def _first_line(text: str) -> str:
    return " ".join(text.split())
