"""Which days have unusual sessions, and why. Pure."""

import datetime as dt
from collections.abc import Mapping, Sequence

import msgspec

from observer.base.local_time import local_datetime
from observer.calendar.sessions import DaySessions, SessionRules, sessions_on, usual_sessions
from observer.calendar.trading_day import TradingDay


class ExplainedDay(msgspec.Struct, frozen=True):
    """A day, its sessions, and why they are unusual; empty where they are those of the session before."""

    day: TradingDay
    sessions: DaySessions
    why: str


def explained(rules: SessionRules, days: Sequence[TradingDay]) -> Sequence[ExplainedDay]:
    """Each of the days, which are in order. Unusual is a special day, the first day of other rules, and a day on which
    the sources contradict each other.
    """
    found: list[ExplainedDay] = []
    before = days[0].day - dt.timedelta(days=1) if days else None
    for day in days:
        sessions = sessions_on(rules, day)
        reasons = [sessions.shift, day.disagreement]
        if day.trades and before is not None:
            reasons += _changes(usual_sessions(rules, before), usual_sessions(rules, day.day))
            before = day.day
        found.append(ExplainedDay(day, sessions, ", ".join(filter(None, reasons))))
    return found


def _changes(before: DaySessions, after: DaySessions) -> Sequence[str]:
    """What the later day's rules change: sessions that begin, end, or have other hours."""
    old, new = _hours(before), _hours(after)
    ended = [f"{name} ended" for name in old if name not in new]
    begun = [
        f"{name} {'begins' if name not in old else hours}" for name, hours in new.items() if old.get(name) != hours
    ]
    return [*ended, *begun]


def _hours(sessions: DaySessions) -> Mapping[str, str]:
    return {
        f"{each.venue}.{each.name}": f"{time_of(each.opens_ns)} to {time_of(each.closes_ns)}"
        for each in sessions.sessions
    }


def time_of(moment_ns: int) -> str:
    """The local time of a moment: HH:MM, with seconds where it has some."""
    time = local_datetime(moment_ns)
    return f"{time:%H:%M:%S}" if time.second else f"{time:%H:%M}"
