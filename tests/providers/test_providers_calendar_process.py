"""The trading days from a process of their own: the same answer, the same refusal, and nothing left in this one."""

import asyncio
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from observer.errors import DataFileError
from observer.providers.calendar_process import trading_days_apart
from observer.providers.calendars import trading_days

OURS = Path(__file__).parents[2] / "config" / "trading_days.toml"
FIRST, LAST = date(2026, 11, 10), date(2026, 11, 25)


def test_the_answer_is_that_of_the_packages_and_the_overlay() -> None:
    assert asyncio.run(trading_days_apart(OURS, FIRST, LAST)) == trading_days(OURS, FIRST, LAST)


def test_an_overlay_that_cannot_be_read_is_refused_in_the_same_words(tmp_path: Path) -> None:
    absent = tmp_path / "absent.toml"
    with pytest.raises(DataFileError) as here:
        trading_days(absent, FIRST, LAST)
    with pytest.raises(DataFileError) as apart:
        asyncio.run(trading_days_apart(absent, FIRST, LAST))
    assert str(apart.value) == str(here.value)


def test_who_asks_loads_no_calendar_package() -> None:
    program = (
        "import asyncio, sys, datetime, pathlib\n"
        "from observer.providers.calendar_process import trading_days_apart\n"
        "day = datetime.date(2026, 11, 18)\n"
        "asyncio.run(trading_days_apart(pathlib.Path(sys.argv[1]), day, day))\n"
        "print(*sorted({'pandas', 'exchange_calendars', 'holidays'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program, str(OURS)], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""
