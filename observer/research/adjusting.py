"""Bars in shares of a later day: prices and volumes from before a change of shares, converted. Pure."""

from typing import Final

import polars as pl

_PRICES: Final = ("open", "high", "low", "close", "vwap")
_VOLUMES: Final = ("volume", "filled")


def factors_of(adjustments: pl.DataFrame) -> pl.DataFrame:
    """By symbol and day of a change the factor of all prices before it, later changes included.

    `adjustments` are stored rows of changes of shares; of several of a symbol and day the last one counts.
    """
    newest = adjustments.sort("stream", "sequence").unique(["symbol", "session_date"], keep="last")
    usable = newest.filter((pl.col("base_price") > 0) & (pl.col("previous_close") > 0))
    factor = pl.col("base_price") / pl.col("previous_close")
    in_order = usable.sort("symbol", "session_date").with_columns(factor=factor)
    return in_order.select(
        "symbol",
        changed=pl.col("session_date").str.to_date(),
        factor=pl.col("factor").cum_prod(reverse=True).over("symbol"),
    )


def adjusted_bars(bars: pl.DataFrame, day: pl.Expr, adjustments: pl.DataFrame) -> pl.DataFrame:
    """The bars with prices multiplied, and volumes divided, by the factor of all later changes of shares.

    Args:
        bars: with `symbol`, prices and volumes.
        day: the bar's day.
        adjustments: stored rows of changes of shares.
    """
    changes = factors_of(adjustments)
    if changes.is_empty():
        return bars
    numbered = bars.with_row_index("nth").with_columns(day_of_bar=day)
    joined = numbered.sort("day_of_bar").join_asof(
        changes.sort("changed"), left_on="day_of_bar", right_on="changed", by="symbol", strategy="forward",
        allow_exact_matches=False, check_sortedness=False,
    )  # fmt: skip
    factor = pl.col("factor").fill_null(1.0)
    prices = [pl.col(name) * factor for name in _PRICES if name in bars.columns]
    volumes = [pl.col(name) / factor for name in _VOLUMES if name in bars.columns]
    return joined.sort("nth").with_columns(*prices, *volumes).select(bars.columns)
