"""How a gap is filled: source, priority, selection of the matching rows, and the limit of attempts.

docs/requirement.md: under 5 seconds at once, up to 60 seconds queued, longer ones are marked. Minute bars replace
trades for gaps of too many trades to fetch one by one; an unknown number is tried first. Recovered rows never replace
streamed ones.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Final, Literal, Protocol

import msgspec

from bus.events import GapDetected, MinuteBarRecovered, RecoverySource, Side, Trade
from observer.base.local_time import local_datetime
from observer.base.units import NS_PER_DAY, NS_PER_MINUTE, NS_PER_S
from observer.gaps.intervals import VOLUME_NOISE
from observer.gaps.plausibility import AHEAD_MAX_NS

Priority = Literal["high", "medium", "low"]

DAYS_BACK: Final = 7
"""Days before today whose gaps are filled and whose quality reports are rechecked; older open gaps are given up."""

BESIDE_S: Final = 2.0
"""Seconds before and after a gap that are requested, too: the exchange's clock and this machine's may differ."""

BESIDE_AGAIN_S: Final = (3600.0, 10.0)
"""The same after a failure: the loss may have begun before the cut was noticed. The known volume before the gap ends
the request much earlier."""

_PRIORITY_RANK: Final[dict[Priority, int]] = {"high": 0, "medium": 1, "low": 2}


class RecoverySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Thresholds between the three ways of recovery, retry limits, and the targets of a day, in machine seconds.

    A long gap of a quiet symbol is a few trades: up to `max_trades_of_long_gap`, ten calls, are fetched one by one.
    """

    at_once_under_seconds: Annotated[float, msgspec.Meta(ge=0)] = 5.0
    queued_up_to_seconds: Annotated[float, msgspec.Meta(ge=0)] = 60.0
    max_trades_of_long_gap: Annotated[int, msgspec.Meta(ge=0)] = 300
    max_attempts: Annotated[int, msgspec.Meta(ge=1)] = 5
    first_retry_seconds: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    longest_retry_seconds: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    detected_within_seconds: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    recovered_within_seconds: Annotated[float, msgspec.Meta(gt=0)] = 5.0
    target_share: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.95


class RecoveryPlan(msgspec.Struct, frozen=True):
    """The request that fills `gap`: from `source`, the times in [from_ns, to_ns].

    For time-and-sales these are whole seconds (its resolution); for minute bars the starts of the first and the last
    minute that the gap touches. `rows_max` bounds the rows of time-and-sales, newest first; None: no bound.
    """

    gap: GapDetected
    priority: Priority
    source: RecoverySource
    from_ns: int
    to_ns: int
    rows_max: int | None = None


class TimeAndSalesRow(Protocol):
    """One row of time-and-sales; `PastTrade` of the providers fits."""

    @property
    def symbol(self) -> str: ...
    @property
    def exchange_time_ns(self) -> int: ...
    @property
    def price(self) -> float: ...
    @property
    def volume(self) -> float: ...
    @property
    def cumulative_volume(self) -> float: ...
    @property
    def bid(self) -> float | None: ...
    @property
    def ask(self) -> float | None: ...
    @property
    def venue(self) -> str: ...


class MinuteBarLike(Protocol):
    """One minute's bar; `Bar` of the providers fits."""

    @property
    def symbol(self) -> str: ...
    @property
    def start_ns(self) -> int: ...
    @property
    def open(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def close(self) -> float: ...
    @property
    def volume(self) -> float: ...
    @property
    def venue(self) -> str: ...


class Selection(msgspec.Struct, frozen=True):
    """The trades that fill a gap, oldest first; `complete` if they cover it without a break. `misdated` are rows of
    another day, or ahead of the clock.
    """

    trades: tuple[Trade, ...]
    volume: float
    complete: bool
    misdated: tuple[TimeAndSalesRow, ...] = ()


def plan(gap: GapDetected, settings: RecoverySettings, failed_attempts: int = 0) -> RecoveryPlan:
    """Priority by the gap's duration in market seconds; source by that and by the number of missing trades."""
    priority, trades_max = _priority(gap, settings), settings.max_trades_of_long_gap
    is_long = priority == "low"
    if is_long and gap.missing_trades is not None and gap.missing_trades > trades_max:
        return by_minutes(gap, settings)
    before_s, after_s = BESIDE_AGAIN_S if failed_attempts else (BESIDE_S, BESIDE_S)
    from_ns = _floor(gap.from_ns - round(before_s * NS_PER_S), NS_PER_S)
    to_ns = -_floor(-gap.to_ns - round(after_s * NS_PER_S), NS_PER_S)
    rows_max = trades_max if is_long and gap.missing_trades is None else None
    return RecoveryPlan(gap, priority, "time_and_sales", from_ns, to_ns, rows_max)


def by_minutes(gap: GapDetected, settings: RecoverySettings) -> RecoveryPlan:
    """The request of minute bars, where time-and-sales cannot fill the gap."""
    return RecoveryPlan(gap, _priority(gap, settings), "minute_bars", *_minutes_of(gap))


def in_order(plans: Iterable[RecoveryPlan]) -> list[RecoveryPlan]:
    """The plans by priority, then by time of detection, then by gap id."""
    return sorted(plans, key=_urgency)


def select(rows: Iterable[TimeAndSalesRow], gap: GapDetected, received_ns: int) -> Selection:
    """The rows of time-and-sales that the gap misses, each once.

    The day's volume after it identifies a trade, so the missing ones have a cumulative volume above `after_volume` and
    up to `before_volume`. Sides are inferred (see `sides_of`). Rows of other symbols are ignored.
    """
    of_symbol = [row for row in rows if row.symbol == gap.symbol]
    misdated = tuple(row for row in of_symbol if _is_misdated(row, gap, received_ns))
    ordered = _once_each(row for row in of_symbol if not _is_misdated(row, gap, received_ns))
    trades = tuple(
        past_trade(
            *(row, side),
            provider=gap.provider,
            symbol=gap.symbol,
            session_date=gap.session_date,
            gap_id=gap.gap_id,
            received_ns=received_ns,
        )
        for row, side in zip(ordered, sides_of(ordered), strict=True)
        if gap.after_volume + VOLUME_NOISE < row.cumulative_volume <= gap.before_volume + VOLUME_NOISE
    )
    return Selection(trades, sum(trade.volume for trade in trades), _leads_across(trades, gap), misdated)


def select_minutes(rows: Iterable[MinuteBarLike], gap: GapDetected, received_ns: int) -> tuple[MinuteBarRecovered, ...]:
    """The minutes with trading that overlap the gap, oldest first; `received_ns` is when they arrived.

    The first and the last of them also include streamed trades, so their volumes do not add up to the gap's.
    """
    first_ns, last_ns = _minutes_of(gap)
    minutes = {row.start_ns: row for row in rows if row.symbol == gap.symbol and row.volume > 0}
    starts_ns = [start_ns for start_ns in sorted(minutes) if first_ns <= start_ns <= last_ns]
    return tuple(_stand_in(minutes[start_ns], gap, received_ns) for start_ns in starts_ns)


def name_of(row: Trade | MinuteBarRecovered) -> tuple[str, float]:
    """The key of a recovered row within its gap: the day's volume after the trade, or the minute's start."""
    return ("trade", row.cumulative_volume) if isinstance(row, Trade) else ("minute", row.minute_start_ns)


def retry_after_s(failed_attempts: int, settings: RecoverySettings) -> float:
    """Market seconds to wait after this number of failed attempts: exponential, up to the longest delay."""
    assert failed_attempts >= 1
    return min(settings.first_retry_seconds * 2.0 ** (failed_attempts - 1), settings.longest_retry_seconds)


def plan_now(gap: GapDetected, failed_attempts: int, now_ns: int, settings: RecoverySettings) -> RecoveryPlan:
    """The next plan after this number of failed attempts.

    Uses minute bars if time-and-sales returned nothing in all its attempts, and for past days: brokers have no trades
    of those.
    """
    if is_past(gap.session_date, now_ns) or failed_attempts >= settings.max_attempts:
        return by_minutes(gap, settings)
    return plan(gap, settings, failed_attempts)


def is_past(session_date: str, now_ns: int) -> bool:
    return _korean_date(now_ns) > session_date


def is_last_attempt(planned: RecoveryPlan, failed_attempts: int, settings: RecoverySettings) -> bool:
    """Whether this is the source's last attempt: its rows then count, complete or not."""
    return planned.source == "minute_bars" or failed_attempts + 1 >= settings.max_attempts


def oldest_filled(now_ns: int) -> str:
    """The first day whose gaps are still filled."""
    return _korean_date(now_ns - DAYS_BACK * NS_PER_DAY)


def too_old(gap: GapDetected, now_ns: int) -> str | None:
    """The reason why a gap is too old to fill; None for a gap that is still filled."""
    if gap.session_date >= oldest_filled(now_ns):
        return None
    return f"its day is more than {DAYS_BACK} days ago"


def give_up(gap: GapDetected, failed_attempts: int, why: str, settings: RecoverySettings) -> str | None:
    """The reason to stop trying a gap; None while another attempt is due. `why` is the error of the last one.

    The limit of attempts is per source: a gap that starts with time-and-sales has twice as many.
    """
    sources = 2 if plan(gap, settings).source == "time_and_sales" else 1
    if failed_attempts < sources * settings.max_attempts:
        return None
    return f"{failed_attempts} attempts failed, the last one: {why}"


def _priority(gap: GapDetected, settings: RecoverySettings) -> Priority:
    duration_s = (gap.to_ns - gap.from_ns) / NS_PER_S
    if duration_s < settings.at_once_under_seconds:
        return "high"
    return "medium" if duration_s <= settings.queued_up_to_seconds else "low"


def _urgency(plan: RecoveryPlan) -> tuple[int, int, str]:
    return _PRIORITY_RANK[plan.priority], plan.gap.detected_ns, plan.gap.gap_id


def _minutes_of(gap: GapDetected) -> tuple[int, int]:
    """The starts of the first and the last minute that the gap touches."""
    return _floor(gap.from_ns, NS_PER_MINUTE), _floor(gap.to_ns, NS_PER_MINUTE)


def _floor(moment_ns: int, unit_ns: int) -> int:
    return moment_ns // unit_ns * unit_ns


def _korean_date(moment_ns: int) -> str:
    return local_datetime(moment_ns).date().isoformat()


def _is_misdated(row: TimeAndSalesRow, gap: GapDetected, received_ns: int) -> bool:
    """Whether the row cannot belong to the gap's day, by the rule for streamed trades."""
    moment_ns = row.exchange_time_ns
    return _korean_date(moment_ns) != gap.session_date or moment_ns > received_ns + AHEAD_MAX_NS


def _once_each(rows: Iterable[TimeAndSalesRow]) -> list[TimeAndSalesRow]:
    """Return the rows by cumulative volume, which identifies a trade within its day. Pages overlap: a repeated row
    counts once.
    """
    named = {row.cumulative_volume: row for row in rows}
    return [named[volume] for volume in sorted(named)]


def sides_of(rows: Sequence[TimeAndSalesRow]) -> list[Side]:
    """The aggressor of each trade, inferred: time-and-sales has no side, and the streamed side is not available any
    more.

    At the ask or above it the buyer, at the bid or below it the seller. Between them, or without quotes, the tick rule:
    above the previous price the buyer, below it the seller, at the same price as the trade before. A trade without a
    previous one is "unknown": nothing shows its aggressor.
    """
    sides: list[Side] = []
    previous_price: float | None = None
    side: Side = "unknown"
    for row in rows:
        side = _side(row, previous_price, side)
        sides.append(side)
        previous_price = row.price
    return sides


def _side(row: TimeAndSalesRow, previous_price: float | None, previous_side: Side) -> Side:
    if row.ask is not None and row.price >= row.ask:
        return "buy"
    if row.bid is not None and row.price <= row.bid:
        return "sell"
    if previous_price is None or row.price == previous_price:
        return previous_side
    return "buy" if row.price > previous_price else "sell"


def _leads_across(trades: Sequence[Trade], gap: GapDetected) -> bool:
    """Whether each trade begins where the trade before it ends, from one side of the gap to the other.

    Stricter than equal sums, in which a missing trade and a trade with a too large volume could cancel out.
    """
    volume = gap.after_volume
    for trade in trades:
        if abs(volume + trade.volume - trade.cumulative_volume) > VOLUME_NOISE:
            return False
        volume = trade.cumulative_volume
    return abs(volume - gap.before_volume) <= VOLUME_NOISE


def past_trade(
    row: TimeAndSalesRow,
    side: Side,
    *,
    provider: str,
    symbol: str,
    session_date: str,
    gap_id: str,
    received_ns: int,
) -> Trade:
    """A row of time and sales as the trade that is stored; its side is inferred."""
    return Trade(
        provider=provider,
        symbol=symbol,
        session_date=session_date,
        exchange_time_ns=row.exchange_time_ns,
        receive_time_ns=received_ns,
        price=row.price,
        volume=row.volume,
        cumulative_volume=row.cumulative_volume,
        cumulative_trades=None,
        side=side,
        bid=row.bid,
        ask=row.ask,
        gap_id=gap_id,
        side_inferred=True,
        venue=row.venue,
    )


def _stand_in(row: MinuteBarLike, gap: GapDetected, received_ns: int) -> MinuteBarRecovered:
    return MinuteBarRecovered(
        provider=gap.provider,
        symbol=gap.symbol,
        session_date=gap.session_date,
        minute_start_ns=row.start_ns,
        open=row.open,
        high=row.high,
        low=row.low,
        close=row.close,
        volume=row.volume,
        gap_id=gap.gap_id,
        receive_time_ns=received_ns,
        venue=row.venue,
    )
