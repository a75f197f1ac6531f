"""Compares the calendar's next days with the broker's answer and with the calendar's own sources. Pure.

A session that the calendar takes for a holiday is a day without data, noticed only when it is over. So the check runs
the evening before, when an operator can still correct the overlay, and again in the morning.
"""

from collections.abc import Mapping, Sequence
from datetime import date

import msgspec

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
