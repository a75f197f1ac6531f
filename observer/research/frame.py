"""LazyFrames over sources of ours: a frame reads only the columns, days and symbols that its query asks for."""

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import polars as pl
from polars.io.plugins import register_io_source

from observer.base.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Schema = Mapping[str, Any]
"""The polars types of a frame's columns, by name."""

Source = Callable[[Sequence[str] | None, pl.Expr | None, int | None], Iterator[pl.DataFrame]]
"""Yields frames of the asked columns (None: all) that satisfy the predicate, of some first rows or of all."""

_DEEPEST: Final = 64  # conjunctions within each other


class Frame(pl.LazyFrame):
    """A polars LazyFrame; nothing is read before `collect`. What polars makes of it is one again, except a grouping."""

    def to_pandas(self) -> "pd.DataFrame":
        """Read the rows as a pandas DataFrame."""
        return self.collect().to_pandas()

    def to_arrow(self) -> "pa.Table":
        """Read the rows as an Arrow table."""
        return self.collect().to_arrow()


def framed(lazy: pl.LazyFrame) -> Frame:
    """The same frame as a `Frame`."""
    lazy.__class__ = Frame
    assert isinstance(lazy, Frame)
    return lazy


def scanned(source: Source, schema: Schema, name: str) -> pl.LazyFrame:
    """A frame over a source. The source may yield more columns and rows than were asked for."""

    def scan(
        columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, _batch_rows: int | None
    ) -> Iterator[pl.DataFrame]:
        left = rows
        for frame in source(columns, predicate, rows):
            found = frame if predicate is None else frame.filter(predicate)
            found = found if columns is None else found.select(columns)
            yield found if left is None else found.head(left)
            if left is not None:
                left -= found.height
                if left <= 0:
                    return

    return register_io_source(scan, schema=dict(schema), explain_name=name)


def needed(columns: Iterable[str] | None, predicate: pl.Expr | None, schema: Schema) -> list[str]:
    """The columns that a source must read: the asked ones and the predicate's, in the schema's order."""
    if columns is None:
        return list(schema)
    wanted = {*columns, *(predicate.meta.root_names() if predicate is not None else ())}
    return [name for name in schema if name in wanted]


def allowed(predicate: pl.Expr | None, column: str, values: Sequence[Any], dtype: Any) -> list[Any]:
    """Those of a column's possible values that the predicate leaves possible. A condition on other columns excludes
    none.
    """
    conditions = [each for each in _conditions(predicate) if set(each.meta.root_names()) == {column}]
    if not conditions or not values:
        return list(values)
    found: list[Any] = pl.DataFrame({column: values}, schema={column: dtype}).filter(*conditions)[column].to_list()
    return found


def _conditions(predicate: pl.Expr | None) -> list[pl.Expr]:
    """The parts of a conjunction. A predicate that polars cannot write down is one condition."""
    if predicate is None:
        return []
    try:
        tree = json.loads(predicate.meta.serialize(format="json"))
    except (pl.exceptions.ComputeError, ValueError):
        return [predicate]
    return [pl.Expr.deserialize(io.StringIO(json.dumps(each)), format="json") for each in _parts(tree, 0)]


def _parts(tree: Any, depth: int) -> list[Any]:
    operation = tree.get("BinaryExpr") if isinstance(tree, dict) else None
    if operation is None or operation.get("op") not in ("And", "LogicalAnd") or depth >= _DEEPEST:
        return [tree]
    return [*_parts(operation["left"], depth + 1), *_parts(operation["right"], depth + 1)]


def chosen(found: pl.LazyFrame, where: str | None, sort: str | None) -> pl.DataFrame:
    """The rows that satisfy a condition in SQL, by a column; -COLUMN for the largest first.

    Raises:
        ConfigError: the condition, or the column, is wrong.
    """
    try:
        if where is not None:
            found = found.filter(pl.sql_expr(where))
        if sort is not None:
            found = found.sort(sort.removeprefix("-"), descending=sort.startswith("-"), nulls_last=True)
        return found.collect()
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise ConfigError(f"--where or --sort: {str(error).splitlines()[0]}") from error
