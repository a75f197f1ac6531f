"""The trading days from a process of their own: the same answer, the same refusal, and nothing left in this one."""

import asyncio
import subprocess
import sys
from datetime import date
from pathlib import Path

import msgspec
import pytest

from observer.errors import DataFileError
from observer.providers.calendar_process import trading_days_apart
from observer.providers.calendars import trading_days
from observer.schedule.trading_day import TradingDay
from tests.providers.trading_years import OURS, years

FIRST, LAST = date(2026, 11, 10), date(2026, 11, 25)
PROGRAM = """
import asyncio, sys, datetime, pathlib, msgspec
from observer.providers.calendar_process import trading_days_apart
first, last = map(datetime.date.fromisoformat, sys.argv[2:])
days = asyncio.run(trading_days_apart(pathlib.Path(sys.argv[1]), first, last))
loaded = sorted({'pandas', 'exchange_calendars', 'holidays'} & set(sys.modules))
print(msgspec.json.encode({'days': days, 'loaded': loaded}).decode())
"""


class Answer(msgspec.Struct):
    """What a process that asked has: the days, and what of the calendar packages it loaded."""

    days: list[TradingDay]
    loaded: list[str]


@pytest.fixture(scope="module")
def answer() -> Answer:
    """Asked once: the packages take their second for any question."""
    words = [sys.executable, "-c", PROGRAM, str(OURS), FIRST.isoformat(), LAST.isoformat()]
    return msgspec.json.decode(subprocess.run(words, capture_output=True, check=True).stdout, type=Answer)


def test_the_answer_is_that_of_the_packages_and_the_overlay(answer: Answer) -> None:
    assert answer.days == [day for day in years().values() if FIRST <= day.day <= LAST]


def test_who_asks_loads_no_calendar_package(answer: Answer) -> None:
    assert answer.loaded == []


def test_an_overlay_that_cannot_be_read_is_refused_in_the_same_words(tmp_path: Path) -> None:
    absent = tmp_path / "absent.toml"
    with pytest.raises(DataFileError) as here:
        trading_days(absent, FIRST, LAST)
    with pytest.raises(DataFileError) as apart:
        asyncio.run(trading_days_apart(absent, FIRST, LAST))
    assert str(apart.value) == str(here.value)
