"""Compares the calendar's next days with the broker's answer and with the calendar's own sources. Pure.

A session that the calendar takes for a holiday is a day without data, noticed only when it is over. So the check runs
the evening before, when an operator can still correct the overlay, and again in the morning.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from datetime import date

import msgspec

from observer.base.local_time import local_datetime
from observer.calendar.sessions import DaySessions, SessionRules, sessions_on, sessions_under
from observer.calendar.trading_day import TradingDay


class Doubt(msgspec.Struct, frozen=True):
    """A day on which a source contradicts the calendar."""

    day: date
    trades: bool
    otherwise: str

    @property
    def text(self) -> str:
        """The alert text: the contradiction and the remedy."""
        ours = "open" if self.trades else "closed"
        remedy = "if it is wrong, enter the day in trading_days.toml, or its hours in sessions.toml"
        return f"{self.day}: the calendar says {ours}, {self.otherwise}; {remedy}"


def days_at_stake(days: Sequence[TradingDay], opens: Mapping[date, bool], today: date) -> tuple[date, ...]:
    """Today and the days up to the next session by any source, oldest first.

    `opens` is the broker's answer; a day missing from it is decided by the calendar alone.
    """
    at_stake: list[date] = []
    for each in sorted((each for each in days if each.day >= today), key=lambda each: each.day):
        at_stake.append(each.day)
        if each.day > today and (each.trades or opens.get(each.day, False)):
            break
    return tuple(at_stake)


def doubts(days: Sequence[TradingDay], opens: Mapping[date, bool], today: date) -> tuple[Doubt, ...]:
    """The days at stake that the broker or one of the calendar's sources contradicts, oldest first."""
    by_day = {each.day: each for each in days}
    found: list[Doubt] = []
    for day in days_at_stake(days, opens, today):
        calendar = by_day[day]
        others = [calendar.disagreement] if calendar.disagreement else []
        if day in opens and opens[day] != calendar.trades:
            others.append(f"the broker says {'open' if opens[day] else 'closed'}")
        if others:
            found.append(Doubt(day, calendar.trades, ", ".join(others)))
    return tuple(found)


# --- unusual ---
#
# Which days have unusual sessions, and why. Pure.


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
            reasons += _changes(sessions_under(rules, before), sessions_under(rules, day.day))
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
