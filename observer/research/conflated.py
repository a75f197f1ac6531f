"""Conflated rows beside stored trades of the same shares: each share counts once. Pure.

A conflated row names the span of the day's volume that it covers. Stored trades inside the span (recovered or fetched
later) have some of its shares, or all: the row counts with the others, and not at all where none is left. Its prices
stay those of all its trades. In a chain of volume the row stands for the trades inside it.
"""

from typing import Final

import msgspec
import polars as pl

from observer.gaps.intervals import VOLUME_NOISE

_DAY: Final = ("symbol", "session_date")

_SAME_TRADE: Final = ("symbol", "venue", "session_date", "exchange_time_ns", "volume", "cumulative_volume")


class EachOnce(msgspec.Struct, frozen=True):
    """Trades and conflated rows without a share in both.

    `unheld`: the conflated rows with the `volume` and `trades` that no stored trade has, and `after_volume`, the day's
    volume before the first of all its trades. `outside`: the trades that no conflated row covers.
    """

    unheld: pl.DataFrame
    outside: pl.DataFrame


def each_once(trades: pl.LazyFrame) -> pl.LazyFrame:
    """Each stored trade once, though some may be stored twice: a line has one trade that leads to a day's volume by a
    volume at a time.
    """
    return trades.unique(_SAME_TRADE, keep="first", maintain_order=True)


def each_share_once(trades: pl.DataFrame, conflated: pl.DataFrame) -> EachOnce:
    """What only conflated rows have, and what only trades have. No trade is in `trades` twice."""
    rows = conflated.with_columns(after_volume=pl.col("cumulative_volume") - pl.col("volume"))
    if rows.is_empty():
        return EachOnce(rows, trades)
    rows = rows.sort("cumulative_volume").with_row_index("row")
    covering = rows.select(*_DAY, "row", begin="after_volume", upto=pl.col("cumulative_volume") + VOLUME_NOISE)
    numbered = trades.with_row_index("nth")
    near = numbered.join(rows.select(_DAY).unique(), on=_DAY, how="semi").sort("cumulative_volume")
    found = near.join_asof(
        covering, left_on="cumulative_volume", right_on="upto", by=_DAY, strategy="forward", check_sortedness=False
    )
    inside = found.filter(pl.col("cumulative_volume") > pl.col("begin") + VOLUME_NOISE)
    held = inside.group_by("row").agg(held=pl.col("volume").sum(), held_trades=pl.len().cast(pl.Int64))
    counted = rows.join(held, on="row", how="left").with_columns(pl.col("held", "held_trades").fill_null(0))
    left = counted.with_columns(
        volume=pl.col("volume") - pl.col("held"), trades=pl.col("trades") - pl.col("held_trades")
    )
    unheld = left.filter(pl.col("volume") > VOLUME_NOISE).drop("row", "held", "held_trades")
    return EachOnce(
        unheld, numbered.join(inside.select("nth"), on="nth", how="anti", maintain_order="left").drop("nth")
    )
