"""Waits for a condition with a deadline: the only file of the tests that sleeps in a loop.

The deadline ends a test that would hang. No test passes or fails because of how fast it was.
"""

import asyncio
import os
import time
from collections.abc import Callable
from typing import Final, TypeVar

Found = TypeVar("Found")

DEADLINE_S: Final = float(os.environ.get("OBSERVER_TEST_DEADLINE_S", "120"))  # a mutant has less: tests/mutants.py
_PAUSE_S_MIN: Final = 0.002
_PAUSE_S_MAX: Final = 0.05
_PAUSES_A_LOOK: Final = 4  # so that looking, which often reads a database, takes at most a fifth of a processor


def until(
    condition: Callable[[], Found],
    what: str = "the condition",
    within_s: float = DEADLINE_S,
    every_s: float = 0.0,
) -> Found:
    """The first true value of the condition; for code without an event loop. A costly look is taken less often."""
    begin = time.monotonic()
    looked_s = time.thread_time()
    while not (found := condition()):
        waited_s = time.monotonic() - begin
        assert waited_s < within_s, f"{what} did not come true within {within_s:g} s"
        time.sleep(max(every_s, pause_s(waited_s, time.thread_time() - looked_s)))
        looked_s = time.thread_time()
    return found


async def until_async(
    condition: Callable[[], Found], what: str = "the condition", within_s: float = DEADLINE_S
) -> Found:
    """As `until`, while the event loop goes on."""
    begin = time.monotonic()
    looked_s = time.thread_time()
    while not (found := condition()):
        waited_s = time.monotonic() - begin
        assert waited_s < within_s, f"{what} did not come true within {within_s:g} s"
        await asyncio.sleep(pause_s(waited_s, time.thread_time() - looked_s))
        looked_s = time.thread_time()
    return found


def pause_s(waited_s: float, look_s: float = 0.0) -> float:
    """The pause before the next look, which took `look_s` of the processor: looks become rarer while nothing happens,
    and costly ones are rare from the start.
    """
    return min(_PAUSE_S_MAX, max(_PAUSE_S_MIN, waited_s / 50, _PAUSES_A_LOOK * look_s))
