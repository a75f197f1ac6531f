"""What was traded: trades, bars, states of sweeps, daily bars, and what is missing of them."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from bus.events import TAPE
from observer.base.errors import ConfigError
from observer.base.lines import stock_of
from observer.base.units import NS_PER_MINUTE
from observer.research.asked import Asked, Day, by_day, by_judged_day
from observer.research.lazy import pl
from observer.research.relation import Relation

if TYPE_CHECKING:
    from observer.research.days import DayRelations

Interval = Literal[
    "1s", "5s", "10s", "15s", "30s", "1m", "2m", "3m", "5m", "10m", "15m", "30m", "1h", "2h", "4h", "24h"
]
OF_COLLECTED: Final = ("slot_assignments", "tape_reports", "tape_pages", "universe_members")
OF_WORDS: Final = ("quality", "tape_reports", "universe_members", "slot_assignments", "recovered_minute_bars")
_OF_BARS: Final = ("trades", "conflated_trades", "recovered_minute_bars", "reconciliations", *OF_COLLECTED)


class Trade(msgspec.Struct, frozen=True):
    """Trades, streamed, recovered and fetched for the tape, of each line in the order of the day's volume.

    Attributes:
        time: the exchange's time.
        symbol: the stock.
        venue: where it was traded.
        session: the session of the venue; null where the broker does not state it.
        price: in the instrument's currency.
        volume: shares.
        side: buy or sell, of the side that took the price; null if it is not known.
        bid: the best bid then; null of a recovered trade.
        ask: the best ask then; null of a recovered trade.
        source: stream, recovered, or tape.
        quality: the completeness of the symbol's day where a tape covers it, else the word of its slots.
        cumulative_volume: the venue's volume of the day after the trade.
        received: when it was received.
    """

    time: datetime
    symbol: str
    venue: str
    session: str | None
    price: float
    volume: float
    side: str | None
    bid: float | None
    ask: float | None
    source: str
    quality: str | None
    cumulative_volume: float | None
    received: datetime


def _trades(day: Day) -> "pl.LazyFrame":
    """Texts are made row by row only where they must be."""
    relations, lines = day.relations, day.lines
    words = relations.words_of(day.day, day.known_ns)
    rows = relations.trades(day.day, lines, day.known_ns)
    lines = relations.lines_of_trades(day.day) if lines is None else lines
    word: pl.Expr = pl.col("symbol").replace_strict(words, default=None, return_dtype=pl.String)
    made = {}
    if lines is not None and len(lines) == 1:
        word, made["symbol"] = pl.lit(words.get(lines[0]), dtype=pl.String), pl.lit(stock_of(lines[0]))
    elif lines is not None and all(stock_of(line) == line for line in lines):
        made["symbol"] = pl.col("symbol")
    elif lines is not None:
        stocks = {line: stock_of(line) for line in lines}
        made["symbol"] = pl.col("symbol").replace_strict(stocks, return_dtype=pl.String)
    of_stream = pl.when(pl.col("gap_id").is_null()).then(pl.lit("stream"))
    of_tape = of_stream.when(pl.col("gap_id") == TAPE).then(pl.lit("tape"))
    return day.shaped(
        rows,
        Trade,
        time="exchange_time_ns",
        received="receive_time_ns",
        source=of_tape.otherwise(pl.lit("recovered")),
        quality=word,
        **made,
    )


class Bar(msgspec.Struct, frozen=True):
    """Bars of the stored trades, recovered ones and official minute bars included, by symbol and time.

    Attributes:
        time: the begin.
        symbol: the stock, its venues together.
        open: the first price.
        high: the highest price.
        low: the lowest price.
        close: the last price.
        volume: shares.
        vwap: the mean price of the trades; null where a part is not known trade by trade.
        trades: the number of trades; null where a part is known as a minute bar only.
        filled: the shares that the exchange's minute bars brought.
        complete: whether the exchange's volume proves that no trade of the bar is missing.
        unreachable_seconds: seconds of the bar whose trades the broker does not return; null without a tape.
        unknown_volume: at most so many shares of the bar are missing; null without a tape.
    """

    time: datetime
    symbol: str
    open: float
    high: float
    low: float
    close: float
    volume: float
    vwap: float | None
    trades: int | None
    filled: float | None
    complete: bool
    unreachable_seconds: int | None
    unknown_volume: float | None


class BarOptions(msgspec.Struct, frozen=True):
    """How bars are made.

    Attributes:
        interval: the length of a bar; it divides a day.
        adjusted: give prices and volumes in shares of the last day.
    """

    interval: Interval = "1m"
    adjusted: bool = False


def _bars(relations: "DayRelations", asked: Asked) -> "pl.LazyFrame":
    from observer.research.arguments import interval_ns

    length_ns, known_ns = interval_ns(asked.options.interval), asked.known_ns
    if asked.span is None:
        [(day, lines)] = asked.parts
        return relations.late(lambda: relations.bars([(day, lines)], length_ns, known_ns), Bar, f"bars {day}")
    of_lines = [(day, lines) for day, lines in asked.parts if lines is not None]
    if of_lines and not asked.options.adjusted:  # of all lines, a day at a time fills the memory enough
        return _in_order([relations.bars_of_lines(of_lines, length_ns, known_ns)])
    return _adjusted(relations, asked, [relations.bars([part], length_ns, known_ns) for part in asked.parts])


def _official_bars(relations: "DayRelations", asked: Asked) -> "pl.LazyFrame":
    from observer.research.arguments import interval_ns

    length_ns = interval_ns(asked.options.interval)
    if length_ns % NS_PER_MINUTE:
        raise ConfigError(f"official bars are of whole minutes, and {asked.options.interval} is not")
    parts = [relations.official_bars(day, lines, length_ns, asked.known_ns) for day, lines in asked.parts]
    return _adjusted(relations, asked, parts)


def _adjusted(relations: "DayRelations", asked: Asked, parts: "Sequence[pl.DataFrame]") -> "pl.LazyFrame":
    from observer.research.adjusting import adjusted_bars

    if asked.options.adjusted:
        changes = relations.adjustments(asked.known_ns)
        of_days = [pl.lit(date.fromisoformat(day)) for day in asked.days]  # a bar's time may be in any zone
        parts = [adjusted_bars(part, day, changes) for part, day in zip(parts, of_days, strict=True)]
    return _in_order(parts)


def _in_order(parts: "Sequence[pl.DataFrame]") -> "pl.LazyFrame":
    return pl.concat(parts).sort("symbol", "time").lazy()


class Snapshot(msgspec.Struct, frozen=True):
    """The states of symbols as sweeps of the universe saw them, by symbol and time.

    Attributes:
        time: when it was received.
        symbol: the stock.
        venue: where it is traded.
        session: the session of the venue; null where the broker does not state it.
        sweep: the number of the sweep on its day.
        price: the last price; null before the first trade of the day.
        open: the first price of the day.
        high: the highest price of the day.
        low: the lowest price of the day.
        previous_close: the close of the session before.
        upper_limit: the highest price that is allowed.
        lower_limit: the lowest price that is allowed.
        bid: the best bid; null where no quote stands.
        ask: the best ask; null where no quote stands.
        volume: shares of the day until then.
        value: the day's turnover until then.
    """

    time: datetime
    symbol: str
    venue: str
    session: str | None
    sweep: int
    price: float | None
    open: float | None
    high: float | None
    low: float | None
    previous_close: float | None
    upper_limit: float | None
    lower_limit: float | None
    bid: float | None
    ask: float | None
    volume: float
    value: float


def _snapshots(day: Day) -> "pl.LazyFrame":
    made = {"time": "receive_time_ns", "volume": "cumulative_volume", "value": "cumulative_value"}
    return day.shaped(day.stored("snapshots"), Snapshot, **made)


class Daily(msgspec.Struct, frozen=True):
    """Daily bars by symbol and day, the newest of each, also of days before the first stored session.

    Attributes:
        day: the day of the market.
        symbol: the stock.
        venue: where it was traded.
        open: the first price.
        high: the highest price.
        low: the lowest price.
        close: the last price.
        volume: shares.
        value: the turnover.
        vwap: value by volume; null without a trade.
        source: who stated it.
        sessions: the sessions that it covers.
    """

    day: date
    symbol: str
    venue: str | None
    open: float
    high: float
    low: float
    close: float
    volume: float
    value: float | None
    vwap: float | None
    source: str | None
    sessions: str | None


class DailyOptions(msgspec.Struct, frozen=True):
    """How daily bars are made.

    Attributes:
        adjusted: give prices and volumes in shares of the last day.
    """

    adjusted: bool = False


def _daily(relations: "DayRelations", asked: Asked) -> "pl.LazyFrame":
    from observer.research.adjusting import adjusted_bars
    from observer.research.shaping import shaped

    rows = relations.history("daily_bars", asked).sort("stream", "sequence")
    newest = rows.unique(["symbol", "session_date"], keep="last", maintain_order=True)
    vwap = pl.when(pl.col("volume") > 0).then(pl.col("value") / pl.col("volume"))
    found = shaped(newest, Daily, relations.zone, vwap=vwap).sort("symbol", "venue", "day")
    if not asked.options.adjusted:
        return found
    return adjusted_bars(found.collect(), pl.col("day"), relations.adjustments(None)).lazy()


class EtfPremium(msgspec.Struct, frozen=True):
    """Close, net asset value and premium of ETFs by day, the newest row of each.

    Attributes:
        day: the day of the market.
        symbol: the ETF.
        close: the last price.
        nav: the net asset value of a share.
        premium_percent: the close above the net asset value, in percent.
        volume: shares.
        index_close: the close of the ETF's index; null if it is not known.
    """

    day: date
    symbol: str
    close: float | None
    nav: float | None
    premium_percent: float | None
    volume: float | None
    index_close: float | None


def _etf_premium(relations: "DayRelations", asked: Asked) -> "pl.LazyFrame":
    from observer.research.shaping import newest, shaped

    rows = newest(relations.history("etf_nav_days", asked), "received_ns", "symbol", "session_date")
    return shaped(rows.sort("symbol", "session_date"), EtfPremium, relations.zone)


class Missing(msgspec.Struct, frozen=True):
    """The seconds and spans of time whose trades the tape does not have, by line and time.

    Attributes:
        day: the day of the market.
        symbol: the stock.
        venue: where it was traded.
        kind: unreachable (traded in the one second from `since`, and not returned by the broker) or unknown.
        since: the begin.
        until: the end.
        volume: shares.
        after_volume: the venue's volume of the day before them.
        upto_volume: the venue's volume of the day after them.
    """

    day: date
    symbol: str
    venue: str | None
    kind: str
    since: datetime
    until: datetime
    volume: float
    after_volume: float
    upto_volume: float


def _missing(relations: "DayRelations", asked: Asked) -> "pl.LazyFrame":
    from observer.research.errors import NotCollected

    read = relations.rows.each_day(asked.days, "tape_reports")
    parts = [part for part, day in zip(asked.parts, read, strict=True) if relations.has_tape(day)]
    if asked.span is not None and not parts:
        raise NotCollected(f"the tape has no report on {asked.span}: [tape] in the configuration turns it on")
    return by_day(_missing_of_day)(relations, msgspec.structs.replace(asked, parts=parts or asked.parts))


def _missing_of_day(day: Day) -> "pl.LazyFrame":
    spans = day.relations.lacking(day.day, day.lines, day.known_ns)
    return day.shaped(
        spans.lazy().sort("session_date", "symbol", "from_ns", "after_volume"),
        Missing,
        since="from_ns",
        until=(pl.col("to_ns") + 1).cast(pl.Datetime("ns", day.zone)),
        volume=pl.col("upto_volume") - pl.col("after_volume"),
    )


TRADING: Final = (
    Relation(
        "trades", Trade, by_judged_day(_trades), ("trades", *OF_COLLECTED, *OF_WORDS, "bar_fetches"),
        shown=("time", "symbol", "price", "volume", "side", "source", "quality"), symbols="streamed", needs_symbol=True,
    ),
    Relation(
        "bars", Bar, _bars, (*_OF_BARS, "share_adjustments"), symbols="streamed", needs_symbol=True, options=BarOptions,
        shown=("time", "symbol", "open", "high", "low", "close", "volume", "trades", "complete"), counted=("complete",),
    ),
    Relation(
        "official_bars", Bar, _official_bars, ("fetched_minute_bars", "bar_fetches", "share_adjustments"),
        symbols="fetched", needs_symbol=True, options=BarOptions,
        shown=("time", "symbol", "open", "high", "low", "close", "volume", "complete"), counted=("complete",),
    ),
    Relation(
        "snapshots", Snapshot, by_day(_snapshots), ("snapshots", "universe_members"), each=("snapshots",),
        symbols="swept", needs_symbol=True, shown=("time", "symbol", "sweep", "price", "bid", "ask", "volume"),
    ),
    Relation(
        "daily", Daily, _daily, ("daily_bars",), each=("daily_bars",), key="symbol", span="history", needs_symbol=True,
        options=DailyOptions,
    ),
    Relation(
        "etf_premium", EtfPremium, _etf_premium, ("etf_nav_days",), each=("etf_nav_days",), key="symbol",
        span="history", needs_symbol=True,
    ),
    Relation(
        "missing", Missing, _missing, ("tape_reports",), counted=("kind",),
        shown=("symbol", "venue", "kind", "since", "until", "volume"),
    ),
)  # fmt: skip
"""The entries of the catalogue."""
