"""Market time: the same in every process, and the only time that a scaled day speeds up."""

import asyncio
import os
import subprocess
import sys
import time
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.base.clock import CLOCK_VARIABLE, HeldClock, ManualClock, RealClock, ScaledClock, clock_from_environment
from observer.base.local_time import local_datetime, local_ns
from observer.base.units import NS_PER_S
from tests.waiting import DEADLINE_S

NINE = local_ns(date(2026, 11, 18), 9)


def test_a_held_clock_stands_until_it_is_started_and_then_runs_alike_in_every_process(tmp_path):
    here = HeldClock(NINE, tmp_path / "start", 1000.0)
    there = HeldClock(NINE, tmp_path / "start", 1000.0)
    assert here.now_ns() == there.now_ns() == NINE
    (tmp_path / "start").touch()
    assert there.now_ns() == NINE, "a start that is only half written is none"
    (tmp_path / "start").unlink()
    here.start()
    first, second, third = here.now_ns(), there.now_ns(), here.now_ns()
    assert NINE < first <= second <= third
    there.start()
    assert here.now_ns() >= third


def test_another_process_reads_the_same_time_from_the_variable():
    clock = ScaledClock(NINE, time.monotonic_ns(), 240.0)
    code = "from observer.base.clock import clock_from_environment; print(clock_from_environment().now_ns())"
    before_ns = clock.now_ns()
    printed = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, CLOCK_VARIABLE: clock.to_variable()},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert before_ns < int(printed) < clock.now_ns()


def test_a_scaled_clock_stands_until_its_anchor():
    clock = ScaledClock(NINE, time.monotonic_ns() + 3600 * NS_PER_S, 240.0)
    assert [clock.now_ns() for _ in range(3)] == [NINE] * 3


def test_a_scaled_clock_runs_so_many_times_as_fast():
    anchor_ns = time.monotonic_ns() - 10 * NS_PER_S
    clock = ScaledClock(NINE, anchor_ns, 60.0)
    assert clock.speed == 60.0
    earliest_ns, now_ns, latest_ns = time.monotonic_ns(), clock.now_ns(), time.monotonic_ns()
    assert (earliest_ns - anchor_ns) * 60 <= now_ns - NINE <= (latest_ns - anchor_ns) * 60


def test_a_scaled_hour_passes_in_a_moment():
    clock = ScaledClock(NINE, time.monotonic_ns(), 100_000.0)
    asyncio.run(clock.sleep(3600))
    assert clock.now_ns() >= NINE + 3600 * NS_PER_S


@pytest.mark.parametrize("clock", [RealClock(), ScaledClock(NINE, 0, 240.0), ManualClock(NINE)])
async def test_a_moment_that_is_past_is_not_waited_for(clock):
    async with asyncio.timeout(DEADLINE_S):
        await clock.sleep_until(0)


def test_a_manual_clock_wakes_only_the_sleepers_whose_time_has_come():
    async def scene():
        clock = ManualClock(NINE)
        early, late = (asyncio.create_task(clock.sleep(seconds)) for seconds in (10, 20))
        await asyncio.sleep(0)
        await clock.advance(10)
        async with asyncio.timeout(DEADLINE_S):
            await early
        still_waits = not late.done()
        await clock.advance(10)
        async with asyncio.timeout(DEADLINE_S):
            await late
        return early.done(), still_waits, late.done()

    assert asyncio.run(scene()) == (True, True, True)


def test_without_the_variable_it_is_the_real_clock(monkeypatch):
    monkeypatch.delenv(CLOCK_VARIABLE, raising=False)
    assert isinstance(clock_from_environment(), RealClock)


@pytest.mark.parametrize(
    "text", ["scaled", "scaled:1:2", "scaled:1:2:0", "scaled:1:2:-3", "scaled:a:2:3", "real:1:2:3", "scaled:1:2:3:4"]
)
def test_a_wrong_variable_is_refused(monkeypatch, text):
    monkeypatch.setenv(CLOCK_VARIABLE, text)
    with pytest.raises(ValueError, match=r"scaled|invalid literal|could not convert"):
        clock_from_environment()


def test_korea_is_nine_hours_ahead():
    assert (
        local_ns(date(2026, 11, 18), 9, 30, 15) == datetime(2026, 11, 18, 0, 30, 15, tzinfo=UTC).timestamp() * NS_PER_S
    )


@given(st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)))  # noqa: DTZ001 - the strategy wants naive bounds
def test_a_korean_time_and_its_nanoseconds_are_each_others_inverse(moment):
    whole = moment.replace(microsecond=0)
    there = local_datetime(local_ns(whole.date(), whole.hour, whole.minute, whole.second))
    assert there.replace(tzinfo=None) == whole
