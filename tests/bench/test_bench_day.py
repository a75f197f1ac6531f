"""The figures of `python -m tests.bench day`, and the clock of the systems that benches run."""

import asyncio
from pathlib import Path

import pytest

from observer.base.local_time import local_ns
from observer.demo.configuration import DAY
from tests.bench.day import most_at_once
from tests.bench.system import running_system
from tests.folders import short_folder


@pytest.mark.parametrize(
    ("spans", "most"),
    [
        ([], 0),
        ([(0, 10)], 1),
        ([(0, 10), (10, 20)], 1),  # a slot that another symbol takes over at once
        ([(0, 10), (9, 20), (9, 12), (15, 30)], 3),
    ],
)
def test_the_most_slots_are_those_held_at_the_same_moment(spans, most):
    assert most_at_once(spans) == most


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.system
def test_the_clock_of_a_measured_system_starts_when_every_process_runs():
    async def passed_s():
        """Machine seconds from the start of the clock until the system is there."""
        with short_folder() as folder:
            async with running_system(Path(folder) / "run", 5, 0, speed=10.0) as system:
                return (system.clock.now_ns() - local_ns(DAY, 5)) / 1e9 / system.clock.speed

    assert 0 < asyncio.run(passed_s()) < 0.5
