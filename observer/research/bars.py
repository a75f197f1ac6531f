"""Bars of trades, conflated rows and official minute bars, and whether each bar has every trade. Pure.

Each share counts once: a conflated row has the shares that no stored trade has (`observer.research.conflated`).

A bar is *complete* if the chain of the day's volume proves it: each trade states the day's volume after it, so the
volume before a trade equals the one after the trade before, unless a trade between them is missing. What reconciliation
found out about the volume at other moments are links of the chain, too. A break that official minute bars account for,
to the share, is none, and the line's minute of such a bar is complete in any case. After a line's last link nothing is
proved. A bar of a stock is complete if none of its lines has a break in it, also a line that has no row in the bar.

An interval without a bar had no trade if the bars around it are complete; otherwise nothing is known about it.
"""

from typing import Final

import msgspec
import polars as pl

from observer.gaps.intervals import VOLUME_NOISE
from observer.lines import stock_of
from observer.research.relations import stock, time_of
from observer.units import NS_PER_MINUTE

_CHAIN: Final = ("line", "stock", "session_date")
_LINK: Final = ("line", "stock", "session_date", "from_ns", "to_ns", "volume", "cumulative_volume")

_SAME_TRADE: Final = ("symbol", "venue", "session_date", "exchange_time_ns", "volume", "cumulative_volume")
COLUMNS_OF_TRADES: Final = (
    "symbol",
    "venue",
    "session_date",
    "exchange_time_ns",
    "price",
    "volume",
    "cumulative_volume",
)


class BarRows(msgspec.Struct, frozen=True):
    """The stored rows of some days that bars are made of, with the columns as stored. `is_distinct`: it is known
    that no trade is stored twice.
    """

    trades: pl.LazyFrame
    conflated: pl.LazyFrame
    minutes: pl.LazyFrame
    reconciliations: pl.LazyFrame
    is_distinct: bool = False


def each_once(trades: pl.LazyFrame) -> pl.LazyFrame:
    """Each stored trade once, though some may be stored twice: a line has one trade that leads to a day's volume by a
    volume at a time.
    """
    return trades.unique(_SAME_TRADE, keep="first", maintain_order=True)


def bars(rows: BarRows, interval_ns: int, midnight_ns: int, zone: str) -> pl.DataFrame:
    """The bars of stocks, all their lines with rows together, by stock and time.

    `trades` counts executions and `vwap` is their mean price; both are null where a part of the bar is known as a
    minute bar only, and `vwap` also with a conflated row. `filled` is the volume that minute bars brought.

    Args:
        rows: of one or several days.
        interval_ns: the length of a bar; it divides a day.
        midnight_ns: any local midnight: bars are counted from it.
        zone: the IANA name of the zone of the bars' times.
    """
    rows = _read(rows)
    pieces, links = pl.collect_all([_pieces(rows), _links(rows)])
    official = _official(rows.minutes.collect(), pieces)
    breaks = _breaks(links, official)
    if interval_ns % NS_PER_MINUTE:
        incomplete = _touched(breaks, interval_ns, midnight_ns)
    else:
        replacing = official.filter(pl.col("filled") > VOLUME_NOISE)
        if not replacing.is_empty():
            of_trades = pieces.with_columns(minute_ns=_floor("at_ns", NS_PER_MINUTE, 0)).join(
                replacing.select("line", minute_ns="at_ns"), on=["line", "minute_ns"], how="anti"
            )
            pieces = pl.concat([each.select(pieces.columns) for each in (of_trades, replacing)])
        minutes = _touched(breaks.filter(~pl.col("is_filled")), NS_PER_MINUTE, 0)
        unknown = minutes.join(official.select("line", start_ns="at_ns"), on=["line", "start_ns"], how="anti")
        incomplete = unknown.select("stock", start_ns=_floor("start_ns", interval_ns, midnight_ns))
    broken = incomplete.select("stock", "start_ns").unique()
    return _made(_in_order(pieces), broken, interval_ns, midnight_ns, zone)


def official_bars(
    minutes: pl.LazyFrame, fetches: pl.LazyFrame, interval_ns: int, midnight_ns: int, zone: str
) -> pl.DataFrame:
    """The bars of fetched minute bars, with the columns of `bars`; `trades` is null and `filled` the volume.

    A bar is complete if the minute bars of its day have the volume of the daily bar, at each venue with a row in it.

    Args:
        minutes: the fetched minute bars of some days, as stored; of a minute the newest row counts.
        fetches: the rows that say which days of them are fetched; of a line's day the newest counts.
        interval_ns: the length of a bar, whole minutes; `midnight_ns` and `zone` as of `bars`.
    """
    newest = minutes.sort("received_ns", "stream", "sequence").unique(["symbol", "minute_start_ns"], keep="last")
    pieces = newest.select(
        "venue", "session_date", "open", "high", "low", "close", "volume", "value",
        line="symbol", stock=stock(), at_ns="minute_start_ns",
        cumulative_volume=pl.lit(0.0), trades=pl.lit(None, dtype=pl.Int64), filled="volume",
    ).collect()  # fmt: skip
    of_minutes = fetches.filter(pl.col("kind") == "minutes").sort("received_ns", "stream", "sequence")
    proved = of_minutes.unique(["symbol", "session_date"], keep="last").filter(pl.col("outcome") == "equal")
    equal = proved.select("session_date", line="symbol").collect()
    unproved = pieces.join(equal, on=["line", "session_date"], how="anti")
    broken = unproved.select("stock", start_ns=_floor("at_ns", interval_ns, midnight_ns)).unique()
    return _made(_in_order(pieces), broken, interval_ns, midnight_ns, zone)


def _read(rows: BarRows) -> BarRows:
    """The rows in memory, which are read once, with the stock of each. Their names are numbers in memory: of a day's
    trades they are few, and comparing them as texts would take most of the time.
    """
    trades = rows.trades if rows.is_distinct else each_once(rows.trades)
    frames = pl.collect_all([trades.select(COLUMNS_OF_TRADES), rows.conflated, rows.minutes, rows.reconciliations])
    known = {
        name: sorted({text for frame in frames if name in frame.columns for text in frame[name].unique()})
        for name in ("symbol", "session_date", "venue")
    }
    stocks = [stock_of(line) for line in known["symbol"]]
    of_lines = pl.Series(stocks, dtype=pl.Enum(sorted(set(stocks))))
    found = []
    for frame in frames:
        cast = frame.with_columns(pl.col(name).cast(pl.Enum(texts)) for name, texts in known.items() if name in frame)
        found.append(cast.with_columns(stock=of_lines.gather(cast["symbol"].to_physical())).lazy())
    return BarRows(found[0], found[1], found[2], found[3])


def _in_order(pieces: pl.DataFrame) -> pl.DataFrame:
    """The pieces of each stock by time. Stored trades of stocks with one line each are so already, day by day."""
    has_one_line_each = pieces["line"].n_unique() == pieces["stock"].n_unique()
    if has_one_line_each and _is_sorted(pieces, "session_date", "stock", "at_ns", "cumulative_volume"):
        return pieces
    return pieces.sort("stock", "at_ns", "venue", "cumulative_volume")


def _pieces(rows: BarRows) -> pl.LazyFrame:
    """Trades, and conflated rows as one piece each."""
    price = pl.col("price")
    common = {
        "line": pl.col("symbol"),
        "stock": pl.col("stock"),
        "venue": pl.col("venue"),
        "session_date": pl.col("session_date"),
    }
    of_trades = rows.trades.select(
        **common,
        at_ns="exchange_time_ns",
        cumulative_volume="cumulative_volume",
        open=price,
        high=price,
        low=price,
        close=price,
        volume="volume",
        value=price * pl.col("volume"),
        trades=pl.lit(1, dtype=pl.Int64),
        filled=pl.lit(0.0),
    )
    of_rows = rows.conflated.select(
        **common,
        at_ns="from_ns",
        cumulative_volume="cumulative_volume",
        open="open",
        high="high",
        low="low",
        close="close",
        volume="volume",
        value=pl.lit(None, dtype=pl.Float64),
        trades="trades",
        filled=pl.lit(0.0),
    )
    return pl.concat([of_trades, of_rows])


def _links(rows: BarRows) -> pl.LazyFrame:
    """The links of the lines' chains of volume."""
    of_trades = rows.trades.select(
        "session_date",
        "stock",
        "volume",
        "cumulative_volume",
        line="symbol",
        from_ns="exchange_time_ns",
        to_ns="exchange_time_ns",
    )
    of_rows = rows.conflated.select(
        "session_date", "stock", "from_ns", "to_ns", "volume", "cumulative_volume", line="symbol"
    )
    proved = [
        rows.reconciliations.select(
            "session_date", "stock", line="symbol", from_ns=at, to_ns=at, volume=pl.lit(0.0), cumulative_volume=volume
        )
        for at, volume in (("from_ns", "after_volume"), ("to_ns", "before_volume"))
    ]
    return pl.concat([each.select(_LINK) for each in (of_trades, of_rows, *proved)])


def _official(minutes: pl.DataFrame, pieces: pl.DataFrame) -> pl.DataFrame:
    """The official minute bars that know at least as much of their minute as the trades do, as pieces; `filled` is how
    much more.
    """
    if minutes.is_empty():
        pieces = pieces.clear()
    newest = minutes.sort("stream", "sequence").unique(["symbol", "minute_start_ns"], keep="last")
    known = pieces.group_by("line", at_ns=_floor("at_ns", NS_PER_MINUTE, 0)).agg(known=pl.col("volume").sum())
    joined = newest.select(
        "session_date", "venue", "open", "high", "low", "close", "volume",
        "stock", line="symbol", at_ns="minute_start_ns", gap_id="gap_id",
    ).join(known, on=["line", "at_ns"], how="left")  # fmt: skip
    excess = pl.col("volume") - pl.col("known").fill_null(0.0)
    return joined.with_columns(
        filled=excess,
        cumulative_volume=pl.lit(0.0),
        value=pl.lit(None, dtype=pl.Float64),
        trades=pl.lit(None, dtype=pl.Int64),
    ).filter(pl.col("filled") >= -VOLUME_NOISE)


def _ends(links: pl.DataFrame, minutes: pl.DataFrame) -> pl.DataFrame:
    """By stock and day the first and the last moment of anything known of it, `first_ns`, `last_ns`."""
    parts = [
        each.group_by("stock", "session_date").agg(first_ns=pl.col(first).min(), last_ns=pl.col(last).max() + length)
        for each, first, last, length in (
            (links, "from_ns", "to_ns", 0),
            (minutes, "at_ns", "at_ns", NS_PER_MINUTE - 1),
        )
    ]
    together = pl.concat(parts).group_by("stock", "session_date")
    return together.agg(pl.col("first_ns").min(), pl.col("last_ns").max())


def _breaks(links: pl.DataFrame, minutes: pl.DataFrame) -> pl.DataFrame:
    """By line the spans [from, to] of time in which trades are missing. `is_filled`: minute bars account for them."""
    ends, day = _ends(links, minutes), ["stock", "session_date"]
    order = ("line", "session_date", "cumulative_volume", "from_ns")
    chain = links if _is_sorted(links, *order) else links.sort(order)
    is_first = (pl.col("line") != pl.col("line").shift(1)) | (pl.col("session_date") != pl.col("session_date").shift(1))
    previous = pl.when(~is_first).then(pl.col("to_ns", "cumulative_volume").shift(1)).name.prefix("last_")
    missing = pl.col("cumulative_volume") - pl.col("volume") - pl.col("last_cumulative_volume").fill_null(0.0)
    begins = chain.with_columns(previous).with_columns(missing=missing).filter(pl.col("missing") > VOLUME_NOISE)
    found = begins.join(ends, on=day, how="left").select(
        *_CHAIN,
        "missing",
        from_ns=pl.coalesce("last_to_ns", pl.min_horizontal("first_ns", "from_ns")),
        to_ns=pl.max_horizontal("from_ns", "last_to_ns"),
    )
    last = chain.group_by(_CHAIN).agg(from_ns=pl.col("to_ns").max()).join(ends, on=day, how="left")
    after = last.select(*_CHAIN, "from_ns", missing=pl.lit(float("inf")), to_ns=pl.max_horizontal("from_ns", "last_ns"))
    return _with_filled(pl.concat([found, after.select(found.columns)]), minutes)


def _is_sorted(frame: pl.DataFrame, *names: str) -> bool:
    """Whether the rows are sorted by these columns: to see it takes an eighth of the time of sorting them."""
    is_behind = pl.lit(value=True)
    for name in reversed(names):
        before, here = pl.col(name).shift(1), pl.col(name)
        is_behind = (before < here) | ((before == here) & is_behind)
    return bool(frame.select(is_behind.fill_null(value=True).all()).item())


def _with_filled(breaks: pl.DataFrame, minutes: pl.DataFrame) -> pl.DataFrame:
    numbered = breaks.with_row_index("nth")
    official = minutes.select("line", "filled", minute_ns="at_ns")
    touched = numbered.join(official, on="line").filter(
        (pl.col("minute_ns") <= pl.col("to_ns")) & (pl.col("minute_ns") + NS_PER_MINUTE > pl.col("from_ns"))
    )
    brought = touched.group_by("nth").agg(brought=pl.col("filled").sum())
    counted = numbered.join(brought, on="nth", how="left")
    return counted.with_columns(is_filled=pl.col("brought").fill_null(0.0) >= pl.col("missing") - VOLUME_NOISE)


def _touched(breaks: pl.DataFrame, interval_ns: int, midnight_ns: int) -> pl.DataFrame:
    """The intervals that a break touches: by line the starts."""
    first, last = (_floor(name, interval_ns, midnight_ns) for name in ("from_ns", "to_ns"))
    starts = breaks.select("line", "stock", start_ns=pl.int_ranges(first, last + 1, interval_ns))
    return starts.explode("start_ns").unique()


def _made(pieces: pl.DataFrame, broken: pl.DataFrame, interval_ns: int, midnight_ns: int, zone: str) -> pl.DataFrame:
    volume = pl.col("volume").sum()
    is_whole = pl.col("value").is_not_null().all()
    start = _floor("at_ns", interval_ns, midnight_ns).alias("start_ns")
    made = pieces.group_by("stock", "session_date", start).agg(  # in each group the order stays
        open=pl.col("open").first(),
        high=pl.col("high").max(),
        low=pl.col("low").min(),
        close=pl.col("close").last(),
        volume=volume,
        vwap=pl.when(is_whole & (volume > 0)).then(pl.col("value").sum() / volume),
        trades=pl.when(pl.col("trades").is_not_null().all()).then(pl.col("trades").sum()),
        filled=pl.col("filled").sum(),
    )
    judged = made.join(broken.with_columns(complete=pl.lit(value=False)), on=["stock", "start_ns"], how="left")
    columns = ("open", "high", "low", "close", "volume", "vwap", "trades", "filled")
    return judged.sort("stock", "start_ns", "session_date").select(
        time_of("start_ns", zone).alias("time"),
        pl.col("stock").cast(pl.String).alias("symbol"),
        *columns,
        pl.col("complete").fill_null(value=True),
    )


def _floor(column: str, interval_ns: int, midnight_ns: int) -> pl.Expr:
    moved = pl.col(column) - midnight_ns % interval_ns
    return moved // interval_ns * interval_ns + midnight_ns % interval_ns
