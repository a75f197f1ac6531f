"""The questions of `python -m tests.bench lake`: each by the research API, and by hand in DuckDB over the files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import duckdb
import msgspec
import polars as pl

from observer.archive.day import glob_of, path_of
from observer.research.store import Store

_TOP: Final = 10
_TRADES: Final = """
    SELECT make_timestamp_ns(exchange_time_ns)::TIMESTAMPTZ AS time, symbol, venue, session, price, volume, side, bid,
    ask, CASE WHEN gap_id IS NULL THEN 'stream' ELSE 'recovered' END AS source, cumulative_volume,
    make_timestamp_ns(receive_time_ns)::TIMESTAMPTZ AS received FROM day_trades WHERE symbol = $symbol"""
_BARS: Final = """
    SELECT make_timestamp_ns(exchange_time_ns // 60000000000 * 60000000000)::TIMESTAMPTZ AS time, symbol,
        arg_min(price, (exchange_time_ns, cumulative_volume)) AS open, max(price) AS high, min(price) AS low,
        arg_max(price, (exchange_time_ns, cumulative_volume)) AS close, sum(volume) AS volume,
        sum(price * volume) / sum(volume) AS vwap, count(*) AS trades
    FROM {relation} GROUP BY ALL ORDER BY symbol, time"""
_BARS_OF_SYMBOL: Final = _BARS.format(relation="all_trades WHERE symbol = $symbol")
_BARS_OF_DAY: Final = _BARS.format(relation="day_trades")
_LARGEST: Final = "SELECT symbol, sum(volume) AS volume FROM day_trades GROUP BY symbol ORDER BY volume DESC LIMIT 10"
_AS_OF: Final = """
    WITH traded AS (SELECT exchange_time_ns AS at, price, volume FROM day_trades WHERE symbol = $symbol),
    swept AS (SELECT receive_time_ns AS at, price AS swept FROM day_sweeps WHERE symbol = $symbol)
    SELECT make_timestamp_ns(traded.at)::TIMESTAMPTZ AS time, price, volume, swept
    FROM traded ASOF LEFT JOIN swept ON traded.at >= swept.at ORDER BY 1"""


class Question(msgspec.Struct, frozen=True):
    """A question, its goal in milliseconds, and both ways to ask it; each returns the number of rows that it found."""

    name: str
    goal_ms: float
    ours: Callable[[], int]
    by_hand: Callable[[], int]


def questions(store: Store, lake: Path, market: str, symbol: str, days: Sequence[str], zone: str) -> list[Question]:
    """The questions about a symbol on the last of these days, about all symbols of it, and about the symbol over all
    days.
    """
    day = days[-1]
    connection = duckdb.connect()
    connection.execute("SET TimeZone = $zone", {"zone": zone})
    for view, files in {
        "day_trades": path_of(lake, "trades", market, day),
        "day_sweeps": path_of(lake, "snapshots", market, day),
        "all_trades": lake / glob_of("trades"),
    }.items():
        connection.read_parquet(str(files)).create_view(view)

    def by_hand(query: str) -> Callable[[], int]:
        named = {"symbol": symbol} if "$symbol" in query else {}
        return lambda: connection.sql(query, params=named or None).pl().height

    def joined() -> int:
        traded = store.trades(symbol, day).select("time", "price", "volume").sort("time")
        swept = store.snapshots(symbol, day).select("time", swept="price").sort("time")
        return traded.join_asof(swept, on="time").collect().height

    def largest() -> int:
        volumes = store.trades(None, day).group_by("symbol").agg(pl.col("volume").sum())
        return volumes.sort("volume", descending=True).head(_TOP).collect().height

    return [
        Question(
            "a symbol's day as DataFrame", 30.0, lambda: store.trades(symbol, day).collect().height, by_hand(_TRADES)
        ),
        Question(
            f"1-minute bars of a symbol, {len(days)} days",
            150.0,
            lambda: store.bars(symbol, days[0], day).collect().height,
            by_hand(_BARS_OF_SYMBOL),
        ),
        Question(
            "1-minute bars of all symbols of a day",
            1_000.0,
            lambda: store.bars(None, day).collect().height,
            by_hand(_BARS_OF_DAY),
        ),
        Question("the largest volumes of a day", 1_200.0, largest, by_hand(_LARGEST)),
        Question("a symbol's trades with the sweep before each", 50.0, joined, by_hand(_AS_OF)),
    ]
