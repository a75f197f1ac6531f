"""How a gap is filled: from which source, how urgently, what of the answer belongs to it, and when to give up.

Requirement 004, Gap Recovery Policy: under 5 seconds at once, up to 60 seconds queued, longer ones are marked. Minute
bars stand in for what is too long to be fetched trade by trade. Recovered rows never replace streamed ones.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Annotated, Final, Literal, Protocol

import msgspec

from bus.events import GapDetected, MinuteBarRecovered, RecoverySource, Side, Trade
from observer.gaps.volumes import VOLUME_NOISE

Priority = Literal["high", "medium", "low"]

NS_PER_S: Final = 1_000_000_000
NS_PER_MINUTE: Final = 60 * NS_PER_S
NS_PER_DAY: Final = 24 * 60 * NS_PER_MINUTE
KST: Final = timezone(timedelta(hours=9), "KST")  # Korea has had no daylight saving time since 1988

DAYS_BACK: Final = 7
"""So many days before today are gaps filled of, and verdicts looked at again; what is open for longer is given up."""

_PRIORITY_RANK: Final[dict[Priority, int]] = {"high": 0, "medium": 1, "low": 2}


class RecoverySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the three ways of recovery part, and how long one is tried.

    A long gap in a quiet symbol is a few trades (it reaches from the last trade seen to the next): up to
    `max_trades_of_long_gap` of them, ten calls, are fetched one by one all the same.
    """

    at_once_under_seconds: Annotated[float, msgspec.Meta(ge=0)] = 5.0
    queued_up_to_seconds: Annotated[float, msgspec.Meta(ge=0)] = 60.0
    max_trades_of_long_gap: Annotated[int, msgspec.Meta(ge=0)] = 300
    max_attempts: Annotated[int, msgspec.Meta(ge=1)] = 5
    first_retry_seconds: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    longest_retry_seconds: Annotated[float, msgspec.Meta(gt=0)] = 60.0


class RecoveryPlan(msgspec.Struct, frozen=True):
    """What to ask for to fill `gap`: from `source`, the times in [from_ns, to_ns].

    For time-and-sales these are whole seconds (it tells no more); for minute bars the starts of the first and the last
    minute that the gap touches.
    """

    gap: GapDetected
    priority: Priority
    source: RecoverySource
    from_ns: int
    to_ns: int


class TimeAndSalesRow(Protocol):
    """One row of time-and-sales; `PastTrade` of the providers fits."""

    @property
    def symbol(self) -> str: ...  # noqa: D102 - the words are those of `Trade`
    @property
    def exchange_time_ns(self) -> int: ...  # noqa: D102
    @property
    def price(self) -> float: ...  # noqa: D102
    @property
    def volume(self) -> float: ...  # noqa: D102
    @property
    def cumulative_volume(self) -> float: ...  # noqa: D102
    @property
    def bid(self) -> float | None: ...  # noqa: D102
    @property
    def ask(self) -> float | None: ...  # noqa: D102


class MinuteRow(Protocol):
    """One minute's bar; `Bar` of the providers fits."""

    @property
    def symbol(self) -> str: ...  # noqa: D102 - the words are those of `MinuteBarRecovered`
    @property
    def start_ns(self) -> int: ...  # noqa: D102
    @property
    def open(self) -> float: ...  # noqa: D102
    @property
    def high(self) -> float: ...  # noqa: D102
    @property
    def low(self) -> float: ...  # noqa: D102
    @property
    def close(self) -> float: ...  # noqa: D102
    @property
    def volume(self) -> float: ...  # noqa: D102


class Selection(msgspec.Struct, frozen=True):
    """The trades that fill a gap, oldest first; `complete` when they lead from one side of it to the other."""

    trades: tuple[Trade, ...]
    volume: float
    complete: bool


def plan(gap: GapDetected, settings: RecoverySettings) -> RecoveryPlan:
    """Priority by the gap's duration in market seconds; source by that and by how many trades are missing."""
    priority = _priority(gap, settings)
    few = gap.missing_trades is not None and gap.missing_trades <= settings.max_trades_of_long_gap
    if priority == "low" and not few:
        first_ns, last_ns = _minutes_of(gap)
        return RecoveryPlan(gap, priority, "minute_bars", first_ns, last_ns)
    from_ns, to_ns = _floor(gap.from_ns, NS_PER_S), -_floor(-gap.to_ns, NS_PER_S)
    return RecoveryPlan(gap, priority, "time_and_sales", from_ns, to_ns)


def in_order(plans: Iterable[RecoveryPlan]) -> list[RecoveryPlan]:
    """The most urgent first: by priority, then by time of detection, then by the gap's identity."""
    return sorted(plans, key=_urgency)


def select(rows: Iterable[TimeAndSalesRow], gap: GapDetected, received_ns: int) -> Selection:
    """Of what time-and-sales returned, exactly the trades that the gap misses, each once.

    A trade is named by the day's volume after it, so those with a cumulative volume above `after_volume` and up to
    `before_volume` are the missing ones. Sides are inferred (see `_sides`). Rows of other symbols are ignored.
    """
    ordered = _once_each(row for row in rows if row.symbol == gap.symbol)
    trades = tuple(
        _recovered(row, side, gap, received_ns)
        for row, side in zip(ordered, _sides(ordered), strict=True)
        if gap.after_volume + VOLUME_NOISE < row.cumulative_volume <= gap.before_volume + VOLUME_NOISE
    )
    return Selection(trades, sum(trade.volume for trade in trades), _leads_across(trades, gap))


def select_minutes(rows: Iterable[MinuteRow], gap: GapDetected) -> tuple[MinuteBarRecovered, ...]:
    """The minutes that overlap the gap and in which there was trading, oldest first.

    The first and the last of them also hold trades that were streamed, so their volumes do not add up to the gap's.
    """
    first_ns, last_ns = _minutes_of(gap)
    minutes = {row.start_ns: row for row in rows if row.symbol == gap.symbol and row.volume > 0}
    return tuple(_stand_in(minutes[start_ns], gap) for start_ns in sorted(minutes) if first_ns <= start_ns <= last_ns)


def name_of(row: Trade | MinuteBarRecovered) -> tuple[str, float]:
    """What names a recovered row within its gap: the day's volume after the trade, or the minute's start."""
    return ("trade", row.cumulative_volume) if isinstance(row, Trade) else ("minute", row.minute_start_ns)


def retry_after_s(failed_attempts: int, settings: RecoverySettings) -> float:
    """Market seconds to wait after so many failed attempts: doubling from the first, up to the longest."""
    assert failed_attempts >= 1
    return min(settings.first_retry_seconds * 2.0 ** (failed_attempts - 1), settings.longest_retry_seconds)


def plan_now(gap: GapDetected, failed_attempts: int, now_ns: int, settings: RecoverySettings) -> RecoveryPlan:
    """What to ask for next, after so many failed attempts.

    Minute bars when time-and-sales had nothing in all its attempts, and for a day that is over: of earlier days brokers
    tell no trades (reference/kis-api.md).
    """
    first = plan(gap, settings)
    if first.source == "time_and_sales" and (is_past(gap, now_ns) or failed_attempts >= settings.max_attempts):
        return RecoveryPlan(gap, first.priority, "minute_bars", *_minutes_of(gap))
    return first


def is_past(gap: GapDetected, now_ns: int) -> bool:
    """Whether the gap's day is over."""
    return _korean_date(now_ns) > gap.session_date


def is_last_attempt(planned: RecoveryPlan, failed_attempts: int, settings: RecoverySettings) -> bool:
    """Whether the source is not asked again: it then counts what it has, complete or not."""
    return planned.source == "minute_bars" or failed_attempts + 1 >= settings.max_attempts


def oldest_filled(now_ns: int) -> str:
    """The first day whose gaps are still filled."""
    return _korean_date(now_ns - DAYS_BACK * NS_PER_DAY)


def too_old(gap: GapDetected, now_ns: int) -> str | None:
    """What to tell of a gap that nobody was there to fill in time; None while it is filled."""
    if gap.session_date >= oldest_filled(now_ns):
        return None
    return f"its day is more than {DAYS_BACK} days ago"


def give_up(gap: GapDetected, failed_attempts: int, why: str, settings: RecoverySettings) -> str | None:
    """What to tell of a gap that is not tried any more; None while it is worth another attempt. `why` the last failed.

    Each source has so many attempts: one that begins with time-and-sales has twice as many.
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
    return datetime.fromtimestamp(moment_ns // NS_PER_S, KST).date().isoformat()


def _once_each(rows: Iterable[TimeAndSalesRow]) -> list[TimeAndSalesRow]:
    """By cumulative volume, which names a trade within its day; a row that came twice (pages overlap) once."""
    named = {row.cumulative_volume: row for row in rows}
    return [named[volume] for volume in sorted(named)]


def _sides(rows: Sequence[TimeAndSalesRow]) -> list[Side]:
    """Who was the aggressor of each trade: time-and-sales does not tell, the streamed side is not available any more.

    At the ask or above it the buyer, at the bid or below it the seller. Between them, or without quotes, the tick rule:
    above the previous price the buyer, below it the seller, at the same price as the trade before. A trade with nothing
    to compare it with is "auction": no aggressor can be named.
    """
    sides: list[Side] = []
    previous_price: float | None = None
    side: Side = "auction"
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
    """Whether each trade begins where the one before it ended, from one side of the gap to the other.

    Stronger than equal sums, in which a missing trade and one told too large could cancel out.
    """
    volume = gap.after_volume
    for trade in trades:
        if abs(volume + trade.volume - trade.cumulative_volume) > VOLUME_NOISE:
            return False
        volume = trade.cumulative_volume
    return abs(volume - gap.before_volume) <= VOLUME_NOISE


def _recovered(row: TimeAndSalesRow, side: Side, gap: GapDetected, received_ns: int) -> Trade:
    return Trade(
        provider=gap.provider,
        symbol=gap.symbol,
        session_date=gap.session_date,
        exchange_time_ns=row.exchange_time_ns,
        receive_time_ns=received_ns,
        price=row.price,
        volume=row.volume,
        cumulative_volume=row.cumulative_volume,
        cumulative_trades=None,
        side=side,
        bid=row.bid,
        ask=row.ask,
        gap_id=gap.gap_id,
    )


def _stand_in(row: MinuteRow, gap: GapDetected) -> MinuteBarRecovered:
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
    )
