"""SQL over the relations, by DuckDB: read only, of all days as one. A query reads the days, symbols and columns that
its conditions leave possible.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any, Final

import duckdb
import polars as pl

from observer.base.errors import ConfigError
from observer.base.lines import stock_of
from observer.research.catalogue import RELATIONS
from observer.research.days import FIRST_DAY, LAST_DAY, DayRelations
from observer.research.frame import allowed, scanned
from observer.research.relation import Relation
from observer.research.shaping import schema_of_row

_READ_ONLY: Final = {"enable_external_access": "false", "lock_configuration": "true"}
_ANSWERS: Final = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
_DAY: Final = "day"
_MEMORY: Final = "2GiB"  # of one query; what needs more fails


class Queries:
    """A database in memory whose tables are the relations of the days. A query has `limit_s` machine seconds."""

    def __init__(self, days: DayRelations, limit_s: float) -> None:
        self._days = days
        self._limit_s = limit_s

    def run(self, query: str) -> pl.DataFrame:
        """The rows of one query.

        Raises:
            ConfigError: the query is wrong, is no query, would write, or takes too long.
        """
        if not isinstance(query, str):
            raise ConfigError(self._refusal())
        over = threading.Event()
        with duckdb.connect(config={"memory_limit": _MEMORY}) as connection:
            connection.execute(f"SET TimeZone = '{self._days.zone}'")
            for relation in RELATIONS.values():
                connection.register(relation.name, _table(self._days, relation, over))
            connection.execute("; ".join(f"SET {name} = {value}" for name, value in _READ_ONLY.items()))
            try:
                statements = connection.extract_statements(query)
                if len(statements) != 1 or statements[0].type not in _ANSWERS:
                    raise ConfigError(self._refusal())
                with _ended_after(self._limit_s, connection, over):
                    found: pl.DataFrame = connection.sql(query).pl()
            except duckdb.CatalogException as error:  # its own hint names tables of the engine
                text = _first_line(str(error)).partition(" Did you mean")[0]
                raise ConfigError(f"the query failed: {text} There are {', '.join(RELATIONS)}") from error
            except duckdb.Error as error:
                if over.is_set():
                    remedy = "ask for fewer days, symbols or columns, or raise [store] query_limit_s"
                    raise ConfigError(f"the query took more than {self._limit_s:g} s: {remedy}") from error
                raise ConfigError(f"the query failed: {_first_line(str(error))}") from error
        return found

    def _refusal(self) -> str:
        return f"not one query: give one SELECT over {', '.join(RELATIONS)}"


@contextmanager
def _ended_after(limit_s: float, connection: duckdb.DuckDBPyConnection, over: threading.Event) -> Iterator[None]:
    """Interrupt the connection's query after a time; the event says that it is over, to what reads for it."""
    is_done = threading.Event()

    def wait() -> None:
        if not is_done.wait(limit_s):
            over.set()
            connection.interrupt()

    waiting = threading.Thread(target=wait, name="query limit", daemon=True)
    waiting.start()
    try:
        yield
    finally:
        is_done.set()
        waiting.join()


def _table(days: DayRelations, relation: Relation, over: threading.Event) -> pl.LazyFrame:
    """A relation as a table, of all its days with the day as its first column. Its times are in microseconds: DuckDB's
    functions take no time with a zone in nanoseconds. DuckDB cannot interrupt the reading: it ends with a day, once it
    is `over`.
    """
    schema: dict[str, Any] = {_DAY: pl.Date} if relation.span in ("days", "history") else {}
    for name, dtype in schema_of_row(relation.row, days.zone).items():
        schema[name] = pl.Datetime("us", days.zone) if dtype == pl.Datetime else dtype

    def source(wanted: Sequence[str] | None, predicate: pl.Expr | None, rows: int | None) -> Iterator[pl.DataFrame]:
        for part in _parts(days, relation, predicate):
            if over.is_set():
                raise InterruptedError
            found = part.select(pl.col(name).cast(dtype) for name, dtype in schema.items())
            found = found if predicate is None else found.filter(predicate)
            found = found.select(wanted or list(schema))
            yield (found if rows is None else found.head(rows)).collect()

    return scanned(source, schema, relation.name)


def _parts(days: DayRelations, relation: Relation, predicate: pl.Expr | None) -> Iterator[pl.LazyFrame]:
    """The rows of the days and lines that the predicate leaves possible."""
    if relation.span not in ("days", "history"):
        yield days.now(relation)
        return
    is_history = relation.span == "history"
    stored = days.rows.dates_of(relation.kinds[0], FIRST_DAY, LAST_DAY, None) if is_history else days.rows.days
    for day in map(str, allowed(predicate, _DAY, [date.fromisoformat(each) for each in stored], pl.Date)):
        lines = None if is_history or relation.symbols == "no" else _lines(days, day, predicate)
        yield days.relation(relation, day, lines).with_columns(pl.lit(date.fromisoformat(day)).alias(_DAY))


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
