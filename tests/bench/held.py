"""Fills a database with made-up trades as fast as it takes them: the rows that a measurement finds there.

The rows do not come by the writer, and the table's indexes are made behind them.
"""

import io
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from bus.events import Trade
from observer.store.engine import open_writer, store_errors
from observer.store.tables import EVENT_TABLES, GROUP_COLUMNS, METADATA, PART_BITS, STREAMS, TRADE_GROUPS, TRADE_ROWS
from tests.bench.market_day import symbols_of_market, trades_of_day

HELD_STREAM: Final = 1
"""The number of the held rows' stream; `HELD_UID` is its random id."""
HELD_UID: Final = "1e" * 16
DAY_TRADES_MAX: Final = 500_000
"""The trades of a held day, as many as the slots of an account bring on a lively one."""
_FIRST_DAY: Final = date(2024, 1, 1)
_ROWS_AT_ONCE: Final = 50_000


def held_days(trades: int, symbols: int) -> Iterator[pa.Table]:
    """So many trades of past days, in the order in which they arrived."""
    names, number = symbols_of_market(symbols), 0
    while number * DAY_TRADES_MAX < trades:
        count = min(DAY_TRADES_MAX, trades - number * DAY_TRADES_MAX)
        day = _FIRST_DAY + timedelta(days=number)
        made = trades_of_day(names, count, day, number, HELD_STREAM).sort_by("sequence")
        place = made.schema.get_field_index("sequence")
        moved = pa.array(range(number * DAY_TRADES_MAX + 1, number * DAY_TRADES_MAX + count + 1), pa.int64())
        yield made.set_column(place, made.schema.field(place), moved)
        number += 1


def load(url: str, tables: Iterable[tuple[str, pa.Table]]) -> None:
    """Put rows with the columns as stored into the named tables of a database that has the current schema and no rows
    in them. They are the rows of one stream, whose mark is their highest number.

    Raises:
        StoreError: the database cannot be opened.
    """
    engine = open_writer(url)
    into = _into_sqlite if engine.dialect.name == "sqlite" else _into_postgresql
    begun: list[str] = []
    mark = groups = 0
    with store_errors(engine), engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
        for kind, found in tables:
            name, rows = kind, found
            if kind == EVENT_TABLES[Trade].name:
                made, rows = _grouped(found, groups)
                into(connection.connection.driver_connection, TRADE_GROUPS.name, made)
                name, groups = TRADE_ROWS.name, groups + made.num_rows
            if name not in begun:
                begun.append(name)
                for index in METADATA.tables[name].indexes:
                    index.drop(connection)
            into(connection.connection.driver_connection, name, rows)
            mark = max(mark, pc.max(rows["sequence"]).as_py())
        for name in begun:
            for index in METADATA.tables[name].indexes:
                index.create(connection)
        stream = {"id": HELD_STREAM, "uid": HELD_UID, "producer": "bench", "high_water_mark": mark, "duplicates": 0}
        connection.execute(STREAMS.insert(), stream)
    engine.dispose()


def _grouped(trades: pa.Table, before: int) -> tuple[pa.Table, pa.Table]:
    """The groups of trades, numbered behind so many others, and their rows with these numbers."""
    trades = trades.append_column("part", pc.shift_right(trades["sequence"], PART_BITS))
    key = ("stream", "part", *GROUP_COLUMNS)
    number = np.zeros(trades.num_rows, np.int64)
    for name in key:
        values = trades[name].combine_chunks().dictionary_encode("encode")
        _, number = np.unique(number * len(values.dictionary) + values.indices.to_numpy(), return_inverse=True)
    _, first = np.unique(number, return_index=True)
    groups = trades.select(key).take(first)
    groups = groups.add_column(0, "id", pa.array(range(before + 1, before + 1 + len(first)), pa.int64()))
    rows = trades.append_column("group_id", pa.array(number + before + 1, pa.int64()))
    return groups.select(TRADE_GROUPS.columns.keys()), rows.select(TRADE_ROWS.columns.keys())


def _into_sqlite(driver: Any, name: str, rows: pa.Table) -> None:
    statement = f"INSERT INTO {name} VALUES ({', '.join('?' * rows.num_columns)})"
    for batch in rows.to_batches(_ROWS_AT_ONCE):
        driver.executemany(statement, zip(*(column.to_pylist() for column in batch.columns), strict=True))


def _into_postgresql(driver: Any, name: str, rows: pa.Table) -> None:
    with driver.cursor() as cursor, cursor.copy(f"COPY {name} FROM STDIN (FORMAT csv)") as copy:
        for batch in rows.to_batches(_ROWS_AT_ONCE):
            text = io.BytesIO()
            pa_csv.write_csv(batch, text, pa_csv.WriteOptions(include_header=False))
            copy.write(text.getvalue())
