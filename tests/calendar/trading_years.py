"""The trading days of eight years by our overlay, asked for once: the packages take seconds for any question."""

from datetime import date
from functools import cache
from pathlib import Path

from observer.calendar.day_file import CalendarFiles
from observer.calendar.packages import read_overlay, trading_days

CONFIG = Path(__file__).parents[2] / "config"
OURS = CalendarFiles(CONFIG / "trading_days.toml", CONFIG / "sessions.toml")


@cache
def years():
    """2021 to 2028."""
    return {day.day: day for day in trading_days(OURS, date(2021, 1, 1), date(2028, 12, 31))}


async def known_days(files, first, last):
    """The days of `years` in the range, if the overlay can be read: what the process of the packages says, at once."""
    read_overlay(files.overlay)
    return [day for day in years().values() if first <= day.day <= last]
