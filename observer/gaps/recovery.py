"""How a gap is filled: source, priority, selection of the matching rows, and the limit of attempts.

docs/requirement.md: under 5 seconds at once, up to 60 seconds queued, longer ones are marked. Minute bars replace
trades for gaps of too many trades to fetch one by one; an unknown number is tried first. Recovered rows never replace
streamed ones.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Annotated, Final, Literal, Protocol

import msgspec

from bus.events import (
    GapDetected,
    GapMeasure,
    GapTimesMeasured,
    MinuteBarRecovered,
    RecoverySource,
    Side,
    Snapshot,
    Trade,
)
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


def select(rows: Iterable[TimeAndSalesRow], gap: GapDetected, received_ns: int) -> Selection:
    """The rows of time-and-sales that the gap misses, each once.

    The day's volume after it identifies a trade, so the missing ones have a cumulative volume above `after_volume` and
    up to `before_volume`. Sides are inferred (see `sides_of`). Rows of other symbols are ignored.
    """
    of_symbol = [row for row in rows if row.symbol == gap.symbol]
    misdated = tuple(row for row in of_symbol if _is_misdated(row, gap, received_ns))
    ordered = _once_each(row for row in of_symbol if not _is_misdated(row, gap, received_ns))
    trades = tuple(
        past_trade(row, side, gap, received_ns)
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
    """The most urgent first: by priority, then by time of detection, then by gap id."""
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


class Filled(Protocol):
    """What recovered trades belong to: a gap, or a line's day of the tape."""

    @property
    def provider(self) -> str: ...
    @property
    def symbol(self) -> str: ...
    @property
    def session_date(self) -> str: ...
    @property
    def gap_id(self) -> str: ...


def past_trade(row: TimeAndSalesRow, side: Side, of: Filled, received_ns: int) -> Trade:
    """A row of time and sales as the trade that is stored; its side is inferred."""
    return Trade(
        provider=of.provider,
        symbol=of.symbol,
        session_date=of.session_date,
        exchange_time_ns=row.exchange_time_ns,
        receive_time_ns=received_ns,
        price=row.price,
        volume=row.volume,
        cumulative_volume=row.cumulative_volume,
        cumulative_trades=None,
        side=side,
        bid=row.bid,
        ask=row.ask,
        gap_id=of.gap_id,
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


# --- late end ---
#
# The volume that the exchange had counted when a track stopped, for a day that is ended later. Pure.
#
# What was traded after the stop is not missing: the volume now may count an auction, an after-market and more. Each
# function returns the exact volume or one that is not below it, so a gap until the stop can be too wide, never too
# small.


def volume_at(rows: Iterable[TimeAndSalesRow], stop_ns: int, known: float, volume_now: float) -> float | None:
    """Return the day's volume just before `stop_ns` by the symbol's trades around it; None if these trades do not prove
    it.

    The proof: the first trade after the stop begins at the volume at which the last trade before the stop ends. Without
    a later trade, the volume now is that volume; without an earlier trade, the `known` volume is. Trades up to `known`
    do not count.
    """
    counted = (row for row in rows if row.cumulative_volume > known + VOLUME_NOISE)
    later = sorted(counted, key=attrgetter("cumulative_volume"))
    before = [row for row in later if row.exchange_time_ns < stop_ns]
    after = [row for row in later if row.exchange_time_ns >= stop_ns]
    reached = before[-1].cumulative_volume if before else known
    following = after[0].cumulative_volume - after[0].volume if after else volume_now
    return reached if abs(following - reached) <= VOLUME_NOISE else None


def volume_before(bars: Iterable[MinuteBarLike], stop_ns: int, day_volume: float) -> float:
    """Upper bound of the day's volume before `stop_ns`: the volume now, less the volume of the minutes after the stop.
    The minute of the stop counts as a minute before it.
    """
    return day_volume - sum({bar.start_ns: bar.volume for bar in bars if bar.start_ns >= stop_ns}.values())


def volumes_after(snapshots: Iterable[Snapshot], stop_ns: int) -> Mapping[str, tuple[float, int]]:
    """By symbol, the first volume that a sweep certainly requested after `stop_ns`, and when it came.

    The snapshots are the day's from some time before the stop on. A sweep may have been under way at the stop, and the
    next one may have sent its first request by then: only the one after that is late enough.
    """
    seen = list(snapshots)
    first = max((each.sweep for each in seen if each.receive_time_ns < stop_ns), default=-1) + 2
    found: dict[str, tuple[float, int]] = {}
    for each in sorted(seen, key=attrgetter("receive_time_ns")):
        if each.sweep >= first and each.receive_time_ns >= stop_ns:
            found.setdefault(each.symbol, (each.cumulative_volume, each.receive_time_ns))
    return found


# --- queue ---
#
# The gaps that one process fills: each once, by priority, with a limit of attempts.

DEPTH_MAX: Final = 100
"""The queue stays shorter than this (docs/requirement.md)."""

CROWDED_ABOVE: Final = 80
"""A too long queue is reported as normal only below this: a length around the limit is reported once."""


class Attempt(msgspec.Struct, frozen=True):
    """A waiting gap: its number of failures, the last error, and the earliest time of the next attempt.

    `again`: an outcome is stored already, and its recovered rows must not be stored a second time.
    """

    gap: GapDetected
    failures: int = 0
    not_before_ns: int = 0
    why: str = ""
    again: bool = False


class RecoveryQueue:
    """The gaps of one process: waiting, under way, or closed."""

    def __init__(self, settings: RecoverySettings) -> None:
        self._settings = settings
        self._waiting: dict[str, Attempt] = {}
        self._under_way: set[str] = set()
        self._closed: dict[str, str] = {}  # with their days; outcomes may be on their way into the database
        self._crowded = False

    def __len__(self) -> int:
        return len(self._waiting)

    def take_up(self, gaps: Iterable[GapDetected]) -> Sequence[GapDetected]:
        """Enqueue gaps that are not known yet, and return them: both the feed and the database report a gap."""
        new = {gap.gap_id: gap for gap in gaps if not self._knows(gap.gap_id)}
        self._waiting |= {gap_id: Attempt(gap) for gap_id, gap in new.items()}
        return list(new.values())

    def forget_before(self, session_date: str) -> None:
        """Forget the closed gaps of days before this one. Later ones may be reported again after their outcomes are
        stored: a database that went back gets the gap a second time, and then its outcome.
        """
        self._closed = {gap_id: day for gap_id, day in self._closed.items() if day >= session_date}

    def _knows(self, gap_id: str) -> bool:
        return gap_id in self._waiting or gap_id in self._under_way or gap_id in self._closed

    def take_up_again(self, gap: GapDetected, *, is_open: bool) -> bool:
        """Enqueue a gap for an immediate attempt with its failures reset; `is_open`: no outcome of it is stored.

        Returns False and changes nothing while it is under way or its outcome is on its way into the database.
        """
        gap_id = gap.gap_id
        if gap_id in self._under_way or (is_open and gap_id in self._closed):
            return False
        waiting = self._waiting.get(gap_id)
        self._closed.pop(gap_id, None)
        self._waiting[gap_id] = Attempt(gap, again=not is_open or (waiting is not None and waiting.again))
        return True

    def take(self, now_ns: int) -> Attempt | None:
        """Return the most urgent due gap, None if no gap is due. The gap is under way until `put_back` or `close`."""
        ready = [attempt for attempt in self._waiting.values() if attempt.not_before_ns <= now_ns]
        if not ready:
            return None
        first = min((plan(attempt.gap, self._settings) for attempt in ready), key=_urgency).gap.gap_id
        self._under_way.add(first)
        return self._waiting.pop(first)

    def put_back(self, attempt: Attempt, why: str, now_ns: int) -> None:
        """Requeue a failed attempt with a growing delay."""
        failures = attempt.failures + 1
        pause_ns = round(retry_after_s(failures, self._settings) * NS_PER_S)
        self._under_way.remove(attempt.gap.gap_id)
        self._waiting[attempt.gap.gap_id] = Attempt(attempt.gap, failures, now_ns + pause_ns, why, attempt.again)

    def close(self, attempt: Attempt) -> None:
        """Mark the gap closed: its outcome was published."""
        self._under_way.remove(attempt.gap.gap_id)
        self._closed[attempt.gap.gap_id] = attempt.gap.session_date

    def crowding(self) -> Literal["begins", "ends"] | None:
        """Whether the queue became too long, or normal again, since the last call."""
        was_crowded = self._crowded
        self._crowded = len(self) >= (CROWDED_ABOVE if was_crowded else DEPTH_MAX)
        if self._crowded == was_crowded:
            return None
        return "begins" if self._crowded else "ends"


# --- targets ---
#
# The targets of gap recovery on the running day. Pure (docs/requirement.md).
#
# A gap is *detected in time* when the committed gap reaches recovery soon after the cut, or soon after the record that
# shows the gap. A gap is *recovered in time* when its rows are published soon after the first call for it: the wait in
# the queue does not count. That wait counts in *closing*, from the end of the outage to the outcome. A target is missed
# unless more than the required share of the day's gaps meets it. The count of a day goes on after a restart: numbers
# exactly, percentiles as upper bounds, as only the earlier process's percentiles are stored.

Measure = Literal["detection", "recovery", "success"]

TIMES_MAX: Final = 100_000
"""Gaps of a day whose times count in the percentiles: the first ones."""

_MEASURES: Final[tuple[Measure, ...]] = ("detection", "recovery", "success")


class TargetChange(msgspec.Struct, frozen=True):
    """A target was missed, or is met again: `met` of the day's `gaps` gaps meet it now."""

    session_date: str
    measure: Measure
    is_missed: bool
    met: int
    gaps: int


class RecoveryTargets:
    """How many gaps of the day meet each target. Explicit state, no clock; gaps of another day begin a new count."""

    def __init__(self, settings: RecoverySettings) -> None:
        self._settings = settings
        self._session_date = ""
        self._met: dict[Measure, int] = {}
        self._gaps: dict[Measure, int] = {}
        self._missed: set[Measure] = set()
        self._times_s: dict[GapMeasure, list[float]] = {}
        self._earlier: dict[GapMeasure, GapTimesMeasured] = {}  # of an earlier process of the day
        self._reported: dict[GapMeasure, int] = {}  # of the times, how many the last figures included

    def begin(self, session_date: str) -> bool:
        """Begin the count of this day, where it is another; returns whether: then no target is missed."""
        if session_date == self._session_date:
            return False
        self._session_date = session_date
        self._met, self._gaps = dict.fromkeys(_MEASURES, 0), dict.fromkeys(_MEASURES, 0)
        self._missed.clear()
        self._times_s, self._earlier, self._reported = {}, {}, {}
        return True

    def resume(
        self, session_date: str, figures: Iterable[GapTimesMeasured], *, filled: int, ended: int
    ) -> list[TargetChange]:
        """Continue the count of an earlier process of this day from its last figures; `ended` of its gaps have an
        outcome, `filled` of them are recovered. Returns the state of each target.
        """
        self.begin(session_date)
        self._earlier = {each.measure: each for each in figures}
        for measure in _MEASURES:
            found = self._earlier.get(measure) if measure != "success" else None
            met, gaps = (filled, ended) if measure == "success" else (found.met, found.gaps) if found else (0, 0)
            self._met[measure], self._gaps[measure] = met, gaps
            if self._is_missed(measure):
                self._missed.add(measure)
        return [self._state(measure) for measure in _MEASURES]

    def timed(self, session_date: str, measure: GapMeasure, after_s: float) -> TargetChange | None:
        """Count a gap by the machine seconds that recovery needed: to have it after the cut or the record that shows it
        (detection), to publish its rows after the first call for it (recovery), to close it after the end of its outage
        (closing, which has no target).
        """
        self.begin(session_date)
        times_s = self._times_s.setdefault(measure, [])
        if len(times_s) < TIMES_MAX:
            times_s.append(after_s)
        if measure == "closing":
            return None
        return self._count(session_date, measure, is_met=after_s < self._limit_s(measure))

    def figures(self, now_ns: int) -> list[GapTimesMeasured]:
        """The figures of the measures that have changed since the last call."""
        found: list[GapTimesMeasured] = []
        for measure, times_s in self._times_s.items():
            if self._reported.get(measure) != len(times_s):
                self._reported[measure] = len(times_s)
                limit_s, earlier = self._limit_s(measure), self._earlier.get(measure)
                ordered = sorted(times_s if earlier is None else [*_at_most(earlier), *times_s])
                met = sum(each < limit_s for each in times_s) + (0 if earlier is None else earlier.met)
                shares = (percentile(ordered, share) for share in (0.5, 0.95, 0.99, 1.0))
                found.append(GapTimesMeasured(self._session_date, now_ns, measure, len(ordered), met, *shares))
        return found

    def _limit_s(self, measure: GapMeasure) -> float:
        settings = self._settings
        return settings.detected_within_seconds if measure == "detection" else settings.recovered_within_seconds

    def ended(self, session_date: str, *, is_recovered: bool) -> TargetChange | None:
        """Count a gap that is recovered, or given up."""
        return self._count(session_date, "success", is_met=is_recovered)

    def _count(self, session_date: str, measure: Measure, *, is_met: bool) -> TargetChange | None:
        self.begin(session_date)
        self._met[measure] += is_met
        self._gaps[measure] += 1
        is_missed = self._is_missed(measure)
        if is_missed == (measure in self._missed):
            return None
        (self._missed.add if is_missed else self._missed.remove)(measure)
        return self._state(measure)

    def _is_missed(self, measure: Measure) -> bool:
        met, gaps = self._met[measure], self._gaps[measure]
        return met <= self._settings.target_share * gaps and met < gaps

    def _state(self, measure: Measure) -> TargetChange:
        is_missed = measure in self._missed
        return TargetChange(self._session_date, measure, is_missed, self._met[measure], self._gaps[measure])


def _at_most(earlier: GapTimesMeasured) -> list[float]:
    """Return one time for each gap of the earlier process, none shorter than the real time: the next higher percentile.
    The returned times have the percentiles of `earlier`.
    """
    percentiles = ((0.5, earlier.p50_s), (0.95, earlier.p95_s), (0.99, earlier.p99_s), (1.0, earlier.max_s))
    times_s: list[float] = []
    for share, time_s in percentiles:
        times_s += [time_s] * (math.ceil(share * earlier.gaps) - len(times_s))
    return [*times_s[:-1], earlier.max_s]


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the ordered values does not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def text_of(change: TargetChange, settings: RecoverySettings) -> str:
    """The alert's text: the day, the counts and the target."""
    what = {
        "detection": f"reached recovery within {settings.detected_within_seconds:g} s of the cut or next trade",
        "recovery": f"were filled within {settings.recovered_within_seconds:g} s of the first call",
        "success": "were filled",
    }[change.measure]
    state = "target missed" if change.is_missed else "target met again"
    return (
        f"gaps of {change.session_date}: {change.met} of {change.gaps} {what}; "
        f"{state}: more than {settings.target_share:.0%}"
    )
