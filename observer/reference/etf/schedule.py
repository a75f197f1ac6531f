"""When the ETF jobs are due: three on trading days, the measures on Sundays. Pure: configuration only, no clock."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, timedelta
from typing import Final

import msgspec

from bus.events import EtfJob
from observer.base.local_time import local_datetime, local_ns
from observer.calendar.phases import DayPlan
from observer.reference.etf.settings import EtfSettings

_SUNDAY: Final = 6
_DAYS_BACK: Final = 15  # the longest holidays are shorter


class Session(msgspec.Struct, frozen=True):
    """The session that a moment's prices belong to, and whether it is over."""

    day: date
    is_over: bool


def etf_jobs_of(day: date, settings: EtfSettings, *, trades: bool) -> Mapping[EtfJob, int]:
    """The jobs of one Korean day with their due times (UTC nanoseconds), in order."""
    jobs: dict[EtfJob, int] = {}
    if trades:
        jobs["etf_list"] = _moment_ns(day, settings.list_at)
        jobs["etf_values"] = _moment_ns(day, settings.values_at)
        jobs["etf_ranges"] = _moment_ns(day, settings.ranges_at)
    if day.weekday() == _SUNDAY:
        jobs["etf_measures"] = _moment_ns(day, settings.measures_at)
    return jobs


def last_due_ns(settings: EtfSettings, trading_days: Collection[date], now_ns: int) -> Mapping[EtfJob, int]:
    """Each job's last due time; 0 for none within two weeks. Without known days, weekdays count."""
    today = local_datetime(now_ns).date()
    due: dict[EtfJob, int] = dict.fromkeys(("etf_list", "etf_values", "etf_ranges", "etf_measures"), 0)
    for back in range(_DAYS_BACK, -1, -1):
        day = today - timedelta(days=back)
        trades = day in trading_days if trading_days else day.weekday() < _SUNDAY - 1
        due.update((job, at_ns) for job, at_ns in etf_jobs_of(day, settings, trades=trades).items() if at_ns <= now_ns)
    return due


def jobs_to_do(
    plan: DayPlan,
    trading_days: Collection[date],
    settings: EtfSettings,
    ended_ns: Mapping[EtfJob, int],
    now_ns: int,
) -> Sequence[tuple[EtfJob, int]]:
    """The remaining jobs of the day with their due times, and earlier days' jobs that did not end since their last one.

    Before the first list of ETFs, only a day with a list job has jobs: the others would run over no ETF. On that day
    the measures do not wait for Sunday: they come before the ranges, which use their days.
    """
    today = etf_jobs_of(plan.day, settings, trades=plan.trades)
    if "etf_list" in ended_ns:
        moments = [*last_due_ns(settings, trading_days, now_ns).items(), *today.items()]
    else:
        moments = [("etf_measures", today["etf_ranges"]), *today.items()] if "etf_list" in today else []
    return [(job, at_ns) for job, at_ns in dict.fromkeys(moments) if ended_ns.get(job, 0) < at_ns]


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
    """The last finished session: an open session has no close."""
    return session.day if session.is_over else last_session(trading_days, session.day)


def session_at(plan: DayPlan, trading_days: Sequence[date], now_ns: int) -> Session:
    """Today's session once it has begun, otherwise the last one."""
    if plan.trades and now_ns >= plan.track_a_start_ns:
        return Session(plan.day, now_ns >= plan.track_a_stop_ns)
    return Session(last_session(trading_days, plan.day), is_over=True)


def _moment_ns(day: date, time_of_day: str) -> int:
    hours, minutes = map(int, time_of_day.split(":"))
    return local_ns(day, hours, minutes)
