"""Order books, a row a level. Pure."""

from typing import Final

import polars as pl

from observer.research.shaping import stock, time_of

_LEVELS: Final = range(1, 11)
_COLUMNS: Final = ("time", "symbol", "venue", "level", "bid", "bid_volume", "ask", "ask_volume")


def book(rows: pl.LazyFrame, zone: str) -> pl.LazyFrame:
    """The ten levels of order books; `bid` and `ask` are null where no quote stands."""
    names = ("bid", "ask", "bid_volume", "ask_volume")
    lists = {
        "level": pl.lit(list(_LEVELS), dtype=pl.List(pl.Int64)),
        **{name: pl.concat_list([f"{name}_{level}" for level in _LEVELS]) for name in names},
    }
    wide = rows.select(time=time_of("receive_time_ns", zone), symbol=stock(), venue="venue", **lists)
    return wide.explode(list(lists)).select(_COLUMNS)
