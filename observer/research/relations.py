"""What a user sees of the stored rows: names, types and local time. Pure: frames in, frames out.

Each function takes the stored rows of a day (`Rows.scan`) and gives a relation of the API. `zone` is the IANA name of
the zone of its times.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import polars as pl

from bus.events import TAPE
from observer.base.lines import stock_of

_LEVELS: Final = range(1, 11)


def time_of(column: str, zone: str) -> pl.Expr:
    """A column of UTC nanoseconds as a time in the zone."""
    return pl.col(column).cast(pl.Datetime("ns", zone))


def stock() -> pl.Expr:
    """The stock of a line: the id without the venue's name and the separator before it (`observer.base.lines`)."""
    line, venue = pl.col("symbol"), pl.col("venue")
    length = line.str.len_chars().cast(pl.Int64) - venue.str.len_chars().cast(pl.Int64) - 1
    is_further = (venue != "") & (length > 0) & line.str.ends_with(venue)
    return pl.when(is_further).then(line.str.head(pl.max_horizontal(length, 0))).otherwise(line)


def _record_at(column: str, zone: str) -> Mapping[str, pl.Expr]:
    """What records of a line have in common; the column has their time."""
    same = {name: pl.col(name) for name in ("venue", "session")}
    return {"time": time_of(column, zone), "symbol": stock(), **same}


def stock_of_id(column: str) -> pl.Expr:
    """The stock of a column of lines' ids that has no venue beside it; for few rows."""
    return pl.col(column).map_elements(stock_of, return_dtype=pl.String)


def venue_of_id(column: str, venues: Mapping[str, str]) -> pl.Expr:
    """The venue of a column of lines' ids, by the lines of the day; null for another line."""
    return pl.col(column).replace_strict(venues, default=None, return_dtype=pl.String)


def trades(
    rows: pl.LazyFrame, zone: str, quality: Mapping[str, str], lines: Sequence[str] | None = None
) -> pl.LazyFrame:
    """Trades, streamed, recovered and fetched for the tape, of each line in the order of the day's volume.

    `quality` is the word of each line; null where the day is not judged yet. `lines` are those of the rows; None if
    they are not known. Texts are made row by row only where they must be.
    """
    word = pl.col("symbol").replace_strict(quality, default=None, return_dtype=pl.String)
    of_stock = stock()
    if lines is not None and len(lines) == 1:
        word, of_stock = pl.lit(quality.get(lines[0]), dtype=pl.String), pl.lit(stock_of(lines[0]))
    elif lines is not None and all(stock_of(line) == line for line in lines):
        of_stock = pl.col("symbol")
    elif lines is not None:
        of_stock = pl.col("symbol").replace_strict({line: stock_of(line) for line in lines}, return_dtype=pl.String)
    return rows.with_columns(symbol=of_stock, word=word).select(
        time=time_of("exchange_time_ns", zone),
        symbol="symbol",
        venue="venue",
        session="session",
        price="price",
        volume="volume",
        side="side",
        bid="bid",
        ask="ask",
        source=pl.when(pl.col("gap_id").is_null())
        .then(pl.lit("stream"))
        .when(pl.col("gap_id") == TAPE)
        .then(pl.lit("tape"))
        .otherwise(pl.lit("recovered")),
        quality="word",
        cumulative_volume="cumulative_volume",
        received=time_of("receive_time_ns", zone),
    )


def snapshots(rows: pl.LazyFrame, zone: str) -> pl.LazyFrame:
    """The states of symbols as sweeps saw them. `volume` and `value` are the day's until then."""
    return rows.select(
        **_record_at("receive_time_ns", zone),
        sweep="sweep",
        price="price",
        open="open",
        high="high",
        low="low",
        previous_close="previous_close",
        upper_limit="upper_limit",
        lower_limit="lower_limit",
        bid="bid",
        ask="ask",
        volume="cumulative_volume",
        value="cumulative_value",
    )


def book(rows: pl.LazyFrame, zone: str) -> pl.LazyFrame:
    """The ten levels of one order book, a row a level; `bid` and `ask` are null where no quote stands."""
    lists = {
        "level": pl.lit(list(_LEVELS), dtype=pl.List(pl.Int64)),
        **{side: pl.concat_list([f"{side}_{level}" for level in _LEVELS]) for side in ("bid", "ask")},
        **{
            f"{side}_volume": pl.concat_list([f"{side}_volume_{level}" for level in _LEVELS]) for side in ("bid", "ask")
        },
    }
    wide = rows.select(time=time_of("receive_time_ns", zone), symbol=stock(), venue="venue", **lists)
    columns = ["time", "symbol", "venue", "level", "bid", "bid_volume", "ask", "ask_volume"]
    return wide.explode(list(lists)).select(columns)


def daily(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Daily bars, of each line and day the newest one. `vwap` is null without a trade."""
    newest = rows.sort("stream", "sequence").unique(["symbol", "session_date"], keep="last", maintain_order=True)
    return newest.select(
        day=pl.col("session_date").str.to_date(),
        symbol=stock(),
        venue="venue",
        open="open",
        high="high",
        low="low",
        close="close",
        volume="volume",
        value="value",
        vwap=pl.when(pl.col("volume") > 0).then(pl.col("value") / pl.col("volume")),
        source="source",
        sessions="sessions",
    ).sort("symbol", "venue", "day")


def members(rows: pl.DataFrame, built: Mapping[str, Any]) -> pl.DataFrame:
    """The members of a build of the universe by rank. They are its neighbours in its stream: before it, or after it."""
    at, count = built["sequence"], built["symbols"]
    same = rows.filter((pl.col("stream") == built["stream"]) & (pl.col("session_date") == built["session_date"]))
    before = same.filter(pl.col("sequence").is_between(at - count, at - 1))
    after = same.filter(pl.col("sequence").is_between(at + 1, at + count))
    found = before if before.height >= after.height else after
    return found.select(
        day=pl.col("session_date").str.to_date(),
        rank="rank",
        symbol=stock(),
        venue="venue",
        name="name",
        exchange="exchange",
        market_cap="market_cap",
        previous_close="previous_close",
        average_volume_20d="average_volume_20d",
        average_true_range_14d="average_true_range_14d",
    ).sort("rank")


def gaps(rows: pl.LazyFrame, recoveries: pl.LazyFrame, losses: pl.LazyFrame, zone: str) -> pl.LazyFrame:
    """Gaps by detection, each once, with the last outcome: recovered, lost or open."""
    first = rows.sort("detected_ns", "stream", "sequence").unique("gap_id", keep="first", maintain_order=True)
    recovered = (
        recoveries.sort("recovered_ns")
        .unique("gap_id", keep="last")
        .select("gap_id", "recovered_ns", "source", "complete", recovered_volume="volume", recovered_rows="rows")
    )
    lost = losses.sort("decided_ns").unique("gap_id", keep="last").select("gap_id", "decided_ns", lost_reason="reason")
    joined = first.join(recovered, on="gap_id", how="left").join(lost, on="gap_id", how="left")
    outcome = pl.when(pl.col("recovered_ns").is_not_null()).then(pl.lit("recovered"))
    return joined.sort("detected_ns", "gap_id").select(
        day=pl.col("session_date").str.to_date(),
        symbol=stock(),
        venue="venue",
        since=time_of("from_ns", zone),
        until=time_of("to_ns", zone),
        detected=time_of("detected_ns", zone),
        reason="reason",
        missing_volume="missing_volume",
        missing_trades="missing_trades",
        outcome=outcome.when(pl.col("decided_ns").is_not_null()).then(pl.lit("lost")).otherwise(pl.lit("open")),
        source="source",
        complete="complete",
        recovered_volume="recovered_volume",
        recovered_rows="recovered_rows",
        closed=pl.max_horizontal(time_of("recovered_ns", zone), time_of("decided_ns", zone)),
        lost_reason="lost_reason",
        gap_id="gap_id",
    )


def quality(rows: pl.LazyFrame, of_lines: pl.DataFrame, zone: str) -> pl.LazyFrame:
    """The newest quality report of each symbol and day on its slots, beside the completeness of its day. A symbol
    without a slot has a row only on a day with `of_lines`.
    """
    line = ["symbol", "session_date"]
    newest = rows.sort("judged_ns", "stream", "sequence").unique(line, keep="last", maintain_order=True)
    joined = newest.join(of_lines.lazy(), on=line, how="full", coalesce=True, suffix="_of_line")
    joined = joined.with_columns(venue=pl.coalesce("venue", "venue_of_line"))
    return joined.sort("session_date", "symbol").select(
        day=pl.col("session_date").str.to_date(),
        symbol=stock(),
        venue="venue",
        slots_quality="slots_quality",
        day_quality="day_quality",
        volume_share="volume_share",
        time_share="time_share",
        seconds="seconds",
        streamed_trades="streamed_trades",
        streamed_volume="streamed_volume",
        recovered_volume="recovered_volume",
        conflated_volume="conflated_volume",
        missing_volume="missing_volume",
        missing_at_most="missing_at_most",
        day_volume=pl.coalesce("tape_volume", "day_volume"),
        gaps="gaps",
        gaps_open="gaps_open",
        detail="detail",
        judged=time_of("judged_ns", zone),
        completeness="completeness",
        held_volume="held_volume",
        unreachable_seconds="unreachable_seconds",
        unknown_volume="unknown_volume",
        tape_judged=time_of("tape_judged_ns", zone),
    )


def missing(spans: pl.LazyFrame, zone: str) -> pl.LazyFrame:
    """The shares of each line that are not stored trade by trade, by time. `kind`: "unreachable" ones were traded in
    the one second from `since` to `until`, and the broker does not return them; "unknown" ones at some time between.
    """
    return spans.sort("session_date", "symbol", "from_ns", "after_volume").select(
        day=pl.col("session_date").str.to_date(),
        symbol=stock(),
        venue="venue",
        kind="kind",
        since=time_of("from_ns", zone),
        until=(pl.col("to_ns") + 1).cast(pl.Datetime("ns", zone)),
        volume=pl.col("upto_volume") - pl.col("after_volume"),
        after_volume="after_volume",
        upto_volume="upto_volume",
    )


def slots(assigned: pl.LazyFrame, released: pl.LazyFrame, venues: Mapping[str, str], zone: str) -> pl.LazyFrame:
    """The times in which symbols had slots, by begin; `until` is null while the slot is held. `venues`: of each line of
    the day.
    """
    began = assigned.sort("assigned_ns", "stream", "sequence").with_columns(since_ns="assigned_ns")
    ended = released.sort("released_ns", "stream", "sequence").select(
        "slot", "symbol", "replaced_by", until_ns="released_ns", at_ns="released_ns", release_reason="reason"
    )
    joined = began.join_asof(
        ended, left_on="assigned_ns", right_on="at_ns", by=["slot", "symbol"], strategy="forward",
        check_sortedness=False,
    )  # fmt: skip
    return joined.sort("since_ns", "slot").select(
        since=time_of("since_ns", zone),
        until=time_of("until_ns", zone),
        slot="slot",
        symbol=stock(),
        venue="venue",
        trigger="trigger",
        score="score",
        reason="reason",
        replaced=stock_of_id("replaced"),
        replaced_venue=venue_of_id("replaced", venues),
        release_reason="release_reason",
        replaced_by=stock_of_id("replaced_by"),
        replaced_by_venue=venue_of_id("replaced_by", venues),
    )


def triggers(fired: pl.LazyFrame, ended: pl.LazyFrame, venues: Mapping[str, str], zone: str) -> pl.LazyFrame:
    """Triggers by the time at which they fired; `until` is null while the condition's life has no end. `venues`: of
    each line of the day.
    """
    ends = (
        ended.sort("ended_ns")
        .unique(["symbol", "kind", "fired_ns"], keep="last")
        .select("symbol", "kind", "fired_ns", "held_until_ns", "ended_ns")
    )
    joined = fired.join(ends, on=["symbol", "kind", "fired_ns"], how="left").sort("fired_ns", "stream", "sequence")
    return joined.select(
        time=time_of("fired_ns", zone),
        symbol=stock_of_id("symbol"),
        venue=venue_of_id("symbol", venues),
        kind="kind",
        measure="measure",
        threshold="threshold",
        reference="reference",
        strength="strength",
        score="score",
        severity="severity",
        basis="basis",
        held_until=time_of("held_until_ns", zone),
        until=time_of("ended_ns", zone),
    )


def etf_premium(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Close, net asset value and premium of ETFs by day, the newest row of each."""
    newest = rows.sort("received_ns", "stream", "sequence").unique(
        ["symbol", "session_date"], keep="last", maintain_order=True
    )
    return newest.sort("symbol", "session_date").select(
        day=pl.col("session_date").str.to_date(),
        symbol="symbol",
        close="close",
        nav="nav",
        premium_percent="premium_percent",
        volume="volume",
        index_close="index_close",
    )
