"""The chain of a line's volume over a day, from few links: runs of trades without a break between them are one link.

A day of trades has as many trades as it has, and few breaks. So the trades are passed through once, and what proves
and breaks is found among the runs. Pure.
"""

from typing import Final

import msgspec
import polars as pl

from observer.gaps.intervals import VOLUME_NOISE

CHAIN: Final = ("line", "stock", "session_date")
LINK: Final = (*CHAIN, "from_ns", "to_ns", "volume", "cumulative_volume")
# Of links that lead to one volume the trades come first, whatever the times of those that only state it.
_BY_VOLUME: Final = (
    "line",
    "session_date",
    "cumulative_volume",
    pl.col("volume").neg(),
    "from_ns",
)


class Runs(msgspec.Struct, frozen=True):
    """Trades as `links`. `is_in_order`: the trades of each line's day stand together, by time and by volume; else each
    trade is a link.
    """

    links: pl.DataFrame
    is_in_order: bool


def runs_of(trades: pl.DataFrame) -> Runs:
    """The runs of trades without a break between two of them."""
    of_line = {"line": pl.col("symbol"), "from_ns": pl.col("exchange_time_ns"), "to_ns": pl.col("exchange_time_ns")}
    columns = ("stock", "session_date", "volume", "cumulative_volume")
    at_ns, total = pl.col("exchange_time_ns"), pl.col("cumulative_volume")
    is_same = (pl.col("symbol") == pl.col("symbol").shift(1)) & (
        pl.col("session_date") == pl.col("session_date").shift(1)
    )
    is_after = (at_ns >= at_ns.shift(1)) & (total >= total.shift(1))
    is_next = total - pl.col("volume") <= total.shift(1) + VOLUME_NOISE
    found = trades.select(is_same=is_same.fill_null(value=False), is_after=is_after, is_next=is_next)
    begins = trades.select("symbol", "session_date").filter(~found["is_same"])
    is_in_order = not found.select((pl.col("is_same") & ~pl.col("is_after")).any()).item()
    if not is_in_order or begins.n_unique() < begins.height:
        return Runs(trades.select(*columns, **of_line).select(LINK), is_in_order=False)
    first = found.select((~(pl.col("is_same") & pl.col("is_next"))).arg_true()).to_series().cast(pl.Int64)
    last = pl.concat([first.slice(1) - 1, pl.Series([trades.height - 1], dtype=pl.Int64)])
    of_first = trades[first].select(*columns, **of_line)
    of_last = trades[last.slice(0, first.len())].select(to_ns="exchange_time_ns", upto="cumulative_volume")
    begin = pl.col("cumulative_volume") - pl.col("volume")
    joined = pl.concat([of_first.drop("to_ns"), of_last], how="horizontal")
    links = joined.with_columns(volume=pl.col("upto") - begin, cumulative_volume="upto")
    return Runs(links.select(LINK), is_in_order=True)


def breaks_of(runs: pl.DataFrame, others: pl.DataFrame, ends: pl.DataFrame) -> pl.DataFrame:
    """By line the spans [from_ns, to_ns] of time in which shares are `missing` between two links, and, of an unknown
    number of shares, after the last one.

    Args:
        runs: links of trades.
        others: other links; one inside a run adds nothing to it.
        ends: by stock and day the first and the last moment of anything known of it, `first_ns`, `last_ns`.
    """
    links, day = pl.concat([runs, others]), ["stock", "session_date"]
    chain = pl.concat([runs, _outside(others, runs)]).sort(_BY_VOLUME)
    is_first = (pl.col("line") != pl.col("line").shift(1)) | (pl.col("session_date") != pl.col("session_date").shift(1))
    previous = pl.when(~is_first).then(pl.col("to_ns", "cumulative_volume").shift(1)).name.prefix("last_")
    missing = pl.col("cumulative_volume") - pl.col("volume") - pl.col("last_cumulative_volume").fill_null(0.0)
    begins = chain.with_columns(previous).with_columns(missing=missing).filter(pl.col("missing") > VOLUME_NOISE)
    found = begins.join(ends, on=day, how="left").select(
        *CHAIN,
        "missing",
        from_ns=pl.coalesce("last_to_ns", pl.min_horizontal("first_ns", "from_ns")),
        to_ns=pl.max_horizontal("from_ns", "last_to_ns"),
    )
    last = links.group_by(CHAIN).agg(from_ns=pl.col("to_ns").max()).join(ends, on=day, how="left")
    after = last.select(*CHAIN, "from_ns", missing=pl.lit(float("inf")), to_ns=pl.max_horizontal("from_ns", "last_ns"))
    return pl.concat([found, after.select(found.columns)])


def _outside(others: pl.DataFrame, runs: pl.DataFrame) -> pl.DataFrame:
    """The links whose volume is not between the volumes of a run."""
    if others.is_empty():
        return others
    total, volume = pl.col("cumulative_volume"), pl.col("volume")
    of_runs = runs.select("line", "session_date", begin=total - volume, upto="cumulative_volume").sort("upto")
    near = others.sort("cumulative_volume").join_asof(
        of_runs, left_on="cumulative_volume", right_on="upto", by=["line", "session_date"], strategy="forward",
        check_sortedness=False,
    )  # fmt: skip
    is_inside = (total > pl.col("begin") + VOLUME_NOISE) & (total < pl.col("upto") - VOLUME_NOISE)
    return near.filter(~is_inside.fill_null(value=False)).select(LINK)
