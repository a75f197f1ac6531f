"""The day's universe is built once in spite of kills, and its file equals the database."""

import asyncio
import json
from pathlib import Path

import pytest

from observer.demo.configuration import DAY
from observer.reference.universe.eligibility import KOREAN_STOCKS
from observer.reference.universe.files import universe_content
from tests.folders import short_folder
from tests.reference.morning import morning

pytestmark = [pytest.mark.system, pytest.mark.slow]  # five starts of a process that loads the calendars

SYMBOLS = 120
DATE = DAY.isoformat()
FILE = f"{DATE.replace('-', '')}_{KOREAN_STOCKS}.json"


def members(day):
    return day.reader.universe(DATE, KOREAN_STOCKS)


def file_of(day):
    return Path(day.settings.run.universe) / FILE


async def kills(folder, times):
    async with morning(folder, symbols=SYMBOLS, speed=20.0, calls_per_second=5.0) as day:
        for number in range(1, times + 1):
            await day.start()
            enough = 20 * number
            await day.until(lambda wanted=enough: len(day.reader.daily_bars(1)) >= wanted, "some symbols have bars")
            await day.kill()
            assert not members(day)
            assert not file_of(day).exists()
        await day.start()
        await day.until(lambda: file_of(day).exists(), "the universe's file")
        fetched = len(day.reader.daily_bars(1))
        assert file_of(day).read_bytes() == universe_content(day.reader, DATE, KOREAN_STOCKS)
        assert json.loads(file_of(day).read_bytes())["metadata"]["symbol_count"] == len(members(day)) > 50
        assert day.count("universes") == 1
        bars = day.reader.daily_bars(100)
        assert day.count("daily_bars") == sum(len(days) for days in bars.values())  # none was stored twice
        assert len(bars) == fetched
        await day.kill()
        file_of(day).unlink()
        await day.start()
        await day.until(lambda: file_of(day).exists(), "the file is made again")
        assert day.count("universes") == 1
        assert file_of(day).read_bytes() == universe_content(day.reader, DATE, KOREAN_STOCKS)


@pytest.mark.timeout(600)
def test_a_build_that_is_killed_goes_on_where_it_stopped():
    with short_folder() as folder:
        asyncio.run(kills(folder, times=3))
