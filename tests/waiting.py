"""Waits for a condition with a deadline: the only file of the tests that sleeps in a loop.

The deadline ends a test that would hang. No test passes or fails because of how fast it was.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final, TypeVar

Found = TypeVar("Found")

DEADLINE_S: Final = 120.0
_INTERVAL_S: Final = 0.002


def until(
    condition: Callable[[], Found],
    what: str = "the condition",
    within_s: float = DEADLINE_S,
    every_s: float = _INTERVAL_S,
) -> Found:
    """The first true value of the condition; for code without an event loop. A costly look is taken less often."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not come true within {within_s:g} s"
        time.sleep(every_s)
    return found


async def until_async(
    condition: Callable[[], Found], what: str = "the condition", within_s: float = DEADLINE_S
) -> Found:
    """As `until`, while the event loop goes on."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not come true within {within_s:g} s"
        await asyncio.sleep(_INTERVAL_S)
    return found
