"""Where the calendar may be wrong about the next days: what others say of them. Pure (design.md, section 4).

A day that the calendar takes for a holiday and the exchange does not is a day without any data, and nobody would notice
before it is over. So what the broker says, and what the calendar's own sources say of each other, is held against it:
the evening before, when a person can still put the day right in the overlay, and in the morning.
"""

from collections.abc import Mapping, Sequence
from datetime import date

import msgspec

from observer.schedule.trading_day import TradingDay


class Doubt(msgspec.Struct, frozen=True):
    """A day of which somebody says something else than the calendar."""

    day: date
    trades: bool
    otherwise: str

    @property
    def text(self) -> str:
        """What a person should know, and do."""
        ours = "open" if self.trades else "closed"
        remedy = "if it is wrong, enter the day in trading_days.toml"
        return f"{self.day}: the calendar says {ours}, {self.otherwise}; {remedy}"


def days_at_stake(days: Sequence[TradingDay], opens: Mapping[date, bool], today: date) -> tuple[date, ...]:
    """Today and the days up to the next one that anybody takes for a session, oldest first.

    `opens` is the broker's word; a day that it does not name is the calendar's alone.
    """
    at_stake: list[date] = []
    for each in sorted((each for each in days if each.day >= today), key=lambda each: each.day):
        at_stake.append(each.day)
        if each.day > today and (each.trades or opens.get(each.day, False)):
            break
    return tuple(at_stake)


def doubts(days: Sequence[TradingDay], opens: Mapping[date, bool], today: date) -> tuple[Doubt, ...]:
    """The days at stake of which the broker, or one of the calendar's sources, says otherwise; oldest first."""
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
