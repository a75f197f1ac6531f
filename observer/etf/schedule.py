"""When the jobs about funds are due: three on trading days, the measures on Sundays. Of the configuration, no clock."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, timedelta
from typing import Final

import msgspec

from bus.events import FundJob
from observer.clock import kst_datetime, kst_ns
from observer.reference.etf_settings import FundSettings
from observer.schedule.jobs import Job
from observer.schedule.phases import DayPlan

_SUNDAY: Final = 6
_DAYS_BACK: Final = 15  # the longest holidays are shorter


class Session(msgspec.Struct, frozen=True):
    """The session that prices are of at a moment, and whether it is over."""

    day: date
    is_over: bool


def fund_jobs_of(day: date, settings: FundSettings, *, trades: bool) -> Mapping[FundJob, int]:
    """The jobs of one Korean day and when each is due (UTC nanoseconds), in their order."""
    jobs: dict[FundJob, int] = {}
    if trades:
        jobs["fund_list"] = _moment_ns(day, settings.list_at)
        jobs["fund_values"] = _moment_ns(day, settings.values_at)
        jobs["fund_ranges"] = _moment_ns(day, settings.ranges_at)
    if day.weekday() == _SUNDAY:
        jobs["fund_measures"] = _moment_ns(day, settings.measures_at)
    return jobs


def last_due_ns(settings: FundSettings, trading_days: Collection[date], now_ns: int) -> Mapping[FundJob, int]:
    """When each job was due last; 0 for one that was not within two weeks. Without known days, weekdays count."""
    today = kst_datetime(now_ns).date()
    due: dict[FundJob, int] = dict.fromkeys(("fund_list", "fund_values", "fund_ranges", "fund_measures"), 0)
    for back in range(_DAYS_BACK, -1, -1):
        day = today - timedelta(days=back)
        trades = day in trading_days if trading_days else day.weekday() < _SUNDAY - 1
        due.update((job, at_ns) for job, at_ns in fund_jobs_of(day, settings, trades=trades).items() if at_ns <= now_ns)
    return due


def jobs_to_do(
    plan: DayPlan,
    trading_days: Collection[date],
    settings: FundSettings,
    ended_ns: Mapping[FundJob, int],
    now_ns: int,
) -> Sequence[Job[FundJob]]:
    """The jobs that the day still brings, and those that did not end since they were due last, whatever day that was.

    Before there ever was a list of funds only a day that brings one has jobs: they would be done for no fund at all.
    """
    today = fund_jobs_of(plan.day, settings, trades=plan.trades)
    if "fund_list" in ended_ns:
        moments = [*last_due_ns(settings, trading_days, now_ns).items(), *today.items()]
    else:
        moments = list(today.items()) if "fund_list" in today else []
    return [Job(job, at_ns) for job, at_ns in dict.fromkeys(moments) if ended_ns.get(job, 0) < at_ns]


def last_session(trading_days: Sequence[date], day: date) -> date:
    """The last session before that day; without known days, the weekday before it."""
    earlier = [each for each in trading_days if each < day]
    if earlier:
        return max(earlier)
    back = day - timedelta(days=1)
    while back.weekday() >= _SUNDAY - 1:
        back -= timedelta(days=1)
    return back


def last_over(session: Session, trading_days: Sequence[date]) -> date:
    """The session, or while it goes on the one before: of a day that is not over there is no close."""
    return session.day if session.is_over else last_session(trading_days, session.day)


def session_at(plan: DayPlan, trading_days: Sequence[date], now_ns: int) -> Session:
    """Today's once it has begun, before that and on other days the last one."""
    if plan.trades and now_ns >= plan.track_a_start_ns:
        return Session(plan.day, now_ns >= plan.track_a_stop_ns)
    return Session(last_session(trading_days, plan.day), is_over=True)


def _moment_ns(day: date, time_of_day: str) -> int:
    hours, minutes = map(int, time_of_day.split(":"))
    return kst_ns(day, hours, minutes)
