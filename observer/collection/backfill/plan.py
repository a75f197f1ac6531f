"""Which official bars are missing, and what their fetch costs. Pure.

Everything follows from what is stored: a run that goes on after any kill asks for what has no row of its end.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date, timedelta
from math import ceil
from typing import Final

import msgspec

from bus.events import FetchOutcome
from observer.brokers.domestic import BarReach
from observer.calendar.phases import DayPlan
from observer.gaps.intervals import VOLUME_NOISE

OVERLAP_DAYS: Final = 14
"""Calendar days that a page of daily bars reaches beyond its span: the first session behind it states the base price,
with which the span's last close is compared. More than any row of holidays.
"""

_ONE_DAY: Final = timedelta(days=1)


class Span(msgspec.Struct, frozen=True, order=True):
    """The days from `first` to `last`, both included."""

    first: date
    last: date


class SymbolNeeds(msgspec.Struct, frozen=True):
    """The missing bars of one symbol, newest first: spans of daily bars, and days of minute bars as far as the stored
    daily bars show them; `unknown_days` are weekdays whose daily bars are missing.
    """

    symbol: str
    daily: Sequence[Span]
    minutes: Sequence[date] = ()
    unknown_days: int = 0


class Estimate(msgspec.Struct, frozen=True):
    """What is missing, and what its fetch takes at most. `seconds` at `calls_per_second`, which is the limit of all
    accounts: other calls go first.
    """

    symbols: int
    daily_spans: int
    minute_days: int
    calls: int
    bars: int
    calls_per_second: float

    @property
    def seconds(self) -> float:
        """The shortest time of so many calls."""
        return self.calls / self.calls_per_second


def missing_spans(asked: Span, covered: Collection[Span], days_per_call: int) -> Sequence[Span]:
    """The spans of the asked days that no covered span has, newest first; each takes one call with its overlap."""
    weekdays = days_per_call - OVERLAP_DAYS * 5 // 7
    longest = timedelta(days=weekdays // 5 * 7 - 1)
    found: list[Span] = []
    for part in _uncovered(asked, covered):
        end = part.last
        while part.first <= end:
            begin = max(part.first, end - longest)
            found.append(Span(begin, end))
            end = begin - _ONE_DAY
    return found


def _uncovered(asked: Span, covered: Collection[Span]) -> Iterator[Span]:
    """The parts of the asked days outside the covered spans that have a weekday, newest first."""
    last = asked.last
    for span in sorted(covered, key=lambda each: each.last, reverse=True):
        if span.last < asked.first or span.first > last:
            continue
        if span.last < last and weekdays_in(span.last + _ONE_DAY, last):
            yield Span(span.last + _ONE_DAY, last)
        last = span.first - _ONE_DAY
    if asked.first <= last and weekdays_in(asked.first, last):
        yield Span(asked.first, last)


def missing_days(asked: Span, volumes: Mapping[date, float], fetched: Collection[date]) -> Sequence[date]:
    """The days of minute bars to ask for, newest first: those with a volume that were not fetched."""
    traded = (day for day, volume in volumes.items() if volume > 0 and asked.first <= day <= asked.last)
    return sorted(set(traded).difference(fetched), reverse=True)


def needs_of(
    symbol: str,
    asked: Span,
    covered: Collection[Span],
    days_per_call: int,
    volumes: Mapping[date, float] | None,
    fetched: Collection[date],
    minutes_first: date = date.min,
) -> SymbolNeeds:
    """The missing bars of a symbol; without `volumes` of its daily bars no minute bars are wanted, and none of days
    before `minutes_first`.
    """
    daily = missing_spans(asked, covered, days_per_call)
    if volumes is None:
        return SymbolNeeds(symbol, daily)
    unknown = sum(weekdays_in(max(span.first, minutes_first), span.last) for span in daily)
    known = {day: volume for day, volume in volumes.items() if not any(_has(span, day) for span in daily)}
    minutes = [day for day in missing_days(asked, known, fetched) if day >= minutes_first]
    return SymbolNeeds(symbol, daily, minutes, unknown)


def estimated(
    needs: Sequence[SymbolNeeds],
    reach: BarReach,
    minutes_of_day: int,
    calls_per_second: float,
    session_day: date | None = None,
) -> Estimate:
    """What these needs take at most: every minute of a day has a bar, and every weekday is a session. The bars of the
    `session_day` come by a call of their own.
    """
    calls = days = bars = 0
    for each in needs:
        of_minutes = len(each.minutes) + each.unknown_days
        days += of_minutes
        # A page may bring several days, and the last one of a symbol is not full.
        calls += len(each.daily) + ceil(of_minutes * minutes_of_day / reach.minutes_per_call)
        if of_minutes and session_day is not None and (each.unknown_days or session_day in each.minutes):
            calls += ceil(minutes_of_day / reach.session_minutes_per_call) + 1
        bars += of_minutes * minutes_of_day + sum(weekdays_in(span.first, span.last) for span in each.daily)
    return Estimate(
        symbols=sum(bool(each.daily or each.minutes or each.unknown_days) for each in needs),
        daily_spans=sum(len(each.daily) for each in needs),
        minute_days=days,
        calls=calls,
        bars=bars,
        calls_per_second=calls_per_second,
    )


def busy_until(plan: DayPlan, now_ns: int) -> int | None:
    """When the day's sweeps end, from the wake-up before them on; None in idle hours, which are all others."""
    return plan.track_a_stop_ns if plan.trades and plan.wake_up_ns <= now_ns < plan.track_a_stop_ns else None


def outcome_of(bars: int, volume: float, unreadable: int, daily_volume: float | None) -> FetchOutcome:
    """Whether a day's minute bars have the volume of its daily bar."""
    if unreadable:
        return "differs"
    if not bars:
        return "nothing"
    if daily_volume is None:
        return "unproved"
    return "equal" if abs(volume - daily_volume) <= VOLUME_NOISE else "differs"


def weekdays_in(first: date, last: date) -> int:
    """The number of weekdays from `first` to `last`, both included: at least as many as sessions."""
    if last < first:
        return 0
    weeks, rest = divmod((last - first).days + 1, 7)
    return weeks * 5 + sum((first.weekday() + number) % 7 < 5 for number in range(rest))


def _has(span: Span, day: date) -> bool:
    return span.first <= day <= span.last
