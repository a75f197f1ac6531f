"""The trading days from a process of their own: the same answer, the same refusal, and nothing left in this one."""

import asyncio
import subprocess
import sys
from datetime import date, timedelta

import msgspec
import pytest

from observer.base.errors import DataFileError
from observer.calendar.day_file import (
    FILE_NAME,
    CalendarFiles,
    Question,
    answers,
    read_trading_days,
    write_trading_days,
)
from observer.calendar.packages import trading_days
from observer.calendar.process import MARGIN, keep_trading_days, trading_days_apart
from observer.calendar.trading_day import TradingDay
from tests.calendar.trading_years import OURS, known_days, years

FIRST, LAST = date(2026, 11, 10), date(2026, 11, 25)
PROGRAM = """
import asyncio, sys, datetime, pathlib, msgspec
from observer.calendar.day_file import CalendarFiles
from observer.calendar.process import trading_days_apart
files = CalendarFiles(*map(pathlib.Path, sys.argv[1:3]))
first, last = map(datetime.date.fromisoformat, sys.argv[3:])
days = asyncio.run(trading_days_apart(files, first, last))
loaded = sorted({'pandas', 'exchange_calendars', 'holidays'} & set(sys.modules))
print(msgspec.json.encode({'days': days, 'loaded': loaded}).decode())
"""


class Answer(msgspec.Struct):
    """The calling process's result: the days, and the calendar packages that it loaded."""

    days: list[TradingDay]
    loaded: list[str]


@pytest.fixture(scope="module")
def answer():
    """Asked once: the packages take their second for any question."""
    words = [sys.executable, "-c", PROGRAM, str(OURS.overlay), str(OURS.sessions), FIRST.isoformat(), LAST.isoformat()]
    return msgspec.json.decode(subprocess.run(words, capture_output=True, check=True).stdout, type=Answer)


def test_the_answer_is_that_of_the_packages_and_the_overlay(answer):
    assert answer.days == [day for day in years().values() if FIRST <= day.day <= LAST]


def test_the_calling_process_loads_no_calendar_package(answer):
    assert answer.loaded == []


def test_an_overlay_that_cannot_be_read_is_refused_in_the_same_words(tmp_path):
    absent = CalendarFiles(tmp_path / "absent.toml", OURS.sessions)
    with pytest.raises(DataFileError) as here:
        trading_days(absent, FIRST, LAST)
    with pytest.raises(DataFileError) as apart:
        asyncio.run(trading_days_apart(absent, FIRST, LAST))
    assert str(apart.value) == str(here.value)


def test_the_same_question_is_asked_once_and_a_vanished_overlay_is_refused(tmp_path, answer):
    assert asyncio.run(keep_trading_days(tmp_path, OURS, FIRST, LAST)), "computed in a process of its own"
    days = read_trading_days(tmp_path)
    assert days[: len(answer.days)] == answer.days
    assert days[-1].day == LAST + MARGIN
    assert not asyncio.run(keep_trading_days(tmp_path, OURS, FIRST, LAST))
    assert not asyncio.run(keep_trading_days(tmp_path, OURS, FIRST + MARGIN, LAST + MARGIN))
    absent = CalendarFiles(tmp_path / "absent.toml", OURS.sessions)
    with pytest.raises(DataFileError):
        asyncio.run(keep_trading_days(tmp_path, absent, FIRST, LAST, known_days))


def test_other_session_rules_are_another_question(tmp_path):
    other = tmp_path / "sessions.toml"
    other.write_text(OURS.sessions.read_text() + "# reviewed again\n")
    for files in (OURS, CalendarFiles(OURS.overlay, other)):
        assert asyncio.run(keep_trading_days(tmp_path, files, FIRST, LAST, known_days))


DAY = timedelta(days=1)
QUESTION = Question(first=FIRST, last=LAST, reviewed="1", versions={"rule": "1", "holidays": "0.1"})
DAYS = [TradingDay(FIRST, False, "overlay")]


@pytest.mark.parametrize(
    "other",
    [{"first": FIRST - DAY}, {"last": LAST + DAY}, {"reviewed": "2"}, {"versions": {"rule": "1", "holidays": "0.2"}}],
)
def test_an_answer_is_kept_for_questions_within_its_own_alone(tmp_path, other):
    write_trading_days(tmp_path, DAYS, QUESTION)
    assert answers(tmp_path, QUESTION)
    assert answers(tmp_path, msgspec.structs.replace(QUESTION, first=FIRST + DAY, last=LAST - DAY))
    assert not answers(tmp_path, msgspec.structs.replace(QUESTION, **other))


def test_a_day_file_that_is_missing_or_changed_does_not_answer_the_question(tmp_path):
    assert not answers(tmp_path, QUESTION)
    write_trading_days(tmp_path, DAYS, QUESTION)
    write_trading_days(tmp_path, [])
    assert not answers(tmp_path, QUESTION)
    write_trading_days(tmp_path, DAYS, QUESTION)
    (tmp_path / FILE_NAME).unlink()
    assert not answers(tmp_path, QUESTION)
