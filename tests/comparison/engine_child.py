"""Asks one engine five questions about a sealed day and prints the answers as JSON; runs in the engine's environment.

    python engine_child.py ENGINE SYMBOL DAY LAKE [LAKE ...]

The engine reads the files as they lie: by a folder, a glob, and the partitions that the folders' names state.
"""

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Final

Answers = dict[str, list[list[Any]]]

QUESTIONS: Final = {
    "largest": "SELECT symbol, count(*), sum(volume) AS v FROM trades WHERE session_date = '{day}' "
    "GROUP BY symbol ORDER BY v DESC, symbol LIMIT 10",
    "price": "SELECT count(*), sum(price * volume) / sum(volume), min(price), max(price) FROM trades "
    "WHERE session_date = '{day}' AND symbol = '{symbol}'",
    "minutes": "SELECT CAST(floor(exchange_time_ns / 60000000000) AS BIGINT) AS m, min(price), max(price), sum(volume) "
    "FROM trades WHERE session_date = '{day}' AND symbol = '{symbol}' GROUP BY 1 ORDER BY 1",
    "quality": "SELECT word, count(*), sum(volume) FROM trades JOIN (SELECT symbol, max_by(slots_quality, judged_ns) "
    "AS word FROM quality WHERE session_date = '{day}' GROUP BY symbol) AS judged ON judged.symbol = trades.symbol "
    "WHERE session_date = '{day}' GROUP BY word ORDER BY word",
    "last": "SELECT symbol, max_by(price, receive_time_ns), max(cumulative_volume) AS v FROM snapshots "
    "WHERE session_date = '{day}' GROUP BY symbol ORDER BY v DESC, symbol LIMIT 10",
}
KINDS: Final = ("trades", "quality", "snapshots")
MINUTE_NS: Final = 60_000_000_000


def of_duckdb(lake: str, symbol: str, day: str) -> Answers:
    import duckdb

    with duckdb.connect() as connection:
        for kind in KINDS:
            connection.execute(
                f"CREATE VIEW {kind} AS SELECT * REPLACE (CAST(session_date AS VARCHAR) AS session_date) "
                f"FROM read_parquet('{lake}/kind={kind}/*/*/part-0.parquet', hive_partitioning = true)"
            )
        return {
            name: rounded(connection.execute(text.format(day=day, symbol=symbol)).fetchall())
            for name, text in QUESTIONS.items()
        }


def of_spark(lake: str, symbol: str, day: str) -> Answers:
    from pyspark.sql import SparkSession

    builder: Any = SparkSession.builder
    session = builder.master("local[1]").config("spark.ui.enabled", "false").config("spark.log.level", "ERROR")
    spark = session.config("spark.sql.shuffle.partitions", "1").getOrCreate()
    for kind in KINDS:
        spark.read.parquet(f"{lake}/kind={kind}").createOrReplaceTempView(kind)
    return {
        name: rounded([list(row) for row in spark.sql(text.format(day=day, symbol=symbol)).collect()])
        for name, text in QUESTIONS.items()
    }


def of_polars(lake: str, symbol: str, day: str) -> Answers:
    import polars as pl

    def scan(kind: str) -> pl.LazyFrame:
        rows = pl.scan_parquet(f"{lake}/kind={kind}/*/*/part-0.parquet", hive_partitioning=True)
        return rows.filter(pl.col("session_date").cast(pl.String) == day)

    trades, price, volume = scan("trades"), pl.col("price"), pl.col("volume")
    own = trades.filter(pl.col("symbol") == symbol)
    words = scan("quality").sort("judged_ns").group_by("symbol").agg(word=pl.col("slots_quality").last())
    largest = trades.group_by("symbol").agg(n=pl.len(), v=volume.sum())
    bars = own.group_by(m=pl.col("exchange_time_ns") // MINUTE_NS).agg(
        low=price.min(), high=price.max(), v=volume.sum()
    )
    last = scan("snapshots").sort("receive_time_ns").group_by("symbol")
    found = {
        "largest": largest.sort("v", "symbol", descending=[True, False]).head(10),
        "price": own.select(n=pl.len(), vwap=(price * volume).sum() / volume.sum(), low=price.min(), high=price.max()),
        "minutes": bars.sort("m"),
        "quality": trades.join(words, on="symbol").group_by("word").agg(n=pl.len(), v=volume.sum()).sort("word"),
        "last": last.agg(price=price.last(), v=pl.col("cumulative_volume").max())
        .sort("v", "symbol", descending=[True, False])
        .head(10),
    }
    return {name: rounded(frame.collect().rows()) for name, frame in found.items()}


def of_pandas(lake: str, symbol: str, day: str) -> Answers:
    import pandas as pd

    return of_frames(lambda kind: pd.read_parquet(f"{lake}/kind={kind}"), lambda frame: frame, symbol, day)


def of_dask(lake: str, symbol: str, day: str) -> Answers:
    import dask.dataframe as dd

    return of_frames(lambda kind: dd.read_parquet(f"{lake}/kind={kind}"), lambda frame: frame.compute(), symbol, day)


def of_frames(read: Callable[[str], Any], computed: Callable[[Any], Any], symbol: str, day: str) -> Answers:
    """The questions in the form that pandas and Dask share; `computed` ends the lazy part."""

    def scan(kind: str) -> Any:
        rows = read(kind)
        return rows[rows["session_date"].astype(str) == day]

    trades = scan("trades")
    own = computed(trades[trades["symbol"] == symbol][["price", "volume", "exchange_time_ns"]])
    largest = computed(trades.groupby("symbol")["volume"].agg(["count", "sum"])).reset_index()
    largest = largest.sort_values(["sum", "symbol"], ascending=[False, True]).head(10)
    total = own["volume"].sum()
    bars = own.assign(m=own["exchange_time_ns"] // MINUTE_NS).groupby("m")
    bars = bars.agg(low=("price", "min"), high=("price", "max"), volume=("volume", "sum")).reset_index()
    words = computed(scan("quality")[["symbol", "slots_quality", "judged_ns"]]).sort_values("judged_ns")
    words = words.groupby("symbol")[["slots_quality"]].last().reset_index()
    by_word = trades[["symbol", "volume"]].merge(words, on="symbol").groupby("slots_quality")["volume"]
    by_word = computed(by_word.agg(["count", "sum"])).reset_index().sort_values("slots_quality")
    seen = computed(scan("snapshots")[["symbol", "price", "cumulative_volume", "receive_time_ns"]])
    last = seen.sort_values("receive_time_ns").groupby("symbol")
    last = last.agg(price=("price", "last"), v=("cumulative_volume", "max")).reset_index()
    last = last.sort_values(["v", "symbol"], ascending=[False, True]).head(10)
    price = [len(own), (own["price"] * own["volume"]).sum() / total, own["price"].min(), own["price"].max()]
    return {
        "largest": rounded(largest.to_numpy().tolist()),
        "price": rounded([price]),
        "minutes": rounded(bars.to_numpy().tolist()),
        "quality": rounded(by_word.to_numpy().tolist()),
        "last": rounded(last.to_numpy().tolist()),
    }


def rounded(rows: Any) -> list[list[Any]]:
    """Rows of texts and of numbers with four decimals: the sum of floats depends on their order."""
    return [[each if isinstance(each, str) else round(float(each), 4) for each in row] for row in rows]


ENGINES: Final[dict[str, tuple[str, Callable[[str, str, str], Answers]]]] = {
    "duckdb": ("duckdb", of_duckdb),
    "polars": ("polars", of_polars),
    "pandas": ("pandas", of_pandas),
    "dask": ("dask", of_dask),
    "spark": ("pyspark", of_spark),
}


def main() -> None:
    name, symbol, day, *lakes = sys.argv[1:]
    package, asked = ENGINES[name]
    found = []
    for lake in lakes:
        began_s = time.monotonic()
        answers = asked(lake, symbol, day)
        found.append({"answers": answers, "seconds": time.monotonic() - began_s})
    sys.stdout.write("\n" + json.dumps({"version": version(package), "lakes": found}) + "\n")


if __name__ == "__main__":
    main()
