"""Bars of trades, conflated rows and official minute bars, and whether each bar has every trade. Pure.

Each share counts once: a conflated row has the shares that no stored trade has (`observer.research.conflated`).

A bar is *complete* if the chain of the day's volume proves it: each trade states the day's volume after it, so the
volume before a trade equals the one after the trade before, unless a trade between them is missing. What reconciliation
found out about the volume at other moments are links of the chain, too, and so is the day's volume in the tape's report
on a line. A break that official minute bars account for, to the share, is none, and the line's minute of such a bar is
complete in any case. The seconds whose trades the broker does not return, which the report names, are incomplete, and
not the times around them. After a line's last link nothing is proved. A bar of a stock is complete if none of its lines
has a break in it, also a line that has no row in the bar.

An interval without a bar had no trade if the bars around it are complete; otherwise nothing is known about it.
"""

from typing import Final

import msgspec
import polars as pl

from observer.base.lines import stock_of
from observer.base.units import NS_PER_MINUTE
from observer.gaps.intervals import VOLUME_NOISE
from observer.research.chain import LINK, breaks_of, runs_of
from observer.research.conflated import each_once, each_share_once
from observer.research.lacking import UNREACHABLE
from observer.research.shaping import stock, time_of

_LINE: Final = {"symbol": pl.String, "session_date": pl.String}
_JUDGED: Final = {**_LINE, "judged_ns": pl.Int64, "day_volume": pl.Float64}
_LACKING: Final = {
    **_LINE, "kind": pl.String, "after_volume": pl.Float64, "upto_volume": pl.Float64, "from_ns": pl.Int64,
    "to_ns": pl.Int64,
}  # fmt: skip
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
    that no trade is stored twice. `reports` are the tape's last reports on lines' days, `lacking` the spans that they
    name (`observer.research.lacking`); None without any.
    """

    trades: pl.LazyFrame
    conflated: pl.LazyFrame
    minutes: pl.LazyFrame
    reconciliations: pl.LazyFrame
    is_distinct: bool = False
    reports: pl.DataFrame | None = None
    lacking: pl.DataFrame | None = None


class _Parts(msgspec.Struct, frozen=True):
    """The rows in memory: `chained` are trades that no conflated row covers, `unheld` what only conflated rows have.
    Without reports `judged` and `lacking` are empty.
    """

    trades: pl.DataFrame
    chained: pl.DataFrame
    conflated: pl.DataFrame
    unheld: pl.DataFrame
    minutes: pl.DataFrame
    reconciliations: pl.DataFrame
    judged: pl.DataFrame
    lacking: pl.DataFrame


def bars(rows: BarRows, interval_ns: int, midnight_ns: int, zone: str) -> pl.DataFrame:
    """The bars of stocks, all their lines with rows together, by stock and time.

    `trades` counts executions and `vwap` is their mean price; both are null where a part of the bar is known as a
    minute bar only, and `vwap` also with a conflated row. `filled` is the volume that minute bars brought. Of a stock
    with a report of the tape, `unreachable_seconds` are the seconds of the bar whose trades the broker does not return
    all, and `unknown_volume` the shares of unknown spans that touch it: at most so many are missing from it.

    Args:
        rows: of one or several days.
        interval_ns: the length of a bar; it divides a day.
        midnight_ns: any local midnight: bars are counted from it.
        zone: the IANA name of the zone of the bars' times.
    """
    parts = _read(rows)
    runs, others = runs_of(parts.chained), _other_links(parts)
    is_ordered = runs.is_in_order and parts.trades["symbol"].n_unique() == parts.trades["stock"].n_unique()
    is_all_chained = parts.chained.height == parts.trades.height  # the order of trades inside conflated rows is unknown
    is_of_trades = is_ordered and is_all_chained and parts.unheld.is_empty() and parts.minutes.is_empty()
    pieces = _pieces(msgspec.structs.replace(parts, trades=parts.trades.clear()) if is_of_trades else parts)
    official = _official(parts.minutes, pieces)
    ends = _ends(pl.concat([runs.links, others]), official)
    named = _unreachable(parts.lacking).rename({"symbol": "line"})
    found = breaks_of(runs.links, others, ends)
    breaks = _with_filled(pl.concat([found, named.select(found.columns)]), official)
    if interval_ns % NS_PER_MINUTE:
        incomplete = _touched(breaks, interval_ns, midnight_ns)
    else:
        pieces = _replaced(pieces, official.filter(pl.col("filled") > VOLUME_NOISE))
        minutes = _touched(breaks.filter(~pl.col("is_filled")), NS_PER_MINUTE, 0)
        unknown = minutes.join(official.select("line", start_ns="at_ns"), on=["line", "start_ns"], how="anti")
        incomplete = unknown.select("stock", start_ns=_floor("start_ns", interval_ns, midnight_ns))
    broken = incomplete.select("stock", "start_ns").unique()
    if is_of_trades:
        made = _made_of_trades(parts.trades, interval_ns, midnight_ns)
    else:
        made = _made(_in_order(pieces), interval_ns, midnight_ns, is_plain=parts.unheld.is_empty())
    return _shown(made, broken, parts, interval_ns, midnight_ns, zone)


def _replaced(pieces: pl.DataFrame, official: pl.DataFrame) -> pl.DataFrame:
    """The pieces with these official minute bars in the place of their minutes."""
    if official.is_empty():
        return pieces
    of_trades = pieces.with_columns(minute_ns=_floor("at_ns", NS_PER_MINUTE, 0)).join(
        official.select("line", minute_ns="at_ns"), on=["line", "minute_ns"], how="anti"
    )
    return pl.concat([each.select(pieces.columns) for each in (of_trades, official)])


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
    made = _made(_in_order(pieces), interval_ns, midnight_ns, is_plain=True)
    return _shown(made, broken, None, interval_ns, midnight_ns, zone)


def _read(rows: BarRows) -> _Parts:
    """The rows in memory, which are read once, with the stock of each. Their names are numbers in memory: of a day's
    trades they are few, and comparing them as texts would take most of the time.
    """
    trades = rows.trades if rows.is_distinct else each_once(rows.trades)
    frames = pl.collect_all([trades.select(COLUMNS_OF_TRADES), rows.conflated, rows.minutes, rows.reconciliations])
    of_tape = [
        pl.DataFrame(schema=schema) if frame is None else frame.select(list(schema))
        for frame, schema in ((rows.reports, _JUDGED), (rows.lacking, _LACKING))
    ]
    frames += of_tape
    known = {
        name: sorted({text for frame in frames if name in frame.columns for text in frame[name].unique()})
        for name in ("symbol", "session_date", "venue")
    }
    stocks = [stock_of(line) for line in known["symbol"]]
    of_lines = pl.Series(stocks, dtype=pl.Enum(sorted(set(stocks))))
    found = []
    for frame in frames:
        cast = frame.with_columns(pl.col(name).cast(pl.Enum(texts)) for name, texts in known.items() if name in frame)
        found.append(cast.with_columns(stock=of_lines.gather(cast["symbol"].to_physical())))
    trades_in_memory, conflated, minutes, reconciliations, judged, lacking = found
    once = each_share_once(trades_in_memory, conflated)
    return _Parts(trades_in_memory, once.outside, conflated, once.unheld, minutes, reconciliations, judged, lacking)


def _in_order(pieces: pl.DataFrame) -> pl.DataFrame:
    """The pieces of each stock by time. Stored trades of stocks with one line each are so already, day by day."""
    has_one_line_each = pieces["line"].n_unique() == pieces["stock"].n_unique()
    if has_one_line_each and _is_sorted(pieces, "session_date", "stock", "at_ns", "cumulative_volume"):
        return pieces
    return pieces.sort("stock", "at_ns", "venue", "cumulative_volume")


def _pieces(parts: _Parts) -> pl.DataFrame:
    """Trades, and conflated rows as one piece each, which opens by its first trade and closes by its last one."""
    price = pl.col("price")
    common = {
        "line": pl.col("symbol"),
        "stock": pl.col("stock"),
        "venue": pl.col("venue"),
        "session_date": pl.col("session_date"),
    }
    of_trades = parts.trades.select(
        **common,
        at_ns="exchange_time_ns",
        until_ns="exchange_time_ns",
        cumulative_volume="cumulative_volume",
        upto_volume="cumulative_volume",
        open=price,
        high=price,
        low=price,
        close=price,
        volume="volume",
        value=price * pl.col("volume"),
        trades=pl.lit(1, dtype=pl.Int64),
        filled=pl.lit(0.0),
    )
    of_rows = parts.unheld.select(
        **common,
        at_ns="from_ns",
        until_ns="to_ns",
        cumulative_volume=pl.col("after_volume") + VOLUME_NOISE,  # before the trades inside it
        upto_volume="cumulative_volume",
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


def _other_links(parts: _Parts) -> pl.DataFrame:
    """The links of the lines' chains of volume that are no trades."""
    from_ns, to_ns, nothing = pl.col("from_ns"), pl.col("to_ns"), pl.lit(0.0)
    rows, checks, seconds = parts.conflated, parts.reconciliations, _unreachable(parts.lacking)
    links = [
        each.select(
            "stock", "session_date", line="symbol", from_ns=since, to_ns=until, volume=volume, cumulative_volume=upto
        )
        for each, since, until, volume, upto in (
            (rows, from_ns, to_ns, pl.col("volume"), pl.col("cumulative_volume")),
            (checks, from_ns, from_ns, nothing, pl.col("after_volume")),
            (checks, to_ns, to_ns, nothing, pl.col("before_volume")),
            (parts.judged, pl.col("judged_ns"), pl.col("judged_ns"), nothing, pl.col("day_volume")),
            (seconds, from_ns, from_ns, pl.col("missing"), pl.col("upto_volume")),
        )
    ]
    return pl.concat([each.select(LINK) for each in links])


def _unreachable(lacking: pl.DataFrame) -> pl.DataFrame:
    """The seconds whose trades the broker does not return, with the shares that are `missing` of them."""
    found = lacking.filter(pl.col("kind") == UNREACHABLE)
    return found.with_columns(missing=pl.col("upto_volume") - pl.col("after_volume"))


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
        until_ns=pl.col("at_ns") + NS_PER_MINUTE - 1,
        cumulative_volume=pl.lit(0.0),
        upto_volume=pl.lit(0.0),
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


def _made_of_trades(trades: pl.DataFrame, interval_ns: int, midnight_ns: int) -> pl.DataFrame:
    """As `_made`, of trades alone that stand together by line and day, in their order: a group is a span of rows."""
    price, volume = pl.col("price"), pl.col("volume").sum()
    start = trades.select(
        "stock", "session_date", "price", "volume", start_ns=_floor("exchange_time_ns", interval_ns, midnight_ns)
    )
    keys = ("stock", "session_date", "start_ns")
    is_new = pl.any_horizontal(*(pl.col(name) != pl.col(name).shift(1) for name in keys)).fill_null(value=True)
    grouped = start.with_columns(nth=is_new.cum_sum().set_sorted()).group_by("nth", maintain_order=True)
    return grouped.agg(
        *(pl.col(name).first() for name in keys),
        open=price.first(),
        high=price.max(),
        low=price.min(),
        close=price.last(),
        volume=volume,
        vwap=pl.when(volume > 0).then((price * pl.col("volume")).sum() / volume),
        trades=pl.len().cast(pl.Int64),
    ).with_columns(filled=pl.lit(0.0))


def _made(pieces: pl.DataFrame, interval_ns: int, midnight_ns: int, *, is_plain: bool) -> pl.DataFrame:
    """The bars by stock and begin. `is_plain`: the piece that begins last also ends last, as trades and minutes do."""
    volume, close = pl.col("volume").sum(), pl.col("close")
    is_whole = pl.col("value").is_not_null().all()
    start = _floor("at_ns", interval_ns, midnight_ns).alias("start_ns")
    return pieces.group_by("stock", "session_date", start).agg(  # in each group the order stays
        open=pl.col("open").first(),
        high=pl.col("high").max(),
        low=pl.col("low").min(),
        close=(close if is_plain else close.sort_by("until_ns", "venue", "upto_volume")).last(),
        volume=volume,
        vwap=pl.when(is_whole & (volume > 0)).then(pl.col("value").sum() / volume),
        trades=pl.when(pl.col("trades").is_not_null().all()).then(pl.col("trades").sum()),
        filled=pl.col("filled").sum(),
    )


def _shown(
    made: pl.DataFrame, broken: pl.DataFrame, parts: _Parts | None, interval_ns: int, midnight_ns: int, zone: str
) -> pl.DataFrame:
    """The columns of the API: whether a bar is broken, and what the tape's reports name in it."""
    made = made.join(broken.with_columns(complete=pl.lit(value=False)), on=["stock", "start_ns"], how="left")
    if parts is None or parts.judged.is_empty():
        seconds, unknown = pl.lit(None, dtype=pl.Int64), pl.lit(None, dtype=pl.Float64)
    else:
        spans = parts.lacking.with_columns(
            start_ns=pl.int_ranges(
                _floor("from_ns", interval_ns, midnight_ns), _floor("to_ns", interval_ns, midnight_ns) + 1, interval_ns
            )
        )
        is_second = pl.col("kind") == UNREACHABLE
        named = (
            spans.explode("start_ns")
            .group_by("stock", "start_ns")
            .agg(
                unreachable_seconds=pl.col("from_ns").filter(is_second).n_unique().cast(pl.Int64),
                unknown_volume=(pl.col("upto_volume") - pl.col("after_volume")).filter(~is_second).sum(),
            )
        )
        judged = parts.judged.select("stock", "session_date", is_judged=pl.lit(value=True)).unique()
        made = made.join(named, on=["stock", "start_ns"], how="left").join(
            judged, on=["stock", "session_date"], how="left"
        )
        seconds, unknown = (
            pl.when("is_judged").then(pl.col(name).fill_null(0)) for name in ("unreachable_seconds", "unknown_volume")
        )
    columns = ("open", "high", "low", "close", "volume", "vwap", "trades", "filled")
    return made.sort("stock", "start_ns", "session_date").select(
        time_of("start_ns", zone).alias("time"),
        pl.col("stock").cast(pl.String).alias("symbol"),
        *columns,
        pl.col("complete").fill_null(value=True),
        unreachable_seconds=seconds,
        unknown_volume=unknown,
    )


def _floor(column: str, interval_ns: int, midnight_ns: int) -> pl.Expr:
    moved = pl.col(column) - midnight_ns % interval_ns
    return moved // interval_ns * interval_ns + midnight_ns % interval_ns
